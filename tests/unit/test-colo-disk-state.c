/*
 * Which events a replication node takes, in each state of each role
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/replication-state.h"

static ReplStage walk(ReplRole role, const char *events, ReplVerdict last)
{
    static const char letters[] = "PScgxfl.!r";
    ReplStage stage = REPL_IDLE;
    ReplVerdict verdict = REPL_DO;
    Error *err = NULL;

    for (; *events; events++) {
        const char *event = strchr(letters, *events);

        g_assert(event);
        verdict = repl_event(role, &stage, event - letters,
                             events[1] ? NULL : &err);
    }
    g_assert_cmpint(verdict, ==, last);
    g_assert((verdict == REPL_REFUSED) == !!err);
    error_free(err);
    return stage;
}

/*
 * P, S start as primary, as secondary; c checkpoint; g get error; x stop;
 * f failover; l peer lost; . merged; ! merge failed; r again
 */
static const struct {
    ReplRole role;
    const char *events;
    ReplVerdict verdict;
    ReplStage stage;
} walks[] = {
    { REPL_PRIMARY, "P", REPL_DO, REPL_RUNNING },
    { REPL_PRIMARY, "S", REPL_REFUSED, REPL_IDLE },
    { REPL_PRIMARY, "c", REPL_REFUSED, REPL_IDLE },
    { REPL_PRIMARY, "PP", REPL_REFUSED, REPL_RUNNING },
    { REPL_PRIMARY, "Pcgc", REPL_DO, REPL_RUNNING },
    { REPL_PRIMARY, "Plc", REPL_REFUSED, REPL_BROKEN },
    { REPL_PRIMARY, "Plg", REPL_REFUSED, REPL_BROKEN },
    { REPL_PRIMARY, "PlP", REPL_REFUSED, REPL_BROKEN },
    { REPL_PRIMARY, "Plf", REPL_DO, REPL_DONE },
    { REPL_PRIMARY, "Pll", REPL_IGNORED, REPL_BROKEN },
    { REPL_PRIMARY, "Pfl", REPL_IGNORED, REPL_DONE },
    { REPL_PRIMARY, "PfP", REPL_REFUSED, REPL_DONE },
    { REPL_PRIMARY, "P.", REPL_REFUSED, REPL_RUNNING },
    { REPL_SECONDARY, "S", REPL_DO, REPL_RUNNING },
    { REPL_SECONDARY, "P", REPL_REFUSED, REPL_IDLE },
    { REPL_SECONDARY, "f", REPL_REFUSED, REPL_IDLE },
    { REPL_SECONDARY, "Sc", REPL_DO, REPL_RUNNING },
    { REPL_SECONDARY, "Sx", REPL_DO, REPL_DONE },
    { REPL_SECONDARY, "Sf", REPL_DO, REPL_MERGING },
    /* a promoted secondary is asked for what concerns the primary */
    { REPL_SECONDARY, "SfP", REPL_IGNORED, REPL_MERGING },
    { REPL_SECONDARY, "SfPcgx", REPL_IGNORED, REPL_MERGING },
    { REPL_SECONDARY, "Sf.Pcgx", REPL_IGNORED, REPL_DONE },
    { REPL_SECONDARY, "SfS", REPL_REFUSED, REPL_MERGING },
    { REPL_SECONDARY, "Sf!S", REPL_REFUSED, REPL_STUCK },
    { REPL_SECONDARY, "Sf.S", REPL_REFUSED, REPL_DONE },
    { REPL_SECONDARY, "SxS", REPL_REFUSED, REPL_DONE },
    { REPL_SECONDARY, "Sf!", REPL_DO, REPL_STUCK },
    { REPL_SECONDARY, "Sf!P", REPL_REFUSED, REPL_STUCK },
    { REPL_SECONDARY, "Sf!g", REPL_REFUSED, REPL_STUCK },
    { REPL_SECONDARY, "Sf!r", REPL_DO, REPL_MERGING },
    { REPL_SECONDARY, "Sf!r.", REPL_DO, REPL_DONE },
};

static void test_walks(void)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(walks); i++) {
        g_test_message("%s", walks[i].events);
        g_assert_cmpint(walk(walks[i].role, walks[i].events, walks[i].verdict),
                        ==, walks[i].stage);
    }
}

/* Whatever is asked: a refusal has a text and moves nothing */
static void test_refusals(void)
{
    int role, stage, event;

    for (role = 0; role < REPL_ROLES; role++) {
        for (stage = 0; stage < REPL_STAGES; stage++) {
            for (event = 0; event < REPL_EVENTS; event++) {
                ReplStage now = stage;
                Error *err = NULL;

                if (repl_event(role, &now, event, &err) == REPL_REFUSED) {
                    g_assert_cmpint(now, ==, stage);
                    g_assert(strlen(error_get_pretty(err)) > 10);
                    error_free(err);
                } else {
                    g_assert_null(err);
                }
            }
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/disk/state/walks", test_walks);
    g_test_add_func("/colo/disk/state/refusals", test_refusals);
    return g_test_run();
}
