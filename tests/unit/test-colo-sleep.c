/*
 * A guest that sleeps, and all that may befall it then: each order of it
 *
 * migration/colo-guest.c, colo-seed.c and colo-sleep.c in a world of their own: a main
 * loop, a monitor, a vCPU and COLO's thread, whose steps are tried in each order up to a
 * length.  Where QEMU lets the BQL go, another thread may make a step.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-sleep-world.c.inc"

/* So many choices */
#define LENGTH 8

/* The main loop */

static void reset_guest(void)
{
    reset_handler(NULL);
    w.phase = AWAKE;
}

static void main_loop(void)
{
    if (w.cleanup) {
        w.cleanup = false;
        migration_notifier->notify(migration_notifier, NULL);
    }
    if (w.suspend) {
        pause_all_vcpus();
        sleep_notifier->notify(sleep_notifier, NULL);
        runstate_set(RUN_STATE_SUSPENDED);
        w.suspend = false;
        w.woken = false;
    }
    if (w.reset) {
        pause_all_vcpus();
        reset_guest();
        w.reset = false;
        resume_vcpus();
        if (w.state != RUN_STATE_RUNNING && w.state != RUN_STATE_FINISH_MIGRATE) {
            runstate_set(RUN_STATE_PRELAUNCH);
        }
        w.was_reset = true;
    }
    if (w.wake) {
        /* Nothing runs before the vCPUs are paused, though they may have been resumed */
        vcpu.stopped = true;
        pause_all_vcpus();
        if (w.successor) {
            world_fail("it was another guest that was to wake up");
        }
        reset_guest();
        for (int i = 0; i < ARRAY_SIZE(wake_notifiers); i++) {
            wake_notifiers[i]->notify(wake_notifiers[i], NULL);
        }
        w.wake = false;
        resume_vcpus();
        w.woken = true;
    }
}

/* The monitor, which is the main loop, too */

/* On S, as long as its guest is held, they do nothing */
static bool counts(void)
{
    return w.role != SECONDARY || !held;
}

static void stop(void)
{
    if (counts() && w.state != RUN_STATE_SUSPENDED) {
        w.wants_stop = true;
    }
    vm_stop(RUN_STATE_PAUSED);
}

static void cont(void)
{
    if (w.state == RUN_STATE_SUSPENDED || w.state == RUN_STATE_FINISH_MIGRATE) {
        return;
    }
    w.wants_stop = w.wants_stop && !counts();
    if (!colo_guest_defer_cont()) {
        vm_start();
    }
}

static void wake(void)
{
    if (w.state == RUN_STATE_SUSPENDED) {
        runstate_set(RUN_STATE_RUNNING);
        w.wake = true;
        w.successor = false;
    }
}

/* The vCPU, or somebody on its behalf when it does not run any more */
static void fall_asleep(void)
{
    if (w.phase == AWAKE && w.state != RUN_STATE_SUSPENDED) {
        w.phase = PAST_SLEEP;
        w.suspend = true;
        vcpu.stopped = true;
    }
}

/* COLO's thread */

static void primary_step(void)
{
    if (held) {
        ColoFate fate = colo_guest_fate();

        if (fate == COLO_FATE_RUNS && w.phase == PAST_SLEEP && !w.suspend) {
            world_fail("the secondary would run a guest that sleeps");
        }
        colo_guest_release();
    } else if (is_settled()) {
        colo_guest_hold();
    }
}

/* As migration.c */
static void seed_step(void)
{
    if (!w.at_end) {
        w.at_end = true;
        wake();
        w.ran_before = runstate_is_running();
        if (w.ran_before) {
            vm_stop(RUN_STATE_FINISH_MIGRATE);
        } else {
            runstate_set(RUN_STATE_FINISH_MIGRATE);
        }
    } else if (!w.ended && w.role == SEED) {
        w.ended = is_settled();
        if (w.ended) {
            colo_seed_start_guest();
        }
    } else if (!w.ended) {
        w.ended = true;
        if (w.ran_before) {
            vm_start();
        } else if (runstate_check(RUN_STATE_FINISH_MIGRATE)) {
            runstate_set(RUN_STATE_POSTMIGRATE);
        }
        w.cleanup = true;
    }
}

static void load(ColoFate fate)
{
    reset_guest();
    w.successor = true;
    w.suspend = false;          /* that would not wait so long: docs */
    w.phase = fate == COLO_FATE_SLEEPS ? PAST_SLEEP : AWAKE;
    colo_guest_loaded(fate);
    if (fate == COLO_FATE_RUNS) {
        colo_guest_start();
    }
    w.stopped = w.committed = false;
    w.wants_stop = fate == COLO_FATE_STAYS;
    w.woken = false;
}

static ColoFate next_fate;

static void secondary_step(void)
{
    if (w.left) {
        return;
    }
    if (!w.stopped && is_settled()) {
        colo_guest_stop();
        w.stopped = true;
    } else if (w.stopped && !w.committed && is_settled()) {
        colo_sleep_forget();
        w.committed = true;
    } else if (w.committed && is_settled()) {
        load(next_fate);
    }
}

/* Main loop */
static void take_over(void)
{
    if (!w.left && !w.committed) {
        w.left = true;
        colo_guest_stop();
        colo_guest_let_go();
        if (fate != COLO_FATE_STAYS) {
            /* Who has stopped it here does not count */
            w.wants_stop = false;
        }
    } else if (w.left && !w.went_on) {
        w.went_on = true;
        colo_guest_go_on();
    }
}

static void colo_step(void)
{
    void (*const steps[])(void) = {
        [PRIMARY] = primary_step, [SECONDARY] = secondary_step, [SEED] = seed_step,
        [FAILING_SEED] = seed_step,
    };

    steps[w.role]();
}

static void main_step(unsigned what)
{
    w.in_main_loop = true;
    switch (what) {
    case 2:
        wake();
        break;
    case 4:
        stop();
        break;
    case 5:
        cont();
        break;
    case 6:
        w.reset = true;
        break;
    case 7:
        main_loop();
        break;
    case 8:
        take_over();
        break;
    }
    w.in_main_loop = false;
}

static void step(void)
{
    unsigned what = choose();

    if (what == 1) {
        fall_asleep();
    } else if (what == 3) {
        colo_step();
    } else {
        main_step(what);
    }
    expect_sane();
}

/* While the main loop waits COLO's thread may go on, and the other way round. */
static void other_step(void)
{
    unsigned what = choose();

    if (w.in_main_loop) {
        /* Asleep as it is reset, that would be QEMU's affair */
        if (what == 1 && w.ran && !w.reset) {
            fall_asleep();
        } else if (what <= 4 && !w.committed) {
            colo_step();
        }
        w.in_main_loop = true;
    } else if (what != 3 && what != 8) {
        main_step(what);
    }
}

/* Nobody does anything any more, and nothing is left to be done. */
static void come_to_rest(void)
{
    for (int i = 0; i < 3; i++) {
        main_loop();
        if (seed_handler || (w.role == PRIMARY && held)) {
            colo_step();
        }
    }
    if (w.role == SECONDARY) {
        while (w.committed) {
            secondary_step();
        }
        if (!w.left) {
            take_over();
        }
        main_loop();
        take_over();
        main_loop();
    }
    g_assert_false(w.suspend || w.reset || w.wake || held);
}

static void expect_rest(void)
{
    expect_sane();
    switch (w.state) {
    case RUN_STATE_RUNNING:
        if (vcpu.stopped || !told_running || !w.ticks || w.phase == PAST_SLEEP) {
            world_fail("it should run");
        }
        break;
    case RUN_STATE_SUSPENDED:
        if (w.phase != PAST_SLEEP || told_running != w.ticks) {
            world_fail("it should sleep");
        }
        if (!told_running && !stays) {
            world_fail("its clock and its devices should go on");
        }
        break;
    case RUN_STATE_PAUSED:
        if (!vcpu.stopped || told_running || w.ticks) {
            world_fail("it should stand still");
        }
        break;
    case RUN_STATE_POSTMIGRATE:
        /* As QEMU leaves one that has stood still, or was reset in its sleep */
        if (!vcpu.stopped || (told_running && !w.was_reset) || w.role != FAILING_SEED) {
            world_fail("it should stand still");
        }
        break;
    case RUN_STATE_PRELAUNCH:
        if (!vcpu.stopped || !w.was_reset) {
            world_fail("it was not reset");
        }
        return;
    default:
        world_fail("it should not be in this state");
    }
    if (w.was_reset) {
        return;
    }
    if (w.phase == PAST_SLEEP) {
        if (w.state != RUN_STATE_SUSPENDED) {
            world_fail("it should be suspended");
        }
    } else if (w.wants_stop && w.state == RUN_STATE_POSTMIGRATE) {
        return;
    } else if (w.state != (w.wants_stop ? RUN_STATE_PAUSED : RUN_STATE_RUNNING)) {
        world_fail(w.wants_stop ? "it should be paused" : "it should be running");
    }
}

static void begin(const char *choices, Role role)
{
    memset(&w, 0, sizeof(w));
    w.choices = w.next = choices;
    w.role = role;
    w.state = RUN_STATE_RUNNING;
    w.ticks = true;
    vcpu.stopped = false;
    autostart = 1;
    held = taken_over = telling = asleep = stays = false;
    told_running = true;
    seed_handler = NULL;
    watch = NULL;
    if (role == SEED || role == FAILING_SEED) {
        w.setup = true;
        migration_notifier->notify(migration_notifier, NULL);
        w.setup = false;
    }
}

static void run(const char *choices, Role role)
{
    begin(choices, role);
    for (int i = 0; i < strlen(choices); i++) {
        step();
    }
    come_to_rest();
    expect_rest();
    sequences++;
}

static void run_all(char *choices, int at, Role role)
{
    if (at == LENGTH) {
        run(choices, role);
        return;
    }
    for (int i = 1; i <= (role == SECONDARY ? 8 : 7); i++) {
        choices[at] = '0' + i;
        run_all(choices, at + 1, role);
    }
}

static void run_each(Role role)
{
    char choices[LENGTH + 1] = "";

    sequences = 0;
    run_all(choices, 0, role);
    g_test_message("%u orders of %d steps", sequences, LENGTH);
    g_assert_cmpuint(sequences, >, 1000000);
}

static void test_primary(void)
{
    run_each(PRIMARY);
}

/* The end of the migration with which it begins */
static void test_seed(void)
{
    run_each(SEED);
}

static void test_failing_seed(void)
{
    run_each(FAILING_SEED);
}

/* Without COLO, awake at the end of its migration: it may run elsewhere by then. */
static void test_plain(void)
{
    /* It falls asleep after that, or while its vCPUs are being paused for it */
    static const char *const nested[] = { "", "7" };

    for (int i = 0; i < ARRAY_SIZE(nested); i++) {
        begin(nested[i], PLAIN);
        fall_asleep();
        seed_step();
        main_loop();
        g_assert(w.state == RUN_STATE_SUSPENDED);
        wake();
        main_loop();
        g_assert(w.woken && w.state == RUN_STATE_PAUSED && vcpu.stopped);
        g_assert(!told_running && !w.ticks);
        /* It has failed, or somebody says "cont" */
        vm_start();
        expect_rest();
    }
}

static void test_secondary(const void *opaque)
{
    next_fate = *(const ColoFate *)opaque;
    run_each(SECONDARY);
}

int main(int argc, char **argv)
{
    static const ColoFate fates[] = {
        COLO_FATE_RUNS, COLO_FATE_STAYS, COLO_FATE_SLEEPS,
    };

    g_test_init(&argc, &argv, NULL);
    module_call_init(MODULE_INIT_QOM);
    QTAILQ_INSERT_TAIL(&cpus, &vcpu, node);
    g_test_add_func("/colo-sleep/primary", test_primary);
    g_test_add_func("/colo-sleep/seed", test_seed);
    g_test_add_func("/colo-sleep/failing-seed", test_failing_seed);
    g_test_add_func("/colo-sleep/plain", test_plain);
    g_test_add_data_func("/colo-sleep/secondary/runs", &fates[0], test_secondary);
    g_test_add_data_func("/colo-sleep/secondary/stays", &fates[1], test_secondary);
    g_test_add_data_func("/colo-sleep/secondary/sleeps", &fates[2], test_secondary);
    return g_test_run();
}
