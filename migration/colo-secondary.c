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
#include "qapi/qapi-commands-block-export.h"
#include "qapi/qapi-events-colo.h"
#include "qapi/qapi-events-migration.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "sysemu/cpus.h"
#include "sysemu/runstate.h"
#include "colo-guest.h"
#include "colo-internal.h"
#include "colo-link.h"
#include "colo-stats.h"
#include "colo-ram.h"
#include "savevm.h"

/* Device state is read in pieces of this size, as it comes */
#define DEVICES_PIECE (1024 * 1024)

typedef struct Secondary {
    MigrationIncomingState *mis;
    ColoLink link;
    QIOChannelBuffer *devices;  /* a checkpoint's, complete */
    uint16_t flags;             /* of its message */
    bool protected;             /* the event was sent */
    int64_t stopped_ns;         /* when the guest was stopped */
    int64_t lap_ns;             /* when the last phase ended */
} Secondary;

typedef enum {
    SECONDARY_NONE,
    SECONDARY_WHOLE,            /* the guest is of one piece */
    SECONDARY_COMMITTING,       /* neither the old nor the new */
    SECONDARY_UNFIT,            /* and it will never be */
} SecondaryGuest;

/* Read and written with the BQL */
static SecondaryGuest guest;
static char *unfit_reason;

/* The guest as loaded stands still, and is to; with the BQL */
static bool guest_stays_stopped;

/* What the main loop touches */
static struct {
    QemuMutex lock;
    ColoChannel *channel;       /* NULL unless there is a connection */
    bool quit;
    QemuSemaphore left;         /* it has left its loop */
} shared;

static void __attribute__((constructor)) colo_secondary_init(void)
{
    qemu_mutex_init(&shared.lock);
    qemu_sem_init(&shared.left, 0);
}

static bool failover_wanted(Error **errp)
{
    if (failover_get_state() == FAILOVER_STATUS_NONE &&
        !qatomic_read(&shared.quit)) {
        return false;
    }
    error_setg(errp, "failover was asked for");
    return true;
}

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

/* With the BQL */
static bool start_guest(const Secondary *s, Error **errp)
{
    ERRP_GUARD();

    if (failover_wanted(errp)) {
        return false;
    }
    if (!colo_ram_incoming_start(errp)) {
        return false;
    }
    replication_start_all(REPLICATION_MODE_SECONDARY, errp);
    if (*errp) {
        error_prepend(errp, "disk replication does not start: ");
        return false;
    }
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
    WITH_QEMU_LOCK_GUARD(&shared.lock) {
        shared.channel = s->link.channel;
    }
    if (!colo_link_hello(&s->link, errp) ||
        !colo_link_receive(&s->link, &msg, errp)) {
        return false;
    }

    qemu_mutex_lock_iothread();
    ok = start_guest(s, errp);
    qemu_mutex_unlock_iothread();
    return ok && colo_link_send(&s->link, COLO_MSG_RUNNING, errp);
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
    if (!colo_guest_settle(colo_channel_get_timeout() / 2, errp) ||
        failover_wanted(errp)) {
        return false;
    }
    colo_guest_stop();
    s->stopped_ns = s->lap_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    return true;
}

static void become_unfit(const char *what, Error **errp)
{
    guest = SECONDARY_UNFIT;
    g_free(unfit_reason);
    if (errp && *errp) {
        error_prepend(errp, "%s: ", what);
        unfit_reason = g_strdup(error_get_pretty(*errp));
    } else {
        unfit_reason = g_strdup(what);
    }
}

/*
 * From here on only the new state counts.  The disks go first, so that the
 * primary's writes of the new epoch, which come after our message, find them
 * in it.
 */
static bool begin_epoch(Secondary *s, Error **errp)
{
    ERRP_GUARD();

    if (failover_wanted(errp)) {
        return false;
    }
    replication_get_error_all(errp);
    if (*errp) {
        error_prepend(errp, "the secondary's disk has failed: ");
        return false;
    }
    colo_stats_lap(COLO_PHASE_RECEIVE, &s->lap_ns);
    guest = SECONDARY_COMMITTING;
    replication_do_checkpoint_all(errp);
    if (*errp) {
        become_unfit("the disks can't begin a new epoch", errp);
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

/*
 * Loading supposes devices as they are after a reset, and a reset may write to
 * RAM; it comes first, so that the end of the write-back, which was made
 * before, brings that in order too.
 */
static bool load(Secondary *s, Error **errp)
{
    ERRP_GUARD();

    qemu_system_reset(SHUTDOWN_CAUSE_SNAPSHOT_LOAD);
    /* Here, because with KVM it lets the BQL go, as does the reset */
    cpu_synchronize_all_pre_loadvm();
    if (!colo_ram_write_back_end(errp)) {
        become_unfit("the memory can't be written back", errp);
        return false;
    }
    if (!load_devices(s->devices)) {
        error_setg(errp, "this is said in the log");
        become_unfit("the primary's device state can't be loaded", errp);
        return false;
    }
    colo_stats_lap(COLO_PHASE_LOAD, &s->lap_ns);

    tell_filters(s);
    guest = SECONDARY_WHOLE;
    guest_stays_stopped = s->flags & COLO_FLAG_GUEST_STAYS;
    /* Not if QEMU ends: its devices are about to go */
    if ((s->flags & COLO_FLAG_GUEST_RUNS) && !qatomic_read(&shared.quit)) {
        colo_guest_start();
    }
    colo_stats_phase(COLO_PHASE_SECONDARY_PAUSE, s->lap_ns - s->stopped_ns);
    return true;
}

/* A failover that was asked for while only the new state counted */
static void resume_failover(void)
{
    if (failover_set_state(FAILOVER_STATUS_RELAUNCH, FAILOVER_STATUS_NONE) ==
        FAILOVER_STATUS_RELAUNCH && guest == SECONDARY_WHOLE) {
        failover_request_active(NULL);
    }
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
        Error **load_errp = told ? errp : NULL;
        bool written;

        colo_channel_set_awake(s->link.channel, false);
        /* If P is on this CPU, too: its guest stands still, ours can wait. */
        g_thread_yield();
        written = colo_ram_write_back(load_errp);
        colo_stats_lap(COLO_PHASE_WRITE_BACK, &s->lap_ns);
        qemu_mutex_lock_iothread();
        if (written) {
            loaded = load(s, load_errp);
        } else {
            become_unfit("the memory can't be written back", load_errp);
        }
        qemu_mutex_unlock_iothread();
        loaded = loaded && told;
    }
    qemu_mutex_lock_iothread();
    resume_failover();
    qemu_mutex_unlock_iothread();

    loaded = loaded && colo_link_send(&s->link, COLO_MSG_RUNNING, errp);
    /* Who sees the epoch here knows that the primary has been told. */
    colo_stats_set_epoch(s->link.session.epoch);
    colo_stats_set_bytes(colo_channel_sent(s->link.channel),
                         colo_channel_received(s->link.channel));
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
    } while (!failover_wanted(errp) && colo_link_receive(&s->link, &msg, errp)
             && handle(s, &msg, errp));
}

/* The end */

static void lose(Secondary *s, const Error *error)
{
    if (s->link.channel) {
        colo_link_send_error(&s->link, error);
    }
    colo_stats_set_state(guest == SECONDARY_UNFIT ? COLO_STATE_UNFIT :
                                                    COLO_STATE_LOST,
                         error_get_pretty(error));
    colo_report_loss(COLO_MODE_SECONDARY, s->link.session.epoch, error);
}

/* Without the BQL; the error is consumed. */
static void end(Secondary *s, Error *error)
{
    bool asked_for = failover_wanted(NULL);

    if (!asked_for) {
        lose(s, error);
    }
    error_free(error);
    WITH_QEMU_LOCK_GUARD(&shared.lock) {
        if (shared.channel) {
            colo_channel_shutdown(shared.channel);
        }
        shared.channel = NULL;
    }
    if (!shared.quit) {
        qapi_event_send_colo_exit(COLO_MODE_SECONDARY, asked_for ?
                                  COLO_EXIT_REASON_REQUEST :
                                  COLO_EXIT_REASON_ERROR);
    }
    qemu_sem_post(&shared.left);
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
    if (shared.quit) {
        /* QEMU has ended before we began, and the migration object is gone */
        qemu_mutex_unlock_iothread();
        return;
    }
    /* Loading asks it for capabilities, also while QEMU ends */
    migration = OBJECT(migrate_get_current());
    object_ref(migration);
    qemu_sem_init(&mis->colo_incoming_sem, 0);
    failover_init_state();
    colo_stats_start(COLO_MODE_SECONDARY);
    guest = SECONDARY_WHOLE;
    guest_stays_stopped = false;
    migrate_set_state(&mis->state, MIGRATION_STATUS_ACTIVE,
                      MIGRATION_STATUS_COLO);
    qemu_mutex_unlock_iothread();

    if (begin(s, &error)) {
        loop(s, &error);
    }
    end(s, error);
    qemu_sem_destroy(&mis->colo_incoming_sem);
    object_unref(migration);
}

/* The requests of the main loop */

bool colo_secondary_is_fit(Error **errp)
{
    if (guest != SECONDARY_UNFIT) {
        return true;
    }
    error_setg(errp, "this secondary can't take over, it has no whole guest: "
               "%s", unfit_reason);
    error_append_hint(errp, "The primary has all; end this QEMU.\n");
    return false;
}

static void shutdown_channel(void)
{
    QEMU_LOCK_GUARD(&shared.lock);
    if (shared.channel) {
        colo_channel_shutdown(shared.channel);
    }
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
    colo_guest_let_go(!guest_stays_stopped);
}

void colo_secondary_fail_over(void)
{
    MigrationIncomingState *mis = migration_incoming_get_current();

    if (guest == SECONDARY_COMMITTING) {
        failover_set_state(FAILOVER_STATUS_ACTIVE, FAILOVER_STATUS_RELAUNCH);
        shutdown_channel();
        return;
    }
    wait_for_thread();
    take_over();
    guest = SECONDARY_NONE;
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
    if (guest == SECONDARY_NONE) {
        return;
    }
    shutdown_channel();
    qemu_sem_post(&migration_incoming_get_current()->colo_incoming_sem);
}
