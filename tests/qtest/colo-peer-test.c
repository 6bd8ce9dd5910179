/*
 * COLO when the other side, or what lies between, fails
 *
 * Two QEMUs without an operating system.  At every message of a checkpoint,
 * and within those that are long, the connection is cut or freezes, or turns
 * into garbage; then the one or the other side goes on alone.  Whoever does
 * must answer its monitor all the time, and must have a guest of one piece, with
 * the memory, the disk and the output of one instant (colo-model.h).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-model.h"

/* Short, for a test; a busy machine must not exceed it by itself */
#define PEER_TIMEOUT_MS 4000

/* The longest wait is of two; the shortest thing that drips takes five. */
#define NOTICE_MS (3 * PEER_TIMEOUT_MS)
QEMU_BUILD_BUG_ON(NOTICE_MS >= COLO_MSG_HEADER * COLO_DRIP_MS);

typedef struct {
    const char *name;
    ColoProxyWay way;
    ColoMsgType type;
    size_t bytes;
    ColoProxyFault fault;
    ColoSurvivor survivor;
    unsigned pages;             /* dirty, at least */
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
    { "cut/in-committed/s", TO_P, COLO_MSG_COMMITTED, 10, COLO_CUT, SECONDARY },
    { "cut/in-running/s", TO_P, COLO_MSG_RUNNING, 10, COLO_CUT, SECONDARY },
    { "cut/in-running/p", TO_P, COLO_MSG_RUNNING, 10, COLO_CUT, PRIMARY },
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

/* S has the checkpoint when it says COMMITTED. */
static bool is_committed(const FaultCase *c)
{
    return c->type == COLO_MSG_COMMITTED || c->type == COLO_MSG_RUNNING;
}

/* Not before P has heard that; then it has, though the end comes at once. */
static bool has_left(ColoModel *m, const FaultCase *c)
{
    bool left = !colo_output_held(m->output);

    g_assert(left == (c->type == COLO_MSG_RUNNING));
    return left;
}

static ColoModel *start(void)
{
    ColoModel *m;

    alarm(COLO_CASE_SECONDS);
    m = colo_model_new("");
    colo_survivor_set_timeout(m->pair, PEER_TIMEOUT_MS);
    colo_model_commit(m);
    return m;
}

static void finish(ColoModel *m)
{
    colo_model_free(m);
    alarm(0);
}

static void run_fault(const void *opaque)
{
    const FaultCase *c = opaque;
    ColoModel *m = start();
    bool left;

    colo_model_go_on(m, c->pages);
    colo_proxy_arm(m->proxy, c->way, c->type, c->bytes, c->fault);
    colo_side_ok(m->pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    colo_survivor_await_loss(m->pair, m->proxy, NOTICE_MS);
    if (c->survivor == PRIMARY) {
        colo_model_go_on_alone(m);
        colo_survivor_go_on(m->pair, PRIMARY);
        colo_model_expect_primary(m);
    } else {
        left = has_left(m, c);
        colo_model_go_on_alone(m);
        colo_model_kill(m, left);
        colo_survivor_go_on(m->pair, SECONDARY);
        colo_model_expect_secondary(m, is_committed(c));
    }
    finish(m);
}

/* Nobody waits for the time-out if somebody knows better. */
static void run_no_waiting(const void *opaque)
{
    ColoSurvivor survivor = GPOINTER_TO_INT(opaque);
    ColoModel *m = start();

    colo_survivor_set_timeout(m->pair, 3600000);
    colo_model_go_on(m, 0);
    colo_proxy_arm(m->proxy, TO_S, COLO_MSG_RAM, H + 5000, COLO_FREEZE);
    colo_side_ok(m->pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    colo_survivor_await_fault(m->pair, m->proxy);
    if (survivor == SECONDARY) {
        colo_model_kill(m, false);
    }
    colo_survivor_go_on(m->pair, survivor);
    if (survivor == PRIMARY) {
        colo_model_expect_primary(m);
    } else {
        colo_model_expect_secondary(m, false);
    }
    finish(m);
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
    return g_test_run();
}
