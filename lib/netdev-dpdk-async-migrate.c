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

/* Implementation of netdev-dpdk-async-migrate.h.
 *
 * All of it is the main thread's, but for netdev_dpdk_async_migrate_forget():
 * whoever drops the last reference to a netdev destructs it.  'mutex' is for
 * that one; who holds it may use a port that a request names, and take the
 * locks of that.  A request has no reference to the netdev, or the port would
 * outlive its removal. */

#include <config.h>

#include "netdev-dpdk-async-migrate.h"

#include "netdev-dpdk-async.h"
#include "netdev-provider.h"
#include "openvswitch/list.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovs-thread.h"
#include "timeval.h"
#include "unixctl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(netdev_dpdk_async_migrate);

/* A guest that listens connects again within milliseconds, and the vhost
 * library tries to reach one that does not listen once per second. */
#define GUEST_TIMEOUT_MS 10000

/* Reconfigurations and callbacks that a request waits for do not all wake the
 * main thread. */
#define POLL_MS 10

/* A command to be answered. */
struct request {
    struct ovs_list list_node;
    struct unixctl_conn *conn;
    char *port;
    bool prepare;                       /* Else resume. */
    struct netdev_dpdk_async *async;    /* NULL: the port is gone. */
    struct netdev_dpdk_async_guest guest;   /* As it was before. */
    long long int deadline;
};

static struct ovs_mutex mutex = OVS_MUTEX_INITIALIZER;
static struct ovs_list requests OVS_GUARDED_BY(mutex)
    = OVS_LIST_INITIALIZER(&requests);

/* Answers a command for 'port' with 'error' or, if that is NULL, with 'text',
 * of which it takes ownership. */
static void
reply(struct unixctl_conn *conn, const char *port, char *error, char *text)
{
    char *line = xasprintf("%s: %s", port, error ? error : text);

    VLOG_INFO("%s", line);
    if (error) {
        unixctl_command_reply_error(conn, line);
    } else {
        unixctl_command_reply(conn, line);
    }
    free(line);
    free(error);
    free(text);
}

static char *
success(const struct request *r)
{
    const char *why = netdev_dpdk_async_why_cpu(r->async);

    if (r->prepare) {
        return xstrdup("prepared, its guest can be migrated");
    } else if (why) {
        return xasprintf("resumed, CPU: %s", why);
    }
    return xstrdup("resumed, DMA");
}

static bool
guest_is_back(const struct request *r)
{
    struct netdev_dpdk_async_guest now;

    netdev_dpdk_async_get_guest(r->async, &now);
    return now.connected && now.link >= r->guest.link
           && now.n_txqs >= r->guest.n_txqs;
}

/* Whether the guest is not waited for: it is not there, or the port has no way
 * to call it back, or does not change sides. */
static bool
guest_need_not_come(const struct request *r)
{
    return !r->prepare && (!r->guest.connected || !r->async->client
                           || netdev_dpdk_async_refusal(r->async));
}

/* Returns true if 'r' can be answered, by '*error' or '*text'. */
static bool
request_is_over(const struct request *r, char **error, char **text)
    OVS_REQUIRES(mutex)
{
    if (!r->async) {
        *error = xstrdup("the port was removed meanwhile");
    } else if (guest_need_not_come(r)
               || (netdev_dpdk_async_is_settled(r->async)
                   && guest_is_back(r))) {
        *text = success(r);
    } else if (time_msec() >= r->deadline) {
        *error = xasprintf("its guest has not connected again within %d s; "
                           "see that it listens on the socket%s",
                           GUEST_TIMEOUT_MS / 1000,
                           r->prepare ? ", and try again or \"resume\"" : "");
    }
    return *error || *text;
}

/* Answers 'r' if that is possible, and forgets it then. */
static void
request_run(struct request *r)
    OVS_REQUIRES(mutex)
{
    char *error = NULL, *text = NULL;

    if (request_is_over(r, &error, &text)) {
        reply(r->conn, r->port, error, text);
        ovs_list_remove(&r->list_node);
        free(r->port);
        free(r);
    }
}

static bool
is_requested(const struct netdev_dpdk_async *async)
    OVS_REQUIRES(mutex)
{
    const struct request *r;

    LIST_FOR_EACH (r, list_node, &requests) {
        if (r->async == async) {
            return true;
        }
    }
    return false;
}

/* Why 'async', with that guest, cannot be prepared or else resumed, or
 * NULL. */
static const char *
refusal(const struct netdev_dpdk_async *async,
        const struct netdev_dpdk_async_guest *guest, bool prepare)
    OVS_REQUIRES(mutex)
{
    if (is_requested(async)) {
        return "it is being prepared or resumed already; wait for that";
    } else if (!prepare) {
        return async->migrating ? NULL
               : "it is not prepared, there is nothing to resume";
    } else if (async->migrating) {
        /* Who tries again waits again. */
        return NULL;
    } else if (!guest->connected) {
        return "there is no guest to migrate; try again when one is connected";
    } else if (!async->client && async->txqs) {
        return "a port in server mode cannot have its guest connect again; "
               "set options:vhost-async=false and restart the guest";
    }
    return NULL;
}

static void
migrate(struct unixctl_conn *conn, struct netdev_dpdk_async *async,
        const char *port, bool prepare)
    OVS_REQUIRES(mutex)
{
    struct netdev_dpdk_async_guest guest;
    struct request *r;
    const char *why;

    netdev_dpdk_async_get_guest(async, &guest);
    why = refusal(async, &guest, prepare);
    if (why) {
        reply(conn, port, xstrdup(why), NULL);
        return;
    }
    netdev_dpdk_async_set_migrating(async, prepare);

    r = xmalloc(sizeof *r);
    *r = (struct request) {
        .conn = conn,
        .port = xstrdup(port),
        .prepare = prepare,
        .async = async,
        .guest = guest,
        .deadline = time_msec() + GUEST_TIMEOUT_MS,
    };
    ovs_list_push_back(&requests, &r->list_node);
    request_run(r);
}

/* Carries out "PORT prepare|resume". */
static void
migrate_command(struct unixctl_conn *conn, int argc OVS_UNUSED,
                const char *argv[], void *aux OVS_UNUSED)
{
    bool prepare = !strcmp(argv[2], "prepare");
    struct netdev_dpdk_async *async;

    if (!prepare && strcmp(argv[2], "resume")) {
        reply(conn, argv[1], xasprintf("\"%s\" is neither \"prepare\" nor "
                                       "\"resume\"", argv[2]), NULL);
        return;
    }

    /* Held from here on, for the port not to go meanwhile. */
    ovs_mutex_lock(&mutex);
    async = netdev_dpdk_async_find(argv[1]);
    if (async) {
        migrate(conn, async, argv[1], prepare);
    } else {
        reply(conn, argv[1], xstrdup("there is no such vhost port; "
                                     "dpif-netdev/dma-show lists them"), NULL);
    }
    ovs_mutex_unlock(&mutex);
}

/* Registers the command. */
void
netdev_dpdk_async_migrate_init(void)
{
    unixctl_command_register("netdev-dpdk/vhost-async-migrate",
                             "port prepare|resume", 2, 2, migrate_command,
                             NULL);
}

/* Answers what can be answered. */
void
netdev_dpdk_async_migrate_run(const struct netdev_class *class OVS_UNUSED)
{
    struct request *r;

    ovs_mutex_lock(&mutex);
    LIST_FOR_EACH_SAFE (r, list_node, &requests) {
        request_run(r);
    }
    ovs_mutex_unlock(&mutex);
}

/* Has the main thread look again in time. */
void
netdev_dpdk_async_migrate_wait(const struct netdev_class *class OVS_UNUSED)
{
    ovs_mutex_lock(&mutex);
    if (!ovs_list_is_empty(&requests)) {
        poll_timer_wait(POLL_MS);
    }
    ovs_mutex_unlock(&mutex);
}

/* The port is about to go: a request for it is left to be answered. */
void
netdev_dpdk_async_migrate_forget(const struct netdev_dpdk_async *async)
{
    struct request *r;

    ovs_mutex_lock(&mutex);
    LIST_FOR_EACH (r, list_node, &requests) {
        if (r->async == async) {
            r->async = NULL;
        }
    }
    ovs_mutex_unlock(&mutex);
}
