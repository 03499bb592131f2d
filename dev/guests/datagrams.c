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

/* Runs in a guest and on the host: numbered datagrams, to see what becomes of
 * them.
 *
 *     datagrams send ADDRESS N US BYTES   sends N, one every US microseconds,
 *                                         or fewer if it is interrupted, and
 *                                         tells how many
 *     datagrams hold STOP                 receives them and reads none, until
 *                                         a file STOP exists
 *     datagrams gaps STOP                 receives them, and tells how many
 *                                         came and how long none came
 *
 * "hold" sees whether memory that the switch wrote moves along when the guest
 * is migrated.  The receive buffers of the driver, which the switch wrote,
 * stay with the datagrams for as long as nobody has read them.  So all that
 * came is looked at over and over in the socket's queue.  There is no
 * checksum, or the kernel would hide what is wrong.  Of a datagram that takes
 * several buffers, the driver writes to the pages of the first one only: those
 * of the others move along by what the switch says, or not at all. */

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PORT 5002
#define MAX_WORDS 2200

static volatile sig_atomic_t interrupted;

static void
interrupt(int signum)
{
    interrupted = signum;
}

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

static void
fill(uint32_t *words, size_t n, uint32_t number)
{
    uint32_t x = number * 2654435761u + 1;

    words[0] = number;
    for (size_t i = 1; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        words[i] = x;
    }
}

/* Receives one, or looks at one, as 'flags' say.  Returns whether there was
 * one, its number, and whether it is what was sent. */
static int
receive(int fd, int flags, uint32_t *number, int *good)
{
    uint32_t words[MAX_WORDS], expected[MAX_WORDS];
    ssize_t size = recv(fd, words, sizeof words, flags);

    if (size < (ssize_t) sizeof words[0]) {
        return 0;
    }
    *number = words[0];
    fill(expected, size / sizeof words[0], *number);
    *good = !memcmp(words, expected, size);
    return 1;
}

static void
send_all(const char *address, uint32_t n, int64_t interval, size_t size)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int64_t wait, next = now_us();
    uint32_t words[MAX_WORDS], i;
    int one = 1;

    signal(SIGINT, interrupt);
    inet_pton(AF_INET, address, &to.sin_addr);
    if (connect(fd, (struct sockaddr *) &to, sizeof to)
        || setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &one, sizeof one)) {
        die("send");
    }
    for (i = 0; i < n && !interrupted; i++) {
        fill(words, size / sizeof words[0], i);
        /* Nobody may be there for a while. */
        if (send(fd, words, size, 0) < 0 && errno != ECONNREFUSED
            && errno != EHOSTUNREACH && errno != ENOBUFS) {
            die("send");
        }
        next += interval;
        wait = next - now_us();
        if (wait > 0) {
            usleep(wait);
        }
    }
    printf("%u sent\n", i);
}

static int
open_receiver(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct timeval wait = { .tv_usec = 100000 };
    int size = 256 << 20;

    if (bind(fd, (struct sockaddr *) &at, sizeof at)
        || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size)
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait)) {
        die("receive");
    }
    return fd;
}

/* Looks at all datagrams in the queue, of which one that comes twice or too
 * late is bad, too.  Returns how many there are. */
static unsigned int
look(int fd, unsigned int *bad)
{
    uint32_t number, next = 0;
    unsigned int n = 0;
    int offset = 0;
    int good;

    if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset)) {
        die("peek");
    }
    while (receive(fd, MSG_PEEK | MSG_DONTWAIT, &number, &good)) {
        *bad += !good || number < next;
        next = number + 1;
        n++;
    }
    return n;
}

static void
hold(const char *stop)
{
    unsigned int n, bad = 0, looks = 0;
    int fd = open_receiver();
    int last;

    do {
        last = !access(stop, F_OK);
        n = look(fd, &bad);
        looks++;
        usleep(100000);
    } while (!last);
    printf("%u datagrams, looked at %u times, %u bad\n", n, looks, bad);
}

static void
gaps(const char *stop)
{
    unsigned int n = 0, bad = 0;
    uint32_t number, first = 0, next = 0;
    int64_t last = 0, longest = 0;
    int fd = open_receiver();
    int good;

    while (access(stop, F_OK)) {
        if (receive(fd, 0, &number, &good)) {
            int64_t now = now_us();

            if (!n) {
                first = number;
            } else if (now - last > longest) {
                longest = now - last;
            }
            last = now;
            bad += !good || number < next;
            next = number + 1;
            n++;
        }
    }
    printf("%u datagrams from %u on, %u bad, longest gap %lld us\n", n,
           first, bad, (long long) longest);
}

int
main(int argc, char *argv[])
{
    size_t size = argc == 6 ? strtoul(argv[5], NULL, 10) : 0;

    if (size >= sizeof(uint32_t) && size <= MAX_WORDS * sizeof(uint32_t)
        && size % sizeof(uint32_t) == 0 && !strcmp(argv[1], "send")) {
        send_all(argv[2], strtoul(argv[3], NULL, 10), atoi(argv[4]), size);
    } else if (argc == 3 && !strcmp(argv[1], "hold")) {
        hold(argv[2]);
    } else if (argc == 3 && !strcmp(argv[1], "gaps")) {
        gaps(argv[2]);
    } else {
        fprintf(stderr, "usage: datagrams send ADDRESS N MICROSECONDS BYTES\n"
                "       datagrams hold STOP\n"
                "       datagrams gaps STOP\n");
        return 2;
    }
    return 0;
}
