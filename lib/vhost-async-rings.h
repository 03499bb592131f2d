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

#ifndef VHOST_ASYNC_RINGS_H
#define VHOST_ASYNC_RINGS_H 1

/* The rings of a guest, as the guest wants them: which are started and
 * enabled, where they are, and the gate before them.
 *
 * What the messages of the guest mean for its rings is decided in
 * vhost-async-guest.c; here it is done, to the virtqueues of its port.
 *
 * Thread-safety
 * =============
 *
 * All of this is for who is in control of the guest (vhost-async-guest.h).
 * The locks of virtqueues are taken here.  Of the vhost library only functions
 * that take no locks are called, so that all of them may be called between pre
 * and post of a message. */

#include <stdbool.h>
#include <stdint.h>

#include "bitmap.h"
#include "vhost-async-old-mem.h"
#include "vhost-async-port.h"

struct vhost_async_vq;
struct vhost_guest_mem;

struct vhost_async_rings {
    int vid;
    struct vhost_async_port *port;  /* NULL if nobody is connected. */

    /* What rings are mapped in, NULL if it is not known; and what channels
     * had been handed before it was used. */
    struct vhost_guest_mem *mem;
    struct vhost_async_mem_marks mem_since;
    bool has_table;             /* 'mem' is what the library has. */

    bool gate;                  /* Rings are closed. */
    unsigned long started[BITMAP_N_LONGS(VHOST_ASYNC_MAX_VRINGS)];
    unsigned long enabled[BITMAP_N_LONGS(VHOST_ASYNC_MAX_VRINGS)];
};

bool vhost_async_rings_are_ours(const struct vhost_async_rings *);
uint64_t vhost_async_rings_features(const struct vhost_async_rings *);

bool vhost_async_rings_update(struct vhost_async_rings *);
void vhost_async_rings_update_one(struct vhost_async_rings *,
                                  struct vhost_async_vq *);
void vhost_async_rings_stop(struct vhost_async_rings *);

void vhost_async_rings_close_gate(struct vhost_async_rings *);
void vhost_async_rings_drain(struct vhost_async_rings *);
void vhost_async_rings_tell_library(struct vhost_async_rings *);
bool vhost_async_rings_have_copies(const struct vhost_async_rings *);
void vhost_async_rings_move_call(struct vhost_async_rings *, uint32_t index);
void vhost_async_rings_move_base(struct vhost_async_rings *, uint32_t index);
void vhost_async_rings_announce(struct vhost_async_rings *, uint64_t mac);

#endif /* vhost-async-rings.h */
