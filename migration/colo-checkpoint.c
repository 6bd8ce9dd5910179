/*
 * COLO: one checkpoint of the primary
 *
 * One that fails leaves the primary as if it had never begun: the guest goes on.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "block/replication.h"
#include "exec/target_page.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "sysemu/cpus.h"
#include "colo-guest.h"
#include "colo-jobs.h"
#include "colo-primary.h"
#include "colo-seed.h"
#include "colo-stats.h"
#include "savevm.h"

/*
 * Memory of which there is more than that, in pages, goes without the BQL, so
 * that the monitor answers and nothing need be copied for a slow connection; and
 * then what others have written meanwhile.  A stopped guest does not, so once
 * should be enough.
 */
#define HELD_PAGES 512
#define UNHELD_TRIES 4

/* How often to look for an instant without disk requests */
#define REST_LOOK_NS (200 * 1000LL)

/* All memory that has changed.  The BQL is held, and let go meanwhile. */
static bool send_memory_unheld(Primary *p, Error **errp)
{
    ColoLink *link = &p->talk.link;
    bool ok;

    qemu_mutex_unlock_iothread();
    ok = colo_link_put(link, COLO_MSG_RAM, 0, NULL, 0, errp);
    if (ok) {
        colo_channel_set_patient(link->channel, true);
        colo_ram_send_rest(p->ram, link->out);
        qemu_fflush(link->out);
        colo_channel_set_patient(link->channel, false);
        ok = colo_link_check(link, errp);
    }
    qemu_mutex_lock_iothread();
    return ok && !p->talk.over(errp);
}

static bool save_devices(Primary *p, Error **errp)
{
    int ret;

    qio_channel_io_seek(QIO_CHANNEL(p->devices), 0, SEEK_SET, NULL);
    p->devices->usage = 0;
    ret = qemu_save_device_state(p->devices_file);
    qemu_fflush(p->devices_file);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "the state of the devices can't be saved");
        return false;
    }
    return true;
}

/*
 * How much memory has changed.  KVM's vCPUs are asked for their registers before
 * that, once: each such question lets the BQL go, and between the dirty log and the
 * devices nobody may write to memory.
 */
static size_t look_at_memory(Primary *p)
{
    cpu_synchronize_all_states();
    return colo_ram_send_stopped(p->ram);
}

/*
 * The state of the guest, which is stopped: its devices to @devices, its memory
 * towards the secondary.  With the BQL; when that was let go, somebody may have
 * reset the guest, so that the devices and what remains of its memory come after
 * that, at one go.
 */
static bool gather(Primary *p, int64_t *since, Error **errp)
{
    size_t pages = look_at_memory(p);
    int64_t start, devices_ns;

    for (int i = 0; i < UNHELD_TRIES && pages > HELD_PAGES; i++) {
        if (!send_memory_unheld(p, errp)) {
            return false;
        }
        pages = look_at_memory(p);
    }
    if (pages > COLO_BACKLOG_MAX / 2 / qemu_target_page_size()) {
        /* Writing these would let the BQL go, between devices and memory */
        error_setg(errp, "the memory of the guest, which is stopped, changes over "
                   "and over: it is reset, or written to by somebody else");
        return false;
    }
    start = colo_primary_now_ns();
    if (!colo_ram_send_check_sizes(p->ram, errp) || !save_devices(p, errp)) {
        return false;
    }
    devices_ns = colo_primary_now_ns() - start;
    colo_stats_phase(COLO_PHASE_DEVICE_STATE, devices_ns);
    *since += devices_ns;       /* all else is memory */

    if (!colo_link_put(&p->talk.link, COLO_MSG_RAM, 0, NULL, 0, errp)) {
        return false;
    }
    colo_ram_send_rest(p->ram, p->talk.link.out);
    qemu_fflush(p->talk.link.out);
    colo_ram_send_complete(p->ram);
    return colo_link_check(&p->talk.link, errp);
}

static bool disks_are_whole(Error **errp)
{
    ERRP_GUARD();

    replication_get_error_all(errp);
    if (*errp) {
        error_prepend(errp, "the secondary's disk is not complete: ");
        return false;
    }
    replication_do_checkpoint_all(errp);
    return !*errp;
}

bool colo_checkpoint_settle(Primary *p, Error **errp)
{
    return colo_guest_settle(colo_channel_get_timeout() / 2, p->talk.over, errp) &&
           !p->talk.over(errp);
}

/* Stop the guest and gather; with the BQL */
static bool stop_and_gather(Primary *p, int64_t *since, Error **errp)
{
    if (!colo_checkpoint_settle(p, errp)) {
        return false;
    }
    colo_guest_hold();
    colo_stats_lap(COLO_PHASE_STOP, since);
    if (!colo_disks_drain(colo_channel_get_timeout() / 2, errp) ||
        p->talk.over(errp) || !disks_are_whole(errp)) {
        return false;
    }
    colo_stats_lap(COLO_PHASE_DRAIN, since);
    return gather(p, since, errp);
}

/* The rest of it towards the secondary, and its consent; without the BQL */
static bool commit(Primary *p, uint16_t flags, int64_t *since, Error **errp)
{
    bool ok;

    if (p->devices->usage > COLO_DEVICES_MAX) {
        error_setg(errp, "the state of the devices is too large: %zu bytes",
                   p->devices->usage);
        return false;
    }
    if (!colo_link_put(&p->talk.link, COLO_MSG_DEVICES, flags, p->devices->data,
                       p->devices->usage, errp) ||
        !colo_talk_flush(&p->talk, errp)) {
        return false;
    }
    colo_stats_lap(COLO_PHASE_MEMORY, since);
    colo_channel_set_awake(p->talk.link.channel, true);
    ok = colo_talk_await_commit(&p->talk, errp);
    colo_channel_set_awake(p->talk.link.channel, false);
    if (!ok) {
        return false;
    }
    colo_stats_lap(COLO_PHASE_COMMIT, since);
    return true;
}

/* What the checkpoint was for, as figures */
static void account(Primary *p, ColoTriggerCause cause, int64_t mismatch_ns,
                    int64_t commit_ns)
{
    if (cause == COLO_TRIGGER_CAUSE_MISMATCH && mismatch_ns) {
        colo_stats_phase(COLO_PHASE_HOLD, commit_ns - mismatch_ns);
    }
    colo_stats_set_epoch(p->talk.link.session.epoch);
}

void colo_checkpoint_note_slices(Primary *p)
{
    while (!g_queue_is_empty(&p->slices) &&
           colo_debt_answered(&p->talk.debt, GPOINTER_TO_UINT(
                                  g_queue_peek_head(&p->slices)))) {
        g_queue_pop_head(&p->slices);
        colo_ram_send_taken(p->ram);
    }
}

/*
 * The guest still runs: what would only prolong its pause goes first.  That is
 * memory on its way, for which S has to read anyway; and disk requests, which
 * end at the speed of both hosts' disks.  For these an instant is looked for at
 * which there are none, or at least no flush.
 */
static bool come_to_rest(Primary *p, ColoTriggerCause cause, Error **errp)
{
    int64_t start = colo_primary_now_ns();
    ColoDisksState disks;

    while (colo_checkpoint_note_slices(p), !g_queue_is_empty(&p->slices)) {
        if (!colo_talk_attend(&p->talk, COLO_ALIVE_NS, errp)) {
            return false;
        }
    }
    while ((disks = colo_disks_state()) != COLO_DISKS_REST &&
           colo_primary_now_ns() - start < colo_primary_rest_ns(cause, disks)) {
        if (!colo_talk_attend(&p->talk, REST_LOOK_NS, errp)) {
            return false;
        }
    }
    return true;
}

/*
 * From now on, or no longer, the disks have only what cannot wait to do: neither a
 * flush of S's when our guest asks, nor jobs of ours.
 */
static void quieten_disks(bool quiet)
{
    qemu_mutex_lock_iothread();
    replication_defer_flushes_all(quiet);
    if (quiet) {
        colo_jobs_pause();
    } else {
        colo_jobs_resume();
    }
    qemu_mutex_unlock_iothread();
}

/* What S has to do with its guest */
static uint16_t guest_flags(void)
{
    static const uint16_t flags[] = {
        [COLO_FATE_RUNS] = COLO_FLAG_GUEST_RUNS,
        [COLO_FATE_STANDS] = 0,
        [COLO_FATE_STAYS] = COLO_FLAG_GUEST_STAYS,
        [COLO_FATE_SLEEPS] = COLO_FLAG_GUEST_SLEEPS,
    };

    return flags[colo_guest_fate()];
}

/* With the BQL.  If S has been told otherwise meanwhile, tell it soon. */
static void release_guest(uint16_t flags)
{
    bool changed;

    if (colo_primary_quits()) {
        /* Its devices are about to go */
        colo_guest_drop_hold(RUN_STATE_SHUTDOWN);
        return;
    }
    changed = colo_guest_is_held() && flags != guest_flags();
    colo_guest_release();
    if (changed) {
        colo_request_checkpoint(COLO_TRIGGER_CAUSE_GUEST);
    }
}

static bool transact(Primary *p, ColoTriggerCause cause, Error **errp)
{
    int64_t start, since, mismatch_ns, pause_ns;
    uint16_t flags;
    bool ok;

    mismatch_ns = colo_primary_begin_trigger(cause);
    /* S stops at our word, and waits from then on: so not before we can, too */
    qemu_mutex_lock_iothread();
    ok = colo_checkpoint_settle(p, errp);
    qemu_mutex_unlock_iothread();
    if (!ok || !colo_talk_say(&p->talk, COLO_MSG_STOP, errp)) {
        return false;
    }

    qemu_mutex_lock_iothread();
    start = since = colo_primary_now_ns();
    ok = stop_and_gather(p, &since, errp);
    flags = guest_flags();
    qemu_mutex_unlock_iothread();

    ok = ok && commit(p, flags, &since, errp);
    if (ok) {
        colo_primary_tell_compares(p);
        account(p, cause, mismatch_ns, since);
    }

    qemu_mutex_lock_iothread();
    if (ok) {
        colo_primary_tell_filters(COLO_EVENT_CHECKPOINT);
    }
    release_guest(flags);
    /* Its vCPUs need the BQL: they run from here on.  We may not, if CPUs are few. */
    pause_ns = colo_primary_now_ns() - start;
    qemu_mutex_unlock_iothread();
    if (ok) {
        colo_stats_phase(COLO_PHASE_RELEASE, start + pause_ns - since);
        colo_stats_phase(COLO_PHASE_PAUSE, pause_ns);
    }
    colo_ram_send_done(p->ram);
    colo_primary_end_epoch(p, pause_ns);
    return ok;
}

bool colo_checkpoint_make(Primary *p, ColoTriggerCause cause, Error **errp)
{
    bool ok;

    quieten_disks(true);
    ok = come_to_rest(p, cause, errp) && transact(p, cause, errp);
    quieten_disks(false);
    return ok;
}

bool colo_checkpoint_first(Primary *p, Error **errp)
{
    Error *err = NULL;
    bool whole;

    colo_primary_tell_compares(p);
    qemu_mutex_lock_iothread();
    colo_primary_tell_filters(COLO_EVENT_CHECKPOINT);
    whole = colo_checkpoint_settle(p, errp) && colo_seed_is_whole(errp);
    if (whole) {
        /* S's start would wait for one, with its BQL, and our guest for that */
        replication_defer_flushes_all(true);
        replication_start_all(REPLICATION_MODE_PRIMARY, &err);
        p->disks_started = !err;
        if (err) {
            replication_defer_flushes_all(false);
        }
    }
    qemu_mutex_unlock_iothread();
    if (err) {
        error_propagate_prepend(errp, err,
                                "disk replication does not start: ");
    }
    return p->disks_started;
}
