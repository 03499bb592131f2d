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

/* Opens the vhost ports, and connects their guests. */

#include <config.h>

#include "bench-port.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "netdev-provider.h"
#include "smap.h"
#include "util.h"

struct port *bench_ports;

/* Bytes of a packet that the guest sends, with its header, at most. */
#define TX_STRIDE 9216

static void
port_reconfigure(struct port *p)
{
    while (netdev_is_reconf_required(p->netdev)) {
        int err = netdev_reconfigure(p->netdev);

        if (err && err != EOPNOTSUPP) {
            fail("cannot configure a port: %s", ovs_strerror(err));
        }
    }
}

static void
port_open(struct port *p, unsigned int number, unsigned int mtu)
{
    char *name = xasprintf("bench%d-%u", (int) getpid(), number);
    char *path = xasprintf("%s/%s.sock", settings.dir, name);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct smap args = SMAP_INITIALIZER(&args);
    struct netdev_saved_flags *sf;
    int fd, err;

    ovs_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(path);
    if (bind(fd, (struct sockaddr *) &addr, sizeof addr) || listen(fd, 1)) {
        fail("%s: %s", path, ovs_strerror(errno));
    }

    smap_add(&args, "vhost-server-path", path);
    err = netdev_open(name, "dpdkvhostuserclient", &p->netdev);
    if (!err) {
        netdev_set_mtu(p->netdev, mtu);
        err = netdev_set_config(p->netdev, &args, NULL);
    }
    if (err) {
        fail("cannot open a port: %s", ovs_strerror(err));
    }
    port_reconfigure(p);

    p->guest.fd = accept(fd, NULL, NULL);
    close(fd);
    unlink(path);
    guest_connect(&p->guest, settings.n_pairs, settings.tso);

    for (int i = 0; !netdev_get_carrier(p->netdev)
                    || netdev_n_txq(p->netdev) < settings.n_pairs; i++) {
        if (i == 3000) {
            fail("a port does not come up");
        }
        port_reconfigure(p);
        usleep(1000);
    }
    netdev_turn_flags_on(p->netdev, NETDEV_UP, &sf);
    port_reconfigure(p);
    smap_destroy(&args);
    free(path);
    free(name);
}

void
ports_open(void)
{
    /* A guest with DPDK has buffers of 2 KiB; Linux, which is the one to
     * receive packets of 64 KiB, makes them of a page. */
    unsigned int buf_len = settings.tso ? 4096 : 2048 + HDR_LEN;
    unsigned int stride = settings.tso ? 4096 : 2048 + 2 * GUEST_HEADROOM;
    size_t size;

    if (settings.buf_len) {
        buf_len = settings.buf_len + HDR_LEN;
        stride = ROUND_UP(settings.buf_len + 2 * GUEST_HEADROOM, 64);
    }
    size = settings.n_pairs * ((size_t) settings.ring_size * (stride + 32)
                               + (32 << 10));
    if (settings.receive) {
        size += GUEST_MAX_SENT * TX_STRIDE + (64 << 10);
    }

    bench_ports = xcalloc(settings.n_ports, sizeof *bench_ports);
    for (int i = 0; i < settings.n_ports; i++) {
        struct guest *g = &bench_ports[i].guest;

        guest_init_memory(g, size, settings.huge);
        for (int j = 0; j < settings.n_pairs; j++) {
            guest_init_rxq(g, &g->rxqs[j], settings.ring_size, buf_len,
                           stride);
        }
        if (settings.receive) {
            guest_init_txq(g, settings.ring_size, TX_STRIDE);
        }
        port_open(&bench_ports[i], i, 9000);
    }
}
