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


/* A model of how threads get at a vhost rxq: its lock, lib/vhost-async-vq.c,
 * as lib/vhost-async-rxq.h gives it up, by a store.  The names are those of
 * the sources.
 *
 * Pollers, which may meet while an rxq moves from one PMD thread to another,
 * wait for each other, but not for who handles a message.  One thread handles
 * messages of the guest.
 *
 * Checked: one thread at a time is at the rxq, and all come to an end, though
 * the store may take back that the ring is being closed.  "make check-spin"
 * runs this, and once more with each of the macros below: then it must fail.
 *
 *   CLOSES_ONCE         who closes the ring says so once, and waits for a lock
 *                       that still does
 *   TAKES_LOCKED        ...or takes the lock from a holder
 *   STORES_BLINDLY      a poller that waits stores what it saw, and the lock
 */

#ifndef N_POLLERS
#define N_POLLERS 2
#endif
#ifndef N_POLLS
#define N_POLLS 2
#endif
#ifndef N_MESSAGES
#define N_MESSAGES 2
#endif

#define LOCKED 1
#define CLOSED 4

byte lock;
byte n_holders;

inline enter()
{
    n_holders++;
    assert(n_holders == 1);
}

/* vhost_async_rxq_unlock(). */
inline unlock()
{
    n_holders--;
    word = lock;
    if
    :: word == LOCKED -> lock = 0;
    :: else -> atomic { lock = lock & ~LOCKED; }
    fi
}

/* vhost_async_vq_lock_unless_closed(). */
inline lock_unless_closed()
{
    ok = false;
    do
    :: word = lock;
       if
       :: word & CLOSED -> break;
       :: !(word & (CLOSED | LOCKED)) ->
#ifdef STORES_BLINDLY
          lock = word | LOCKED;
          ok = true;
#else
          atomic {
              if
              :: lock == word -> lock = word | LOCKED; ok = true;
              :: else
              fi
          }
#endif
          if
          :: ok -> break;
          :: else
          fi
       :: else -> lock != word;         /* Nothing but time passes. */
       fi
    od
}

/* vhost_async_vq_close(). */
inline close_vq()
{
#ifdef CLOSES_ONCE
    atomic { lock = lock | CLOSED; }
    atomic { lock == CLOSED; lock = LOCKED | CLOSED; }
#else
    do
    :: word = lock;
       if
#ifdef TAKES_LOCKED
       :: true ->
#else
       :: !(word & LOCKED) ->
#endif
          atomic {
              if
              :: lock == word -> lock = word | LOCKED | CLOSED; break;
              :: else
              fi
          }
       :: (word & LOCKED) && !(word & CLOSED) ->
          atomic {
              if
              :: lock == word -> lock = word | CLOSED;
              :: else
              fi
          }
       :: (word & LOCKED) && (word & CLOSED) -> lock != word;
       fi
    od
#endif
}

active [N_POLLERS] proctype poller()
{
    byte word, i;
    bool ok;

    for (i : 1 .. N_POLLS) {
        lock_unless_closed();
        if
        :: ok -> enter(); unlock();
        :: else
        fi
    }
}

active proctype message()
{
    byte word, i;

    for (i : 1 .. N_MESSAGES) {
        close_vq();
        enter();
        /* vhost_async_vq_open(). */
        atomic { lock = lock & ~CLOSED; }
        unlock();
    }
}
