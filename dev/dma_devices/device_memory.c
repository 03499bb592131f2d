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

/* Accesses of engines to memory, which may not be there.
 *
 * Called by engines, and by handlers of signals for what a store to a portal
 * carries.  An access that fails ends early instead of the process: the
 * handler of device_bus.c asks memory_fix_up(), which knows the few
 * instructions that make these accesses. */

#include <rte_common.h>
#include <ucontext.h>

#include "dma_devices.h"

/* Each label '..._at' is an instruction that may fault, and what follows it
 * goes on where it did.  'rep' leaves in rcx how much is left.
 *
 * Stores of one such instruction are not ordered among themselves, but those
 * of two of them are, and with others (Intel SDM volume 3, 9.2.4, "Fast-String
 * Operation and Out-of-Order Stores"): a report that is stored after a copy is
 * seen after it. */
asm(".text\n"
    ".p2align 4\n"
    "device_memory_copy:\n"
    "    movq %rdx, %rcx\n"
    "device_memory_copy_at:\n"
    "    rep movsb\n"
    "device_memory_copy_end:\n"
    "    movq %rcx, %rax\n"
    "    ret\n"
    "device_memory_fill:\n"
    "    movq %rsi, %rax\n"
    "    movq %rdx, %rcx\n"
    "device_memory_fill_at:\n"
    "    rep stosq\n"
    "device_memory_fill_end:\n"
    "    movq %rcx, %rax\n"
    "    ret\n"
    "device_memory_store:\n"
    "    movl $1, %eax\n"
    "device_memory_store_at:\n"
    "    movq %rsi, (%rdi)\n"
    "    xorl %eax, %eax\n"
    "device_memory_store_end:\n"
    "    ret\n");

size_t device_memory_copy(void *dst, const void *src, size_t n);
size_t device_memory_fill(void *dst, uint64_t pattern, size_t n);
int device_memory_store(uint64_t *dst, uint64_t value);
extern const char device_memory_copy_at[], device_memory_copy_end[];
extern const char device_memory_fill_at[], device_memory_fill_end[];
extern const char device_memory_store_at[], device_memory_store_end[];

/* Has what faulted end early, if it is an access from here.  Returns whether
 * it is.  In a handler of SIGSEGV or SIGBUS. */
bool
memory_fix_up(void *ucontext)
{
    const struct {
        const char *at, *end;
    } fixes[] = {
        { device_memory_copy_at, device_memory_copy_end },
        { device_memory_fill_at, device_memory_fill_end },
        { device_memory_store_at, device_memory_store_end },
    };
    greg_t *rip = &((ucontext_t *) ucontext)->uc_mcontext.gregs[REG_RIP];

    for (size_t i = 0; i < RTE_DIM(fixes); i++) {
        if (*rip == (greg_t) (uintptr_t) fixes[i].at) {
            *rip = (greg_t) (uintptr_t) fixes[i].end;
            return true;
        }
    }
    return false;
}

/* Copies 'n' bytes.  Returns how many it copied. */
size_t
memory_copy(void *dst, const void *src, size_t n)
{
    return n - device_memory_copy(dst, src, n);
}

/* Fills 'n' bytes with a pattern of 8.  Returns how many it filled. */
size_t
memory_fill(void *dst, uint64_t pattern, size_t n)
{
    size_t whole = n - n % sizeof pattern;
    size_t left = device_memory_fill(dst, pattern, whole / sizeof pattern);

    if (left) {
        return whole - left * sizeof pattern;
    }
    return whole + memory_copy((char *) dst + whole, &pattern, n - whole);
}

/* Stores 'value' at once.  Returns whether it could. */
bool
memory_store64(uint64_t *dst, uint64_t value)
{
    return !device_memory_store(dst, value);
}
