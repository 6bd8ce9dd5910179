/*
 * COLO: the thread that gives a cache its memory ahead of need
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * See colo-ram-reserve.h for what and why.
 */
#ifndef MIGRATION_COLO_RAM_AHEAD_H
#define MIGRATION_COLO_RAM_AHEAD_H

typedef struct ColoAhead ColoAhead;

/*
 * For @size bytes at @mem, which is anonymous memory of this process and stays
 * until colo_ahead_free().  What of it is in use already the thread finds out.
 * NULL, which is fine with the others: it is too little to bother.
 */
ColoAhead *colo_ahead_new(void *mem, size_t size);

/* Ends the thread, which may have to wait for one page of memory. */
void colo_ahead_free(ColoAhead *a);

/* @offset is about to be written.  One thread; cheap but for the first time */
void colo_ahead_use(ColoAhead *a, size_t offset);

#endif /* MIGRATION_COLO_RAM_AHEAD_H */
