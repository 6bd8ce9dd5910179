/*
 * COLO: what TCG has translated from the secondary's memory
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_RAM_CODE_H
#define MIGRATION_COLO_RAM_CODE_H

#include "exec/cpu-common.h"

#define COLO_CODE_DROPPED_MAX (32 * 1024 * 1024)        /* bytes */

/*
 * TCG gives the room of code that was dropped to other code only when it begins anew
 * with all of it, which it does when its buffer of up to 1 GiB is full.  Whether it is
 * time to begin anew: of @blocks of code in @bytes so many are @dropped that they take
 * more room than COLO_CODE_DROPPED_MAX, and more than what is of use.
 */
static inline bool colo_code_is_stale(uint64_t bytes, uint64_t blocks,
                                      uint64_t dropped)
{
    uint64_t room = blocks ? bytes / blocks * dropped : 0;

    return room > COLO_CODE_DROPPED_MAX && room > bytes / 2;
}

/* Whether code comes from this RAM.  Any thread, guest stopped */
bool colo_code_is_from(ram_addr_t start, ram_addr_t size);

/*
 * Make a page from which code comes equal to the cache, and drop the code from what
 * has changed.  Any thread, guest stopped
 */
void colo_code_write_back(RAMBlock *rb, ram_addr_t offset);

/* All code is that of the RAM from here on, or may not be.  The COLO thread */
void colo_code_set_current(bool current);

#endif
