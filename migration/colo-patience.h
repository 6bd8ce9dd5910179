/*
 * How long a peer is waited for (pure)
 *
 * A peer that is slow must not be given up, and one that only seems to do
 * something must be: bytes that come one at a time, or messages that answer
 * nothing, would else make a wait last for ever.
 *
 * Times are of one monotonic clock, in nanoseconds.  No locks: each belongs to one
 * thread.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_PATIENCE_H
#define MIGRATION_COLO_PATIENCE_H

/*
 * Many bytes to or from the peer.  Time spent waiting counts against it, each byte
 * makes up for COLO_PATIENCE_BYTE_NS of that.  So it may take no byte for the
 * time-out, and has to reach 1 MB/s while it is waited for.
 */
#define COLO_PATIENCE_BYTE_NS 1000

typedef struct ColoPatience {
    int64_t waited_ns;
} ColoPatience;

/* Something new begins. */
void colo_patience_renew(ColoPatience *p);

/* It was waited for, or bytes moved. */
void colo_patience_waited(ColoPatience *p, int64_t ns);
void colo_patience_moved(ColoPatience *p, uint64_t bytes);

/* How long the next wait may be; 0: it has been too long */
int64_t colo_patience_left(const ColoPatience *p, int64_t timeout_ns);

/*
 * What S owes to P: an answer to each ALIVE, in order, and now and then a message
 * before it answers any.  Only what is owed counts, and each within the time-out;
 * an answer may take twice that, since the time for the next runs from when one has
 * come.
 */
typedef struct ColoDebt {
    unsigned asked, answered;   /* ALIVE messages; they may wrap around */
    unsigned due;               /* the answer waited for, as @asked was then */
    bool message;               /* a message is waited for instead */
    bool owed;                  /* one of both is, */
    int64_t since_ns;           /* from then on */
} ColoDebt;

/* ALIVE goes to S; its number is @asked afterwards. */
void colo_debt_ask(ColoDebt *d, int64_t now);

/* S says ALIVE; false: nobody had asked. */
bool colo_debt_answer(ColoDebt *d, int64_t now);

/* A message is waited for from now on; or it has come. */
void colo_debt_expect(ColoDebt *d, int64_t now);
void colo_debt_settle(ColoDebt *d, int64_t now);

/* Whether S has answered the ALIVE with that number */
bool colo_debt_answered(const ColoDebt *d, unsigned asked);

/* How long S may take, still; 0: it has taken too long; INT64_MAX: nothing owed */
int64_t colo_debt_left(const ColoDebt *d, int64_t now, int64_t timeout_ns);

#endif
