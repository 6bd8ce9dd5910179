/*
 * COLO: the way to a failover
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "block/aio.h"
#include "migration/failover.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-migration.h"
#include "qapi/qapi-events-colo.h"
#include "qapi/qmp/qerror.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "colo-internal.h"
#include "trace.h"

static int failover_state;      /* FailoverStatus */

static const bool ways[FAILOVER_STATUS__MAX][FAILOVER_STATUS__MAX] = {
    [FAILOVER_STATUS_NONE][FAILOVER_STATUS_REQUIRE] = true,
    [FAILOVER_STATUS_REQUIRE][FAILOVER_STATUS_ACTIVE] = true,
    [FAILOVER_STATUS_ACTIVE][FAILOVER_STATUS_COMPLETED] = true,
    [FAILOVER_STATUS_ACTIVE][FAILOVER_STATUS_RELAUNCH] = true,
    [FAILOVER_STATUS_RELAUNCH][FAILOVER_STATUS_NONE] = true,
};

void failover_init_state(void)
{
    qatomic_set(&failover_state, FAILOVER_STATUS_NONE);
}

FailoverStatus failover_get_state(void)
{
    return qatomic_read(&failover_state);
}

FailoverStatus failover_set_state(FailoverStatus old_state,
                                  FailoverStatus new_state)
{
    FailoverStatus old = failover_get_state();

    if (old == old_state && ways[old][new_state]) {
        old = qatomic_cmpxchg(&failover_state, old_state, new_state);
    } else if (old == old_state) {
        old = FAILOVER_STATUS__MAX;
    }
    if (old == old_state) {
        trace_colo_failover_set_state(FailoverStatus_str(new_state));
    }
    return old;
}

/* Main loop */
static void failover_bh(void *opaque)
{
    if (failover_set_state(FAILOVER_STATUS_REQUIRE, FAILOVER_STATUS_ACTIVE) !=
        FAILOVER_STATUS_REQUIRE) {
        return;         /* COLO has ended, or even started anew, in between */
    }
    if (get_colo_mode() == COLO_MODE_PRIMARY) {
        colo_primary_fail_over();
    } else {
        colo_secondary_fail_over();
    }
}

bool failover_request_active(Error **errp)
{
    if (failover_set_state(FAILOVER_STATUS_NONE, FAILOVER_STATUS_REQUIRE) !=
        FAILOVER_STATUS_NONE) {
        error_setg(errp, "COLO failover is already activated");
        return false;
    }
    /*
     * Not in the main AioContext: the engine's threads poll that one when they
     * drain the disks, and must not run this, which waits for them.
     */
    aio_bh_schedule_oneshot(iohandler_get_aio_context(), failover_bh, NULL);
    return true;
}

void qmp_x_colo_lost_heartbeat(Error **errp)
{
    ERRP_GUARD();
    COLOMode mode = get_colo_mode();

    if (mode == COLO_MODE_NONE) {
        error_setg(errp, QERR_FEATURE_DISABLED, "colo");
    } else if (colo_secondary_is_fit(errp)) {
        failover_request_active(errp);
    }
    if (*errp) {
        /* Others than who has asked rely on it, too */
        qapi_event_send_colo_failover_refused(mode, error_get_pretty(*errp));
    }
}
