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

/* What the files of the plugin share; dma_devices.c says what it is.
 *
 * A device is its registers, its portals and a thread, the engine.  The lock
 * of a device protects all of it but what is constant.  It is taken by the
 * engine, for as long as it takes to pick a descriptor or to report one, and
 * by handlers of signals, in the threads of the driver, which stand for the
 * bus: they never hold it where they could be interrupted by one of their
 * own, since nothing below accesses registers or portals. */

#ifndef DMA_DEVICES_H
#define DMA_DEVICES_H 1

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <bus_pci_driver.h>
#include <rte_devargs.h>
#include <rte_kvargs.h>
#include <rte_pci.h>

#include "dma_model_page.h"

#define MAX_DEVICES 16
#define MAX_QUEUES 8

struct device;

/* The most that a descriptor says, of those which the models carry out. */
enum job_kind {
    JOB_NOTHING,
    JOB_COPY,
    JOB_FILL,                   /* 'src' is the pattern. */
};

/* Why a descriptor was not carried out. */
enum job_error {
    JOB_DONE,
    JOB_BAD_SRC,                /* 'fault' is the address. */
    JOB_BAD_DST,
    JOB_FORCED,                 /* By the control page. */
    JOB_REFUSED,                /* By the model, before: 'code' says why. */
};

struct job {
    enum job_kind kind;
    struct queue *queue;
    uint64_t src;
    uint64_t dst;
    uint32_t length;

    enum job_error error;
    uint32_t code;              /* With JOB_REFUSED, what the model likes. */
    uint32_t done;              /* Bytes. */
    uint64_t fault;
};

/* What the control page has as a vchan. */
struct queue {
    struct page_vchan *shared;
    unsigned int index;

    /* What the page asks for, as the engine last saw it. */
    uint64_t seen;
    struct page_ctl asked;
    uint64_t hang_end_ns;       /* UINT64_MAX if it has none. */
    uint64_t n_jobs;            /* Since then. */

    /* Latency.  'n_in' and 'n_out' count what came in by the doorbell or
     * portal, and what was taken out.  What is before 'limit' is taken out
     * from 'due_ns' on. */
    uint64_t n_in;
    uint64_t n_out;
    uint64_t limit;
    uint64_t due_ns;
};

struct params {
    unsigned int lcore;         /* RTE_MAX_LCORE: none. */
    int numa_id;
    unsigned int log_size;
    uint64_t latency_ns;
    const char *control;        /* Point into the kvargs; or NULL. */
    const char *kernel;
    /* ioat. */
    unsigned int version;       /* CBVER. */
    unsigned int report_suspend;
    /* idxd. */
    unsigned int n_queues;
    unsigned int n_engines;
    unsigned int wq_size;       /* Of all queues together. */
    unsigned int lg2_batch;
    unsigned int max_queues;    /* Told to the driver; 0 for all. */
};

/* A kind of device.  All are called with the lock held. */
struct model {
    const char *name;
    uint16_t vendor_id;
    uint16_t device_id;
    uint8_t bus;                /* Of the PCI address. */
    const char *package;        /* Of Debian, that has the driver. */
    size_t regs_size;           /* Whole pages. */
    size_t state_size;

    /* Has the registers as they are after power was turned on. */
    void (*power_on)(struct device *);
    size_t (*portals_size)(const struct params *);

    /* A register is about to be accessed; 'd->regs' is what will be read.  To
     * be called for what is written, too. */
    void (*access)(struct device *, size_t offset);
    /* A register was written; 'd->regs' has what. */
    void (*written)(struct device *, size_t offset);
    /* 64 bytes were written to a portal. */
    void (*portal)(struct device *, size_t offset, const void *desc);

    /* Picks the next descriptor of 'q' and fills '*job' in.  Returns false if
     * there is none. */
    bool (*pick)(struct device *, struct queue *q, struct job *job);
    /* Reports 'job'. */
    void (*report)(struct device *, const struct job *job);
    /* The engine is about to look for work.  May be NULL. */
    void (*look)(struct device *);
};

struct device {
    /* Constant once the driver's probe is called. */
    const struct model *model;
    char name[32];
    struct params params;
    struct rte_kvargs *kvargs;
    struct rte_pci_device pci;
    struct rte_devargs devargs;
    char max_queues[24];        /* What 'devargs' has. */
    struct rte_pci_driver *driver;
    uint8_t *bar;               /* The driver's view of the registers, NULL if
                                 * the kernel's driver has them. */
    uint8_t *regs;              /* Ours. */
    uint8_t *portals;
    size_t portals_size;
    struct page_map map;
    pthread_t thread;
    bool has_thread;

    int locked;
    pid_t stepper;              /* Thread between SIGSEGV and SIGTRAP, or 0,
                                 * and what it accesses. */
    size_t step_offset;
    bool step_writes;

    bool ending;
    uint32_t wakeups;           /* A futex. */
    unsigned int last_queue;
    const struct queue *busy;   /* Whose descriptor the engine is carrying
                                 * out. */
    unsigned int n_queues;
    struct queue queues[MAX_QUEUES];
    void *state;                /* Of the model. */
};

/* In ioat_model.c and idxd_model.c. */
extern const struct model ioat_model;
extern const struct model idxd_model;

/* In device_engine.c. */
int engine_start(struct device *);
void engine_stop(struct device *);
void engine_wake(struct device *);
void engine_forget(struct queue *, uint64_t n_copies);
void engine_started(struct device *, bool started);
bool engine_refuses(struct device *, enum op, bool looks);
void engine_count_op(struct device *, enum op);

/* In device_memory.c. */
bool memory_fix_up(void *ucontext);
size_t memory_copy(void *dst, const void *src, size_t);
size_t memory_fill(void *dst, uint64_t pattern, size_t);
bool memory_store64(uint64_t *dst, uint64_t value);

/* In device_iova.c. */
void *iova_to_va(const struct device *, uint64_t iova, size_t *n);
bool iova_read(const struct device *, void *dst, uint64_t iova, size_t);
bool iova_write(const struct device *, uint64_t iova, const void *src, size_t);
bool iova_store64(const struct device *, uint64_t iova, uint64_t value);

/* In device_bus.c. */
int bus_attach(struct device *);
void bus_detach(struct device *);
struct device *bus_find(const char *name);
void device_lock(struct device *);
void device_unlock(struct device *);

/* In dma_devices_params.c. */
int devices_parse_params(const char *name, const struct rte_kvargs *,
                         struct params *);

#endif /* dma_devices.h */
