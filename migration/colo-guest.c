/*
 * Stopping and starting the guest for a checkpoint
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "migration/colo.h"
#include "qapi/error.h"
#include "qapi/qapi-events-run-state.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/cpus.h"
#include "sysemu/reset.h"
#include "sysemu/runstate.h"
#include "sysemu/sysemu.h"
#include "colo-guest.h"
#include "colo-jobs.h"
#include "trace.h"

/* How long to leave the main loop alone with what it has to do */
#define NAP_US 50

static bool held;
static RunState before;         /* valid while held */
static RunState after;          /* valid while held on P: at the release */
static ColoFate fate;           /* valid while held on S: if it takes over */

static bool taken_over;         /* S: until migration.c goes on with the guest */

/* The start ends with a guest that sleeps: valid until then, or until a reset */
static bool starts_asleep;

/* What the devices know; they are told one after the other, with the BQL */
static bool telling;            /* not all of them yet */
static bool told_running;       /* what all were told last */

/* The lowest priority is the first to hear of a start, and the last of a stop. */
static void first_started(void *opaque, bool running, RunState state)
{
    telling = running;
}

static void last_started(void *opaque, bool running, RunState state)
{
    telling = !running;
    told_running = running;
    if (running && starts_asleep) {
        /* All has been started but the vCPUs, which are the last */
        starts_asleep = false;
        runstate_set(RUN_STATE_SUSPENDED);
        qapi_event_send_suspend();
    }
}

/* It falls asleep; who watches the run state is not told. */
static void fell_asleep(Notifier *notifier, void *data)
{
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_GUEST);
}

/* The main loop has reset it, and resumes the vCPUs next if it is "running" */
static void woke_up(Notifier *notifier, void *data)
{
    if (held && runstate_is_running()) {
        /* It fell asleep as it was held, which has not ended yet */
        runstate_set(RUN_STATE_COLO);
    }
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_GUEST);
}

/* Whatever it was to be, it begins anew */
static void was_reset(void *opaque)
{
    starts_asleep = false;
}

static void __attribute__((constructor)) colo_guest_init(void)
{
    static Notifier falls_asleep = { .notify = fell_asleep };
    static Notifier wakes_up = { .notify = woke_up };

    qemu_register_suspend_notifier(&falls_asleep);
    qemu_register_wakeup_notifier(&wakes_up);
    qemu_register_reset(was_reset, NULL);
    qemu_add_vm_change_state_handler_prio(first_started, NULL, INT_MIN);
    qemu_add_vm_change_state_handler_prio(last_started, NULL, INT_MAX);
}

/*
 * vm_stop() changes the run state, then lets the BQL go while it waits for the
 * vCPUs, then tells the devices.  Only a guest that goes to sleep stands still
 * without that, and is in "prelaunch" if it is reset then.
 */
static bool is_settled(void)
{
    return !telling && (runstate_is_running() || !told_running ||
                        runstate_check(RUN_STATE_SUSPENDED) ||
                        runstate_check(RUN_STATE_PRELAUNCH));
}

bool colo_guest_settle(uint32_t timeout_ms, Error **errp)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + timeout_ms;

    while (!is_settled()) {
        if (qemu_clock_get_ms(QEMU_CLOCK_REALTIME) > end) {
            error_setg(errp, "the guest was not stopped or started within %u ms, "
                       "as somebody had asked for", timeout_ms);
            return false;
        }
        qemu_mutex_unlock_iothread();
        g_usleep(NAP_US);
        qemu_mutex_lock_iothread();
    }
    return true;
}

/*
 * "colo" can't be reached from all run states, but from "finish-migrate", and
 * that can from all those which lack the direct way.
 */
static void set_run_state_colo(void)
{
    static const RunState indirect[] = {
        RUN_STATE_GUEST_PANICKED, RUN_STATE_IO_ERROR, RUN_STATE_INTERNAL_ERROR,
        RUN_STATE_DEBUG, RUN_STATE_PRELAUNCH, RUN_STATE_POSTMIGRATE,
    };

    for (int i = 0; i < ARRAY_SIZE(indirect); i++) {
        if (runstate_check(indirect[i])) {
            runstate_set(RUN_STATE_FINISH_MIGRATE);
        }
    }
    runstate_set(RUN_STATE_COLO);
}

/* As vm_stop(), but it neither drains nor flushes */
static void halt(RunState state)
{
    runstate_set(state);
    cpu_disable_ticks();
    pause_all_vcpus();
    vm_state_notify(0, state);
    qapi_event_send_stop();
    trace_colo_vm_state_change("run", "stop");
}

void colo_guest_start(void)
{
    vm_start();
    /* Only now: who watches the run state must know that it was us */
    held = false;
    trace_colo_vm_state_change("stop", "run");
}

/* As far as it matters here; RUN_STATE__MAX: another one */
static RunState run_state(void)
{
    static const RunState matters[] = {
        RUN_STATE_RUNNING, RUN_STATE_SUSPENDED, RUN_STATE_IO_ERROR,
    };

    for (int i = 0; i < ARRAY_SIZE(matters); i++) {
        if (runstate_check(matters[i])) {
            return matters[i];
        }
    }
    return RUN_STATE__MAX;
}

/*
 * A panic, a watchdog, a disk that is full: the guest was to stop, the main loop
 * has yet to do it.  vm_start() would forget that.
 */
static void note_requested(void)
{
    RunState requested;

    if (held && after == RUN_STATE_RUNNING && qemu_vmstop_requested(&requested)) {
        after = requested;
    }
}

void colo_guest_hold(void)
{
    held = true;
    before = after = run_state();
    if (before == RUN_STATE_RUNNING) {
        halt(RUN_STATE_COLO);
        note_requested();
        return;
    }
    if (before == RUN_STATE_SUSPENDED) {
        /* Else it could be woken up, and run */
        runstate_set(RUN_STATE_COLO);
    }
    if (told_running) {
        /* It sleeps, or was reset as it slept: its clock runs on, but for us */
        cpu_disable_ticks();
    }
}

static bool requests_in_flight(void)
{
    BlockDriverState *bs = NULL;

    while ((bs = bdrv_next_node(bs))) {
        if (qatomic_read(&bs->in_flight)) {
            return true;
        }
    }
    return false;
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

ColoDisksState colo_guest_disks(void)
{
    ColoDisksState state;

    qemu_mutex_lock_iothread();
    if (!runstate_is_running() || !requests_in_flight()) {
        state = COLO_DISKS_REST;
    } else if (flushes_in_flight() || !replication_is_short_all()) {
        state = COLO_DISKS_FLUSH;
    } else {
        state = COLO_DISKS_BUSY;
    }
    qemu_mutex_unlock_iothread();
    return state;
}

bool colo_guest_drain(uint32_t timeout_ms, Error **errp)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + timeout_ms;

    /*
     * One of them may be at a peer that does not answer: that is waited for
     * with the main loop running and with a bound.
     */
    while (requests_in_flight()) {
        if (qemu_clock_get_ms(QEMU_CLOCK_REALTIME) > end) {
            error_setg(errp, "a disk request was not done within %u ms",
                       timeout_ms);
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

/*
 * Stopped on P: it sleeps, or was woken up just now, and the main loop has yet to
 * reset it: so far it is as if it slept.
 */
static bool is_asleep(void)
{
    return runstate_check(RUN_STATE_SUSPENDED) || runstate_is_running();
}

/* Held on P: whether it will sleep at the release */
static bool sleeps(void)
{
    return is_asleep() ||
           (before == RUN_STATE_SUSPENDED && runstate_check(RUN_STATE_COLO));
}

ColoFate colo_guest_fate(void)
{
    note_requested();
    if (sleeps()) {
        return COLO_FATE_SLEEPS;
    } else if (after == RUN_STATE_RUNNING) {
        return COLO_FATE_RUNS;
    }
    /* A failed disk is this host's; all other reasons are the guest's or people's */
    return after == RUN_STATE_IO_ERROR ? COLO_FATE_STANDS : COLO_FATE_STAYS;
}

/* No way leads from "colo" to most run states but this; no vCPU runs on it. */
static void halt_held(RunState state)
{
    if (!vm_prepare_start(false)) {
        halt(state);
    }
}

/*
 * A sleeping guest's vCPUs are paused, its clock and its devices are not.  Those of one
 * that is about to be reset, to wake up, are resumed by the main loop, after that; but
 * not if it is to be in another @state when it is awake.
 */
static void start_asleep(RunState state)
{
    bool wakes_up = runstate_is_running();

    if (wakes_up) {
        /* Else there would be nothing to start */
        runstate_set(RUN_STATE_COLO);
    }
    if (vm_prepare_start(false)) {
        return;
    }
    if (!wakes_up) {
        runstate_set(RUN_STATE_SUSPENDED);
    } else if (state != RUN_STATE_RUNNING) {
        halt(state);
    }
}

static void release_asleep(void)
{
    if (before == RUN_STATE_SUSPENDED) {
        runstate_set(RUN_STATE_SUSPENDED);
    } else {
        /* It went to sleep as it was stopped */
        start_asleep(after);
    }
}

void colo_guest_release(void)
{
    if (!held) {
        return;
    }
    note_requested();
    if (sleeps()) {
        release_asleep();
    } else if (after == RUN_STATE_RUNNING) {
        colo_guest_start();
    } else if (before == RUN_STATE_RUNNING) {
        halt_held(after);
    }
    if (told_running) {
        cpu_enable_ticks();
    }
    held = false;
}

void colo_guest_hold_stopped(void)
{
    held = true;
    before = after = RUN_STATE_RUNNING;
}

void colo_guest_sleep_on(void)
{
    starts_asleep = true;
}

RunState colo_guest_drop_hold(RunState state)
{
    state = held ? after : state;
    held = false;
    starts_asleep = false;
    return state;
}

void colo_guest_start_as(RunState state)
{
    if (is_asleep()) {
        start_asleep(state);
    } else if (state == RUN_STATE_RUNNING) {
        colo_guest_start();
    } else {
        halt_held(state);
    }
}

bool colo_guest_is_held(void)
{
    return held;
}

bool colo_guest_defer_stop(RunState state)
{
    if (held && after == RUN_STATE_RUNNING && !runstate_check(RUN_STATE_SUSPENDED)) {
        /* Else it would be stopped already, or asleep, and stay as it is */
        after = state;
    }
    return held;
}

bool colo_guest_defer_cont(void)
{
    if (held) {
        after = RUN_STATE_RUNNING;
    }
    return held;
}

void colo_guest_stop(void)
{
    if (runstate_check(RUN_STATE_SUSPENDED)) {
        /* By itself; perhaps only now, as it had been stopped already */
        fate = COLO_FATE_SLEEPS;
    } else if (!held) {
        fate = COLO_FATE_RUNS;
    }
    held = true;
    if (runstate_is_running()) {
        halt(RUN_STATE_COLO);
    } else {
        set_run_state_colo();
        if (told_running) {
            /* It sleeps; its devices and its clock don't */
            cpu_disable_ticks();
            vm_state_notify(0, RUN_STATE_COLO);
        }
    }
    bdrv_drain_all();
}

void colo_guest_loaded(ColoFate new_fate)
{
    fate = new_fate;
    if (runstate_check(RUN_STATE_SUSPENDED)) {
        /* That was the guest of before */
        runstate_set(RUN_STATE_COLO);
    }
}

void colo_guest_let_go(void)
{
    held = false;
    /* migration.c starts it, as after any migration, or leaves it alone */
    autostart = fate != COLO_FATE_STAYS;
    starts_asleep = fate == COLO_FATE_SLEEPS;
    taken_over = true;
    if (!autostart) {
        halt_held(RUN_STATE_PAUSED);
    }
}

bool colo_guest_go_on(void)
{
    bool ours = taken_over;

    taken_over = false;
    if (ours && autostart) {
        vm_start();
    }
    return ours;
}
