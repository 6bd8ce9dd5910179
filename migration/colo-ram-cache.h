/*
 * COLO: the secondary's cache, as the files that use it share it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * RAMBlock.colo_cache is the cache, and RAMBlock.bmap has a bit for each page
 * in which the guest's RAM may differ from it: received from P, or written by
 * S since the last write-back.  Both belong to the COLO thread (before COLO:
 * to the migration's coroutine); S's vCPUs and devices write to the dirty log
 * of their own, from which bits are taken atomically.
 *
 *     colo-ram.c              makes it and frees it
 *     colo-ram-receive.c      what arrives from P goes there
 *     colo-ram-write-back.c   and from there to the guest's RAM
 */
#ifndef MIGRATION_COLO_RAM_CACHE_H
#define MIGRATION_COLO_RAM_CACHE_H

#include "exec/ramblock.h"
#include "colo-ram-ahead.h"
#include "colo-ram-workers.h"

/* One block of RAM that both sides have */
typedef struct ColoCacheBlock {
    RAMBlock *rb;               /* with a reference on its region */
    ram_addr_t length;          /* on P, for all of COLO */
    ColoAhead *ahead;           /* of the cache */
} ColoCacheBlock;

typedef struct ColoRamCache {
    bool allocated;             /* BQL */
    bool cache_only;            /* atomic; set once, see colo-ram.h */
    GArray *blocks;             /* of ColoCacheBlock, from the start of COLO */
    uint64_t received;          /* pages whose bits the COLO thread has set */
    uint64_t diverged;          /* and those that the dirty log added */
    int64_t us, bql_us;         /* write-back under way */
    ColoWorkers *workers;
} ColoRamCache;

extern ColoRamCache colo_ram_cache;

static inline ColoCacheBlock *colo_ram_cache_block(unsigned i)
{
    return &g_array_index(colo_ram_cache.blocks, ColoCacheBlock, i);
}

#endif /* MIGRATION_COLO_RAM_CACHE_H */
