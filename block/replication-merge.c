/*
 * After a failover: the secondary's overlays go down into its disk
 *
 * The guest runs meanwhile and sees what it saw before.  What it writes goes to
 * the disk at once, and voids what the overlays had there; so they only shrink.
 * A cluster is merged while no write to it is under way, and a write waits for
 * the merge of its cluster.
 *
 * What is in the overlays is not durable, and nothing on stable storage tells
 * what is where in them.  So a flush of the guest merges what is left, at the
 * full speed of the disk: up to WORKERS clusters at a time, in ascending order.
 * No other record would cost less. Whatever is in RAM or in a page cache has to
 * be written once, and the disk to be flushed in any case, with what the primary
 * has written in this epoch and the merge replaces. And what is merged needs no
 * recovery that could be forgotten.  The primary bounds how much there is
 * (EPOCH_BYTES).  Reads and writes of the guest go on meanwhile.
 *
 * An error is told by an event, and the merge tried again after a second.
 *
 * The background coroutine counts as a request in flight of the node.  It ends
 * when a drained section begins, and is begun anew afterwards, possibly in
 * another AioContext.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "qapi/qapi-events-colo-disk.h"
#include "block/replication-int.h"

#define RETRY_NS    NANOSECONDS_PER_SECOND
#define WORKERS     16

static int64_t cluster_bytes(BDRVReplicationState *s, int64_t offset)
{
    return MIN(REPL_CLUSTER,
               s->bs->total_sectors * BDRV_SECTOR_SIZE - offset);
}

static int coroutine_fn merge_extent(BDRVReplicationState *s,
                                     const ReplExtent *e, int64_t offset,
                                     void *buffer)
{
    ReplSecondary *sec = &s->sec;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buffer, e->bytes);
    int ret = 0;

    switch (e->kind) {
    case REPL_DATA_PARENT:
        return 0;
    case REPL_DATA_ZERO:
        ret = bdrv_co_pwrite_zeroes(sec->parent, offset, e->bytes, 0);
        break;
    case REPL_DATA_STORE:
        ret = repl_store_read(sec->store[e->store], e->slot,
                              offset % REPL_CLUSTER, e->bytes, &qiov, 0);
        if (ret >= 0) {
            ret = bdrv_co_pwritev(sec->parent, offset, e->bytes, &qiov, 0);
        }
        break;
    }
    if (ret >= 0) {
        sec->merged_bytes += e->bytes;
    }
    return ret;
}

/* Returns bytes looked at, or -errno */
static int64_t coroutine_fn merge_one(BDRVReplicationState *s, int64_t offset)
{
    ReplSecondary *sec = &s->sec;
    int64_t bytes = cluster_bytes(s, offset), done;
    void *buffer = qemu_try_blockalign(s->bs, REPL_CLUSTER);
    BlockReq req;
    int ret = 0;

    if (!buffer) {
        return -ENOMEM;
    }
    reqlist_wait_all(&sec->merges, offset, bytes, NULL);
    reqlist_init_req(&sec->merges, &req, offset, bytes);
    for (done = 0; done < bytes && ret >= 0; ) {
        ReplExtent e = repl_map_view(sec->map, offset + done, bytes - done);

        ret = merge_extent(s, &e, offset + done, buffer);
        done += e.bytes;
    }
    if (ret >= 0) {
        repl_map_clear(sec->map, offset, bytes);
    }
    reqlist_remove_req(&req);
    qemu_vfree(buffer);
    return ret < 0 ? ret : bytes;
}

static void merge_failed(BDRVReplicationState *s, int ret)
{
    if (repl_event(s->role, &s->stage, REPL_MERGE_FAILED, NULL) == REPL_DO) {
        g_autofree char *text =
            g_strdup_printf("merging the overlays of '%s' into the disk: %s; "
                            "it is tried again, make room there",
                            s->bs->node_name, strerror(-ret));

        qapi_event_send_replication_merge(s->bs->node_name,
                                          s->sec.merged_bytes, true, text);
    }
}

static void merge_done(BDRVReplicationState *s)
{
    if (repl_event(s->role, &s->stage, REPL_MERGED, NULL) == REPL_DO) {
        qapi_event_send_replication_merge(s->bs->node_name,
                                          s->sec.merged_bytes, false, NULL);
        repl_secondary_merged(s);
    }
}

typedef struct Batch {
    BDRVReplicationState *s;
    GArray *clusters;
    unsigned next;              /* of @clusters, nobody has begun it */
    unsigned workers;           /* not at their end yet */
    Coroutine *waiter;          /* waits for these; NULL: not yet */
    int ret;                    /* the first error */
} Batch;

static void coroutine_fn batch_entry(void *opaque)
{
    Batch *b = opaque;

    while (b->ret == 0 && b->next < b->clusters->len) {
        int64_t ret = merge_one(b->s, g_array_index(b->clusters, int64_t,
                                                    b->next++));

        if (ret < 0 && b->ret == 0) {
            b->ret = ret;
        }
    }
    if (!--b->workers && b->waiter) {
        aio_co_wake(b->waiter);
    }
}

/* The caller counts as a request in flight, and with it the workers */
static int coroutine_fn merge_side_by_side(BDRVReplicationState *s)
{
    Batch b = { .s = s, .clusters = repl_map_clusters(s->sec.map) };
    int i;

    b.workers = WORKERS;
    for (i = 0; i < WORKERS; i++) {
        qemu_coroutine_enter(qemu_coroutine_create(batch_entry, &b));
    }
    while (b.workers) {
        b.waiter = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
    g_array_free(b.clusters, true);
    return b.ret;
}

int coroutine_fn repl_merge_all(BDRVReplicationState *s)
{
    int ret = 0;

    /* A cluster leaves the map when it is written: then nothing is under way */
    while (ret == 0 && !repl_map_is_empty(s->sec.map)) {
        ret = merge_side_by_side(s);
    }
    if (ret == 0) {
        ret = bdrv_co_flush(s->sec.parent->bs);
    }
    if (ret == 0) {
        merge_done(s);
    } else {
        merge_failed(s, ret);
    }
    return ret;
}

static bool merging(BDRVReplicationState *s)
{
    return s->stage == REPL_MERGING || s->stage == REPL_STUCK;
}

static void coroutine_fn merger_sleep(ReplSecondary *sec, int64_t ns)
{
    if (ns > 0 && !sec->drains) {
        qemu_co_sleep_ns_wakeable(&sec->merger_sleep, QEMU_CLOCK_REALTIME, ns);
    }
}

/* In the background: one cluster at a time, the guest comes first */
static int coroutine_fn merge_slowly(BDRVReplicationState *s)
{
    ReplSecondary *sec = &s->sec;
    GArray *clusters = repl_map_clusters(sec->map);
    int64_t ret = 0;
    unsigned i;

    for (i = 0; i < clusters->len && ret >= 0; i++) {
        if (sec->drains || repl_map_is_empty(sec->map)) {
            break;
        }
        ret = merge_one(s, g_array_index(clusters, int64_t, i));
        if (ret > 0) {
            merger_sleep(sec, ratelimit_calculate_delay(&sec->limit, ret));
        }
    }
    g_array_free(clusters, true);
    return MIN(ret, 0);
}

static void coroutine_fn merger_entry(void *opaque)
{
    BDRVReplicationState *s = opaque;
    ReplSecondary *sec = &s->sec;
    BlockDriverState *bs = s->bs;

    while (!sec->drains && merging(s)) {
        int ret = merge_slowly(s);

        if (ret == 0 && repl_map_is_empty(sec->map)) {
            ret = repl_merge_all(s);
        }
        if (ret < 0) {
            merge_failed(s, ret);
            merger_sleep(sec, RETRY_NS);
            repl_event(s->role, &s->stage, REPL_MERGE_AGAIN, NULL);
        }
    }
    sec->merger = NULL;
    bdrv_dec_in_flight(bs);
}

void repl_merge_start(BDRVReplicationState *s)
{
    ReplSecondary *sec = &s->sec;

    if (sec->merger || sec->drains || !merging(s)) {
        return;
    }
    ratelimit_set_speed(&sec->limit, sec->speed, NANOSECONDS_PER_SECOND / 10);
    bdrv_inc_in_flight(s->bs);
    sec->merger = qemu_coroutine_create(merger_entry, s);
    aio_co_schedule(bdrv_get_aio_context(s->bs), sec->merger);
}

void coroutine_fn repl_merge_drain_begin(BDRVReplicationState *s)
{
    s->sec.drains++;
    qemu_co_sleep_wake(&s->sec.merger_sleep);
}

void coroutine_fn repl_merge_drain_end(BDRVReplicationState *s)
{
    s->sec.drains--;
    if (s->sec.release_later) {
        s->sec.release_later = false;
        repl_secondary_merged(s);
    }
    repl_merge_start(s);
}

int coroutine_fn repl_parent_write(BDRVReplicationState *s,
                                   ReplRequestType type, int64_t offset,
                                   int64_t bytes, QEMUIOVector *qiov,
                                   size_t qiov_offset, BdrvRequestFlags flags)
{
    BdrvChild *parent = s->sec.parent;

    switch (type) {
    case REPL_WRITE:
        return bdrv_co_pwritev_part(parent, offset, bytes, qiov, qiov_offset,
                                    flags);
    case REPL_ZEROES:
        return bdrv_co_pwrite_zeroes(parent, offset, bytes, flags);
    case REPL_DISCARD:
        return bdrv_co_pdiscard(parent, offset, bytes);
    default:
        return -EINVAL;
    }
}

int coroutine_fn repl_merge_write(BDRVReplicationState *s,
                                  ReplRequestType type, int64_t offset,
                                  int64_t bytes, QEMUIOVector *qiov,
                                  size_t qiov_offset, BdrvRequestFlags flags)
{
    ReplSecondary *sec = &s->sec;
    int64_t start = QEMU_ALIGN_DOWN(offset, REPL_CLUSTER);
    int64_t end = QEMU_ALIGN_UP(offset + bytes, REPL_CLUSTER);
    BlockReq req;
    int ret = 0;

    if (bytes) {
        reqlist_wait_all(&sec->merges, start, end - start, NULL);
        reqlist_init_req(&sec->merges, &req, start, end - start);
        ret = repl_parent_write(s, type, offset, bytes, qiov, qiov_offset,
                                flags);
        if (ret >= 0) {
            repl_map_clear(sec->map, offset, bytes);
        }
        reqlist_remove_req(&req);
    }
    /* Durable among what is not yet: after a crash this disk is of no use */
    if (ret >= 0 && flags & BDRV_REQ_FUA) {
        ret = repl_merge_all(s);
    }
    return ret;
}
