/*
 * COLO when the other side, or what lies between, fails
 *
 * Two QEMUs without an operating system.  At every message of a checkpoint,
 * and within those that are long, the connection is cut or freezes, or turns
 * into garbage; then the one or the other side goes on alone.  Whoever does
 * must answer its monitor all the time, and must have a guest of one piece.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-guest.h"
#include "colo-pair.h"
#include "colo-proxy.h"

/* Short, for a test; a busy machine must not exceed it by itself */
#define PEER_TIMEOUT_MS 4000

/* The longest wait is of two; the shortest thing that drips takes five. */
#define NOTICE_MS (3 * PEER_TIMEOUT_MS)
QEMU_BUILD_BUG_ON(NOTICE_MS >= COLO_MSG_HEADER * COLO_DRIP_MS);

/* What a monitor may take to answer, on a machine that does other things too */
#define ANSWER_MS 3000

typedef enum { PRIMARY, SECONDARY } Survivor;

typedef struct {
    const char *name;
    ColoProxyWay way;
    ColoMsgType type;
    size_t bytes;
    ColoProxyFault fault;
    Survivor survivor;
    unsigned pages;             /* dirty, besides the guest's own */
} FaultCase;

#define H COLO_MSG_HEADER
#define TO_S COLO_TO_SECONDARY
#define TO_P COLO_TO_PRIMARY

/* More than sockets hold, so that the primary is in the middle of it */
#define MUCH 3000

static const FaultCase fault_cases[] = {
    { "cut/stop/s", TO_S, COLO_MSG_STOP, 0, COLO_CUT, SECONDARY },
    { "cut/in-stop/s", TO_S, COLO_MSG_STOP, 7, COLO_CUT, SECONDARY },
    { "cut/ram/s", TO_S, COLO_MSG_RAM, 0, COLO_CUT, SECONDARY },
    { "cut/in-ram/s", TO_S, COLO_MSG_RAM, H + 5000, COLO_CUT, SECONDARY },
    { "cut/in-ram-late/s", TO_S, COLO_MSG_RAM, H + 60000, COLO_CUT, SECONDARY },
    { "cut/devices/s", TO_S, COLO_MSG_DEVICES, 0, COLO_CUT, SECONDARY },
    { "cut/in-devices/s", TO_S, COLO_MSG_DEVICES, H + 100, COLO_CUT,
      SECONDARY },
    { "cut/committed/s", TO_P, COLO_MSG_COMMITTED, 0, COLO_CUT, SECONDARY },
    { "cut/running/s", TO_P, COLO_MSG_RUNNING, 0, COLO_CUT, SECONDARY },
    { "cut/stop/p", TO_S, COLO_MSG_STOP, 0, COLO_CUT, PRIMARY },
    { "cut/in-ram/p", TO_S, COLO_MSG_RAM, H + 5000, COLO_CUT, PRIMARY },
    { "cut/in-devices/p", TO_S, COLO_MSG_DEVICES, H + 100, COLO_CUT, PRIMARY },
    { "cut/committed/p", TO_P, COLO_MSG_COMMITTED, 0, COLO_CUT, PRIMARY },
    { "cut/in-committed/p", TO_P, COLO_MSG_COMMITTED, 10, COLO_CUT, PRIMARY },
    { "cut/running/p", TO_P, COLO_MSG_RUNNING, 0, COLO_CUT, PRIMARY },
    { "cut/in-much-ram/s", TO_S, COLO_MSG_RAM, H + 3000000, COLO_CUT,
      SECONDARY, MUCH },
    { "cut/in-much-ram/p", TO_S, COLO_MSG_RAM, H + 3000000, COLO_CUT, PRIMARY,
      MUCH },
    { "freeze/in-much-ram/s", TO_S, COLO_MSG_RAM, H + 3000000, COLO_FREEZE,
      SECONDARY, MUCH },
    { "freeze/in-much-ram/p", TO_S, COLO_MSG_RAM, H + 3000000, COLO_FREEZE,
      PRIMARY, MUCH },
    { "garbage/in-much-ram/s", TO_S, COLO_MSG_RAM, H + 3000000, COLO_GARBAGE,
      SECONDARY, MUCH },
    { "freeze/stop/s", TO_S, COLO_MSG_STOP, 0, COLO_FREEZE, SECONDARY },
    { "freeze/in-ram/s", TO_S, COLO_MSG_RAM, H + 5000, COLO_FREEZE, SECONDARY },
    /* In the head of the first batch */
    { "freeze/in-page/s", TO_S, COLO_MSG_RAM, H + 5, COLO_FREEZE, SECONDARY },
    { "freeze/in-devices/s", TO_S, COLO_MSG_DEVICES, H + 100, COLO_FREEZE,
      SECONDARY },
    { "freeze/stop/p", TO_S, COLO_MSG_STOP, 0, COLO_FREEZE, PRIMARY },
    { "freeze/in-ram/p", TO_S, COLO_MSG_RAM, H + 5000, COLO_FREEZE, PRIMARY },
    { "freeze/committed/p", TO_P, COLO_MSG_COMMITTED, 0, COLO_FREEZE, PRIMARY },
    { "freeze/running/p", TO_P, COLO_MSG_RUNNING, 0, COLO_FREEZE, PRIMARY },
    { "garbage/stop/s", TO_S, COLO_MSG_STOP, 0, COLO_GARBAGE, SECONDARY },
    { "garbage/in-ram/s", TO_S, COLO_MSG_RAM, H + 5000, COLO_GARBAGE,
      SECONDARY },
    { "garbage/committed/p", TO_P, COLO_MSG_COMMITTED, 0, COLO_GARBAGE,
      PRIMARY },
    { "garbage/running/p", TO_P, COLO_MSG_RUNNING, 0, COLO_GARBAGE, PRIMARY },
    { "drip/committed/p", TO_P, COLO_MSG_COMMITTED, 0, COLO_DRIP, PRIMARY },
    { "drip/running/p", TO_P, COLO_MSG_RUNNING, 0, COLO_DRIP, PRIMARY },
    { "drip/alive/p", TO_P, COLO_MSG_ALIVE, 0, COLO_DRIP, PRIMARY },
    { "drip/in-ram/s", TO_S, COLO_MSG_RAM, H + 5000, COLO_DRIP, SECONDARY },
    { "drip/in-devices/s", TO_S, COLO_MSG_DEVICES, H + 100, COLO_DRIP,
      SECONDARY },
    { "slow/p", TO_S, COLO_MSG_RAM, H + 100000, COLO_SLOW, PRIMARY, MUCH },
    { "slow/s", TO_S, COLO_MSG_RAM, H + 100000, COLO_SLOW, SECONDARY, MUCH },
    { "flood/committed/p", TO_P, COLO_MSG_COMMITTED, 0, COLO_FLOOD, PRIMARY },
    { "flood/running/p", TO_P, COLO_MSG_RUNNING, 0, COLO_FLOOD, PRIMARY },
    { "flood/alive/p", TO_P, COLO_MSG_ALIVE, 0, COLO_FLOOD, PRIMARY },
    { "long/committed/p", TO_P, COLO_MSG_COMMITTED, 0, COLO_LONG, PRIMARY },
    { "long/running/p", TO_P, COLO_MSG_RUNNING, 0, COLO_LONG, PRIMARY },
    { "long/stop/s", TO_S, COLO_MSG_STOP, 0, COLO_LONG, SECONDARY },
    { "long/ram/s", TO_S, COLO_MSG_RAM, 0, COLO_LONG, SECONDARY },
};

static void set_timeout(ColoPair *pair, int ms)
{
    colo_side_ok(pair->p, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': %d}}", ms);
    colo_side_ok(pair->s, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': %d}}", ms);
}

static ColoPair *start_through_proxy(ColoProxy **proxy)
{
    ColoPair *pair = colo_proxy_pair("pc", proxy);

    set_timeout(pair, PEER_TIMEOUT_MS);
    colo_pair_replicate(pair);
    return pair;
}

static void answer(ColoSide *side)
{
    QDict *dict = colo_side_try(side, ANSWER_MS, "{'execute': 'query-colo'}");

    if (!dict || !qdict_haskey(dict, "return")) {
        colo_fail("a side does not answer its monitor in time");
    }
    qobject_unref(dict);
}

/*
 * Both must answer as long as they wait for each other, and notice before what
 * comes in drops has come.
 */
static void await_loss(ColoPair *pair, ColoProxy *proxy)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    bool hit = false;

    while (!colo_proxy_hit(proxy) || !colo_side_count(pair->p, "COLO_LOST") ||
           !colo_side_count(pair->s, "COLO_LOST")) {
        if (!hit && colo_proxy_hit(proxy)) {
            hit = true;
            end = g_get_monotonic_time() + NOTICE_MS * 1000LL;
        }
        answer(pair->p);
        answer(pair->s);
        if (g_get_monotonic_time() > end) {
            colo_fail("the fault %s, but not both sides noticed",
                      colo_proxy_hit(proxy) ? "happened" : "didn't happen");
        }
        g_usleep(20 * 1000);
    }
}

static void go_on_alone(ColoPair *pair, Survivor survivor)
{
    ColoSide *side = survivor == PRIMARY ? pair->p : pair->s;

    colo_side_kill(survivor == PRIMARY ? pair->s : pair->p);
    pair->p = side;
    pair->s = NULL;
    colo_side_ok(side, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(side, "query-colo-status", "mode", "none");
    colo_side_until(side, "query-status", "status", "running");
    g_assert_cmpuint(colo_side_count(side, "COLO_EXIT"), ==, 1);
    colo_guest_check(side, pair->scratch);
}

static void finish(ColoPair *pair, ColoProxy *proxy)
{
    colo_proxy_free(proxy);
    colo_pair_free(pair);
    alarm(0);
}

static void run_fault(const void *opaque)
{
    const FaultCase *c = opaque;
    ColoProxy *proxy;
    ColoPair *pair;

    alarm(COLO_CASE_SECONDS);
    pair = start_through_proxy(&proxy);
    colo_pair_request_checkpoint(pair);
    colo_guest_fill(pair->p, COLO_GUEST_FREE_RAM, c->pages, 1, 1);
    colo_proxy_arm(proxy, c->way, c->type, c->bytes, c->fault);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    await_loss(pair, proxy);
    go_on_alone(pair, c->survivor);
    finish(pair, proxy);
}

/* Nobody waits for the time-out if somebody knows better. */
static void run_no_waiting(const void *opaque)
{
    Survivor survivor = GPOINTER_TO_INT(opaque);
    ColoProxy *proxy;
    ColoPair *pair;
    int64_t start;

    alarm(COLO_CASE_SECONDS);
    pair = start_through_proxy(&proxy);
    set_timeout(pair, 3600000);
    colo_proxy_arm(proxy, TO_S, COLO_MSG_RAM, H + 5000, COLO_FREEZE);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    start = g_get_monotonic_time();
    while (!colo_proxy_hit(proxy)) {
        answer(pair->p);
        answer(pair->s);
        g_assert_cmpint(g_get_monotonic_time() - start, <,
                        COLO_WAIT_MS * 1000LL);
    }
    go_on_alone(pair, survivor);
    finish(pair, proxy);
}

/* Nothing moves from the beginning: the primary's guest does not wait for long. */
static void run_hello(const void *opaque)
{
    ColoProxy *proxy;
    ColoPair *pair;

    alarm(COLO_CASE_SECONDS);
    pair = colo_proxy_pair("pc", &proxy);
    set_timeout(pair, PEER_TIMEOUT_MS);
    colo_proxy_arm(proxy, GPOINTER_TO_INT(opaque), COLO_MSG_HELLO, 0,
                   COLO_FREEZE);
    colo_pair_migrate(pair);
    await_loss(pair, proxy);
    go_on_alone(pair, PRIMARY);
    finish(pair, proxy);
}

static void refuses(ColoSide *side, const char *reason)
{
    g_autofree char *state = colo_side_ask(side, "state",
                                           "{'execute': 'query-colo'}");
    QDict *dict = colo_side_try(side, ANSWER_MS,
                                "{'execute': 'x-colo-lost-heartbeat'}");

    g_assert_cmpstr(state, ==, "unfit");
    g_assert(dict && qdict_haskey(dict, "error"));
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(dict, "error"),
                                          "desc"), reason));
    qobject_unref(dict);
    colo_side_await(side, "COLO_FAILOVER_REFUSED", 1, COLO_WAIT_MS);
    answer(side);
}

/*
 * The connection ends before the first epoch.  Whoever is left can go on: the
 * secondary as soon as it knows that the primary has begun, and no sooner.
 */
static ColoPair *lose_beginning(ColoProxyWay way, ColoMsgType type,
                                ColoProxy **proxy)
{
    ColoPair *pair = colo_proxy_pair("pc", proxy);

    alarm(COLO_CASE_SECONDS);
    set_timeout(pair, PEER_TIMEOUT_MS);
    colo_proxy_arm(*proxy, way, type, 0, COLO_CUT);
    colo_pair_migrate(pair);
    await_loss(pair, *proxy);
    return pair;
}

static void run_no_hello(const void *opaque)
{
    ColoProxy *proxy;
    ColoPair *pair = lose_beginning(TO_S, COLO_MSG_HELLO, &proxy);

    refuses(pair->s, "replication has not begun");
    go_on_alone(pair, PRIMARY);
    finish(pair, proxy);
}

static void run_begun(const void *opaque)
{
    ColoProxy *proxy;
    ColoPair *pair = lose_beginning(TO_P, COLO_MSG_RUNNING, &proxy);

    go_on_alone(pair, GPOINTER_TO_INT(opaque));
    finish(pair, proxy);
}

/*
 * What the secondary has committed can't be loaded, as it is garbage: it says
 * so, and that it can't take over; the primary can.
 */
static void run_unfit(const void *opaque)
{
    size_t bytes = GPOINTER_TO_SIZE(opaque);
    ColoProxy *proxy;
    ColoPair *pair;

    alarm(COLO_CASE_SECONDS);
    pair = start_through_proxy(&proxy);
    colo_pair_request_checkpoint(pair);
    colo_proxy_arm(proxy, TO_S, COLO_MSG_DEVICES, H + bytes, COLO_GARBAGE);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    await_loss(pair, proxy);
    refuses(pair->s, "device state can't be loaded");
    go_on_alone(pair, PRIMARY);
    finish(pair, proxy);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(fault_cases); i++) {
        g_autofree char *path = g_strdup_printf("colo-peer/%s",
                                                fault_cases[i].name);

        qtest_add_data_func(path, &fault_cases[i], run_fault);
    }
    qtest_add_data_func("colo-peer/no-waiting/s", GINT_TO_POINTER(SECONDARY),
                        run_no_waiting);
    qtest_add_data_func("colo-peer/no-waiting/p", GINT_TO_POINTER(PRIMARY),
                        run_no_waiting);
    qtest_add_data_func("colo-peer/hello/p", GINT_TO_POINTER(TO_P), run_hello);
    qtest_add_data_func("colo-peer/hello/s", GINT_TO_POINTER(TO_S), run_hello);
    qtest_add_data_func("colo-peer/begin/no-hello", NULL, run_no_hello);
    qtest_add_data_func("colo-peer/begin/s", GINT_TO_POINTER(SECONDARY),
                        run_begun);
    qtest_add_data_func("colo-peer/begin/p", GINT_TO_POINTER(PRIMARY),
                        run_begun);
    qtest_add_data_func("colo-peer/unfit/begin", GSIZE_TO_POINTER(0), run_unfit);
    qtest_add_data_func("colo-peer/unfit/middle", GSIZE_TO_POINTER(5000),
                        run_unfit);
    return g_test_run();
}
