/*
 * P: the guest's disks, and how they come to rest for a checkpoint
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "sysemu/runstate.h"
#include "colo-disks.h"
#include "colo-jobs.h"
#include "colo-sleep.h"

/* How long to leave the main loop alone with what it has to do */
#define NAP_US 50

/* The first disk that has requests in flight, or NULL.  With the BQL. */
static BlockDriverState *busy_disk(void)
{
    BlockDriverState *bs = NULL;

    while ((bs = bdrv_next_node(bs)) && !qatomic_read(&bs->in_flight)) {
        /* Look on */
    }
    return bs;
}

/* Only a hint: whoever flushes may be in the thread of another disk */
static bool flushes_in_flight(void)
{
    BlockDriverState *bs = NULL;

    while ((bs = bdrv_next_node(bs))) {
        if (qatomic_read(&bs->active_flush_req)) {
            return true;
        }
    }
    return false;
}

ColoDisksState colo_disks_state(void)
{
    ColoDisksState state;

    qemu_mutex_lock_iothread();
    if (!runstate_is_running() || colo_sleep_is_ending() || !busy_disk()) {
        state = COLO_DISKS_REST;
    } else if (flushes_in_flight() || !replication_is_short_all()) {
        state = COLO_DISKS_FLUSH;
    } else {
        state = COLO_DISKS_BUSY;
    }
    qemu_mutex_unlock_iothread();
    return state;
}

bool colo_disks_drain(uint32_t timeout_ms, Error **errp)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + timeout_ms;
    BlockDriverState *bs;

    /*
     * One of them may be at a peer that does not answer: that is waited for
     * with the main loop running and with a bound.
     */
    while ((bs = busy_disk())) {
        if (qemu_clock_get_ms(QEMU_CLOCK_REALTIME) > end) {
            error_setg(errp, "a request of the disk '%s' was not done within %u ms",
                       bdrv_get_node_name(bs), timeout_ms);
            return false;
        }
        /* One may have begun only now */
        colo_jobs_pause();
        qemu_mutex_unlock_iothread();
        g_usleep(NAP_US);
        qemu_mutex_lock_iothread();
    }
    /* What remains is local: bottom halves, and devices that retry */
    bdrv_drain_all();
    return true;
}
