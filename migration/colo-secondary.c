/*
 * COLO: the secondary
 *
 * A thread of its own, beside a guest that runs.  It reads what the primary
 * sends, and holds the BQL only to stop, load and start the guest.
 *
 * Until a checkpoint is complete, all of it is in memory of this file and of
 * the RAM cache: neither the guest's RAM, nor its devices, nor its disks know
 * of it, so that a failover goes on with the guest as it is.  From the disk
 * checkpoint on there is only the new state, and a failover has to wait until
 * it is loaded.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/replication.h"
#include "io/channel-buffer.h"
#include "migration/failover.h"
#include "net/colo-epoch.h"
#include "net/filter.h"
#include "qapi/error.h"
#include "qapi/qapi-events-colo.h"
#include "qapi/qapi-events-migration.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "sysemu/cpus.h"
#include "sysemu/runstate.h"
#include "colo-guest.h"
#include "colo-internal.h"
#include "colo-link.h"
#include "colo-stats.h"
#include "colo-ram.h"
#include "colo-sleep.h"
#include "colo-takeover.h"
#include "savevm.h"

/* Device state is read in pieces of this size, as it comes */
#define DEVICES_PIECE (1024 * 1024)

/* How long to leave the main loop alone with disks that are flushed */
#define REST_NAP_US 500

typedef struct Secondary {
    MigrationIncomingState *mis;
    ColoLink link;
    QIOChannelBuffer *devices;  /* a checkpoint's, complete */
    uint16_t flags;             /* of its message */
    bool protected;             /* the event was sent */
    int64_t stopped_ns;         /* when the guest was stopped */
    int64_t lap_ns;             /* when the last phase ended */
} Secondary;

/* An epoch begins, the first one too.  With the BQL, the guest stands still. */
static void tell_filters(const Secondary *s)
{
    Error *err = NULL;

    colo_epoch_set(s->link.session.epoch + 1);
    colo_notify_filters_event(COLO_EVENT_CHECKPOINT, &err);
    if (err) {
        error_report_err(err);
    }
}

/* The beginning */

/*
 * What has been written to our disks so far is being flushed, which takes a platter
 * its time (replication-pace.c).  From the start on, each stop of the guest drains all
 * disks with the BQL; so such a flush ends before that, while the main loop runs.  P's
 * guest stands still meanwhile: after half of what P waits for us we go on all
 * the same.
 *
 * With the BQL, which it drops while it waits.
 */
static void let_disks_rest(void)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                  colo_channel_get_timeout() / 2;

    while (!replication_is_short_all() && !colo_takeover_wanted(NULL) &&
           qemu_clock_get_ms(QEMU_CLOCK_REALTIME) < end) {
        qemu_mutex_unlock_iothread();
        g_usleep(REST_NAP_US);
        qemu_mutex_lock_iothread();
    }
}

/*
 * P has said HELLO: its disks replicate, and if it does not hear of us it will
 * let its guest run without writing to ours.  Before that it may be on its own
 * again, because the migration has failed for it, and write to our disk.
 *
 * With the BQL.
 */
static bool start_guest(const Secondary *s, Error **errp)
{
    ERRP_GUARD();

    if (colo_takeover_wanted(errp)) {
        return false;
    }
    if (!colo_ram_incoming_start(errp)) {
        return false;
    }
    replication_start_all(REPLICATION_MODE_SECONDARY, errp);
    if (*errp) {
        colo_takeover_set_unfit("disk replication does not start", errp);
        return false;
    }
    colo_takeover_set_guest(COLO_GUEST_WHOLE);
    tell_filters(s);
    colo_guest_start();
    return true;
}

static bool begin(Secondary *s, Error **errp)
{
    QIOChannel *ioc = qemu_file_get_ioc(s->mis->from_src_file);
    ColoMsg msg;
    bool ok;

    if (!colo_link_open(&s->link, COLO_ROLE_SECONDARY, ioc, errp)) {
        return false;
    }
    colo_takeover_set_channel(s->link.channel);
    if (!colo_link_hello(&s->link, errp) ||
        !colo_link_receive(&s->link, &msg, errp)) {
        return false;
    }

    qemu_mutex_lock_iothread();
    replication_defer_flushes_all(true);
    let_disks_rest();
    ok = start_guest(s, errp);
    replication_defer_flushes_all(false);
    qemu_mutex_unlock_iothread();
    return ok && colo_link_send(&s->link, COLO_MSG_RUNNING, errp);
}

/* It has not begun, or in vain.  Whoever has no whole guest is told why. */
static void give_up_beginning(Error **errp)
{
    qemu_mutex_lock_iothread();
    if (colo_takeover_get_guest() == COLO_GUEST_LOADED) {
        colo_takeover_set_unfit("replication has not begun", errp);
    }
    qemu_mutex_unlock_iothread();
}

/* Receiving; without the BQL */

static bool receive_devices(Secondary *s, const ColoMsg *msg, Error **errp)
{
    ERRP_GUARD();
    QIOChannelBuffer *b = qio_channel_buffer_new(MIN(msg->length,
                                                     DEVICES_PIECE));

    s->devices = b;
    s->flags = msg->flags;
    while (b->usage < msg->length) {
        size_t piece = MIN(msg->length - b->usage, DEVICES_PIECE);

        if (b->usage + piece > b->capacity) {
            b->capacity = MIN(msg->length, MAX(2 * b->capacity,
                                               b->usage + piece));
            b->data = g_realloc(b->data, b->capacity);
        }
        if (!colo_input_read(s->link.in, b->data + b->usage, piece, errp)) {
            error_prepend(errp, "the checkpoint broke off: ");
            return false;
        }
        b->usage += piece;
    }
    return true;
}

/* A checkpoint; with the BQL where not said otherwise */

static bool stop_guest(Secondary *s, Error **errp)
{
    if (!colo_guest_settle(colo_channel_get_timeout() / 2, colo_takeover_wanted, errp) ||
        colo_takeover_wanted(errp)) {
        return false;
    }
    colo_guest_stop();
    s->stopped_ns = s->lap_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    return true;
}

/*
 * From here on only the new state counts.  The disks go first, so that the
 * primary's writes of the new epoch, which come after our message, find them
 * in it.
 */
static bool begin_epoch(Secondary *s, Error **errp)
{
    ERRP_GUARD();

    /* Of one that is about to be reset, to wake up, that would meet its successor */
    if (!colo_guest_settle(colo_channel_get_timeout() / 2, colo_takeover_wanted, errp) ||
        colo_takeover_wanted(errp)) {
        return false;
    }
    replication_get_error_all(errp);
    if (*errp) {
        error_prepend(errp, "the secondary's disk has failed: ");
        return false;
    }
    colo_sleep_forget();
    colo_stats_lap(COLO_PHASE_RECEIVE, &s->lap_ns);
    colo_takeover_set_guest(COLO_GUEST_COMMITTING);
    replication_do_checkpoint_all(errp);
    if (*errp) {
        colo_takeover_set_unfit("the disks can't begin a new epoch", errp);
        return false;
    }
    colo_stats_lap(COLO_PHASE_DISK_CHECKPOINT, &s->lap_ns);
    return true;
}

static bool load_devices(QIOChannelBuffer *devices)
{
    QEMUFile *f = qemu_file_new_input(QIO_CHANNEL(devices));
    int ret;

    ret = qemu_load_device_state(f);
    if (ret >= 0) {
        /* An end before the end: we have read something else than was sent */
        qemu_get_byte(f);
        if (!qemu_file_get_error(f)) {
            error_report("COLO: the device state goes on after its end");
            ret = -EINVAL;
        }
    }
    qemu_fclose(f);
    return ret >= 0;
}

/* What P says about its guest */
static ColoFate fate_of(uint16_t flags)
{
    return flags & COLO_FLAG_GUEST_RUNS ? COLO_FATE_RUNS :
           flags & COLO_FLAG_GUEST_STAYS ? COLO_FATE_STAYS :
           flags & COLO_FLAG_GUEST_SLEEPS ? COLO_FATE_SLEEPS :
                                            COLO_FATE_STANDS;
}

/*
 * Loading supposes devices as they are after a reset, and a reset may write to
 * RAM; it comes first, so that the end of the write-back, which was made
 * before, brings that in order too.
 */
static bool load(Secondary *s, Error **errp)
{
    ERRP_GUARD();

    /* See begin_epoch(); if the main loop hangs it can't be helped any more */
    colo_guest_settle(colo_channel_get_timeout() / 2, NULL, NULL);
    qemu_system_reset(SHUTDOWN_CAUSE_SNAPSHOT_LOAD);
    /* Here, because with KVM it lets the BQL go, as does the reset */
    cpu_synchronize_all_pre_loadvm();
    if (!colo_ram_write_back_end(errp)) {
        colo_takeover_set_unfit("the memory can't be written back", errp);
        return false;
    }
    if (!load_devices(s->devices)) {
        error_setg(errp, "both QEMUs need the same build and devices; this one's log "
                   "(stderr) says which device it was");
        colo_takeover_set_unfit("the primary's device state can't be loaded", errp);
        return false;
    }
    colo_stats_lap(COLO_PHASE_LOAD, &s->lap_ns);

    tell_filters(s);
    colo_takeover_set_guest(COLO_GUEST_WHOLE);
    colo_guest_loaded(fate_of(s->flags));
    /* Not if QEMU ends: its devices are about to go */
    if ((s->flags & COLO_FLAG_GUEST_RUNS) && !colo_takeover_is_quitting()) {
        colo_guest_start();
    }
    colo_stats_phase(COLO_PHASE_SECONDARY_PAUSE, s->lap_ns - s->stopped_ns);
    return true;
}

/* All is there.  Without the BQL. */
static bool take_over_checkpoint(Secondary *s, Error **errp)
{
    bool committed, loaded = false;

    qemu_mutex_lock_iothread();
    committed = begin_epoch(s, errp);
    qemu_mutex_unlock_iothread();
    if (committed) {
        /*
         * If this can't be sent, the primary may know or not; the checkpoint
         * is ours in any case, and has to be loaded.
         */
        bool told = colo_link_send(&s->link, COLO_MSG_COMMITTED, errp);
        Error *err = NULL;
        bool written;

        colo_channel_set_awake(s->link.channel, false);
        /* If P is on this CPU, too: its guest stands still, ours can wait. */
        g_thread_yield();
        written = colo_ram_write_back(&err);
        colo_stats_lap(COLO_PHASE_WRITE_BACK, &s->lap_ns);
        qemu_mutex_lock_iothread();
        if (written) {
            loaded = load(s, &err);
        } else {
            colo_takeover_set_unfit("the memory can't be written back", &err);
        }
        qemu_mutex_unlock_iothread();
        loaded = loaded && told;
        if (told) {
            error_propagate(errp, err);
        } else {
            error_free(err);
        }
    }
    qemu_mutex_lock_iothread();
    colo_takeover_resume();
    qemu_mutex_unlock_iothread();

    loaded = loaded && colo_link_send(&s->link, COLO_MSG_RUNNING, errp);
    /* Who sees the epoch here knows that the primary has been told. */
    colo_stats_set_epoch(s->link.session.epoch);
    return loaded;
}

/* The loop */

static void become_protected(Secondary *s)
{
    if (!s->protected) {
        s->protected = true;
        colo_stats_set_state(COLO_STATE_PROTECTED, NULL);
        qapi_event_send_colo_protected(COLO_MODE_SECONDARY);
    }
}

static bool handle(Secondary *s, const ColoMsg *msg, Error **errp)
{
    bool ok;

    switch (msg->type) {
    case COLO_MSG_ALIVE:
        return colo_link_send(&s->link, COLO_MSG_ALIVE, errp);
    case COLO_MSG_BACKGROUND:
    case COLO_MSG_RAM:
        return colo_ram_load(s->link.in, errp);
    case COLO_MSG_STOP:
        qemu_mutex_lock_iothread();
        ok = stop_guest(s, errp);
        qemu_mutex_unlock_iothread();
        colo_channel_set_awake(s->link.channel, true);
        return ok;
    case COLO_MSG_DEVICES:
        ok = receive_devices(s, msg, errp) && take_over_checkpoint(s, errp);
        g_clear_pointer((Object **)&s->devices, object_unref);
        return ok;
    default:
        g_assert_not_reached();     /* the session has refused the others */
    }
}

static void loop(Secondary *s, Error **errp)
{
    ColoMsg msg;

    do {
        become_protected(s);
    } while (!colo_takeover_wanted(errp) && colo_link_receive(&s->link, &msg, errp)
             && handle(s, &msg, errp));
}

/* The end */

/* In our thread, which is the one that makes it so, hence without the BQL */
static bool is_unfit(void)
{
    return colo_takeover_get_guest() == COLO_GUEST_UNFIT;
}

static void lose(Secondary *s, const Error *error)
{
    if (s->link.channel) {
        colo_link_send_error(&s->link, error);
    }
    colo_stats_set_state(is_unfit() ? COLO_STATE_UNFIT : COLO_STATE_LOST,
                         error_get_pretty(error));
    colo_report_loss(COLO_MODE_SECONDARY, s->link.session.epoch, error);
}

/* Without the BQL; the error is consumed. */
static void end(Secondary *s, Error *error)
{
    /* What was asked for, and accepted, while it was loading, is in vain now */
    bool asked_for = colo_takeover_wanted(NULL) && !is_unfit();

    if (!asked_for) {
        lose(s, error);
    }
    error_free(error);
    colo_takeover_set_channel(NULL);
    if (!colo_takeover_is_quitting()) {
        qapi_event_send_colo_exit(COLO_MODE_SECONDARY, asked_for ?
                                  COLO_EXIT_REASON_REQUEST :
                                  COLO_EXIT_REASON_ERROR);
    }
    colo_takeover_left();
    /* Posted when somebody wants it to go on alone, or when QEMU ends */
    qemu_sem_wait(&s->mis->colo_incoming_sem);
    colo_link_close(&s->link);
}

void colo_secondary_run(MigrationIncomingState *mis)
{
    g_autofree Secondary *s = g_new0(Secondary, 1);
    Object *migration;
    Error *error = NULL;

    s->mis = mis;
    qemu_mutex_lock_iothread();
    if (!colo_takeover_begin()) {
        /* The migration object is gone */
        qemu_mutex_unlock_iothread();
        return;
    }
    /* Loading asks it for capabilities, also while QEMU ends */
    migration = OBJECT(migrate_get_current());
    object_ref(migration);
    qemu_sem_init(&mis->colo_incoming_sem, 0);
    failover_init_state();
    colo_stats_start(COLO_MODE_SECONDARY);
    migrate_set_state(&mis->state, MIGRATION_STATUS_ACTIVE,
                      MIGRATION_STATUS_COLO);
    qemu_mutex_unlock_iothread();

    if (begin(s, &error)) {
        loop(s, &error);
    } else {
        give_up_beginning(&error);
    }
    end(s, error);
    qemu_sem_destroy(&mis->colo_incoming_sem);
    object_unref(migration);
}
