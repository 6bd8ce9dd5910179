/*
 * P: a guest that may run while its first copy is sent
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "migration/colo.h"
#include "migration/misc.h"
#include "net/colo-compare.h"
#include "net/colo-epoch.h"
#include "sysemu/runstate.h"
#include "colo-guest.h"
#include "colo-internal.h"
#include "colo-seed.h"
#include "colo-sleep.h"

/* With the BQL */
static VMChangeStateEntry *watch;   /* NULL: no first copy is being sent */
static RunState wanted;             /* what the guest is to be after it */
static bool woken_up;               /* since "migrate" */
static bool torn;                   /* likewise: it may have run as it was sent */

static void guest_changed(void *opaque, bool running, RunState state)
{
    if (state != RUN_STATE_FINISH_MIGRATE) {
        wanted = state;
        /* The end of the first copy found it "paused", but was it already? */
        torn |= !running && runstate_check(RUN_STATE_FINISH_MIGRATE);
    }
}

static void watch_guest(void)
{
    /* One that stands still now is to run with the first epoch */
    wanted = RUN_STATE_RUNNING;
    woken_up = torn = false;
    watch = qemu_add_vm_change_state_handler(guest_changed, NULL);
}

/* Returns what the guest is to be. */
static RunState unwatch_guest(void)
{
    g_clear_pointer(&watch, qemu_del_vm_change_state_handler);
    if (colo_sleep_is_on() && !colo_sleep_stays()) {
        /* Perhaps by a "cont", which changes no run state then */
        wanted = RUN_STATE_RUNNING;
    }
    return colo_guest_drop_hold(wanted);
}

/* There is nothing to compare with yet: nobody's output waits for that. */
static void let_through(void)
{
    Error *err = NULL;

    colo_notify_compares_event(NULL, COLO_EVENT_FAILOVER, &err);
    if (err) {
        error_report_err(err);
    }
}

/* Which has started again what ran before */
static void migration_failed(void)
{
    RunState state = unwatch_guest();

    if (runstate_check(RUN_STATE_COLO)) {
        /* It slept, and was woken up after that, while it was held still */
        colo_guest_start_as(state);
    } else if (state != RUN_STATE_RUNNING && runstate_is_running()) {
        vm_stop(state);
    } else if (state != RUN_STATE_RUNNING) {
        /* If it sleeps */
        colo_sleep_set_stays(true);
    }
}

/* The main loop, with the BQL */
static void migration_changed(Notifier *notifier, void *data)
{
    MigrationState *s = data;

    if (migrate_colo_enabled() && !colo_epoch_get()) {
        let_through();
    }
    if (!migration_in_setup(s)) {
        /* x-colo may be off again */
        if (watch) {
            migration_failed();
        }
    } else if (migrate_colo_enabled()) {
        colo_primary_prepare();
        watch_guest();
    }
}

bool colo_seed_is_whole(Error **errp)
{
    if (torn) {
        error_setg(errp, "the guest was being stopped as its first copy ended, which is "
                   "of no use: migrate again");
    }
    return !torn;
}

void colo_seed_start_guest(void)
{
    colo_guest_start_as(unwatch_guest());
    if (woken_up) {
        /* Its reset may have come after its devices were sent */
        colo_request_checkpoint(COLO_TRIGGER_CAUSE_GUEST);
    }
}

/* The main loop, with the BQL; as the end of each migration does to one that sleeps */
static void wakes_up(Notifier *notifier, void *data)
{
    woken_up = true;
}

static void __attribute__((constructor)) colo_seed_init(void)
{
    static Notifier migration = { .notify = migration_changed };
    static Notifier wake = { .notify = wakes_up };

    add_migration_state_change_notifier(&migration);
    qemu_register_wakeup_notifier(&wake);
}
