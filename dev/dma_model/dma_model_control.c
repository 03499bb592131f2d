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

/* What controls a device, from its properties to its statistics. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_pause.h>

#include "dma_model.h"

/* How long rte_dma_stop() waits for a thread that is moving bytes. */
#define STOP_WAIT_MS 1000

/* Returns the errno to fail with, if 'op' is to fail, else 0. */
static int
model_op(struct dma_model *m, enum op op)
{
    struct page_op *p = &m->page->ops[op];
    uint32_t error = __atomic_load_n(&p->error, __ATOMIC_ACQUIRE);
    uint32_t times = __atomic_load_n(&p->count, __ATOMIC_RELAXED);

    if (op != OP_STATS) {
        /* Any thread asks for those, at any rate. */
        count(&p->n_calls, 1);
    }
    while (error == OP_BLOCKS) {
        usleep(1000);
        error = __atomic_load_n(&p->error, __ATOMIC_ACQUIRE);
    }
    if (error && times) {
        __atomic_store_n(&p->count, times - 1, __ATOMIC_RELAXED);
        if (times == 1) {
            __atomic_store_n(&p->error, 0, __ATOMIC_RELEASE);
        }
    }
    return error;
}

static int
dma_model_info_get(const struct rte_dma_dev *dev, struct rte_dma_info *info,
                   uint32_t info_sz __rte_unused)
{
    struct dma_model *m = model_cast(dev);
    int error = model_op(m, OP_INFO);

    if (error) {
        return -error;
    }
    info->dev_capa = (RTE_DMA_CAPA_MEM_TO_MEM | RTE_DMA_CAPA_SVA
                      | RTE_DMA_CAPA_OPS_COPY);
    info->max_vchans = m->params.n_vchans;
    info->max_desc = m->params.max_desc;
    info->min_desc = MIN_DESC;
    return 0;
}

static int
dma_model_configure(struct rte_dma_dev *dev,
                    const struct rte_dma_conf *conf __rte_unused,
                    uint32_t conf_sz __rte_unused)
{
    return -model_op(model_cast(dev), OP_CONFIGURE);
}

static int
dma_model_vchan_setup(struct rte_dma_dev *dev, uint16_t vchan,
                      const struct rte_dma_vchan_conf *conf,
                      uint32_t conf_sz __rte_unused)
{
    struct dma_model *m = model_cast(dev);
    struct vchan *v = &m->vchans[vchan];
    int error = model_op(m, OP_SETUP);

    if (error) {
        return -error;
    }
    if (!rte_is_power_of_2(conf->nb_desc)) {
        MODEL_LOG(ERR, dev->data->dev_name, "a ring of %u descriptors was "
                  "asked for; it must be a power of two", conf->nb_desc);
        return -EINVAL;
    }
    if (v->n_desc != conf->nb_desc) {
        rte_free(v->ring);
        v->n_desc = 0;
        v->ring = rte_zmalloc_socket("dma_model ring",
                                     conf->nb_desc * sizeof *v->ring,
                                     RTE_CACHE_LINE_SIZE, SOCKET_ID_ANY);
        if (!v->ring) {
            MODEL_LOG(ERR, dev->data->dev_name, "no memory for a ring of %u "
                      "descriptors", conf->nb_desc);
            return -ENOMEM;
        }
        v->n_desc = conf->nb_desc;
    }
    v->state->n_desc = v->n_desc;
    return 0;
}

static int
dma_model_start(struct rte_dma_dev *dev)
{
    struct dma_model *m = model_cast(dev);
    unsigned int n_vchans = dev->data->dev_conf.nb_vchans;
    int error = model_op(m, OP_START);

    if (error) {
        return -error;
    }
    for (unsigned int i = 0; i < n_vchans; i++) {
        if (!m->vchans[i].ring) {
            MODEL_LOG(ERR, dev->data->dev_name, "vchan %u was not set up", i);
            return -EINVAL;
        }
    }

    m->busy_until = 0;
    for (unsigned int i = 0; i < n_vchans; i++) {
        struct vchan *v = &m->vchans[i];

        v->head = v->moved = v->bell = v->tail = 0;
        v->n_bad = 0;
        v->queued_bytes = 0;
        v->bad_counted = false;
        v->base = *v->state;
        __atomic_store_n(&v->running, true, __ATOMIC_RELEASE);
    }
    m->page->start_ns = monotonic_ns();
    __atomic_store_n(&m->page->started, 1, __ATOMIC_RELEASE);
    return 0;
}

/* What is in flight is forgotten: its bytes are never moved. */
static int
dma_model_stop(struct rte_dma_dev *dev)
{
    struct dma_model *m = model_cast(dev);
    int error = model_op(m, OP_STOP);
    uint64_t deadline;

    if (error) {
        return -error;
    }
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        __atomic_store_n(&m->vchans[i].running, false, __ATOMIC_SEQ_CST);
    }
    deadline = rte_rdtsc() + rte_get_tsc_hz() / 1000 * STOP_WAIT_MS;
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        struct vchan *v = &m->vchans[i];

        while (__atomic_load_n(&v->moving, __ATOMIC_SEQ_CST)) {
            if (rte_rdtsc() > deadline) {
                MODEL_LOG(ERR, dev->data->dev_name, "vchan %u did not stop: a "
                          "thread has been moving bytes for %d ms", i,
                          STOP_WAIT_MS);
                return -EBUSY;
            }
            rte_pause();
        }
    }
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        struct vchan *v = &m->vchans[i];

        count(&v->state->aborted, (uint16_t) (v->bell - v->head));
    }
    m->page->stop_ns = monotonic_ns();
    __atomic_store_n(&m->page->started, 0, __ATOMIC_RELEASE);
    return 0;
}

static int
dma_model_close(struct rte_dma_dev *dev)
{
    struct dma_model *m = model_cast(dev);
    int error = model_op(m, OP_CLOSE);

    if (error) {
        return -error;
    }
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        rte_free(m->vchans[i].ring);
    }
    page_close(&m->map);
    rte_kvargs_free(m->kvargs);
    return 0;
}

static uint64_t
since(const uint64_t *counter, uint64_t base)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED) - base;
}

static int
dma_model_stats_get(const struct rte_dma_dev *dev, uint16_t vchan,
                    struct rte_dma_stats *stats,
                    uint32_t stats_sz __rte_unused)
{
    struct dma_model *m = model_cast(dev);
    int error = model_op(m, OP_STATS);

    if (error) {
        return -error;
    }
    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        if (vchan == i || vchan == RTE_DMA_ALL_VCHAN) {
            const struct vchan *v = &m->vchans[i];
            const struct page_state *base = &v->base;

            /* In this order no more are seen as completed than as submitted.
             */
            stats->errors += since(&v->state->errors, base->errors);
            stats->completed += since(&v->state->completed, base->completed);
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            stats->submitted += since(&v->state->submitted, base->submitted);
        }
    }
    return 0;
}

static int
dma_model_stats_reset(struct rte_dma_dev *dev, uint16_t vchan)
{
    struct dma_model *m = model_cast(dev);

    for (unsigned int i = 0; i < m->params.n_vchans; i++) {
        if (vchan == i || vchan == RTE_DMA_ALL_VCHAN) {
            m->vchans[i].base = *m->vchans[i].state;
        }
    }
    return 0;
}

static int
dma_model_dump(const struct rte_dma_dev *dev, FILE *f)
{
    const struct dma_model *m = model_cast(dev);
    const struct params *p = &m->params;

    fprintf(f, "  latency: %.3f us\n  bandwidth: %g Gb/s\n  bytes are %s\n"
            "  failed copies: %s\n  control page: %s\n",
            p->latency_ns / 1e3, p->gbps,
            p->late ? "moved at completion" : "not moved",
            p->count_errors ? "counted as completed" : "reported on request",
            p->control ? p->control : "none");
    for (unsigned int i = 0; i < p->n_vchans; i++) {
        const struct vchan *v = &m->vchans[i];
        const struct page_state *s = v->state;

        fprintf(f, "  vchan %u: ring of %u descriptors, %u used, %u in "
                "flight\n", i, v->n_desc, (uint16_t) (v->tail - v->head),
                (uint16_t) (v->bell - v->head));
        fprintf(f, "    submitted: %"PRIu64" copies, %"PRIu64" bytes\n",
                s->submitted, s->bytes);
        fprintf(f, "    completed: %"PRIu64", of which %"PRIu64" failed; "
                "refused: %"PRIu64"; aborted: %"PRIu64"\n", s->completed,
                s->errors, s->refused, s->aborted);
        fprintf(f, "    faults:%s%s%s%s%s\n", v->faults ? "" : " none",
                v->faults & FAULT_HANG ? " hang" : "",
                v->faults & FAULT_ERROR ? " error" : "",
                v->faults & FAULT_REFUSE ? " refuse" : "",
                v->faults & FAULT_FULL ? " full" : "");
    }
    return 0;
}

const struct rte_dma_dev_ops dma_model_ops = {
    .dev_info_get = dma_model_info_get,
    .dev_configure = dma_model_configure,
    .dev_start = dma_model_start,
    .dev_stop = dma_model_stop,
    .dev_close = dma_model_close,
    .vchan_setup = dma_model_vchan_setup,
    .vchan_status = dma_model_vchan_status,
    .stats_get = dma_model_stats_get,
    .stats_reset = dma_model_stats_reset,
    .dev_dump = dma_model_dump,
};
