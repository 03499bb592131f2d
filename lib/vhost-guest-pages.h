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

#ifndef VHOST_GUEST_PAGES_H
#define VHOST_GUEST_PAGES_H 1

/* Physical addresses of a guest's memory, page by page, for engines that take
 * those.  Called by vhost-guest-mem.c alone, in the threads that it says. */

#include <stddef.h>

struct vhost_guest_mem;
struct vhost_guest_region;

const char *vhost_guest_pages_find(struct vhost_guest_mem *);
void vhost_guest_pages_range(const struct vhost_guest_region *, size_t *first,
                             size_t *end);

#endif /* vhost-guest-pages.h */
