/*
 * COLO: a few threads that are kept, to share out a loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 *     w = colo_workers_new(colo_workers_advised());
 *     colo_workers_run(w, fn, opaque);     fn fetches its share by itself
 *     colo_workers_free(w);
 */
#ifndef MIGRATION_COLO_RAM_WORKERS_H
#define MIGRATION_COLO_RAM_WORKERS_H

typedef struct ColoWorkers ColoWorkers;

/* For copying memory: one less than there are CPUs, within limits */
unsigned colo_workers_advised(void);

/* Start @count threads, which sleep; 0: everything is up to the caller */
ColoWorkers *colo_workers_new(unsigned count);

/*
 * Call @fn(@opaque) in the calling thread, and at the same time in each of the
 * others that wakes up before the caller is through; returns when all have
 * returned.  So one call must be enough for everything to be done.  One
 * caller at a time.  The threads hold no lock, and know RCU.
 */
void colo_workers_run(ColoWorkers *w, void (*fn)(void *opaque), void *opaque);

/* Ends the threads and waits for their end; NULL is fine. */
void colo_workers_free(ColoWorkers *w);

#endif /* MIGRATION_COLO_RAM_WORKERS_H */
