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

/* Implementation of the channel map; see dpdk-dma-map.h for its contract.
 *
 * Called by the main thread (configuration), by PMD threads when they attach,
 * reload, lack a channel and detach, and by whichever thread finds that a
 * channel failed.
 * 'mutex' protects all that is not constant. */

#include <config.h>

#include "dpdk-dma-map.h"

#include "openvswitch/dynamic-string.h"
#include "openvswitch/hmap.h"
#include "openvswitch/vlog.h"
#include "ovs-thread.h"
#include "hash.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(dpdk_dma_map);

/* One "CORE@DEV" of other_config:vhost-async-dma-map. */
struct dma_pin {
    struct hmap_node node;      /* In 'pins', by core. */
    uint32_t core;
    char *dev_name;
};

struct dma_slot {
    struct dpdk_dma_chan chan;
    char *dev_name;             /* Storage of 'chan.dev_name'. */
    const void *owner;          /* The thread, NULL when free. */
    uint32_t core;              /* That it runs on, DPDK_DMA_NO_CORE when
                                 * free. */
    const void *keeper;         /* The thread that it is kept for, until... */
    long long int kept_until;   /* ...time_msec(). */
};

struct dpdk_dma_map {
    struct ovs_mutex mutex;
    /* Slots are allocated one by one and live as long as the map, because
     * threads hold pointers to the channels in them. */
    struct dma_slot *slots[DPDK_DMA_MAX_CHANS] OVS_GUARDED;
    /* Grows only, under 'mutex'.  Who reads it without sees the slots below
     * it. */
    atomic_size_t n_slots;
    struct hmap pins OVS_GUARDED;
    char *pins_string OVS_GUARDED;      /* As configured. */
    bool open OVS_GUARDED;              /* Whether claims are granted. */
    atomic_uint32_t n_free;             /* Written under 'mutex'. */
};

/* Creates an empty map, closed: no claim is granted until
 * dpdk_dma_map_open(). */
struct dpdk_dma_map *
dpdk_dma_map_create(void)
{
    struct dpdk_dma_map *map = xzalloc(sizeof *map);

    ovs_mutex_init(&map->mutex);
    atomic_init(&map->n_free, 0);
    ovs_mutex_lock(&map->mutex);
    hmap_init(&map->pins);
    atomic_init(&map->n_slots, 0);
    ovs_mutex_unlock(&map->mutex);
    return map;
}

static void
dma_map_clear_pins(struct dpdk_dma_map *map)
    OVS_REQUIRES(map->mutex)
{
    struct dma_pin *pin;

    HMAP_FOR_EACH_POP (pin, node, &map->pins) {
        free(pin->dev_name);
        free(pin);
    }
    free(map->pins_string);
    map->pins_string = NULL;
}

/* Destroys 'map'.  No thread may hold a channel of it. */
void
dpdk_dma_map_destroy(struct dpdk_dma_map *map)
{
    if (!map) {
        return;
    }

    ovs_mutex_lock(&map->mutex);
    dma_map_clear_pins(map);
    hmap_destroy(&map->pins);
    for (size_t i = 0; i < dpdk_dma_map_count(map); i++) {
        dpdk_dma_chan_uninit(&map->slots[i]->chan);
        free(map->slots[i]->dev_name);
        free_cacheline(map->slots[i]);
    }
    ovs_mutex_unlock(&map->mutex);
    ovs_mutex_destroy(&map->mutex);
    free(map);
}

static void
dma_map_count_free(struct dpdk_dma_map *map)
    OVS_REQUIRES(map->mutex)
{
    uint32_t n = 0;

    for (size_t i = 0; i < dpdk_dma_map_count(map); i++) {
        const struct dma_slot *slot = map->slots[i];

        n += !slot->owner && !dpdk_dma_chan_failed(&slot->chan);
    }
    atomic_store_relaxed(&map->n_free, n);
}

/* Adds 'vchan' of the dmadev 'dev_id', named 'dev_name', on NUMA node
 * 'numa_id' (-1 if unknown) to 'map'.  To be called by the thread that
 * discovers devices; others may be using the map.
 *
 * Returns the new channel, or NULL if there are DPDK_DMA_MAX_CHANS. */
struct dpdk_dma_chan *
dpdk_dma_map_add(struct dpdk_dma_map *map, const char *dev_name,
                 int16_t dev_id, uint16_t vchan, int numa_id)
{
    struct dpdk_dma_chan *chan = NULL;
    size_t n;

    ovs_mutex_lock(&map->mutex);
    n = dpdk_dma_map_count(map);
    if (n < DPDK_DMA_MAX_CHANS) {
        struct dma_slot *slot = xzalloc_cacheline(sizeof *slot);

        slot->dev_name = xstrdup(dev_name);
        slot->core = DPDK_DMA_NO_CORE;
        chan = &slot->chan;
        chan->dev_name = slot->dev_name;
        chan->index = n;
        chan->dev_id = dev_id;
        chan->vchan = vchan;
        chan->numa_id = numa_id;
        atomic_init(&chan->running, false);
        atomic_init(&chan->failed, false);
        atomic_init(&chan->in_use, false);
        atomic_init(&chan->submitted, 0);
        atomic_init(&chan->completed, 0);
        atomic_init(&chan->errors, 0);
        map->slots[n] = slot;
        atomic_store_explicit(&map->n_slots, n + 1, memory_order_release);
        dma_map_count_free(map);
    }
    ovs_mutex_unlock(&map->mutex);

    return chan;
}

/* Returns the number of channels in 'map', failed ones included.  Takes no
 * lock. */
size_t
dpdk_dma_map_count(const struct dpdk_dma_map *map)
{
    size_t n;

    atomic_read_explicit(&CONST_CAST(struct dpdk_dma_map *, map)->n_slots, &n,
                         memory_order_acquire);
    return n;
}

/* Returns channel 'index' of 'map', or NULL.  Takes no lock, as
 * dpdk_dma_map_count(). */
struct dpdk_dma_chan *
dpdk_dma_map_get(const struct dpdk_dma_map *map, size_t index)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    return index < dpdk_dma_map_count(map) ? &map->slots[index]->chan : NULL;
}

static struct dma_pin *
dma_map_find_pin(const struct dpdk_dma_map *map, uint32_t core)
    OVS_REQUIRES(map->mutex)
{
    struct dma_pin *pin;

    HMAP_FOR_EACH_WITH_HASH (pin, node, hash_int(core, 0), &map->pins) {
        if (pin->core == core) {
            return pin;
        }
    }
    return NULL;
}

static bool
dma_map_is_pinned(const struct dpdk_dma_map *map, const char *dev_name)
    OVS_REQUIRES(map->mutex)
{
    const struct dma_pin *pin;

    HMAP_FOR_EACH (pin, node, &map->pins) {
        if (!strcmp(pin->dev_name, dev_name)) {
            return true;
        }
    }
    return false;
}

static size_t
dma_map_count_dev(const struct dpdk_dma_map *map, const char *dev_name)
    OVS_REQUIRES(map->mutex)
{
    size_t n = 0;

    for (size_t i = 0; i < dpdk_dma_map_count(map); i++) {
        n += !strcmp(map->slots[i]->dev_name, dev_name);
    }
    return n;
}

static size_t
dma_map_count_pins(const struct dpdk_dma_map *map, const char *dev_name)
    OVS_REQUIRES(map->mutex)
{
    const struct dma_pin *pin;
    size_t n = 0;

    HMAP_FOR_EACH (pin, node, &map->pins) {
        n += !strcmp(pin->dev_name, dev_name);
    }
    return n;
}

/* Takes "CORE@DEV" in 'entry' into the pins of 'map'.  What is wrong with it
 * goes to 'warnings', one line each, and the entry is left out. */
static void
dma_map_add_pin(struct dpdk_dma_map *map, const char *entry,
                struct ds *warnings)
    OVS_REQUIRES(map->mutex)
{
    const char *remedy = "the core claims any free channel";
    const char *at = strchr(entry, '@');
    struct dma_pin *pin;
    unsigned int core;
    char *number;
    bool ok;

    if (!at || at == entry || !at[1]) {
        ds_put_format(warnings, "entry \"%s\" is not of the form CORE@DEV; "
                      "it is ignored\n", entry);
        return;
    }

    number = xmemdup0(entry, at - entry);
    ok = number[strspn(number, "0123456789")] == '\0'
         && str_to_uint(number, 10, &core) && core != DPDK_DMA_NO_CORE;
    free(number);
    if (!ok) {
        ds_put_format(warnings, "entry \"%s\" does not start with a core "
                      "number; it is ignored\n", entry);
        return;
    }

    if (dma_map_find_pin(map, core)) {
        ds_put_format(warnings, "entry \"%s\" names core %u a second time; "
                      "the first one is used\n", entry, core);
        return;
    }
    if (!dma_map_count_dev(map, at + 1)) {
        ds_put_format(warnings, "entry \"%s\" names no DMA device that can be "
                      "used; %s\n", entry, remedy);
        return;
    }
    if (dma_map_count_pins(map, at + 1) >= dma_map_count_dev(map, at + 1)) {
        ds_put_format(warnings, "entry \"%s\" asks for more channels than the "
                      "device has (%"PRIuSIZE"); %s\n", entry,
                      dma_map_count_dev(map, at + 1), remedy);
        return;
    }

    pin = xmalloc(sizeof *pin);
    pin->core = core;
    pin->dev_name = xstrdup(at + 1);
    hmap_insert(&map->pins, &pin->node, hash_int(core, 0));
}

/* Replaces the explicit map by 'pins', as other_config:vhost-async-dma-map
 * has it ("CORE@DEV[,CORE@DEV]..."; NULL or empty for none).  A device may be
 * named once for each of its vchans.  What is wrong is described in
 * 'warnings', one line each; all other entries apply.
 *
 * Returns true if 'pins' differs from the last one, in which case existing
 * claims may be against it: close the map, have all threads reload, then
 * open it. */
bool
dpdk_dma_map_set_pins(struct dpdk_dma_map *map, const char *pins,
                      struct ds *warnings)
{
    bool changed;

    if (pins && !*pins) {
        pins = NULL;
    }

    ovs_mutex_lock(&map->mutex);
    changed = !nullable_string_is_equal(map->pins_string, pins);
    if (changed) {
        dma_map_clear_pins(map);
        map->pins_string = nullable_xstrdup(pins);
        if (pins) {
            char *copy = xstrdup(pins);
            char *next = copy, *item;

            while ((item = strsep(&next, ","))) {
                char *save = NULL;
                char *entry = strtok_r(item, " \t\n", &save);

                /* An empty one is warned of, too. */
                do {
                    dma_map_add_pin(map, entry ? entry : "", warnings);
                    entry = strtok_r(NULL, " \t\n", &save);
                } while (entry);
            }
            free(copy);
        }
    }
    ovs_mutex_unlock(&map->mutex);

    return changed;
}

/* Appends to 'ds' a line for each entry of the explicit map which withholds a
 * channel from others that nobody claims. */
void
dpdk_dma_map_format_idle_pins(const struct dpdk_dma_map *map_, struct ds *ds)
{
    struct dpdk_dma_map *map = CONST_CAST(struct dpdk_dma_map *, map_);
    const struct dma_pin *pin;

    ovs_mutex_lock(&map->mutex);
    HMAP_FOR_EACH (pin, node, &map->pins) {
        bool claimed = false, failed = false;

        for (size_t i = 0; i < dpdk_dma_map_count(map); i++) {
            const struct dma_slot *slot = map->slots[i];

            if (!strcmp(slot->dev_name, pin->dev_name)) {
                claimed |= slot->core == pin->core;
                failed |= dpdk_dma_chan_failed(&slot->chan);
            }
        }
        if (!claimed && !failed) {
            ds_put_format(ds, "  %s: pinned to core %"PRIu32", where no PMD "
                          "thread claims it (see other_config:pmd-cpu-mask "
                          "and vhost-async-dma-map)\n", pin->dev_name,
                          pin->core);
        }
    }
    ovs_mutex_unlock(&map->mutex);
}

/* Whether a thread has a channel that did not fail. */
bool
dpdk_dma_map_has_claims(const struct dpdk_dma_map *map_)
{
    struct dpdk_dma_map *map = CONST_CAST(struct dpdk_dma_map *, map_);
    bool found = false;

    ovs_mutex_lock(&map->mutex);
    for (size_t i = 0; i < dpdk_dma_map_count(map) && !found; i++) {
        const struct dma_slot *slot = map->slots[i];

        found = slot->owner && !dpdk_dma_chan_failed(&slot->chan);
    }
    ovs_mutex_unlock(&map->mutex);
    return found;
}

/* Returns the number of channels that nobody claims and that did not fail, be
 * they kept or pinned: a thread that lacks one need not try if there is none.
 * Takes no lock. */
uint32_t
dpdk_dma_map_n_free(const struct dpdk_dma_map *map)
{
    uint32_t n;

    atomic_read_relaxed(&CONST_CAST(struct dpdk_dma_map *, map)->n_free, &n);
    return n;
}

/* Lets claims be granted.  What was kept for a thread is so no more. */
void
dpdk_dma_map_open(struct dpdk_dma_map *map)
{
    ovs_mutex_lock(&map->mutex);
    for (size_t i = 0; i < dpdk_dma_map_count(map); i++) {
        map->slots[i]->keeper = NULL;
    }
    map->open = true;
    ovs_mutex_unlock(&map->mutex);
}

/* Grants no claim from now on.  Claims that exist stay until their owners
 * release them, which they do in their next reload since
 * dpdk_dma_map_claim() no longer confirms them. */
void
dpdk_dma_map_close(struct dpdk_dma_map *map)
{
    ovs_mutex_lock(&map->mutex);
    map->open = false;
    ovs_mutex_unlock(&map->mutex);
}

/* The lower, the better; 3 is no candidate. */
static int
dma_map_distance(const struct dma_slot *slot, const void *owner, int numa_id)
{
    if (slot->owner || dpdk_dma_chan_failed(&slot->chan)) {
        return 3;
    } else if (slot->keeper == owner) {
        return -1;
    } else if (slot->keeper && time_msec() < slot->kept_until) {
        return 3;
    } else if (slot->chan.numa_id == numa_id) {
        return 0;
    } else if (slot->chan.numa_id < 0 || numa_id < 0) {
        return 1;
    } else {
        return 2;
    }
}

/* Claims a channel for the thread 'owner', which is any address that stands
 * for it alone, on 'core', whose NUMA node is 'numa_id' (-1 if unknown), and
 * returns it.  The device that the explicit map names for 'core' is the only
 * one considered.  Without one, the nearest channel is taken among those which
 * nobody holds, which are not kept for others and whose devices the explicit
 * map names for no core; one that is kept for 'owner' first of all.
 *
 * A thread that holds a channel already gets the same one.  NULL means that
 * there is none, or that the map is closed; a claim that existed is then
 * still held, for the thread to drain its channel, or to abandon it if it
 * failed, before it calls dpdk_dma_map_release(). */
struct dpdk_dma_chan *
dpdk_dma_map_claim(struct dpdk_dma_map *map, const void *owner, uint32_t core,
                   int numa_id)
{
    struct dma_slot *best = NULL;
    int best_distance = 3;

    ovs_assert(owner);
    ovs_mutex_lock(&map->mutex);
    if (map->open) {
        const struct dma_pin *pin = dma_map_find_pin(map, core);

        for (size_t i = 0; i < dpdk_dma_map_count(map); i++) {
            struct dma_slot *slot = map->slots[i];
            int distance;

            if (slot->owner == owner) {
                best = dpdk_dma_chan_failed(&slot->chan) ? NULL : slot;
                break;
            }
            if (pin ? strcmp(slot->dev_name, pin->dev_name)
                    : dma_map_is_pinned(map, slot->dev_name)) {
                continue;
            }
            distance = dma_map_distance(slot, owner, numa_id);
            if (distance < best_distance) {
                best_distance = distance;
                best = slot;
            }
        }
        if (best) {
            best->owner = owner;
            best->core = core;
            best->keeper = NULL;
            dma_map_count_free(map);
            /* Relaxed: who looks for channels that are not in use any more
             * took the mutex, in dpdk_dma_map_fail_dev(), after the last
             * claim. */
            atomic_store_relaxed(&best->chan.in_use, true);
        }
    }
    ovs_mutex_unlock(&map->mutex);

    return best ? &best->chan : NULL;
}

static void
dma_map_give_up(struct dpdk_dma_map *map, const void *owner,
                const void *keeper, long long int until)
{
    ovs_mutex_lock(&map->mutex);
    for (size_t i = 0; i < dpdk_dma_map_count(map); i++) {
        struct dma_slot *slot = map->slots[i];

        if (slot->owner == owner) {
            slot->owner = NULL;
            slot->core = DPDK_DMA_NO_CORE;
            slot->keeper = keeper;
            slot->kept_until = until;
            /* Release: as in dpdk_dma_chan_abandon(). */
            atomic_store_explicit(&slot->chan.in_use, false,
                                  memory_order_release);
        } else if (slot->keeper == owner) {
            slot->keeper = keeper;
        }
    }
    dma_map_count_free(map);
    ovs_mutex_unlock(&map->mutex);
}

/* Gives up what 'owner' holds, if anything, or has kept.  The thread must not
 * use the channel any more.  Copies that are still in flight on one that has
 * not failed are for its next owner to reap. */
void
dpdk_dma_map_release(struct dpdk_dma_map *map, const void *owner)
{
    dma_map_give_up(map, owner, NULL, 0);
}

/* As dpdk_dma_map_release(), but until time_msec() is 'until' nobody else
 * claims the channel: for a thread that will soon need it again. */
void
dpdk_dma_map_keep(struct dpdk_dma_map *map, const void *owner,
                  long long int until)
{
    dma_map_give_up(map, owner, owner, until);
}

/* Marks all channels of the dmadev 'dev_id' as failed: an engine that hangs
 * for one vchan is not trusted with another.  Owners see it before their next
 * burst.  Returns false if they were marked already. */
bool
dpdk_dma_map_fail_dev(struct dpdk_dma_map *map, int16_t dev_id)
{
    bool changed = false;

    ovs_mutex_lock(&map->mutex);
    for (size_t i = 0; i < dpdk_dma_map_count(map); i++) {
        struct dpdk_dma_chan *chan = &map->slots[i]->chan;

        if (chan->dev_id == dev_id && !dpdk_dma_chan_failed(chan)) {
            atomic_store_relaxed(&chan->failed, true);
            changed = true;
        }
    }
    dma_map_count_free(map);
    ovs_mutex_unlock(&map->mutex);

    return changed;
}

/* Returns the state of 'chan' and, in '*core', the core of its owner or
 * DPDK_DMA_NO_CORE. */
enum dpdk_dma_chan_state
dpdk_dma_map_state(const struct dpdk_dma_map *map_,
                   const struct dpdk_dma_chan *chan, uint32_t *core)
{
    struct dpdk_dma_map *map = CONST_CAST(struct dpdk_dma_map *, map_);
    bool claimed;

    ovs_mutex_lock(&map->mutex);
    claimed = map->slots[chan->index]->owner != NULL;
    *core = map->slots[chan->index]->core;
    ovs_mutex_unlock(&map->mutex);

    return (dpdk_dma_chan_failed(chan) ? DPDK_DMA_CHAN_FAILED
            : claimed ? DPDK_DMA_CHAN_CLAIMED
            : DPDK_DMA_CHAN_FREE);
}
