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

/* A model of the ring of a vhost txq, lib/vhost-async-ring.c: does a packet
 * that was put into it always have somebody who will take it out?
 *
 * The names are those of the source.  PMD threads send, visit what they keep,
 * and at their end abdicate, as in a reload; a thread that is no PMD thread
 * sends by the same rules but cannot come back.  A packet in the ring becomes
 * visible to the drainer when no sender is in the middle of putting one in, as
 * with rte_ring in mode RTS.  The virtqueue may be full whenever a PMD thread
 * looks, as long as it is not its last look; a thread that cannot come back
 * drops what it cannot place, which for the model is as good as delivering.
 *
 * Accesses are interleaved as they stand here, which is sequential
 * consistency.  That is what the source asks for at these places.
 *
 * Checked: there is one drainer at a time, the queue of a keeper has the txq
 * and only his has, no packet is overtaken by a later one of its sender, and
 * when all have ended the ring is empty.  The last is what a lost wake-up
 * would break.  "make check-spin" runs this, and once more with each of the
 * macros below, which leave a step out: then it must fail.
 *
 *   NO_RECHECK      who gives up the role does not look at the ring again
 *   NO_ATTEMPT      a sender does not try to be the drainer after it put
 *                   packets into the ring
 *   NO_RECHECK_BARE    as NO_RECHECK, for a sender that saw no ring only
 *   NO_RECHECK_GONE    as NO_RECHECK, for a visitor that saw no device only
 *   LATE_REMOVE     the keeper leaves his queue after he ceased to be it
 *   RING_DECIDES    "empty" is what the ring shows, not 'waiting'
 */

#ifndef N_PMDS
#define N_PMDS 2
#endif
#ifndef N_OTHERS
#define N_OTHERS 1
#endif
#ifndef N_SENDS
#define N_SENDS 2
#endif

#define N_THREADS (N_PMDS + N_OTHERS)
#define NONE 255

#define is_pmd(T) ((T) < N_PMDS)

/* The engine's part of the txq. */
bool draining;
byte waiting;
byte keeper = NONE;

/* The node of the txq: whose queue 'kept' it is in. */
byte queued = NONE;

/* The ring, as the number of packets of each sender in it; since it is a queue
 * and each sender's packets are in order there, that is enough. */
byte ring[N_THREADS];
byte putting;                   /* Senders in the middle of an enqueue. */
byte unseen[N_THREADS];         /* Put, but not visible yet. */

/* Whether the txq has a ring already, and how often a visitor may be late with
 * what it knows of the device. */
bool has_ring;
byte reconnects = 1;

byte n_ended;

inline take(ok)
{
    atomic {
        ok = !draining;
        draining = true;
    }
}

inline wait_and_take()
{
    atomic {
        !draining;
        draining = true;
    }
}

inline give()
{
    assert(draining);
    draining = false;
}

inline is_empty(result)
{
    d_step {
        result = true;
        i = 0;
        do
        :: i < N_THREADS ->
            result = result && ring[i] == 0;
            i++;
        :: else -> break
        od;
    }
}

/* Takes what is visible.  For a thread that comes back the virtqueue may have
 * no room. */
inline drain(may_be_full)
{
    n = 0;
    d_step {
        i = 0;
        do
        :: i < N_THREADS ->
            n = n + ring[i];
            i++;
        :: else -> break
        od;
    }
    if
    :: n == 0
    :: n > 0 ->
        if
        :: may_be_full -> skip
        :: true ->
            /* The packets that were seen above, no later ones. */
            d_step {
                i = 0;
                do
                :: i < N_THREADS && n > 0 && ring[i] > 0 ->
                    ring[i]--;
                    n--;
                    taken++;
                :: i < N_THREADS && (n == 0 || ring[i] == 0) -> i++;
                :: i == N_THREADS -> break
                od;
            }
            waiting = waiting - taken;
            taken = 0;
        fi
    fi
}

inline keep()
{
    if
    :: keeper == NONE ->
        keeper = me;
        /* dma_defer_push() does nothing for a node that is queued. */
        d_step {
            if
            :: queued == NONE -> queued = me;
            :: else -> skip
            fi;
        }
    :: else -> skip
    fi
}

inline unkeep()
{
#ifdef LATE_REMOVE
    keeper = NONE;
#else
    assert(queued == me);
    queued = NONE;
    keeper = NONE;
#endif
}

/* ring_run(), for PMD threads. */
inline run_pmd()
{
    round = 0;
    do
    :: true ->
        take(ok);
        if
        :: !ok -> break
        :: else -> skip
        fi;
        drain(true);
        if
        :: round > 0 || waiting > 0 -> keep();
        :: else -> skip
        fi;
        give();
        round++;
#ifdef NO_RECHECK
        break;
#else
        if
        :: waiting == 0 -> break
        :: else -> skip
        fi;
        if
        :: keeper != NONE -> break
        :: else -> skip
        fi
#endif
    od;
    round = 0
}

/* ring_run_to_the_end(). */
inline run_to_the_end()
{
    do
    :: true ->
        take(ok);
        if
        :: !ok -> break
        :: else -> skip
        fi;
        drain(false);
        give();
#ifdef NO_RECHECK
        break;
#else
        is_empty(bare);
        if
        :: bare -> break
        :: else -> skip
        fi;
        if
        :: keeper != NONE -> break
        :: else -> skip
        fi
#endif
    od;
    bare = false
}

inline see_to()
{
    if
    :: is_pmd(me) -> run_pmd();
    :: else -> run_to_the_end();
    fi
}

/* The two ends of an enqueue: it begins, and it is visible when all that
 * began have ended. */
inline put()
{
    waiting++;
    atomic {
        putting++;
        unseen[me]++;
    }
    d_step {
        putting--;
        if
        :: putting == 0 ->
            i = 0;
            do
            :: i < N_THREADS ->
                ring[i] = ring[i] + unseen[i];
                unseen[i] = 0;
                i++;
            :: else -> break
            od;
        :: else -> skip
        fi;
    }
}

inline is_first(result)
{
#ifdef RING_DECIDES
    is_empty(result);
#else
    result = waiting == 0;
#endif
}

/* ring_send_without(). */
inline send_without()
{
    wait_and_take();
    give();
#if !defined(NO_RECHECK) && !defined(NO_RECHECK_BARE)
    if
    :: waiting > 0 -> see_to();
    :: else -> skip
    fi
#endif
}

/* vhost_async_engine_send(), of a txq with a ring. */
inline send_with()
{
    take(ok);
    if
    :: ok ->
        is_first(first);
        if
        :: !first ->
            drain(is_pmd(me));
            is_first(first);
        :: else -> skip
        fi;
        if
        :: first ->
            /* Its own burst, not through the ring. */
            assert(ring[me] == 0 && unseen[me] == 0);
            give();
#ifndef NO_RECHECK
            if
            :: waiting > 0 -> see_to();
            :: else -> skip
            fi
#endif
        :: else ->
            give();
            put();
#ifndef NO_ATTEMPT
            see_to();
#endif
        fi
    :: else ->
        put();
#ifndef NO_ATTEMPT
        see_to();
#endif
    fi;
    first = false
}

inline send()
{
    if
    :: has_ring -> send_with();
    :: else -> send_without();
    fi;
    /* Fewer states. */
    i = 0; n = 0; ok = false
}

/* ring_visit().  The visitor may have looked for the device when there was
 * none, and now there is one. */
inline visit()
{
    if
    :: atomic {
        reconnects > 0;
        reconnects--;
        gone = true;
    }
    :: gone = false
    fi;
    take(ok);
    if
    :: ok ->
        assert(keeper == me);
        if
        :: !gone -> drain(true);
        :: else -> skip
        fi;
        was = false;
        if
        :: gone || waiting == 0 -> unkeep();
            was = true;
        :: else -> skip
        fi;
        give();
#ifndef NO_RECHECK
        if
#ifdef NO_RECHECK_GONE
        :: gone -> skip
        :: !gone && waiting > 0 && keeper == NONE -> run_pmd();
#else
        :: waiting > 0 && keeper == NONE -> run_pmd();
#endif
        :: else -> skip
        fi;
#endif
        gone = false;
#ifdef LATE_REMOVE
        if
        :: was && queued == me -> queued = NONE;
        :: else -> skip
        fi;
#endif
        was = false
    :: else -> gone = false
    fi;
    i = 0; n = 0; ok = false
}

/* ring_abdicate(), what a PMD thread does before it reloads or ends. */
inline abdicate()
{
    if
    :: queued == me ->
        wait_and_take();
        unkeep();
        give();
        run_to_the_end();
#ifdef LATE_REMOVE
        if
        :: queued == me -> queued = NONE;
        :: else -> skip
        fi
#endif
    :: else -> skip
    fi
}

proctype thread(byte me)
{
    byte n, i, round, taken;
    byte sends = N_SENDS;
    bool ok, bare, first, was, gone;

    do
    :: sends > 0 ->
        send();
        sends--;
    :: queued == me -> visit();
    :: sends == 0 -> break
    od;
    if
    :: is_pmd(me) -> abdicate();
    :: else -> skip
    fi;

    /* The last to end leaves nothing behind. */
    atomic {
        n_ended++;
        if
        :: n_ended == N_THREADS ->
            assert(!draining);
            assert(waiting == 0);
            assert(keeper == NONE && queued == NONE);
            is_empty(bare);
            assert(bare && putting == 0);
        :: else -> skip
        fi
    }
}

/* The thread of the vhost library, when the guest has set the txq up. */
active proctype vhost()
{
    has_ring = true
}

init {
    atomic {
        byte t = 0;
        do
        :: t < N_THREADS -> run thread(t); t++;
        :: else -> break
        od
    }
}
