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

/* Runs in a guest: how many pairs of queues a network interface uses.
 *
 *     channels INTERFACE N    has it use N of those that it has */

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int
main(int argc, char *argv[])
{
    struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };
    struct ifreq request = { .ifr_data = (void *) &channels };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    if (argc != 3) {
        fprintf(stderr, "usage: channels INTERFACE N\n");
        return 2;
    }
    snprintf(request.ifr_name, IFNAMSIZ, "%s", argv[1]);
    if (!ioctl(fd, SIOCETHTOOL, &request)) {
        channels.cmd = ETHTOOL_SCHANNELS;
        channels.combined_count = atoi(argv[2]);
        if (!ioctl(fd, SIOCETHTOOL, &request)) {
            return 0;
        }
    }
    perror(argv[1]);
    return 1;
}
