/*
 * COLO: the primary
 *
 * Lives in the migration thread, after the first copy of all.  It holds no
 * lock while it waits for the secondary; the BQL only to stop and start the
 * guest, and to gather its state.
 *
 * A checkpoint that fails leaves the primary as if it had never begun: the
 * guest goes on, its output stays held, until x-colo-lost-heartbeat.
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
#include "qemu/notify.h"
#include "net/colo-compare.h"
#include "net/colo-epoch.h"
#include "net/filter.h"
#include "qapi/error.h"
#include "qapi/qapi-events-colo.h"
#include "qapi/qapi-events-migration.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "sysemu/runstate.h"
#include "colo-guest.h"
#include "colo-primary.h"
#include "colo-seed.h"
#include "colo-stats.h"
#include "colo-trigger.h"

/* How long to wait for a secondary's reason when it does not listen any more */
#define LAST_WORD_NS (100 * 1000 * 1000LL)

/*
 * How long to look for an instant without disk requests, at most.  Longer where
 * a platter is at work, whose time would be that of the pause; not so when
 * somebody waits, be it for the output that a mismatch holds: with any cause but the
 * timer.
 */
#define REST_MAX_NS (100 * 1000 * 1000LL)
#define REST_SHARE 5            /* and this part of the interval */
#define REST_FLUSH_NS (1000 * 1000 * 1000LL)    /* and the whole interval */
#define REST_URGENT_NS (20 * 1000 * 1000LL)

/* Where the buffer for device state starts; it grows to what is needed */
#define DEVICES_BUFFER (1024 * 1024)

/* What other threads touch; @channel is NULL unless there is a primary */
static struct {
    QemuMutex lock;
    ColoTrigger trigger;
    int64_t mismatch_ns;        /* when the first one was reported, or 0 */
    ColoChannel *channel;
    ColoRamSend *ram;           /* NULL unless it can be told to yield */
    QemuSemaphore *end;
    bool let_go;                /* ... was posted, or would have been */
    bool quit;
} shared;

/* Of the background, bytes per second, 0: no limit; outlasts a primary */
static uint64_t bandwidth;

/* The thread of a disk: an epoch has become large */
static void disk_asks(void)
{
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_QUEUE);
}

static void __attribute__((constructor)) colo_primary_init(void)
{
    qemu_mutex_init(&shared.lock);
    replication_set_asked(disk_asks);
}

/* Triggers */

void colo_request_checkpoint(ColoTriggerCause cause)
{
    QEMU_LOCK_GUARD(&shared.lock);
    if (!shared.channel) {
        return;
    }
    if (cause == COLO_TRIGGER_CAUSE_MISMATCH && !shared.mismatch_ns) {
        shared.mismatch_ns = colo_primary_now_ns();
    }
    colo_trigger_raise(&shared.trigger, cause);
    if (shared.ram) {
        colo_ram_send_yield(shared.ram);
    }
    colo_channel_kick(shared.channel);
}

void colo_checkpoint_notify(void *opaque)
{
    MigrationState *s = opaque;

    WITH_QEMU_LOCK_GUARD(&shared.lock) {
        shared.trigger.interval_ns =
            s->parameters.x_checkpoint_delay * 1000000LL;
    }
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_REQUEST);
}

/* A thread of colo-compare */
static void mismatch_reported(Notifier *notifier, void *data)
{
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_MISMATCH);
}

/* Somebody has stopped or started the guest: the secondary has to know. */
static void guest_changed(void *opaque, bool running, RunState state)
{
    if (!colo_guest_is_held()) {
        colo_request_checkpoint(COLO_TRIGGER_CAUSE_GUEST);
    }
}

void colo_primary_get_triggers(uint64_t *count)
{
    QEMU_LOCK_GUARD(&shared.lock);
    memcpy(count, shared.trigger.count, sizeof(shared.trigger.count));
}

void colo_primary_set_bandwidth(uint64_t bytes_per_s)
{
    qatomic_set_u64(&bandwidth, bytes_per_s);
}

uint64_t colo_primary_get_bandwidth(void)
{
    return qatomic_read_u64(&bandwidth);
}

int64_t colo_primary_rest_ns(ColoTriggerCause cause, ColoDisksState state)
{
    int64_t interval, max = REST_MAX_NS;

    QEMU_LOCK_GUARD(&shared.lock);
    interval = shared.trigger.interval_ns;
    if (cause != COLO_TRIGGER_CAUSE_TIMER || shared.mismatch_ns) {
        max = REST_URGENT_NS;
    } else if (state == COLO_DISKS_FLUSH) {
        return MIN(REST_FLUSH_NS, interval);
    }
    return MIN(max, interval / REST_SHARE);
}

bool colo_primary_quits(void)
{
    return qatomic_read(&shared.quit);
}

static bool failover_wanted(Error **errp)
{
    if (failover_get_state() == FAILOVER_STATUS_NONE &&
        !colo_primary_quits()) {
        return false;
    }
    error_setg(errp, "failover was asked for");
    return true;
}

int64_t colo_primary_begin_trigger(ColoTriggerCause cause)
{
    int64_t mismatch_ns;

    QEMU_LOCK_GUARD(&shared.lock);
    colo_trigger_begin(&shared.trigger, cause);
    mismatch_ns = shared.mismatch_ns;
    shared.mismatch_ns = 0;
    return mismatch_ns;
}

void colo_primary_end_epoch(Primary *p, int64_t pause_ns)
{
    int64_t interval_us;

    QEMU_LOCK_GUARD(&shared.lock);
    colo_trigger_end(&shared.trigger, colo_primary_now_ns(), pause_ns);
    interval_us = shared.trigger.interval_ns / 1000;
    colo_ram_send_epoch(p->ram, g_get_monotonic_time() + interval_us);
    shared.ram = p->ram;
    if (shared.trigger.raised) {
        colo_ram_send_yield(p->ram);
    }
}

void colo_primary_tell_compares(Primary *p)
{
    Error *err = NULL;

    colo_epoch_set(p->talk.link.session.epoch + 1);
    colo_notify_compares_event(NULL, COLO_EVENT_CHECKPOINT, &err);
    if (err) {
        error_report_err(err);
    }
}

void colo_primary_tell_filters(int event)
{
    Error *err = NULL;

    colo_notify_filters_event(event, &err);
    if (err) {
        error_report_err(err);
    }
}

/* The beginning */

/* With the BQL */
static void start_guest(Primary *p)
{
    colo_seed_start_guest();
    p->guest_started = true;
    p->guest_watch = qemu_add_vm_change_state_handler(guest_changed, p);
    if (!runstate_is_running()) {
        /* S's does, until it is told */
        colo_request_checkpoint(COLO_TRIGGER_CAUSE_GUEST);
    }
}

/*
 * There has been no first epoch; our guest runs alone.  S may have heard our HELLO
 * all the same: what it has on its disk has to stay as its memory is.
 *
 * With the BQL.
 */
static void start_guest_alone(Primary *p)
{
    Error *err = NULL;

    if (p->disks_started) {
        replication_stop_all(true, &err);
    }
    if (err) {
        error_report_err(err);
    }
    colo_checkpoint_settle(p, NULL);
    if (colo_primary_quits()) {
        /* Its devices are about to go */
        colo_guest_drop_hold(RUN_STATE_SHUTDOWN);
        return;
    }
    colo_seed_start_guest();
}

static bool begin(Primary *p, Error **errp)
{
    QIOChannel *ioc = qemu_file_get_ioc(p->s->to_dst_file);
    bool settled;

    if (!colo_link_open(&p->talk.link, COLO_ROLE_PRIMARY, ioc, errp)) {
        return false;
    }
    WITH_QEMU_LOCK_GUARD(&shared.lock) {
        colo_trigger_init(&shared.trigger,
                          p->s->parameters.x_checkpoint_delay * 1000000LL,
                          colo_primary_now_ns());
        shared.mismatch_ns = 0;
        shared.channel = p->talk.link.channel;
    }
    if (ram_block_discard_disable(true)) {
        error_setg(errp, "a device discards RAM, like virtio-mem, which the dirty "
                   "log misses: remove it");
        return false;
    }
    p->discards_disabled = true;
    if (!colo_talk_await(&p->talk, COLO_SESSION_ANSWERING, errp) ||
        !colo_checkpoint_first(p, errp) || !colo_talk_hello(&p->talk, errp) ||
        !colo_talk_await(&p->talk, COLO_SESSION_READY, errp)) {
        return false;
    }
    p->ram = colo_ram_send_new();
    qemu_mutex_lock_iothread();
    replication_defer_flushes_all(false);
    settled = colo_checkpoint_settle(p, errp);
    if (settled) {
        start_guest(p);
    }
    qemu_mutex_unlock_iothread();
    if (!settled) {
        return false;
    }
    colo_primary_end_epoch(p, 0);
    qapi_event_send_colo_protected(COLO_MODE_PRIMARY);
    return true;
}

/* The time between two checkpoints */

/*
 * Some memory ahead of the checkpoint, if that is of use: in *@wait_ns how long
 * not to ask again.
 */
static bool send_background(Primary *p, int64_t *wait_ns, Error **errp)
{
    uint64_t before = colo_channel_sent(p->talk.link.channel);
    int64_t wait_us;

    colo_checkpoint_note_slices(p);
    *wait_ns = COLO_ALIVE_NS;
    if (!colo_ram_send_has_room(p->ram)) {
        return true;            /* the answer wakes us up */
    }
    colo_ram_send_set_bandwidth(p->ram, colo_primary_get_bandwidth());
    wait_us = colo_ram_send_poll(p->ram);
    if (wait_us) {
        *wait_ns = MIN(wait_us, COLO_ALIVE_NS / 1000) * 1000;
        return true;
    }
    if (!colo_link_put(&p->talk.link, COLO_MSG_BACKGROUND, 0, NULL, 0, errp)) {
        return false;
    }
    colo_channel_set_patient(p->talk.link.channel, true);
    colo_ram_send_slice(p->ram, p->talk.link.out);
    colo_channel_set_patient(p->talk.link.channel, false);
    /* S answers when it has read all that came before */
    if (!colo_talk_say(&p->talk, COLO_MSG_ALIVE, errp)) {
        return false;
    }
    g_queue_push_tail(&p->slices, GUINT_TO_POINTER(p->talk.debt.asked));
    colo_stats_add_background(colo_channel_sent(p->talk.link.channel) - before);
    return true;
}

/* Wait for the next trigger; the guest runs. */
static bool next_trigger(Primary *p, ColoTriggerCause *cause, Error **errp)
{
    while (true) {
        int64_t due, background_ns;

        WITH_QEMU_LOCK_GUARD(&shared.lock) {
            due = colo_trigger_due(&shared.trigger, colo_primary_now_ns(), cause);
        }
        if (p->talk.link.session.state != COLO_SESSION_READY) {
            /* S loads; it does not read, and sending ahead would fill it up */
            due = background_ns = COLO_ALIVE_NS;
        } else if (due == 0) {
            return !failover_wanted(errp);
        } else if (!send_background(p, &background_ns, errp)) {
            return false;
        }
        if (!colo_talk_attend(&p->talk, MIN(due, background_ns), errp)) {
            return false;
        }
    }
}

/* The end */

/* If the secondary has said why, that is better than what we found out. */
static void take_secondarys_word(Primary *p, Error **error)
{
    int64_t end = colo_primary_now_ns() + LAST_WORD_NS;
    Error *err = NULL;
    ColoMsg msg;

    colo_channel_wait(p->talk.link.channel, LAST_WORD_NS);
    while (colo_link_poll(&p->talk.link, &msg, &err) > 0 &&
           colo_primary_now_ns() < end) {
        /* What it said before; one that goes on and on has no last word */
    }
    if (err && p->talk.link.session.state == COLO_SESSION_ENDED) {
        error_free(*error);
        *error = err;
    } else {
        error_free(err);
    }
}

static void lose(Primary *p, Error **error)
{
    if (p->talk.link.channel) {
        if (p->talk.link.session.state != COLO_SESSION_ENDED) {
            take_secondarys_word(p, error);
        }
        /* A stream that was not finished has failed, and takes nothing more */
        colo_link_send_error(&p->talk.link, *error);
    }
    colo_stats_set_state(COLO_STATE_LOST, error_get_pretty(*error));
    colo_report_loss(COLO_MODE_PRIMARY, p->talk.link.session.epoch, *error);
    qapi_event_send_colo_exit(COLO_MODE_PRIMARY, COLO_EXIT_REASON_ERROR);
}

/* Without the BQL; the error is consumed. */
static void end(Primary *p, Error *error)
{
    bool asked_for = failover_wanted(NULL);

    if (!asked_for) {
        lose(p, &error);
    }
    if (p->talk.link.channel) {
        colo_channel_shutdown(p->talk.link.channel);
    }
    qemu_mutex_lock_iothread();
    if (!p->guest_started && !colo_primary_quits()) {
        start_guest_alone(p);
    }
    qemu_mutex_unlock_iothread();
    qemu_sem_wait(&p->s->colo_exit_sem);
    if (!colo_primary_quits()) {
        colo_notify_compares_event(NULL, COLO_EVENT_FAILOVER, NULL);
        colo_epoch_set(0);
        if (asked_for) {
            qapi_event_send_colo_exit(COLO_MODE_PRIMARY,
                                      COLO_EXIT_REASON_REQUEST);
        }
    }
    error_free(error);
}

static void setup(Primary *p)
{
    qemu_sem_init(&p->s->colo_exit_sem, 0);
    p->devices = qio_channel_buffer_new(DEVICES_BUFFER);
    p->devices_file = qemu_file_new_output(QIO_CHANNEL(p->devices));
    p->mismatch.notify = mismatch_reported;
    colo_compare_register_notifier(&p->mismatch);
    WITH_QEMU_LOCK_GUARD(&shared.lock) {
        shared.end = &p->s->colo_exit_sem;
        if (shared.let_go) {
            qemu_sem_post(shared.end);
        }
    }
}

static void cleanup(Primary *p)
{
    qemu_mutex_lock_iothread();
    if (p->guest_watch) {
        qemu_del_vm_change_state_handler(p->guest_watch);
    }
    qemu_mutex_unlock_iothread();
    if (p->discards_disabled) {
        ram_block_discard_disable(false);
    }
    colo_compare_unregister_notifier(&p->mismatch);
    WITH_QEMU_LOCK_GUARD(&shared.lock) {
        shared.channel = NULL;
        shared.ram = NULL;
        shared.end = NULL;
    }
    if (p->ram) {
        colo_ram_send_free(p->ram);
    }
    g_queue_clear(&p->slices);
    qemu_fclose(p->devices_file);
    object_unref(OBJECT(p->devices));
    colo_link_close(&p->talk.link);
    qemu_sem_destroy(&p->s->colo_exit_sem);
}

void colo_primary_run(MigrationState *s)
{
    g_autofree Primary *p = g_new0(Primary, 1);
    ColoTriggerCause cause;
    Error *error = NULL;

    p->s = s;
    p->talk.over = failover_wanted;
    colo_stats_start(COLO_MODE_PRIMARY);
    setup(p);
    if (begin(p, &error)) {
        while (next_trigger(p, &cause, &error) &&
               colo_checkpoint_make(p, cause, &error)) {
            /* and the next */
        }
    }
    end(p, error);
    cleanup(p);
}

/* The requests of the main loop */

void colo_primary_prepare(void)
{
    failover_init_state();
    WITH_QEMU_LOCK_GUARD(&shared.lock) {
        shared.let_go = shared.quit;
    }
}

static void let_go(bool quit)
{
    QEMU_LOCK_GUARD(&shared.lock);
    if (quit) {
        qatomic_set(&shared.quit, true);
    }
    shared.let_go = true;
    if (shared.channel) {
        colo_channel_shutdown(shared.channel);
    }
    if (shared.end) {
        qemu_sem_post(shared.end);
    }
}

void colo_primary_fail_over(void)
{
    Error *err = NULL;

    /* What is held leaves before what the guest sends when the filters are off */
    colo_notify_compares_event(NULL, COLO_EVENT_FAILOVER, NULL);
    colo_primary_tell_filters(COLO_EVENT_FAILOVER);
    replication_stop_all(true, &err);
    if (err) {
        error_report_err(err);
    }
    failover_set_state(FAILOVER_STATUS_ACTIVE, FAILOVER_STATUS_COMPLETED);
    let_go(false);
}

void colo_primary_shutdown(void)
{
    let_go(true);
}
