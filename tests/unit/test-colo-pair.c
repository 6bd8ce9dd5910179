/*
 * The pair controller with a scripted pair and a virtual clock
 *
 * A script is a list of lines "TIME INPUT", the simulated pair carries out
 * each action at once unless told to fail or to hang, and the trace of
 * states and actions is compared with what is expected.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "pair.h"

typedef struct Sim {
    Pair *pair;
    GString *trace;
    PairState seen;
    int64_t now;
    const char *fail;     /* this step fails */
    const char *hang;     /* this step never ends */
} Sim;

static void sim_trace_state(Sim *sim)
{
    if (pair_state(sim->pair) != sim->seen) {
        sim->seen = pair_state(sim->pair);
        g_string_append_printf(sim->trace, "= %s\n",
                               pair_state_text(sim->seen));
    }
}

static void sim_act(Sim *sim, const PairAction *action)
{
    static const char *const verbs[] = {
        [PAIR_ACT_LAUNCH] = "launch", [PAIR_ACT_SHELL] = "shell",
        [PAIR_ACT_QMP] = "qmp", [PAIR_ACT_KILL] = "kill",
    };

    g_string_append_printf(sim->trace, "%d %s%s%s%s\n", action->node,
                           verbs[action->type], action->step ? " " : "",
                           action->step ?: "",
                           action->lenient ? " (lenient)" : "");
    if (action->step && !g_strcmp0(action->step, sim->hang)) {
        return;
    }
    pair_step_done(sim->pair, action->id,
                   action->step && !g_strcmp0(action->step, sim->fail) ?
                   "it failed" : NULL, sim->now);
}

static void sim_settle(Sim *sim)
{
    PairAction action;

    sim_trace_state(sim);
    while (pair_next_action(sim->pair, &action)) {
        sim_act(sim, &action);
        sim_trace_state(sim);
    }
}

/* "start 0", "join", "failover 1", "up 0", "gone 1", "fail STEP", ... */
static void sim_input(Sim *sim, const char *line)
{
    g_auto(GStrv) w = g_strsplit(line, " ", 2);
    int node = w[1] ? atoi(w[1]) : 0;
    Error *err = NULL;
    bool ok = true;

    if (g_str_equal(w[0], "start")) {
        ok = pair_command(sim->pair, PAIR_CMD_START, node, sim->now, &err);
    } else if (g_str_equal(w[0], "join")) {
        ok = pair_command(sim->pair, PAIR_CMD_JOIN, node, sim->now, &err);
    } else if (g_str_equal(w[0], "failover")) {
        ok = pair_command(sim->pair, PAIR_CMD_FAILOVER, node, sim->now, &err);
    } else if (g_str_equal(w[0], "up")) {
        pair_node_up(sim->pair, node, false, sim->now);
    } else if (g_str_equal(w[0], "up-running")) {
        pair_node_up(sim->pair, node, true, sim->now);
    } else if (g_str_equal(w[0], "gone")) {
        pair_node_gone(sim->pair, node, "killed", sim->now);
    } else if (g_str_equal(w[0], "stopped")) {
        pair_stopped(sim->pair, node);
    } else if (g_str_equal(w[0], "resumed")) {
        pair_resumed(sim->pair, node, sim->now);
    } else if (g_str_equal(w[0], "checkpoint")) {
        pair_stopped(sim->pair, node);
        pair_resumed(sim->pair, node, sim->now);
    } else if (g_str_equal(w[0], "exit")) {
        pair_colo_exit(sim->pair, node, "error", sim->now);
    } else if (g_str_equal(w[0], "progress")) {
        pair_progress(sim->pair, sim->now);
    } else if (g_str_equal(w[0], "migration")) {
        pair_migration(sim->pair, pair_primary(sim->pair), w[1], 0, sim->now);
    } else if (g_str_equal(w[0], "pass")) {
        pair_migration(sim->pair, pair_primary(sim->pair), "active", node,
                       sim->now);
    } else if (g_str_equal(w[0], "after")) {
        sim->now += node;
        pair_tick(sim->pair, sim->now);
    } else if (g_str_equal(w[0], "fail")) {
        sim->fail = g_intern_string(w[1]);
    } else if (g_str_equal(w[0], "hang")) {
        sim->hang = g_intern_string(w[1]);
    } else {
        g_error("bad script line '%s'", line);
    }
    if (!ok) {
        g_string_append_printf(sim->trace, "refused: %s\n",
                               error_get_pretty(err));
        error_free(err);
    }
    sim_settle(sim);
}

#define PROTECT_FIRST \
    "start 0\njoin\nup 1\nup 0\nmigration active\nmigration colo\n" \
    "resumed 0\ncheckpoint 0\n"

#define PROTECTED_FIRST \
    "= alone\n0 launch primary-start\n" \
    "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n" \
    "1 qmp secondary-export\n" \
    "= seeding\n0 qmp disk-attach\n0 qmp checkpoint-delay\n0 qmp migrate\n" \
    "= protected\n"

#define FAILED_OVER_TO_1 \
    "= lost\n= failing over\n0 kill\n1 qmp secondary-failover\n= failed over\n"

#define REJOINS_RUNNING \
    "= joining\n0 shell secondary-disk\n0 shell secondary-overlays\n" \
    "0 launch secondary-start\n0 qmp secondary-export\n" \
    "= resyncing\n1 qmp resync\n" \
    "= seeding\n1 qmp resync-end\n1 qmp disk-attach\n" \
    "1 qmp seed-running\n1 qmp channels-renew\n" \
    "1 qmp compare-attach-promoted\n1 qmp checkpoint-delay\n" \
    "1 qmp migrate\n"

#define ABANDONED(p, s) \
    "= abandoning\n" s " kill\n" p " qmp resync-abandon (lenient)\n" \
    p " qmp primary-failover (lenient)\n" p " qmp resume\n= failed over\n"

static const struct {
    const char *name;
    const char *script;
    const char *trace;
} cases[] = {
    { "first", PROTECT_FIRST, PROTECTED_FIRST },
    {
        /* the first primary may answer before the secondary does */
        "first-other-order",
        "start 0\nup 0\njoin\nup 1\nmigration colo\ncheckpoint 0\n",
        PROTECTED_FIRST,
    }, {
        /* the RESUME of the start, whenever "colo" is noticed, is none */
        "resume-too-early",
        "start 0\njoin\nup 1\nup 0\ncheckpoint 0\nmigration colo\n"
        "resumed 0\ncheckpoint 1\n",
        "= alone\n0 launch primary-start\n"
        "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n"
        "1 qmp secondary-export\n"
        "= seeding\n0 qmp disk-attach\n0 qmp checkpoint-delay\n"
        "0 qmp migrate\n",
    }, {
        "primary-dies-rejoin",
        PROTECT_FIRST "gone 0\nfailover 1\njoin\nup 0\nmigration colo\n"
        "checkpoint 1\n",
        PROTECTED_FIRST FAILED_OVER_TO_1
        "= joining\n0 shell secondary-disk\n0 shell secondary-overlays\n"
        "0 launch secondary-start\n0 qmp secondary-export\n"
        "= resyncing\n1 qmp resync\n"
        "= seeding\n1 qmp resync-end\n1 qmp disk-attach\n"
        "1 qmp channels-renew\n"
        "1 qmp compare-attach-promoted\n1 qmp checkpoint-delay\n"
        "1 qmp migrate\n= protected\n",
    }, {
        "secondary-dies-rejoin",
        PROTECT_FIRST "gone 1\nfailover 0\njoin\nup 1\nmigration colo\n"
        "checkpoint 0\n",
        PROTECTED_FIRST
        "= lost\n= failing over\n1 kill\n0 qmp primary-failover\n"
        "= failed over\n"
        "= joining\n1 shell secondary-disk\n1 shell secondary-overlays\n"
        "1 launch secondary-start\n1 qmp secondary-export\n"
        "= resyncing\n0 qmp resync\n"
        "= seeding\n0 qmp resync-end\n0 qmp disk-attach\n"
        "0 qmp channels-renew\n"
        "0 qmp compare-attach\n0 qmp checkpoint-delay\n0 qmp migrate\n"
        "= protected\n",
    }, {
        /* the guest runs while RAM is sent, but a first one stands still */
        "rejoin-running",
        "start 0\njoin\nup-running 1\nup-running 0\nmigration colo\n"
        "checkpoint 0\ngone 0\nfailover 1\njoin\nup-running 0\n"
        "pass 9\nstopped 1\nmigration colo\nresumed 1\ncheckpoint 1\n",
        PROTECTED_FIRST FAILED_OVER_TO_1 REJOINS_RUNNING "= protected\n",
    }, {
        /* it changes RAM too fast: it is told to stop, once */
        "rejoin-too-busy",
        "start 0\njoin\nup-running 1\nup-running 0\nmigration colo\n"
        "checkpoint 0\ngone 0\nfailover 1\njoin\nup-running 0\n"
        "pass 9\npass 10\npass 11\nmigration colo\ncheckpoint 1\n",
        PROTECTED_FIRST FAILED_OVER_TO_1 REJOINS_RUNNING
        "1 qmp seed-end\n= protected\n",
    }, {
        /* much RAM, or a slow network: it lives as long as it moves */
        "seeding-stands-still",
        "start 0\njoin\nup 1\nup 0\nafter 110000\nprogress\n"
        "after 121499\nafter 1\n",
        "= alone\n0 launch primary-start\n"
        "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n"
        "1 qmp secondary-export\n"
        "= seeding\n0 qmp disk-attach\n0 qmp checkpoint-delay\n"
        "0 qmp migrate\n" ABANDONED("0", "1"),
    }, {
        /* promoted, then a fresh secondary is promoted in its turn */
        "swap-twice",
        PROTECT_FIRST "gone 0\nfailover 1\njoin\nup 0\nmigration colo\n"
        "checkpoint 1\ngone 1\nfailover 0\n",
        PROTECTED_FIRST FAILED_OVER_TO_1
        "= joining\n0 shell secondary-disk\n0 shell secondary-overlays\n"
        "0 launch secondary-start\n0 qmp secondary-export\n"
        "= resyncing\n1 qmp resync\n"
        "= seeding\n1 qmp resync-end\n1 qmp disk-attach\n"
        "1 qmp channels-renew\n"
        "1 qmp compare-attach-promoted\n1 qmp checkpoint-delay\n"
        "1 qmp migrate\n= protected\n"
        "= lost\n= failing over\n1 kill\n0 qmp secondary-failover\n"
        "= failed over\n",
    }, {
        /* failover of a pair whose primary still runs makes it stop */
        "give-up-living-primary",
        PROTECT_FIRST "failover 1\n",
        PROTECTED_FIRST
        "= failing over\n0 kill\n1 qmp secondary-failover\n= failed over\n",
    }, {
        "colo-exit",
        PROTECT_FIRST "exit 0\ngone 1\nfailover 0\n",
        PROTECTED_FIRST
        "= lost\n= failing over\n1 kill\n0 qmp primary-failover\n"
        "= failed over\n",
    }, {
        "both-die",
        PROTECT_FIRST "gone 0\ngone 1\nfailover 1\n",
        PROTECTED_FIRST "= lost\n= ended\n"
        "refused: 'failover' is not possible: the pair is ended: the "
        "secondary (node 1) is gone: killed\n",
    }, {
        "survivor-dies-during-failover",
        PROTECT_FIRST "hang secondary-failover\ngone 0\nfailover 1\n"
        "gone 1\n",
        PROTECTED_FIRST
        "= lost\n= failing over\n0 kill\n1 qmp secondary-failover\n"
        "= ended\n",
    }, {
        "failover-fails",
        PROTECT_FIRST "fail primary-failover\ngone 1\nfailover 0\n",
        PROTECTED_FIRST
        "= lost\n= failing over\n1 kill\n0 qmp primary-failover\n= ended\n",
    }, {
        "failover-hangs",
        PROTECT_FIRST "hang primary-failover\ngone 1\nfailover 0\n"
        "after 59000\nafter 1000\n",
        PROTECTED_FIRST
        "= lost\n= failing over\n1 kill\n0 qmp primary-failover\n= ended\n",
    }, {
        "refusals",
        "join\nfailover 0\nstart 0\nstart 1\nfailover 0\n",
        "refused: 'join' is not possible: the pair is empty\n"
        "refused: 'failover' is not possible: the pair is empty\n"
        "= alone\n0 launch primary-start\n"
        "refused: 'start' is not possible: the pair is alone: started\n"
        "refused: 'failover' is not possible: the pair is alone: started\n",
    }, {
        "join-dies-while-starting",
        "start 0\nup 0\njoin\ngone 1\n",
        "= alone\n0 launch primary-start\n"
        "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n"
        ABANDONED("0", "1"),
    }, {
        "join-dies-while-seeding",
        "start 0\nup 0\njoin\nup 1\nmigration active\ngone 1\n",
        "= alone\n0 launch primary-start\n"
        "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n"
        "1 qmp secondary-export\n"
        "= seeding\n0 qmp disk-attach\n0 qmp checkpoint-delay\n"
        "0 qmp migrate\n" ABANDONED("0", "1"),
    }, {
        "migration-fails",
        "start 0\nup 0\njoin\nup 1\nmigration failed\n",
        "= alone\n0 launch primary-start\n"
        "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n"
        "1 qmp secondary-export\n"
        "= seeding\n0 qmp disk-attach\n0 qmp checkpoint-delay\n"
        "0 qmp migrate\n" ABANDONED("0", "1"),
    }, {
        "colo-ends-while-seeding",
        "start 0\nup 0\njoin\nup 1\nmigration colo\nexit 0\n",
        "= alone\n0 launch primary-start\n"
        "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n"
        "1 qmp secondary-export\n"
        "= seeding\n0 qmp disk-attach\n0 qmp checkpoint-delay\n"
        "0 qmp migrate\n" ABANDONED("0", "1"),
    }, {
        "primary-dies-while-seeding",
        "start 0\nup 0\njoin\nup 1\ngone 0\n",
        "= alone\n0 launch primary-start\n"
        "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n"
        "1 qmp secondary-export\n"
        "= seeding\n0 qmp disk-attach\n0 qmp checkpoint-delay\n"
        "0 qmp migrate\n= ended\n",
    }, {
        /* lives as long as it moves, and is given up once it does not */
        "resync-stands-still",
        PROTECT_FIRST "gone 1\nfailover 0\nhang resync\njoin\nup 1\n"
        "after 50000\nprogress\nafter 50000\nprogress\nafter 59999\n"
        "after 1\n",
        PROTECTED_FIRST
        "= lost\n= failing over\n1 kill\n0 qmp primary-failover\n"
        "= failed over\n"
        "= joining\n1 shell secondary-disk\n1 shell secondary-overlays\n"
        "1 launch secondary-start\n1 qmp secondary-export\n"
        "= resyncing\n0 qmp resync\n" ABANDONED("0", "1"),
    }, {
        "no-more-checkpoints",
        PROTECT_FIRST "after 61000\ncheckpoint 0\nafter 61000\n"
        "checkpoint 1\nafter 499\nafter 1\n",
        PROTECTED_FIRST "= lost\n",
    }, {
        /* after a failed first join the disks can no longer be trusted */
        "join-again",
        "start 0\nup 0\njoin\ngone 1\njoin\nup 1\nmigration colo\n"
        "checkpoint 0\n",
        "= alone\n0 launch primary-start\n"
        "= joining\n1 shell secondary-overlays\n1 launch secondary-start\n"
        ABANDONED("0", "1")
        "= joining\n1 shell secondary-disk\n1 shell secondary-overlays\n"
        "1 launch secondary-start\n1 qmp secondary-export\n"
        "= resyncing\n0 qmp resync\n"
        "= seeding\n0 qmp resync-end\n0 qmp disk-attach\n"
        "0 qmp channels-renew\n"
        "0 qmp compare-attach\n0 qmp checkpoint-delay\n0 qmp migrate\n"
        "= protected\n",
    },
};

static void test_case(gconstpointer data)
{
    int i = GPOINTER_TO_INT(data);
    Sim sim = { .pair = pair_new(500), .trace = g_string_new(NULL) };
    g_auto(GStrv) lines = g_strsplit(cases[i].script, "\n", -1);

    for (int l = 0; lines[l]; l++) {
        if (*lines[l]) {
            sim_input(&sim, lines[l]);
        }
    }
    g_assert_cmpstr(sim.trace->str, ==, cases[i].trace);
    g_string_free(sim.trace, true);
    pair_free(sim.pair);
}

static void test_checkpoints(void)
{
    Sim sim = { .pair = pair_new(500), .trace = g_string_new(NULL) };
    g_auto(GStrv) lines = g_strsplit(PROTECT_FIRST "checkpoint 0\n"
                                     "resumed 0\ncheckpoint 0\n"
                                     "checkpoint 1", "\n", -1);

    for (int l = 0; lines[l]; l++) {
        if (*lines[l]) {
            sim_input(&sim, lines[l]);
        }
    }
    g_assert_cmpuint(pair_checkpoints(sim.pair), ==, 3);
    g_assert_cmpstr(pair_reason(sim.pair), ==,
                    "the first checkpoint is committed");
    g_string_free(sim.trace, true);
    pair_free(sim.pair);
}

/* No order of inputs may break the controller or make it spin. */
static void test_random(void)
{
    static const char *const inputs[] = {
        "start 0", "start 1", "join", "failover 0", "failover 1", "up 0",
        "up 1", "gone 0", "gone 1", "stopped 0", "resumed 0",
        "checkpoint 0", "checkpoint 1", "exit 0",
        "exit 1", "progress", "migration colo", "migration failed",
        "up-running 0", "up-running 1", "pass 1", "pass 10", "fail seed-end",
        "after 1000", "after 70000", "fail resync", "fail secondary-export",
        "fail none", "hang migrate", "hang none",
    };

    for (int run = 0; run < 2000; run++) {
        Sim sim = { .pair = pair_new(500), .trace = g_string_new(NULL) };

        for (int i = 0; i < 60; i++) {
            sim_input(&sim, inputs[g_test_rand_int_range(
                0, ARRAY_SIZE(inputs))]);
            g_assert_cmpint(pair_state(sim.pair), <, PAIR_STATE__MAX);
        }
        g_string_free(sim.trace, true);
        pair_free(sim.pair);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/colo/pair/%s",
                                                cases[i].name);

        g_test_add_data_func(path, GINT_TO_POINTER(i), test_case);
    }
    g_test_add_func("/colo/pair/checkpoints", test_checkpoints);
    g_test_add_func("/colo/pair/random", test_random);
    return g_test_run();
}
