/*
 * Whoever replicates a disk, and whoever runs the checkpoints
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qapi/error.h"
#include "block/replication.h"

/* Protected by the BQL */
static QLIST_HEAD(, ReplicationState) states =
    QLIST_HEAD_INITIALIZER(states);
/* Written under the BQL, read by any thread */
static uint64_t epoch;

ReplicationState *replication_new(void *opaque, ReplicationOps *ops)
{
    ReplicationState *rs = g_new(ReplicationState, 1);

    assert(ops);
    rs->opaque = opaque;
    rs->ops = ops;
    QLIST_INSERT_HEAD(&states, rs, node);
    return rs;
}

void replication_remove(ReplicationState *rs)
{
    if (rs) {
        QLIST_REMOVE(rs, node);
        g_free(rs);
    }
}

/* Those before @end have started in vain */
static void undo_start(ReplicationState *end)
{
    ReplicationState *rs;

    for (rs = QLIST_FIRST(&states); rs != end; rs = QLIST_NEXT(rs, node)) {
        if (rs->ops->stop) {
            rs->ops->stop(rs, false, NULL);
        }
    }
}

void replication_start_all(ReplicationMode mode, Error **errp)
{
    ERRP_GUARD();
    ReplicationState *rs;

    QLIST_FOREACH(rs, &states, node) {
        if (rs->ops->start) {
            rs->ops->start(rs, mode, errp);
        }
        if (*errp) {
            undo_start(rs);
            return;
        }
    }
    qatomic_set_u64(&epoch, 1);
}

void replication_do_checkpoint_all(Error **errp)
{
    ERRP_GUARD();
    ReplicationState *rs;

    QLIST_FOREACH(rs, &states, node) {
        if (rs->ops->prepare) {
            rs->ops->prepare(rs, errp);
        }
        if (*errp) {
            return;
        }
    }
    QLIST_FOREACH(rs, &states, node) {
        if (rs->ops->checkpoint) {
            rs->ops->checkpoint(rs, errp);
        }
        if (*errp) {
            return;
        }
    }
    qatomic_set_u64(&epoch, epoch + 1);
}

void replication_get_error_all(Error **errp)
{
    ERRP_GUARD();
    ReplicationState *rs;

    QLIST_FOREACH(rs, &states, node) {
        if (rs->ops->get_error) {
            rs->ops->get_error(rs, errp);
        }
        if (*errp) {
            return;
        }
    }
}

void replication_defer_flushes_all(bool deferring)
{
    ReplicationState *rs;

    QLIST_FOREACH(rs, &states, node) {
        if (rs->ops->defer_flushes) {
            rs->ops->defer_flushes(rs, deferring);
        }
    }
}

bool replication_is_short_all(void)
{
    ReplicationState *rs;

    QLIST_FOREACH(rs, &states, node) {
        if (rs->ops->is_short && !rs->ops->is_short(rs)) {
            return false;
        }
    }
    return true;
}

void replication_stop_all(bool failover, Error **errp)
{
    ReplicationState *rs, *next;

    QLIST_FOREACH_SAFE(rs, &states, node, next) {
        Error *err = NULL;

        if (rs->ops->stop) {
            rs->ops->stop(rs, failover, &err);
        }
        /* The first one stays, the others are of the same kind */
        error_propagate(errp, err);
        errp = err ? NULL : errp;
    }
    qatomic_set_u64(&epoch, 0);
}

uint64_t replication_epoch(void)
{
    return qatomic_read_u64(&epoch);
}

static void (*asked)(void);

void replication_set_asked(void (*func)(void))
{
    asked = func;
}

void replication_ask_for_checkpoint(void)
{
    if (asked) {
        asked();
    }
}
