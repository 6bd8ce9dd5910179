/*
 * COLO: which part of a cache gets its memory ahead of need (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * A cache costs nothing where P's guest has not used its memory.  What that uses
 * for the first time needs memory on S as well, for which a checkpoint should
 * not have to wait.  So there is a reserve: chunks that have their memory,
 * though nothing has arrived for them.  They are those around the chunk that was
 * the last to be used for the first time, for guests take memory from one place,
 * and what remains of earlier such places.  Their number is bounded, and so is
 * what they cost; where nothing has ever been used there are none.
 *
 * The caller has a lock.
 */
#ifndef MIGRATION_COLO_RAM_RESERVE_H
#define MIGRATION_COLO_RAM_RESERVE_H

typedef struct ColoReserve {
    size_t chunks;
    size_t reach;               /* how far from the last one used */
    size_t max;                 /* so many in reserve at most */
    size_t spare;               /* so many there are */
    size_t at;                  /* the last one to be used */
    bool begun;                 /* there is such a one */
    unsigned long *mapped;      /* have memory: used, or in reserve */
    unsigned long *used;
} ColoReserve;

void colo_reserve_init(ColoReserve *r, size_t chunks, size_t reach, size_t max);
void colo_reserve_destroy(ColoReserve *r);

/* Something arrives for @chunk.  True: for the first time */
bool colo_reserve_use(ColoReserve *r, size_t chunk);

/* The next chunk that is to get memory, in reserve from now on; .chunks: none */
size_t colo_reserve_next(ColoReserve *r);

#endif /* MIGRATION_COLO_RAM_RESERVE_H */
