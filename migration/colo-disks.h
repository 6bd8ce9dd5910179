/*
 * P: the guest's disks, and how they come to rest for a checkpoint
 *
 * Migration thread.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_DISKS_H
#define MIGRATION_COLO_DISKS_H

/*
 * P: what the guest's disks do at this instant.  Without the BQL, which it takes.
 */
typedef enum ColoDisksState {
    COLO_DISKS_REST,    /* nothing, or the guest does not run anyway */
    COLO_DISKS_BUSY,    /* what takes a page cache and a network its time */
    COLO_DISKS_FLUSH,   /* what takes a platter its time, or is much */
} ColoDisksState;
ColoDisksState colo_disks_state(void);

/*
 * P: wait until no disk request is in flight, then until the block layer has
 * come to rest.  Drops the BQL while it waits; false, with @errp set, after
 * @timeout_ms.
 */
bool colo_disks_drain(uint32_t timeout_ms, Error **errp);

#endif
