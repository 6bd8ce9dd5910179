/*
 * COLO: the entry points
 *
 * What migration.c and the monitors call.  The roles are in colo-primary.c
 * and colo-secondary.c.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "block/replication.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "migration/failover.h"
#include "net/colo-filter-check.h"
#include "net/filter.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-colo.h"
#include "qapi/qapi-commands-migration.h"
#include "qapi/qapi-events-colo.h"
#include "qapi/qmp/qerror.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "colo-channel.h"
#include "colo-internal.h"
#include "colo-stats.h"

#define COLO_PEER_TIMEOUT_MIN_MS 1000
#define COLO_PEER_TIMEOUT_MAX_MS (3600 * 1000)

/* The last role that was not "none" */
static COLOMode last_mode;          /* atomic */

bool migration_in_colo_state(void)
{
    return qatomic_read(&migrate_get_current()->state) == MIGRATION_STATUS_COLO;
}

bool migration_incoming_in_colo_state(void)
{
    MigrationIncomingState *mis = migration_incoming_get_current();

    return mis && qatomic_read(&mis->state) == MIGRATION_STATUS_COLO;
}

COLOMode get_colo_mode(void)
{
    return migration_in_colo_state() ? COLO_MODE_PRIMARY :
           migration_incoming_in_colo_state() ? COLO_MODE_SECONDARY :
                                                COLO_MODE_NONE;
}

void migrate_start_colo_process(MigrationState *s)
{
    qatomic_set(&last_mode, COLO_MODE_PRIMARY);
    qemu_mutex_unlock_iothread();
    colo_primary_run(s);
    qemu_mutex_lock_iothread();
    /* The guest is as it is to be; vm_start() might undo somebody's "stop". */
    s->vm_was_running = false;
    /* Not before: until here another migration would be one too many */
    migrate_set_state(&s->state, MIGRATION_STATUS_COLO,
                      MIGRATION_STATUS_COMPLETED);
}

void *colo_process_incoming_thread(void *opaque)
{
    rcu_register_thread();
    qatomic_set(&last_mode, COLO_MODE_SECONDARY);
    colo_secondary_run(opaque);
    rcu_unregister_thread();
    return NULL;
}

void colo_shutdown(void)
{
    colo_primary_shutdown();
    colo_secondary_shutdown();
}

void colo_report_loss(COLOMode mode, uint64_t epoch, const Error *error)
{
    error_report("COLO: %s in epoch %" PRIu64 ": %s",
                 mode == COLO_MODE_PRIMARY ? "secondary lost" : "primary lost",
                 epoch, error_get_pretty(error));
    qapi_event_send_colo_lost(mode, epoch, error_get_pretty(error));
}

bool colo_is_active(Error **errp)
{
    if (get_colo_mode() == COLO_MODE_NONE) {
        return false;
    }
    error_setg(errp, "COLO is active: neither a migration nor a snapshot is "
               "possible before x-colo-lost-heartbeat");
    return true;
}

bool colo_is_blocking(Error **errp)
{
    if (migrate_colo_enabled() && ram_block_discard_is_required()) {
        error_setg(errp, "x-colo can't be used with a device that discards RAM, "
                   "like virtio-mem");
        return true;
    }
    return colo_is_active(errp) ||
           (migrate_colo_enabled() && !colo_filters_check(errp));
}

/*
 * Whether migration.c is at work with what the capabilities were at the start: in
 * COLO, and from there until it has cleaned up after it.  It does that before the
 * main loop answers a monitor that saw the end of COLO.
 */
static bool caps_in_use(void)
{
    MigrationState *s = migrate_get_current();
    MigrationIncomingState *mis = migration_incoming_get_current();

    if (get_colo_mode() != COLO_MODE_NONE) {
        return true;
    }
    return migrate_colo_enabled() &&
        ((qatomic_read(&s->state) == MIGRATION_STATUS_COMPLETED &&
          s->to_dst_file) ||
         (qatomic_read(&mis->state) == MIGRATION_STATUS_COMPLETED &&
          mis->from_src_file));
}

bool colo_caps_check(const bool *caps, Error **errp)
{
    static const struct {
        MigrationCapability cap;
        const char *why;
    } refused[] = {
        { MIGRATION_CAPABILITY_MULTIFD,
          "its channels bypass the secondary's copy of the memory" },
        { MIGRATION_CAPABILITY_COMPRESS,
          "its threads bypass the secondary's copy of the memory" },
        { MIGRATION_CAPABILITY_XBZRLE,
          "checkpoints don't, and it is not tested with the first copy" },
        { MIGRATION_CAPABILITY_POSTCOPY_RAM,
          "the secondary must have all of the memory" },
        { MIGRATION_CAPABILITY_BACKGROUND_SNAPSHOT,
          "it writes the state of another instant" },
        { MIGRATION_CAPABILITY_X_IGNORE_SHARED,
          "the secondary must have all of the memory" },
        { MIGRATION_CAPABILITY_RDMA_PIN_ALL,
          "COLO needs a migration over a socket" },
        { MIGRATION_CAPABILITY_BLOCK,
          "the disks are replicated by their own means" },
        { MIGRATION_CAPABILITY_DIRTY_BITMAPS,
          "checkpoints have no bitmaps" },
        { MIGRATION_CAPABILITY_PAUSE_BEFORE_SWITCHOVER,
          "the first copy ends in COLO, not in a switchover" },
    };

    if (caps_in_use()) {
        error_setg(errp, "COLO is active: capabilities can't be changed before "
                   "x-colo-lost-heartbeat");
        return false;
    }
    if (!caps[MIGRATION_CAPABILITY_X_COLO]) {
        return true;
    }
    for (int i = 0; i < ARRAY_SIZE(refused); i++) {
        if (caps[refused[i].cap]) {
            error_setg(errp, "x-colo can't be used with %s: %s",
                       MigrationCapability_str(refused[i].cap),
                       refused[i].why);
            return false;
        }
    }
    return true;
}

bool colo_leaves_return_path(void)
{
    return migrate_use_return_path() && !migrate_colo_enabled();
}

COLOStatus *qmp_query_colo_status(Error **errp)
{
    COLOStatus *status = g_new0(COLOStatus, 1);

    status->mode = get_colo_mode();
    status->last_mode = qatomic_read(&last_mode);
    switch (failover_get_state()) {
    case FAILOVER_STATUS_NONE:
        status->reason = COLO_EXIT_REASON_NONE;
        break;
    case FAILOVER_STATUS_COMPLETED:
        status->reason = COLO_EXIT_REASON_REQUEST;
        break;
    default:
        status->reason = COLO_EXIT_REASON_PROCESSING;
        break;
    }
    return status;
}

void qmp_x_colo_checkpoint_now(Error **errp)
{
    if (get_colo_mode() != COLO_MODE_PRIMARY) {
        error_setg(errp, "this is not a primary");
        return;
    }
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_REQUEST);
}

void qmp_x_colo_set_peer_timeout(uint32_t timeout, Error **errp)
{
    if (timeout < COLO_PEER_TIMEOUT_MIN_MS ||
        timeout > COLO_PEER_TIMEOUT_MAX_MS) {
        error_setg(errp, QERR_INVALID_PARAMETER_VALUE, "timeout",
                   "a time of 1000 to 3600000 milliseconds");
        return;
    }
    colo_channel_set_timeout(timeout);
}

void qmp_x_colo_set_background_bandwidth(uint64_t bandwidth, Error **errp)
{
    colo_primary_set_bandwidth(bandwidth);
}

/* For Xen, which brings a checkpoint engine of its own */

void qmp_xen_set_replication(bool enable, bool primary,
                             bool has_failover, bool failover, Error **errp)
{
    if (!enable) {
        replication_stop_all(has_failover && failover,
                             has_failover && failover ? NULL : errp);
    } else if (has_failover) {
        error_setg(errp, "Parameter 'failover' is only for stopping "
                   "replication");
    } else {
        replication_start_all(primary ? REPLICATION_MODE_PRIMARY :
                                        REPLICATION_MODE_SECONDARY, errp);
    }
}

ReplicationStatus *qmp_query_xen_replication_status(Error **errp)
{
    ReplicationStatus *status = g_new0(ReplicationStatus, 1);
    Error *err = NULL;

    replication_get_error_all(&err);
    if (err) {
        status->error = true;
        status->has_desc = true;
        status->desc = g_strdup(error_get_pretty(err));
        error_free(err);
    }
    return status;
}

void qmp_xen_colo_do_checkpoint(Error **errp)
{
    ERRP_GUARD();

    replication_do_checkpoint_all(errp);
    if (!*errp) {
        colo_notify_filters_event(COLO_EVENT_CHECKPOINT, errp);
    }
}
