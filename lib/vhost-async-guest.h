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

#ifndef VHOST_ASYNC_GUEST_H
#define VHOST_ASYNC_GUEST_H 1

/* The guest of a vhost port: its messages, its memory, and what becomes of its
 * rings when it sends the former or changes the latter.
 *
 * The vhost library has the control plane: it reads the messages and keeps
 * features, memory and the addresses of rings.  Each message is seen here
 * before and after it is handled.  A ring is ours from its start until it
 * stops; meanwhile the library's indices of it are not looked at, and those
 * which it reports are written to it when the ring stops, and before messages
 * that have it translate rings anew.
 *
 * The gate
 * ========
 *
 * Between pre_msg_handle and post_msg_handle of a message that changes what we
 * read of a ring, no thread of ours is at it: the locks of its virtqueues are
 * held, and senders and pollers do not wait for them (vhost_async_vq_close()).
 * Messages that take memory away or begin to log it wait for copies in flight
 * to the guest, but not long: memory is mapped by ourselves
 * (vhost-guest-mem.h), and the old mapping stays until no engine uses it
 * (vhost-async-old-mem.h).
 *
 * A message that fails is not seen again.  It is over when the next one comes,
 * or after a while, when the helper's thread opens the gate.  If it was to
 * change the memory, rings get nothing new until one succeeds.
 *
 * A ring that stops (GET_VRING_BASE, RESET_OWNER, a device that goes) waits
 * longer: its buffers are the guest's again afterwards.  The library holds no
 * lock of a ring then.  All rings that stop together have one deadline: time
 * enough for an engine that hangs to be found out and stopped, and for the CPU
 * to do its copies again.
 *
 * Thread-safety
 * =============
 *
 * Who is in 'control' of a guest may change it: the thread of the vhost
 * library before and after each message, callbacks for a device, senders,
 * pollers and the helper's thread for the moment that it takes to take over a
 * ring.  While the library handles a message nobody is, but these stay away.
 * Those do not wait for control; others wait for each other, as there is
 * nothing in between that waits for more than copies in flight.  It is taken
 * before locks of virtqueues and after those of the library; nobody calls the
 * library in a way that locks while in control.
 *
 * Who waits for whom
 * ==================
 *
 * Locks come in this order: the library's of a ring, the list of ports,
 * control of a guest, the mutex of a port, the lock of a virtqueue, the mutex
 * of devices or of the map of channels.
 *
 *   thread, when              holding           waits for             at most
 *   ------------------------  ----------------  --------------------  -------
 *   library, memory or log    its rings' locks  copies in flight      100 ms
 *   library, guest connects   ports             who is in control     100 ms
 *   library, a ring stops     control           copies in flight,     [1]
 *                                               which others reap
 *   PMD, sends (defer)        nothing           who is at the txq     a burst
 *   PMD, sends (ring)         nothing           nobody
 *   PMD, receives             nothing           who is at the rxq     a burst
 *   PMD, gate closed          nothing           nobody
 *   PMD, reloads or ends      nothing           its own copies        [2]
 *   main, shows or counts     ports, a port     who is at a queue,    a burst
 *                                               if that is open
 *   main, queues go           a port            who is at a txq       a burst
 *   main, an engine starts    nothing of ours   copies that try it    100 ms
 *                                                                     each
 *   main, an engine comes,    nothing of ours   guests' memory to be  [3]
 *   the first behind vfio                       pinned
 *   main, DMA is turned off   nothing of ours   drivers that stop     100 ms
 *                                                                     each
 *   main, a port goes         nothing of ours   the callback of the   [1]
 *                                               library that runs
 *   helper                    ports             nobody
 *   helper                    nothing           grace periods
 *   a thread of its own       nothing           a driver that stops   for ever
 *
 * [1] Twice other_config:vhost-async-timeout, and 300 ms.
 * [2] other_config:vhost-async-timeout: then its engine is quarantined, and
 *     its copies are the helper's.
 * [3] Seconds, by size, once in the life of a daemon. */

#include <stdbool.h>

struct vhost_async_port;
struct vhost_async_vq;
struct vhost_guest_mem;

/* Devices of the vhost library, at most (RTE_MAX_VHOST_DEVICE, 22.11). */
#define VHOST_ASYNC_MAX_GUESTS 1024

void vhost_async_guest_connect(int vid, struct vhost_async_port *);
void vhost_async_guest_disconnect(int vid);
void vhost_async_guest_forget_port(const struct vhost_async_port *);
void vhost_async_guest_new_device(int vid);
void vhost_async_guest_destroy_device(int vid);

bool vhost_async_guest_map(int vid, const char *port_name,
                           struct vhost_guest_mem **, const char **error);
bool vhost_async_guest_enable(struct vhost_async_port *,
                              struct vhost_guest_mem *);
bool vhost_async_guest_take_over(struct vhost_async_port *,
                                 struct vhost_async_vq *);
bool vhost_async_guest_look_after(int vid);

#endif /* vhost-async-guest.h */
