/*
 * A run of the secondary's disk into one layer of its overlays
 *
 * Each request to a store costs a way to a thread and back, however small it is.
 * Slots are handed out in ascending order, so that clusters which are new and lie
 * side by side on the disk do so in the store, too: these are one request.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/replication-int.h"

#define RUN_BYTES   (16 * REPL_CLUSTER)     /* at most; the spill file copies it */

/*
 * The slot for @offset, and how many of @bytes have theirs behind each other from
 * there; or -ENOSPC.  A slot that is given and not used then is used later.
 */
static int64_t find_run(ReplSecondary *sec, ReplStoreId id, int64_t offset,
                        int64_t *bytes)
{
    uint64_t slots = repl_store_slots(sec->store[id]);
    int64_t first = repl_map_slot(sec->map, id, offset, slots);
    int64_t max = MIN(*bytes, RUN_BYTES);
    int64_t next = first;

    for (*bytes = repl_in_cluster(offset, max); first >= 0 && *bytes < max;
         *bytes += repl_in_cluster(offset + *bytes, max - *bytes)) {
        if (repl_map_slot(sec->map, id, offset + *bytes, slots) != ++next) {
            break;
        }
    }
    return first;
}

static void set_run(ReplSecondary *sec, ReplStoreId id, int64_t offset,
                    int64_t bytes)
{
    while (bytes) {
        int64_t n = repl_in_cluster(offset, bytes);

        repl_map_set(sec->map, id, false, offset, n);
        offset += n;
        bytes -= n;
    }
}

int coroutine_fn repl_overlay_write(ReplSecondary *sec, ReplStoreId id,
                                    int64_t offset, int64_t bytes,
                                    QEMUIOVector *qiov, size_t qiov_offset)
{
    while (bytes) {
        int64_t n = bytes;
        int64_t slot = find_run(sec, id, offset, &n);
        int ret;

        if (slot < 0) {
            return slot;
        }
        ret = repl_store_write(sec->store[id], slot, offset % REPL_CLUSTER, n,
                               qiov, qiov_offset);
        if (ret < 0) {
            return ret;
        }
        set_run(sec, id, offset, n);
        offset += n;
        qiov_offset += n;
        bytes -= n;
    }
    return 0;
}
