/*
 * The secondary's part: what its guest sees, commits, and the failover
 *
 *     guest                      primary, by NBD
 *       |                              |
 *     replication ----.           replication-hold
 *       |   |    own  |  held          |
 *       |   |   store |  store <-------+ first touch
 *       |   |         |                |
 *       '---+---------+----------->  parent
 *
 * While replication runs, the images active and hidden are nothing but the two
 * stores: their links as backing files are cut, and what they have at which
 * place means something only together with the map in RAM.  A commit forgets
 * the map.  Nothing of this is flushed: had this host to start again, it would
 * take part as a fresh secondary.
 *
 * A failover first shuts out whoever writes to the parent from outside; then
 * what the guest sees becomes the disk (replication-merge.c).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "sysemu/block-backend.h"
#include "block/replication-int.h"

/* @offset, @bytes were the parent's when it was read.  Are they still? */
static bool still_parent(ReplSecondary *sec, int64_t offset, int64_t bytes)
{
    ReplExtent e = repl_map_view(sec->map, offset, bytes);

    return e.kind == REPL_DATA_PARENT && e.bytes == bytes;
}

/* Returns 0, -errno, or 1 when it has to be done again */
static int coroutine_fn read_extent(ReplSecondary *sec, const ReplExtent *e,
                                    int64_t offset, QEMUIOVector *qiov,
                                    size_t qiov_offset)
{
    int ret;

    switch (e->kind) {
    case REPL_DATA_ZERO:
        qemu_iovec_memset(qiov, qiov_offset, 0, e->bytes);
        return 0;
    case REPL_DATA_STORE:
        return repl_store_read(sec->store[e->store], e->slot,
                               offset % REPL_CLUSTER, e->bytes, qiov,
                               qiov_offset);
    default:
        ret = bdrv_co_preadv_part(sec->parent, offset, e->bytes, qiov,
                                  qiov_offset, 0);
        return still_parent(sec, offset, e->bytes) ? MIN(ret, 0) : 1;
    }
}

int coroutine_fn repl_secondary_read(BDRVReplicationState *s, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     size_t qiov_offset)
{
    if (s->stage == REPL_IDLE) {
        return -EIO;
    }
    while (bytes) {
        ReplExtent e = repl_map_view(s->sec.map, offset, bytes);
        int ret = read_extent(&s->sec, &e, offset, qiov, qiov_offset);

        if (ret < 0) {
            return ret;
        }
        if (ret == 0) {
            offset += e.bytes;
            qiov_offset += e.bytes;
            bytes -= e.bytes;
        }
    }
    return 0;
}

int coroutine_fn repl_secondary_write(BDRVReplicationState *s,
                                      ReplRequestType type, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      size_t qiov_offset,
                                      BdrvRequestFlags flags)
{
    switch (s->stage) {
    case REPL_RUNNING:
        switch (type) {
        case REPL_WRITE:
            return repl_overlay_write(&s->sec, REPL_OWN, offset, bytes, qiov,
                                      qiov_offset);
        case REPL_ZEROES:
            return repl_map_set(s->sec.map, REPL_OWN, true, offset, bytes);
        default:
            return 0;   /* a discard may be ignored */
        }
    case REPL_MERGING:
    case REPL_STUCK:
        return repl_merge_write(s, type, offset, bytes, qiov, qiov_offset,
                                flags);
    case REPL_DONE:
        return repl_parent_write(s, type, offset, bytes, qiov, qiov_offset,
                                 flags);
    default:
        return -EIO;
    }
}

int coroutine_fn repl_secondary_flush(BDRVReplicationState *s)
{
    switch (s->stage) {
    case REPL_MERGING:
    case REPL_STUCK:
        return repl_merge_all(s);
    case REPL_DONE:
        return bdrv_co_flush(s->sec.parent->bs);
    default:
        return 0;       /* the overlays are void if this host goes down */
    }
}

void repl_secondary_quiesce(BDRVReplicationState *s)
{
    bdrv_drained_begin(s->bs);
    if (s->sec.hold) {
        bdrv_drained_begin(s->sec.hold);
    }
}

void repl_secondary_resume(BDRVReplicationState *s)
{
    if (s->sec.hold) {
        bdrv_drained_end(s->sec.hold);
    }
    bdrv_drained_end(s->bs);
}

void repl_secondary_checkpoint(BDRVReplicationState *s)
{
    ReplSecondary *sec = &s->sec;
    int64_t begin = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    repl_secondary_quiesce(s);
    repl_map_reset(sec->map);
    repl_secondary_resume(s);

    sec->checkpoints++;
    sec->empty_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - begin;
    sec->empty_ns_max = MAX(sec->empty_ns_max, sec->empty_ns);
}

void repl_secondary_stop(BDRVReplicationState *s, bool failover)
{
    repl_hold_guard(s, false, NULL);
    s->sec.fenced = failover;
    if (!failover) {
        repl_map_reset(s->sec.map);
    }
}

void repl_secondary_close(BDRVReplicationState *s)
{
    ReplSecondary *sec = &s->sec;
    const ReplMapStats *map = sec->map ? repl_map_stats(sec->map) : NULL;

    /* bdrv_close() has flushed, hence merged, where that was possible */
    if (map && map->clusters && s->stage != REPL_RUNNING) {
        error_report("'%s' is closed with %" PRIu64 " bytes that could not be "
                     "merged into the disk: they are lost", s->bs->node_name,
                     map->bytes[REPL_OWN] + map->bytes[REPL_HELD]);
    }
    if (sec->hold) {
        repl_hold_guard(s, false, NULL);
        repl_hold_remove(sec->hold);
        sec->hold = NULL;
    }
    repl_pace_end(sec->pace);
    blk_unref(sec->anchor);
    repl_store_free(sec->store[REPL_OWN]);
    repl_store_free(sec->store[REPL_HELD]);
    repl_budget_close(&sec->budget);
    repl_map_free(sec->map);
    ratelimit_destroy(&sec->limit);
    g_free(sec->budget.directory);
    g_free(sec->top_id);
}

void repl_secondary_stats(BDRVReplicationState *s,
                          BlockStatsSpecificReplication *stats)
{
    ReplSecondary *sec = &s->sec;
    const ReplMapStats *map;

    stats->copied_bytes = sec->copied_bytes;
    stats->copied_requests = sec->copied_requests;
    stats->checkpoints = sec->checkpoints;
    stats->empty_ns = sec->empty_ns;
    stats->empty_ns_max = sec->empty_ns_max;
    stats->merged_bytes = sec->merged_bytes;
    if (!sec->map) {
        return;
    }
    map = repl_map_stats(sec->map);
    stats->overlay_bytes_peak = map->bytes_peak;
    if (s->stage == REPL_RUNNING) {
        stats->own_bytes = map->bytes[REPL_OWN];
        stats->held_bytes = map->bytes[REPL_HELD];
    } else {
        stats->merge_bytes_left = map->bytes[REPL_OWN] + map->bytes[REPL_HELD];
    }
}
