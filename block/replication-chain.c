/*
 * The secondary's chain of nodes: checked and taken when replication starts, given
 * back when all is merged
 *
 * Main loop, or with the BQL: the graph changes here, and nowhere else.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "sysemu/block-backend.h"
#include "block/replication-int.h"

/* Of overlay.limit, the map gets as much as it may need, and at most 1 / this */
#define MAP_SHARE   8

bool repl_secondary_open(BDRVReplicationState *s, Error **errp)
{
    ReplSecondary *sec = &s->sec;

    sec->pace = repl_pace_begin(s);
    /* It neither asks for a permission nor denies one */
    sec->anchor = blk_new(qemu_get_aio_context(), 0, BLK_PERM_ALL);
    return blk_insert_bs(sec->anchor, s->bs->file->bs, errp) >= 0 &&
           repl_budget_open(&sec->budget, errp);
}

static void weigh_anchor(ReplSecondary *sec)
{
    blk_unref(sec->anchor);
    sec->anchor = NULL;
}

static bool is_below(BlockDriverState *bs, BlockDriverState *top)
{
    BdrvChild *child;

    if (bs == top) {
        return true;
    }
    QLIST_FOREACH(child, &top->children, next) {
        if (is_below(bs, child->bs)) {
            return true;
        }
    }
    return false;
}

static BlockDriverState *find_top(BDRVReplicationState *s, Error **errp)
{
    const char *id = s->sec.top_id;
    BlockDriverState *top = bdrv_lookup_bs(id, id, NULL);

    if (!top) {
        error_setg(errp, "top-id=%s: there is no such drive or node; name the "
                   "drive that the guest uses", id);
    } else if (!bdrv_is_root_node(top) || !is_below(s->bs, top)) {
        error_setg(errp, "top-id=%s: '%s' is not below it; name the drive that "
                   "the guest uses", id, s->bs->node_name);
        top = NULL;
    }
    return top;
}

BlockDriverState *repl_secondary_disk(BDRVReplicationState *s)
{
    BlockDriverState *file = s->bs->file->bs, *hidden;

    if (s->sec.in_memory) {
        return file;
    }
    hidden = bdrv_cow_bs(file);
    return hidden ? bdrv_cow_bs(hidden) : NULL;
}

typedef struct Chain {
    BlockDriverState *active, *hidden, *parent, *top;
} Chain;

static bool check_known_length(BlockDriverState *disk, Error **errp)
{
    int64_t length = bdrv_getlength(disk);

    if (length < 0) {
        error_setg_errno(errp, -length, "the disk '%s' does not tell its size",
                         disk->node_name);
    }
    return length >= 0;
}

static bool check_length(BlockDriverState *bs, int64_t length,
                         const char *role, Error **errp)
{
    int64_t mine = bdrv_getlength(bs);

    if (mine != length) {
        error_setg(errp, "the %s image has %" PRId64 " bytes, the disk has %"
                   PRId64 ": make it of the disk's size with qemu-img create",
                   role, mine, length);
        return false;
    }
    return true;
}

/* Two would each take the other's writes for the primary's */
static bool check_free(BlockDriverState *parent, Error **errp)
{
    if (repl_hold_is(parent)) {
        error_setg(errp, "the disk '%s' is that of another replication node: give "
                   "each a disk of its own", bdrv_skip_filters(parent)->node_name);
        return false;
    }
    return true;
}

static bool find_chain(BDRVReplicationState *s, Chain *chain, Error **errp)
{
    BlockDriverState *file = s->bs->file->bs;
    int64_t length;

    chain->top = find_top(s, errp);
    if (!chain->top) {
        return false;
    }
    chain->parent = repl_secondary_disk(s);
    if (s->sec.in_memory) {
        return check_free(file, errp) && check_known_length(file, errp);
    }
    chain->active = file;
    chain->hidden = bdrv_cow_bs(file);
    if (!chain->parent) {
        error_setg(errp, "the %s image '%s' has no backing file: give "
                   "file.backing for the hidden image, and "
                   "file.backing.backing for the disk; or use overlay.limit",
                   chain->hidden ? "hidden" : "active",
                   (chain->hidden ?: file)->node_name);
        return false;
    }
    length = bdrv_getlength(chain->parent);
    return check_free(chain->parent, errp) &&
           check_known_length(chain->parent, errp) &&
           check_length(chain->active, length, "active", errp) &&
           check_length(chain->hidden, length, "hidden", errp);
}

static bool make_writable(BlockDriverState *bs, Error **errp)
{
    ERRP_GUARD();

    if (bdrv_is_read_only(bs) &&
        bdrv_reopen_set_read_only(bs, false, errp) < 0) {
        error_prepend(errp, "'%s' has to be written to: ", bs->node_name);
        return false;
    }
    return true;
}

static BdrvChild *attach(BDRVReplicationState *s, BlockDriverState *child,
                         const char *name, Error **errp)
{
    bdrv_ref(child);
    return bdrv_attach_child(s->bs, child, name, &child_of_bds,
                             BDRV_CHILD_DATA, errp);
}

static void detach(BDRVReplicationState *s, BdrvChild **child)
{
    if (*child) {
        bdrv_unref_child(s->bs, *child);
        *child = NULL;
    }
}

static void give_images_back(BDRVReplicationState *s, Chain *chain)
{
    bdrv_set_backing_hd(chain->hidden, chain->parent, NULL);
    bdrv_set_backing_hd(chain->active, chain->hidden, NULL);
    detach(s, &s->sec.hidden);
}

/*
 * The images become mere stores; false: nothing has changed.  The links go first: to
 * open the hidden image for writing drains what is below it, too, and would wait for
 * a flush of the disk (replication-pace.c).
 */
static bool take_images(BDRVReplicationState *s, Chain *chain, Error **errp)
{
    if (bdrv_set_backing_hd(chain->active, NULL, errp) < 0) {
        return false;
    }
    if (bdrv_set_backing_hd(chain->hidden, NULL, errp) >= 0 &&
        make_writable(chain->hidden, errp)) {
        s->sec.hidden = attach(s, chain->hidden, "hidden disk", errp);
    }
    if (!s->sec.hidden) {
        give_images_back(s, chain);
    }
    return s->sec.hidden;
}

static bool take_parent(BDRVReplicationState *s, Chain *chain, Error **errp)
{
    ReplSecondary *sec = &s->sec;

    sec->hold = repl_hold_insert(s, chain->parent, errp);
    if (!sec->hold) {
        return false;
    }
    sec->parent = attach(s, chain->parent, "secondary disk", errp);
    if (sec->parent && repl_hold_guard(s, true, errp)) {
        return true;
    }
    if (sec->parent) {
        repl_hold_guard(s, false, NULL);
        detach(s, &sec->parent);
    }
    repl_hold_remove(sec->hold);
    sec->hold = NULL;
    return false;
}

static void make_stores(BDRVReplicationState *s)
{
    ReplSecondary *sec = &s->sec;
    int64_t length = bdrv_getlength(sec->parent->bs);
    uint64_t clusters = DIV_ROUND_UP(length, REPL_CLUSTER);

    if (sec->in_memory) {
        /* The map has its share of the RAM, whatever the stores may need */
        clusters = MIN(clusters, sec->budget.limit / MAP_SHARE / REPL_MAP_BYTES);
        sec->budget.used = clusters * REPL_MAP_BYTES;
    }
    sec->map = repl_map_new(length, MAX(clusters, 1));
    if (sec->in_memory) {
        sec->store[REPL_OWN] = repl_store_new_memory(&sec->budget,
                                                     REPL_OWN);
        sec->store[REPL_HELD] = repl_store_new_memory(&sec->budget,
                                                      REPL_HELD);
    } else {
        sec->store[REPL_OWN] = repl_store_new_image(s->bs->file);
        sec->store[REPL_HELD] = repl_store_new_image(sec->hidden);
    }
}

void repl_secondary_start(BDRVReplicationState *s, Error **errp)
{
    Chain chain = { };
    bool ok;

    if (!repl_pace_check(s->sec.pace, errp) || !find_chain(s, &chain, errp) ||
        !make_writable(chain.parent, errp)) {
        return;
    }
    /* Nothing but the chain may hold these for a moment */
    bdrv_ref(chain.parent);
    if (chain.hidden) {
        bdrv_ref(chain.hidden);
    }
    ok = !chain.hidden || take_images(s, &chain, errp);
    if (ok && !take_parent(s, &chain, errp)) {
        if (chain.hidden) {
            give_images_back(s, &chain);
        }
        ok = false;
    }
    bdrv_unref(chain.hidden);
    bdrv_unref(chain.parent);
    if (ok) {
        weigh_anchor(&s->sec);      /* the filter has one */
        make_stores(s);
        s->sec.top = chain.top;
    }
}

/*
 * Something put in between, a snapshot for example, would keep what the guest
 * wrote in the last epoch.  And a flush that was under way at the start may have failed.
 */
void repl_secondary_prepare(BDRVReplicationState *s, Error **errp)
{
    BlockDriverState *top = find_top(s, errp);

    if (top && repl_pace_check(s->sec.pace, errp) && top != s->sec.top) {
        error_setg(errp, "top-id=%s: what the guest uses is another node now; "
                   "a replicated disk takes no snapshots", s->sec.top_id);
    }
}

/*
 * What @bs holds is worthless, and nobody else has it: closing it must not make
 * the main loop wait until the last of it is on the disk.
 */
static void dont_flush(BlockDriverState *bs)
{
    BdrvChild *child;

    if (bs->refcnt > 1) {
        return;
    }
    bs->open_flags |= BDRV_O_NO_FLUSH;
    QLIST_FOREACH(child, &bs->children, next) {
        dont_flush(child->bs);
    }
}

static void release_images(void *opaque)
{
    BlockDriverState *bs = opaque;
    BDRVReplicationState *s = bs->opaque;
    ReplSecondary *sec = &s->sec;
    AioContext *ctx = bdrv_get_aio_context(bs);

    aio_context_acquire(ctx);
    /*
     * While everything is drained the graph must not change: drained sections
     * would not be balanced, and the disk stand still for ever.
     */
    if (qatomic_read(&bs->quiesce_counter)) {
        sec->release_later = true;
        goto out;
    }
    /* A read may still be on its way from a store */
    bdrv_drained_begin(bs);
    if (sec->hidden) {
        dont_flush(bs->file->bs);
        dont_flush(sec->hidden->bs);
        if (bdrv_replace_child_bs(bs->file, sec->parent->bs, NULL) >= 0) {
            detach(s, &sec->hidden);
        }
    }
    repl_store_free(sec->store[REPL_OWN]);
    repl_store_free(sec->store[REPL_HELD]);
    sec->store[REPL_OWN] = sec->store[REPL_HELD] = NULL;
    repl_budget_close(&sec->budget);
    bdrv_drained_end(bs);
out:
    bdrv_unref(bs);
    aio_context_release(ctx);
}

void repl_secondary_merged(BDRVReplicationState *s)
{
    /* While the node is being closed this is of no use */
    if (s->bs->refcnt) {
        bdrv_ref(s->bs);
        aio_bh_schedule_oneshot(qemu_get_aio_context(), release_images, s->bs);
    }
}
