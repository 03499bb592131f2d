/*
 * Copyright (c) 2026 The vhost async for Open vSwitch authors.
 *
 * Licensed under the Apache License, Version 2.0 (the "License");
 * you may not use this file except in compliance with the License.
 * You may obtain a copy of the License at:
 *
 *     http://www.apache.org/licenses/LICENSE-2.0
 *
 * Unless required by applicable law or agreed to in writing, software
 * distributed under the License is distributed on an "AS IS" BASIS,
 * WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
 * See the License for the specific language governing permissions and
 * limitations under the License.
 */

#ifndef VHOST_ASYNC_RECEIVE_H
#define VHOST_ASYNC_RECEIVE_H 1

/* A burst of packets on its way from the ring of a guest into mbufs.
 *
 * Called for each poll of an rxq whose ring is ours, by the thread that polls
 * it.  Headers, and as much of a packet as classification reads, are copied by
 * CPU, so that they are in its cache; the rest by CPU or by the thread's
 * channel (vhost-async-cost.h).  Packets are handed up in the order of the
 * ring. */

#include <stdbool.h>
#include <stdint.h>

/* Bytes of a packet that the CPU copies in any case: classification reads no
 * more of most (miniflow_extract()). */
#define VHOST_ASYNC_RX_HEAD 128

struct rte_mbuf;
struct rte_mempool;
struct vhost_async_rxq;
struct vhost_async_sender;

/* What the mbufs are to be like. */
struct vhost_async_rx_mode {
    struct rte_mempool *mp;
    bool extbuf;                /* What is too long for one has a buffer of its
                                 * own (RTE_VHOST_USER_EXTBUF_SUPPORT). */
    bool compliant;             /* Offloads, see vhost-net-offload.h. */
};

uint16_t vhost_async_rxq_recv(struct vhost_async_rxq *,
                              struct vhost_async_sender *,
                              const struct vhost_async_rx_mode *,
                              struct rte_mbuf **, uint16_t cnt);

#endif /* vhost-async-receive.h */
