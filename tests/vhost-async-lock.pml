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

/* A model of how threads get at a vhost txq: its lock, lib/vhost-async-txq.c,
 * and the completion engines, lib/vhost-async-ring.c and, with the macro
 * DEFER, -defer.c.  Does a packet that was copied, or that was put into the
 * ring, always have somebody who will see to it?
 *
 * The names are those of the sources.  PMD threads send, by DMA or by CPU as
 * they like, reap their channels, and come back to what they keep; at their
 * end they let go of it.  A thread that is no PMD thread sends by the same
 * rules, has no channel and cannot come back.  One thread handles messages of
 * the guest.  A packet in the ring becomes visible to the drainer when no
 * sender is in the middle of putting one in, as with rte_ring in mode RTS.
 * How many bursts a drainer sees to is left open.
 *
 * Accesses are interleaved as they stand here, which is sequential
 * consistency.  What the sources ask for at these places is as good: all that
 * decides is a read-modify-write of one word, acquire and release, and what is
 * left for others comes before it.
 *
 * Checked: one thread at a time is at the txq, the queue of a keeper has the
 * txq and only his has, no packet is overtaken by a later one of its sender,
 * and when all have ended everything that was done is published and the ring
 * is empty.  The last is what lost work would break.  "make check-spin" runs
 * this, and once more with each of the macros below, which leave a step out:
 * then it must fail.
 *
 *   IGNORES_PENDING     who gives up the lock does not look for work
 *   NO_WORD_REAPED      who reaped leaves no word for the holder
 *   NO_WORD_SENT        who put packets into the ring leaves none
 *   LATE_DONE           word is left before the packet is marked as done
 *   LATE_PUT            word is left before the packet is in the ring
 *   OPEN_FORGETS        who handles a message takes the lock without what was
 *                       left while he waited for it
 *   NO_WAITING          a sender does not look whether packets wait
 *   RING_DECIDES        he looks at what the ring shows, not at 'waiting'
 *   NO_KEEPER           nobody comes back
 *   NO_LOOK             the keeper does not look at the ring when he is back
 *   LATE_UNKEEP         he ceases to be it after he gave up the lock
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
#ifndef N_MESSAGES
#define N_MESSAGES 1
#endif

#define N_THREADS (N_PMDS + N_OTHERS)
#define MAX_PKTS 8
#define NONE 255

#define is_pmd(T) ((T) < N_PMDS)

/* The lock. */
bool locked, pending, closed;
byte n_holders;

/* Packets in flight: [published, sent).  They are done in the order of their
 * channels, of which each PMD thread has one. */
byte sent, published;
bool done[MAX_PKTS];
byte engine[MAX_PKTS];

/* The engine's part of the txq. */
byte waiting;
bool is_kept;

/* The node of the txq: whose queue 'kept' it is in. */
byte queued = NONE;

/* The ring, as the number of packets of each sender in it; since it is a queue
 * and each sender's packets are in order there, that is enough. */
byte ring[N_THREADS];
byte putting;                   /* Senders in the middle of an enqueue. */
byte unseen[N_THREADS];         /* Put, but not visible yet. */

byte n_ended;

/* Each is one compare-and-swap. */
#define TRYLOCK(OK)                                     \
    atomic {                                            \
        if                                              \
        :: !locked && !pending && !closed ->            \
            locked = true; n_holders++; OK = true;      \
        :: else -> OK = false;                          \
        fi                                              \
    }

#define TRYLOCK_OR_LEAVE(OK)                            \
    atomic {                                            \
        if                                              \
        :: locked || closed -> pending = true; OK = false; \
        :: else -> locked = true; n_holders++; OK = true; \
        fi                                              \
    }

#define LOCK_UNLESS_CLOSED(OK)                          \
    atomic {                                            \
        if                                              \
        :: closed -> OK = false;                        \
        :: !closed && !locked ->                        \
            locked = true; n_holders++; OK = true;      \
        fi                                              \
    }

#ifdef IGNORES_PENDING
#define TRY_UNLOCK(OK)                                  \
    atomic { assert(locked); n_holders--; locked = false; \
             pending = false; OK = true; }
#else
#define TRY_UNLOCK(OK)                                  \
    atomic {                                            \
        assert(locked);                                 \
        if                                              \
        :: pending -> pending = false; OK = false;      \
        :: else -> n_holders--; locked = false; OK = true; \
        fi                                              \
    }
#endif

/* vhost_async_txq_publish(), by the holder: each look at a packet is one at
 * what others may do meanwhile. */
inline publish()
{
    assert(n_holders == 1);
    do
    :: published < sent && done[published] -> published++;
    :: published == sent || !done[published] -> break
    od
}

/* vhost_async_txq_send() of 'n' packets, by the holder.  What the CPU copied
 * with nothing in flight ahead of it is published at once. */
inline send_pkts()
{
    assert(n_holders == 1);
    do
    :: n > 0 ->
        if
        :: is_pmd(me) ->
            d_step { engine[sent] = me; done[sent] = false; sent++; }
        :: true ->
            if
            :: sent != published ->
                d_step { engine[sent] = NONE; done[sent] = true; sent++; }
            :: else -> skip
            fi
        fi;
        n--
    :: n == 0 -> break
    od
}

inline is_empty(result)
{
    d_step {
        result = true;
        i = 0;
        do
        :: i < N_THREADS -> result = result && ring[i] == 0; i++;
        :: else -> break
        od;
        i = 0
    }
}

/* ring_drain(): a PMD thread may stop with packets in the ring. */
inline drain()
{
    do
    :: true ->
        d_step {
            i = 0;
            n = 0;
            do
            :: i < N_THREADS -> n = n + ring[i]; ring[i] = 0; i++;
            :: else -> break
            od;
            i = 0;
            taken = n
        }
        if
        :: n == 0 -> bare = true; break
        :: else -> skip
        fi;
        send_pkts();
        waiting = waiting - taken;
        taken = 0;
        publish();
        if
        :: as_pmd -> is_empty(bare); break
        :: true -> skip
        fi
    od
}

inline keep()
{
    if
    :: !is_kept ->
        is_kept = true;
        assert(queued == NONE);
#ifndef NO_KEEPER
        queued = me;
#endif
    :: else -> skip
    fi
}

/* ring_see_to(). */
inline see_to()
{
#ifndef DEFER
    do
    :: true ->
        drain();
        if
        :: bare -> break
        :: !bare && as_pmd -> keep(); break
        :: !bare && !as_pmd && is_kept -> break
        :: else -> skip
        fi
    od;
    bare = false
#else
    skip
#endif
}

/* vhost_async_engine_unlock(). */
inline unlock()
{
    again = false;
    do
    :: true ->
        TRY_UNLOCK(ok);
        if
        :: ok -> break
        :: else -> skip
        fi;
        publish();
#ifndef DEFER
        if
        :: as_pmd && again -> keep();
        :: else -> see_to();
        fi;
#endif
        again = true
    od;
    again = false;
    ok = false
}

/* An enqueue has two ends: it begins, and it is visible when all that began
 * have ended. */
inline put_begin()
{
    atomic { putting++; unseen[me]++; }
}

inline put_end()
{
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
            i = 0
        :: else -> skip
        fi
    }
}

/* ring_send_through(). */
inline send_through()
{
    waiting++;
    put_begin();
#ifndef LATE_PUT
    put_end();
#endif
#ifdef NO_WORD_SENT
    TRYLOCK(ok);
#else
    TRYLOCK_OR_LEAVE(ok);
#endif
    if
    :: ok -> see_to(); unlock();
    :: else -> skip
    fi
#ifdef LATE_PUT
    ;
    put_end()
#endif
}

/* vhost_async_engine_send(). */
inline send()
{
#ifdef DEFER
    LOCK_UNLESS_CLOSED(ok);
    if
    :: ok -> n = 1; send_pkts(); unlock();
    :: else -> skip             /* Counted as dropped. */
    fi
#else
#if defined(NO_WAITING)
    first = true;
#elif defined(RING_DECIDES)
    is_empty(first);
#else
    first = waiting == 0;
#endif
    ok = false;
    if
    :: first -> TRYLOCK(ok);
    :: else -> skip
    fi;
    if
    :: ok ->
        /* Its own burst, not through the ring. */
        assert(ring[me] == 0 && unseen[me] == 0);
        n = 1;
        send_pkts();
        unlock();
    :: else -> send_through();
    fi;
    first = false
#endif
}

/* Looks for the next packet of this thread's channel. */
inline find_mine()
{
    d_step {
        mine = NONE;
        i = published;
        do
        :: i < sent && mine == NONE ->
            if
            :: engine[i] == me && !done[i] -> mine = i;
            :: else -> skip
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

/* vhost_async_thread_reap() of one packet: a part of what may be done. */
inline reap()
{
    find_mine();
    if
    :: mine != NONE ->
#ifndef LATE_DONE
        done[mine] = true;
#endif
#ifdef NO_WORD_REAPED
        TRYLOCK(ok);
#else
        TRYLOCK_OR_LEAVE(ok);
#endif
#ifdef LATE_DONE
        done[mine] = true;
#endif
        if
        :: ok -> publish(); unlock();
        :: else -> skip
        fi
    :: else -> skip
    fi;
    mine = NONE
}

/* vhost_async_engine_run(), and at the end of the thread
 * vhost_async_engine_leave(), which does not come again. */
inline come_back()
{
    LOCK_UNLESS_CLOSED(ok);
    if
    :: ok ->
        assert(queued == me && is_kept);
        queued = NONE;
#ifndef LATE_UNKEEP
        is_kept = false;
#endif
#ifndef NO_LOOK
        see_to();
#endif
        unlock();
#ifdef LATE_UNKEEP
        is_kept = false;
#endif
    :: else -> skip
    fi
}

proctype thread(byte me)
{
    byte n, i, taken, mine = NONE;
    byte sends = N_SENDS;
    bool ok, again, bare, first;
    bool as_pmd = is_pmd(me);

    do
    :: sends > 0 ->
        send();
        sends--;
    :: is_pmd(me) ->
        find_mine();
        if
        :: mine != NONE -> reap();
        :: mine == NONE && sends == 0 && queued != me -> break
        :: else -> skip
        fi;
        mine = NONE
    :: queued == me -> come_back();
    :: queued == me && sends == 0 -> as_pmd = false; come_back();
        as_pmd = is_pmd(me)
    :: !is_pmd(me) && sends == 0 -> break
    od;
    /* The last to end leaves nothing behind. */
    atomic {
        n_ended++;
        if
        :: n_ended == N_THREADS + 1 ->
            assert(!locked && !pending && !closed && n_holders == 0);
            assert(published == sent);
            assert(waiting == 0 && putting == 0);
            is_empty(bare);
            assert(bare);
            assert(!is_kept && queued == NONE);
        :: else -> skip
        fi
    }
}

/* The thread that handles messages of the guest. */
proctype control()
{
    byte n, i, taken, messages = N_MESSAGES;
    bool ok, again, bare, as_pmd;
    byte me = N_THREADS;

    do
    :: messages > 0 ->
        /* vhost_async_txq_close(). */
        if
        :: atomic {
            !locked -> locked = true; closed = true; n_holders++
        }
        :: atomic { locked -> closed = true };
            atomic {
                !locked -> locked = true; n_holders++;
#ifdef OPEN_FORGETS
                pending = false
#endif
            }
        fi;
        publish();
        closed = false;
        unlock();
        messages--
    :: messages == 0 -> break
    od;
    atomic {
        n_ended++;
        if
        :: n_ended == N_THREADS + 1 ->
            assert(!locked && !pending && !closed && n_holders == 0);
            assert(published == sent);
            assert(waiting == 0 && putting == 0);
            is_empty(bare);
            assert(bare);
            assert(!is_kept && queued == NONE);
        :: else -> skip
        fi
    }
}

init {
    atomic {
        byte t = 0;
        do
        :: t < N_THREADS -> run thread(t); t++;
        :: else -> break
        od;
        run control()
    }
}
