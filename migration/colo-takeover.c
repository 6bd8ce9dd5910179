/*
 * COLO: the secondary's way to go on alone
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "block/replication.h"
#include "migration/failover.h"
#include "net/colo-epoch.h"
#include "net/filter.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-export.h"
#include "qapi/qapi-events-colo.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "colo-guest.h"
#include "colo-internal.h"
#include "colo-stats.h"
#include "colo-takeover.h"

/* Read and written with the BQL; written by the COLO thread but at its end */
static ColoTakeoverGuest guest;
static char *unfit_reason;

/* What both threads touch */
static struct {
    QemuMutex lock;
    ColoChannel *channel;       /* NULL unless there is a connection */
    bool quit;                  /* atomic */
    QemuSemaphore left;         /* the COLO thread has left its loop */
} shared;

static void __attribute__((constructor)) colo_takeover_init(void)
{
    qemu_mutex_init(&shared.lock);
    qemu_sem_init(&shared.left, 0);
}

/*
 * A failover was accepted, but what was being loaded then has failed.  Another
 * request is answered with the reason.
 */
static void tell_refusal(void)
{
    error_report("COLO: no failover: this secondary can't take over: %s",
                 unfit_reason);
    qapi_event_send_colo_failover_refused(COLO_MODE_SECONDARY, unfit_reason);
}

/* What the COLO thread says */

bool colo_takeover_begin(void)
{
    if (shared.quit) {
        return false;
    }
    guest = COLO_GUEST_LOADED;
    return true;
}

void colo_takeover_set_guest(ColoTakeoverGuest state)
{
    guest = state;
}

void colo_takeover_set_unfit(const char *what, Error **errp)
{
    ERRP_GUARD();

    guest = COLO_GUEST_UNFIT;
    g_free(unfit_reason);
    if (*errp) {
        error_prepend(errp, "%s: ", what);
        unfit_reason = g_strdup(error_get_pretty(*errp));
    } else {
        unfit_reason = g_strdup(what);
    }
}

ColoTakeoverGuest colo_takeover_get_guest(void)
{
    return guest;
}

bool colo_takeover_is_quitting(void)
{
    return qatomic_read(&shared.quit);
}

bool colo_takeover_wanted(Error **errp)
{
    if (failover_get_state() == FAILOVER_STATUS_NONE &&
        !colo_takeover_is_quitting()) {
        return false;
    }
    error_setg(errp, "failover was asked for");
    return true;
}

static void shutdown_channel(void)
{
    QEMU_LOCK_GUARD(&shared.lock);
    if (shared.channel) {
        colo_channel_shutdown(shared.channel);
    }
}

void colo_takeover_set_channel(ColoChannel *channel)
{
    if (!channel) {
        shutdown_channel();
    }
    QEMU_LOCK_GUARD(&shared.lock);
    shared.channel = channel;
}

void colo_takeover_resume(void)
{
    if (failover_set_state(FAILOVER_STATUS_RELAUNCH, FAILOVER_STATUS_NONE) !=
        FAILOVER_STATUS_RELAUNCH) {
        return;
    }
    if (guest == COLO_GUEST_WHOLE) {
        failover_request_active(NULL);
    } else {
        tell_refusal();
    }
}

void colo_takeover_left(void)
{
    qemu_sem_post(&shared.left);
}

/* The requests of the main loop */

bool colo_secondary_is_fit(Error **errp)
{
    ERRP_GUARD();

    if (guest == COLO_GUEST_LOADED) {
        error_setg(errp, "this secondary can't take over: replication has not "
                   "begun");
    } else if (guest == COLO_GUEST_UNFIT) {
        error_setg(errp, "this secondary can't take over, it has no whole "
                   "guest: %s", unfit_reason);
    } else {
        return true;
    }
    error_append_hint(errp, "The primary has all; end this QEMU.\n");
    return false;
}

/*
 * The thread has to be out of its loop before anything changes under its
 * hands: what it reads would go to the guest's RAM.  Its connection is shut
 * down, so it takes no time but that for the BQL, which is left to it.
 */
static void wait_for_thread(void)
{
    shutdown_channel();
    qemu_mutex_unlock_iothread();
    qemu_sem_wait(&shared.left);
    qemu_mutex_lock_iothread();
}

static void report(Error *err)
{
    if (err) {
        error_report_err(err);
    }
}

static void take_over(void)
{
    Error *err = NULL;

    /* Keep out a primary that lives on.  No server, nothing to stop. */
    qmp_nbd_server_stop(NULL);
    colo_guest_stop();
    replication_stop_all(true, &err);
    report(err);
    err = NULL;
    colo_notify_filters_event(COLO_EVENT_FAILOVER, &err);
    report(err);
    colo_epoch_set(0);
    colo_guest_let_go();
}

static void refuse(void)
{
    tell_refusal();
    failover_set_state(FAILOVER_STATUS_ACTIVE, FAILOVER_STATUS_RELAUNCH);
    failover_set_state(FAILOVER_STATUS_RELAUNCH, FAILOVER_STATUS_NONE);
}

void colo_secondary_fail_over(void)
{
    MigrationIncomingState *mis = migration_incoming_get_current();

    if (guest == COLO_GUEST_COMMITTING) {
        failover_set_state(FAILOVER_STATUS_ACTIVE, FAILOVER_STATUS_RELAUNCH);
        shutdown_channel();
        return;
    }
    if (guest == COLO_GUEST_UNFIT) {
        refuse();
        return;
    }
    /* The thread begins nothing any more that would change what it is */
    wait_for_thread();
    take_over();
    guest = COLO_GUEST_NONE;
    migrate_set_state(&mis->state, MIGRATION_STATUS_COLO,
                      MIGRATION_STATUS_COMPLETED);
    failover_set_state(FAILOVER_STATUS_ACTIVE, FAILOVER_STATUS_COMPLETED);
    qemu_sem_post(&mis->colo_incoming_sem);
    /* It joins the thread, which has nothing left to do */
    qemu_coroutine_enter(mis->migration_incoming_co);
}

void colo_secondary_shutdown(void)
{
    /* The thread may be about to begin */
    qatomic_set(&shared.quit, true);
    if (guest == COLO_GUEST_NONE) {
        return;
    }
    shutdown_channel();
    qemu_sem_post(&migration_incoming_get_current()->colo_incoming_sem);
}
