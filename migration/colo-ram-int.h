/*
 * COLO: what the files of the RAM part share among themselves
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#ifndef MIGRATION_COLO_RAM_INT_H
#define MIGRATION_COLO_RAM_INT_H

#include "colo-ram.h"

/* As it is kept: written by the COLO thread, read by any */
extern ColoRamStats colo_ram_counters;

#define colo_ram_count(member, n) \
    qatomic_set_u64(&colo_ram_counters.member, colo_ram_counters.member + (n))

/*
 * RAM is that of the checkpoint, on whichever side: count it, and if somebody
 * has asked for its hash, take it.  COLO thread, guest stopped.
 */
void colo_ram_checkpoint_done(void);

/*
 * Has the kernel provided any of @size bytes at @mem, anonymous memory of this
 * process, at most a few MiB?  Any thread
 */
bool colo_ram_is_used(const void *mem, size_t size);

#endif /* MIGRATION_COLO_RAM_INT_H */
