/*
 * COLO: which dirty pages are not worth sending yet (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * A page sent while the guest runs is sent in vain when the guest writes to
 * it again at once.  A chunk (a word of the bitmap, BITS_PER_LONG pages) in
 * which that happened more often than not, soon after the pages were sent,
 * becomes hot, and is left out for some epochs, until it has cooled down and is
 * tried again.  What gets dirty again later is sent again: the passes of an
 * epoch are few, and what one of them does not send, the pause has to.
 *
 * One per RAM block.  Two bits and a byte's share per page, allocated once.
 * All of it belongs to the COLO thread.
 *
 *     colo_heat_synced(h, dirty, soon); the dirty log is in @dirty
 *         p = colo_heat_next(h, dirty, size, start);      send p, clear it
 *         ...
 *     colo_heat_sent(h, dirty);         before the next sync
 *     ... again, then the guest stops, and each page goes
 *         colo_heat_final(h, p);
 *     colo_heat_epoch(h, soon);
 */
#ifndef MIGRATION_COLO_RAM_HEAT_H
#define MIGRATION_COLO_RAM_HEAT_H

typedef struct ColoHeat {
    size_t words;
    unsigned long *listed;      /* dirty at the last sync, not yet accounted */
    unsigned long *sent;        /* since the last sync */
    uint8_t *heat;              /* per word: see colo-ram-heat.c */
} ColoHeat;

void colo_heat_init(ColoHeat *h, size_t pages);
void colo_heat_destroy(ColoHeat *h);

/*
 * After a sync; returns how many dirty pages are worth sending.  @soon: what has
 * been sent since the last one and is dirty again has become so at once.
 */
size_t colo_heat_synced(ColoHeat *h, const unsigned long *dirty, bool soon);

/* What was listed and is not dirty any more has been sent. */
void colo_heat_sent(ColoHeat *h, const unsigned long *dirty);

/* The first page from @start on that is dirty and worth sending, or @size */
size_t colo_heat_next(const ColoHeat *h, const unsigned long *dirty,
                      size_t size, size_t start);

/*
 * Page @page was dirty when the guest had stopped.  True if it would have
 * been worth sending in the background, had there been time.
 */
bool colo_heat_final(ColoHeat *h, size_t page);

/* The epoch is over: learn from it.  @soon: as above, of colo_heat_final() */
void colo_heat_epoch(ColoHeat *h, bool soon);

#endif /* MIGRATION_COLO_RAM_HEAT_H */
