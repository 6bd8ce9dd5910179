/*
 * COLO and what people and guests do in the middle of a checkpoint
 *
 * Two QEMUs without an operating system.  In each phase of the protocol the
 * connection between them freezes, for as long as the test wants; then something
 * happens on one of the two sides, which goes on alone.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-guest.h"
#include "colo-survivor.h"

#define H COLO_MSG_HEADER
#define TO_S COLO_TO_SECONDARY
#define TO_P COLO_TO_PRIMARY

/* Nobody times out */
#define NEVER_MS 3600000

/* The timer, where there is one */
#define BACKGROUND_MS 1000

/* The one side vanishes; the other, whose guest is in @status then, is left. */
static void go_on_alone(ColoPair *pair, bool primary, const char *status)
{
    ColoSide *side = primary ? pair->p : pair->s;

    colo_side_kill(primary ? pair->s : pair->p);
    pair->p = side;
    pair->s = NULL;
    colo_side_ok(side, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(side, "query-colo-status", "mode", "none");
    colo_side_until(side, "query-status", "status", status);
}

static void yank(ColoSide *side)
{
    colo_side_ok(side, "{'exec-oob': 'yank', 'arguments': {'instances': "
                 "[{'type': 'migration'}]}}");
    colo_side_await(side, "COLO_LOST", 1, COLO_WAIT_MS);
}

/* Where the pair stands still; all of the protocol's phases */
typedef struct {
    const char *name;
    ColoProxyWay way;
    ColoMsgType type;
    size_t bytes;
    unsigned pages;             /* dirty, besides the guest's own */
} Phase;

static const Phase phases[] = {
    /* Both guests run, and there is no checkpoint yet */
    { "background", TO_S, COLO_MSG_BACKGROUND, H + 5000, 500 },
    { "stop", TO_S, COLO_MSG_STOP, 0 },
    { "ram", TO_S, COLO_MSG_RAM, H + 5000 },
    /* More than sockets hold: the primary is in the middle of it */
    { "much-ram", TO_S, COLO_MSG_RAM, H + 3000000, 3000 },
    { "devices", TO_S, COLO_MSG_DEVICES, H + 100 },
    { "committed", TO_P, COLO_MSG_COMMITTED, 0 },
    { "running", TO_P, COLO_MSG_RUNNING, 0 },
};

/* What leads to that phase; to the background over and over */
static void provoke(ColoPair *pair, const Phase *phase)
{
    colo_guest_fill(pair->p, COLO_GUEST_FREE_RAM, phase->pages, 1, 1);
    if (phase->type != COLO_MSG_BACKGROUND) {
        colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    } else if (pair->delay_ms == COLO_NO_TIMER) {
        colo_pair_set_delay(pair, BACKGROUND_MS);
    }
}

/* Stops in that phase. */
static ColoPair *stand_still(const Phase *phase, ColoProxy **proxy)
{
    ColoPair *pair = colo_proxy_pair("pc -device pvpanic -device ib700 -action "
                                     "panic=pause,watchdog=pause,shutdown=pause "
                                     COLO_GUEST_FULL_DISK, proxy);
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    colo_pair_replicate(pair);
    colo_survivor_set_timeout(pair, NEVER_MS);
    colo_pair_request_checkpoint(pair);
    colo_proxy_arm(*proxy, phase->way, phase->type, phase->bytes, COLO_FREEZE);
    provoke(pair, phase);
    while (phase->type == COLO_MSG_BACKGROUND && !colo_proxy_hit(*proxy) &&
           g_get_monotonic_time() < end) {
        provoke(pair, phase);
    }
    colo_survivor_await_fault(pair, *proxy);
    if (phase->type == COLO_MSG_BACKGROUND) {
        colo_side_until(pair->p, "query-status", "status", "running");
        colo_side_until(pair->s, "query-status", "status", "running");
    }
    return pair;
}

static void finish(ColoPair *pair, ColoProxy *proxy)
{
    colo_proxy_free(proxy);
    colo_pair_free(pair);
}

/* yank, out of band, then on alone */
static void run_yank(const Phase *phase, bool primary)
{
    ColoProxy *proxy;
    ColoPair *pair = stand_still(phase, &proxy);

    yank(primary ? pair->p : pair->s);
    go_on_alone(pair, primary, "running");
    g_assert_cmpuint(colo_side_count(pair->p, "COLO_EXIT"), ==, 1);
    colo_guest_check(pair->p, pair->scratch);
    finish(pair, proxy);
}

/* The one ends, politely and at once; the other goes on. */
static void run_quit(const Phase *phase, bool primary)
{
    ColoProxy *proxy;
    ColoPair *pair = stand_still(phase, &proxy);
    ColoSide *side = primary ? pair->s : pair->p;

    colo_side_quit(primary ? pair->p : pair->s);
    pair->p = side;
    pair->s = NULL;
    colo_survivor_answer(side);
    colo_side_ok(side, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(side, "query-colo-status", "mode", "none");
    colo_side_until(side, "query-status", "status", "running");
    colo_guest_check(side, pair->scratch);
    finish(pair, proxy);
}

/* Commands for the guest in the middle of a checkpoint that never ends */
static void commands_on_primary(const Phase *phase)
{
    ColoProxy *proxy;
    ColoPair *pair = stand_still(phase, &proxy);

    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_survivor_answer(pair->p);
    yank(pair->p);
    colo_side_until(pair->p, "query-status", "status", "paused");
    go_on_alone(pair, true, "paused");
    colo_side_until(pair->p, "query-migrate", "status", "completed");
    colo_side_until(pair->p, "query-status", "status", "paused");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_guest_check(pair->p, pair->scratch);
    finish(pair, proxy);
}

/* S knows of a checkpoint that it has not yet: STOP has come, and RUNNING is to. */
static bool secondary_stands(const Phase *phase)
{
    return phase->type == COLO_MSG_RAM || phase->type == COLO_MSG_DEVICES;
}

/*
 * On the secondary they must not disturb what is being loaded.  Where S knows
 * of the checkpoint, its guest stands still, whatever it is told.
 */
static void commands_on_secondary(const Phase *phase)
{
    g_autofree char *status = NULL;
    ColoProxy *proxy;
    ColoPair *pair = stand_still(phase, &proxy);

    if (secondary_stands(phase)) {
        colo_side_until(pair->s, "query-status", "status", "colo");
        colo_side_ok(pair->s, "{'execute': 'cont'}");
        colo_side_ok(pair->s, "{'execute': 'stop'}");
        colo_side_ok(pair->s, "{'execute': 'cont'}");
        status = colo_side_ask(pair->s, "status", "{'execute': 'query-status'}");
        g_assert_cmpstr(status, ==, "colo");
    } else {
        colo_side_until(pair->s, "query-status", "status", "running");
        colo_side_ok(pair->s, "{'execute': 'stop'}");
        colo_side_ok(pair->s, "{'execute': 'cont'}");
    }
    yank(pair->s);
    go_on_alone(pair, false, "running");
    colo_guest_check(pair->p, pair->scratch);
    finish(pair, proxy);
}

static void run_commands(const Phase *phase, bool primary)
{
    if (primary) {
        commands_on_primary(phase);
    } else {
        commands_on_secondary(phase);
    }
}

/* Neither a second migration nor a snapshot, in no phase and on no side */
static void run_refused(const Phase *phase, bool primary)
{
    ColoProxy *proxy;
    ColoPair *pair = stand_still(phase, &proxy);
    ColoSide *side = primary ? pair->p : pair->s;
    g_autofree char *uri = g_strdup_printf("unix:%s/nobody", pair->dir);
    QDict *dict = colo_side_try(side, COLO_SURVIVOR_ANSWER_MS,
                                "{'execute': 'migrate', "
                                "'arguments': {'uri': %s}}", uri);

    g_assert(dict && qdict_haskey(dict, "error"));
    qobject_unref(dict);
    dict = colo_side_try(side, COLO_SURVIVOR_ANSWER_MS,
                         "{'execute': 'human-monitor-command', "
                         "'arguments': {'command-line': 'savevm a'}}");
    g_assert(dict && strstr(qdict_get_try_str(dict, "return") ?: "",
                            "COLO is active"));
    qobject_unref(dict);
    yank(side);
    go_on_alone(pair, primary, "running");
    colo_guest_check(pair->p, pair->scratch);
    finish(pair, proxy);
}

/*
 * The guest comes to its end by itself, or is reset.  The primary's is found so,
 * its user's until "cont"; the secondary's is of no account.
 */
static void run_act(const Phase *phase, bool primary, ColoGuestAct *act,
                    const char *status)
{
    ColoProxy *proxy;
    ColoPair *pair = stand_still(phase, &proxy);
    ColoSide *side = primary ? pair->p : pair->s;

    act(side);
    colo_survivor_answer(side);
    yank(side);
    if (primary) {
        colo_side_until(side, "query-status", "status", status);
    }
    go_on_alone(pair, primary, primary ? status : "running");
    if (primary && g_str_equal(status, "shutdown")) {
        colo_side_ok(side, "{'execute': 'system_reset'}");
    }
    colo_side_ok(side, "{'execute': 'cont'}");
    colo_side_until(side, "query-status", "status", "running");
    finish(pair, proxy);
}

static void run_panic(const Phase *phase, bool primary)
{
    run_act(phase, primary, colo_guest_panic, "guest-panicked");
}

static void run_watchdog(const Phase *phase, bool primary)
{
    run_act(phase, primary, colo_guest_watchdog, "watchdog");
}

static void run_shutdown(const Phase *phase, bool primary)
{
    run_act(phase, primary, colo_guest_power_off, "shutdown");
}

static void run_io_error(const Phase *phase, bool primary)
{
    run_act(phase, primary, colo_guest_write_full_disk, "io-error");
}

static void reset(ColoSide *side)
{
    colo_side_ok(side, "{'execute': 'system_reset'}");
}

static void run_reset(const Phase *phase, bool primary)
{
    run_act(phase, primary, reset, "running");
}

typedef struct {
    const Phase *phase;
    bool primary;
    void (*run)(const Phase *phase, bool primary);
} PhaseCase;

static void run_case(const void *opaque)
{
    const PhaseCase *c = opaque;

    alarm(COLO_CASE_SECONDS);
    c->run(c->phase, c->primary);
    alarm(0);
}

static void add_side(const char *what, bool primary,
                     void (*run)(const Phase *phase, bool primary))
{
    for (int i = 0; i < ARRAY_SIZE(phases); i++) {
        PhaseCase *c = g_new0(PhaseCase, 1);
        g_autofree char *path = g_strdup_printf("colo-phase/%s/%c/%s", what,
                                                primary ? 'p' : 's',
                                                phases[i].name);

        *c = (PhaseCase) { &phases[i], primary, run };
        qtest_add_data_func_full(path, c, run_case, g_free);
    }
}

static void add_cases(const char *what,
                      void (*run)(const Phase *phase, bool primary))
{
    add_side(what, true, run);
    add_side(what, false, run);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_cases("yank", run_yank);
    add_cases("quit", run_quit);
    add_cases("commands", run_commands);
    add_cases("refused", run_refused);
    add_cases("panic", run_panic);
    /* The secondary's would bite after the failover, as it should. */
    add_side("watchdog", true, run_watchdog);
    add_cases("shutdown", run_shutdown);
    /* The secondary's is done again after the failover, and finds room. */
    add_side("io-error", true, run_io_error);
    add_cases("reset", run_reset);
    return g_test_run();
}
