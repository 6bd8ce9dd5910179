/*
 * The number of the current COLO epoch
 *
 * The engine (migration/colo*) counts epochs and tells S the number of each
 * with the checkpoint that begins it.  The network filters put it into the
 * markers which they send at a checkpoint, so that the receiver can tell
 * packets of the old epoch from those of the new one.  They begin with 1, the
 * epoch before a pair's first checkpoint: it is marked like the others, lest
 * what is still on its way at that checkpoint counts for the next epoch.
 *
 * 0: no epoch is known, as with an engine that does not number them; then no
 * markers are sent, and streams are handled as if there were none.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_EPOCH_H
#define NET_COLO_EPOCH_H

/*
 * The engine calls this on both sides with both guests stopped, before it
 * notifies compares and filters of COLO_EVENT_CHECKPOINT: @epoch is the one
 * that begins now.  With 0 when COLO ends.  Any thread.
 */
void colo_epoch_set(uint64_t epoch);

/* Any thread. */
uint64_t colo_epoch_get(void);

#endif
