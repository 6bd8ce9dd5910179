/*
 * Stopping and starting the guest for a checkpoint
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "migration/colo.h"
#include "qapi/error.h"
#include "qapi/qapi-events-run-state.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/cpus.h"
#include "sysemu/runstate.h"
#include "sysemu/sysemu.h"
#include "colo-guest.h"
#include "colo-sleep.h"
#include "migration.h"
#include "trace.h"

/* How long to leave the main loop alone with what it has to do */
#define NAP_US 50

static bool held;
static RunState before;         /* valid while held */
static RunState after;          /* valid while held on P: at the release */
static ColoFate fate;           /* valid while held on S: if it takes over */

static bool taken_over;         /* S: until migration.c goes on with the guest */

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
    if (running) {
        colo_sleep_started();
    }
}

static void __attribute__((constructor)) colo_guest_init(void)
{
    qemu_add_vm_change_state_handler_prio(first_started, NULL, INT_MIN);
    qemu_add_vm_change_state_handler_prio(last_started, NULL, INT_MAX);
}

/*
 * vm_stop() changes the run state, then lets the BQL go while it waits for the
 * vCPUs, then tells the devices.  Only a guest that goes to sleep stands still
 * without that, and is in "prelaunch" if it is reset then, "finish-migrate" if a first
 * copy finds it so.  One that is to wake up is reset soon.  Whoever dumps its memory
 * in a thread starts it at the end, and asks nobody.
 */
static bool is_settled(void)
{
    return !telling && !colo_sleep_is_ending() &&
           !runstate_check(RUN_STATE_SAVE_VM) &&
           (runstate_is_running() || !told_running ||
            runstate_check(RUN_STATE_SUSPENDED) ||
            runstate_check(RUN_STATE_PRELAUNCH) ||
            runstate_check(RUN_STATE_FINISH_MIGRATE));
}

bool colo_guest_settle(uint32_t timeout_ms, bool (*over)(Error **), Error **errp)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + timeout_ms;

    while (!is_settled()) {
        if (over && over(errp)) {
            return false;
        }
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
void colo_guest_set_run_state_colo(void)
{
    static const RunState indirect[] = {
        RUN_STATE_GUEST_PANICKED, RUN_STATE_IO_ERROR, RUN_STATE_INTERNAL_ERROR,
        RUN_STATE_DEBUG, RUN_STATE_PRELAUNCH, RUN_STATE_POSTMIGRATE,
    };

    if (runstate_check(RUN_STATE_SAVE_VM) || runstate_check(RUN_STATE_RESTORE_VM)) {
        /*
         * A failover in a dump, which does not wait; or a "loadvm" that has failed.
         * The only way there is; nobody is told.
         */
        runstate_set(RUN_STATE_RUNNING);
    }
    for (int i = 0; i < ARRAY_SIZE(indirect); i++) {
        if (runstate_check(indirect[i])) {
            runstate_set(RUN_STATE_FINISH_MIGRATE);
        }
    }
    runstate_set(RUN_STATE_COLO);
}

/* As vm_stop(), but it neither drains nor flushes; to pause the vCPUs drops the BQL */
static void halt_vcpus(RunState state, bool pause)
{
    runstate_set(state);
    cpu_disable_ticks();
    if (pause) {
        pause_all_vcpus();
    }
    vm_state_notify(0, state);
    qapi_event_send_stop();
    trace_colo_vm_state_change("run", "stop");
}

static void halt(RunState state)
{
    halt_vcpus(state, true);
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
    if (told_running) {
        /*
         * It sleeps, or was reset as it slept: its clock runs on, but for us.  It can
         * be woken up, see colo_guest_woke_up().
         */
        cpu_disable_ticks();
    }
}

/* It sleeps; or is to wake up, and so far it is as if it slept. */
static bool sleeps(void)
{
    return runstate_check(RUN_STATE_SUSPENDED) || colo_sleep_is_ending();
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
    if (vm_prepare_start(false)) {
        return;
    }
    if (runstate_check(RUN_STATE_SUSPENDED)) {
        /* It is to be reset, to wake up; nothing leads from there, either */
        runstate_set(RUN_STATE_RUNNING);
    }
    halt_vcpus(state, false);
}

/*
 * A sleeping guest's vCPUs are paused, its clock and its devices are not, unless it had
 * been stopped before it fell asleep, and so @stays when it is awake.  One that wakes
 * up is left to colo_guest_woke_up().
 */
static void go_on_asleep(bool stays)
{
    colo_sleep_set_stays(stays);
    if (runstate_check(RUN_STATE_SUSPENDED) && !told_running && !stays) {
        /* It fell asleep as it was held; that is what it is after this */
        vm_prepare_start(false);
    }
}

/* What "after" says about a guest that sleeps */
static bool stays_after(void)
{
    return after == RUN_STATE_SUSPENDED ? colo_sleep_stays() :
                                          after != RUN_STATE_RUNNING;
}

/*
 * It is awake, but held: as if it had been awake when that began.  What has stopped it,
 * if not somebody's "stop", is over with the reset.
 */
static void hold_awake(void)
{
    before = RUN_STATE_RUNNING;
    after = stays_after() ? RUN_STATE_PAUSED : RUN_STATE_RUNNING;
    fate = COLO_FATE_RUNS;
    runstate_set(RUN_STATE_COLO);
    if (told_running) {
        halt_vcpus(RUN_STATE_COLO, false);
    }
}

void colo_guest_woke_up(bool stays)
{
    if (held) {
        hold_awake();
    } else if (stays && told_running) {
        halt_vcpus(RUN_STATE_PAUSED, false);
    } else if (stays) {
        runstate_set(RUN_STATE_PAUSED);
    } else if (!told_running) {
        /* Whoever was to start it has found it "running" */
        runstate_set(RUN_STATE_COLO);
        vm_start();
    }
}

void colo_guest_release(void)
{
    if (!held) {
        return;
    }
    note_requested();
    if (sleeps()) {
        go_on_asleep(stays_after());
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

RunState colo_guest_drop_hold(RunState state)
{
    note_requested();
    state = held ? after : state;
    held = false;
    return state;
}

void colo_guest_start_as(RunState state)
{
    if (sleeps()) {
        go_on_asleep(state != RUN_STATE_RUNNING);
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

bool colo_guest_is_stopped(void)
{
    if (runstate_check(RUN_STATE_FINISH_MIGRATE)) {
        /*
         * That is stopping it now, or it has, and it is held: else it was before.
         * Without COLO it stays here without its disks, if all goes well: only who
         * means to starts it.
         */
        return !held && (!told_running || !migrate_colo_enabled());
    }
    return !runstate_is_running() && !runstate_check(RUN_STATE_COLO);
}

/*
 * P: the end of the first copy stops the guest, which runs; from here on a "stop" finds
 * nothing to stop.  It may only seem to run, as it is to wake up.
 */
static void hold_for_migration(void)
{
    if (migrate_colo_enabled()) {
        held = true;
        before = RUN_STATE_RUNNING;
        after = colo_sleep_is_ending() && colo_sleep_stays() ? RUN_STATE_PAUSED :
                                                               RUN_STATE_RUNNING;
    }
}

/* migration.c is yet to start it: not if its user says "stop" before that */
static void stop_taken_over(void)
{
    autostart = false;
    if (runstate_check(RUN_STATE_COLO)) {
        halt_held(RUN_STATE_PAUSED);
    }
}

bool colo_guest_defer_stop(RunState state)
{
    if (state == RUN_STATE_FINISH_MIGRATE) {
        hold_for_migration();
        return false;
    }
    if (state == RUN_STATE_RESTORE_VM && colo_is_active(NULL)) {
        return true;            /* for a snapshot which is not loaded then */
    }
    if (taken_over && state == RUN_STATE_PAUSED &&
        !runstate_check(RUN_STATE_SUSPENDED)) {
        stop_taken_over();
    }
    if (!held && colo_sleep_is_ending()) {
        colo_sleep_set_stays(true);
    }
    if (held && (after == RUN_STATE_RUNNING || after == RUN_STATE_SUSPENDED) &&
        !runstate_check(RUN_STATE_SUSPENDED) && state != RUN_STATE_SAVE_VM) {
        /*
         * Else it would be stopped already, or asleep, and stay as it is; and who
         * saves it would start it again if it had run for him.
         */
        after = state;
    }
    return held;
}

bool colo_guest_defer_cont(void)
{
    /* It may be about to wake up */
    colo_sleep_set_stays(false);
    if (taken_over) {
        autostart = true;
    }
    if (held) {
        after = RUN_STATE_RUNNING;
    }
    return held;
}

void colo_guest_stop(void)
{
    if (colo_sleep_is_on()) {
        /* By itself; perhaps only now, as it had been stopped already */
        fate = COLO_FATE_SLEEPS;
        colo_sleep_set_stays(false);
    } else if (!held) {
        fate = COLO_FATE_RUNS;
    }
    held = true;
    if (runstate_is_running() && told_running) {
        halt(RUN_STATE_COLO);
    } else {
        if (!runstate_check(RUN_STATE_SUSPENDED)) {
            colo_guest_set_run_state_colo();
        }
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
    /* If there is one, that was the guest of before, which fell asleep only then */
    colo_sleep_forget();
    fate = new_fate;
    if (fate == COLO_FATE_SLEEPS) {
        colo_sleep_begin();
    }
}

void colo_guest_let_go(void)
{
    held = false;
    /* migration.c starts it, as after any migration, or leaves it alone */
    autostart = fate != COLO_FATE_STAYS;
    taken_over = true;
    if (!autostart) {
        halt_held(RUN_STATE_PAUSED);
    }
}

bool colo_guest_is_taken_over(void)
{
    return taken_over;
}

void colo_guest_go_on(void)
{
    taken_over = false;
    if (autostart) {
        vm_start();
    }
}
