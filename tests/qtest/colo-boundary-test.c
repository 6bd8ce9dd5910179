/*
 * COLO when the primary dies at a message, or somebody says a wrong one
 *
 * Two QEMUs without an operating system.  The primary is killed at each boundary
 * of the protocol's messages and inside each message: what the secondary has then
 * is compared with the model (colo-model.h).  A message comes twice, or is of
 * another version, or of nobody's: who gets it says so, and the other knows.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-model.h"
#include "colo-query.h"

/* Short, for a test; a busy machine must not exceed it by itself */
#define PEER_TIMEOUT_MS 4000
#define NOTICE_MS (3 * PEER_TIMEOUT_MS)

/* An epoch in which there is time for memory to be sent ahead */
#define EPOCH_MS 5000

#define H COLO_MSG_HEADER
#define TO_S COLO_TO_SECONDARY
#define TO_P COLO_TO_PRIMARY

/* More pages than sockets hold; and enough to be worth sending ahead */
#define MUCH 3000

/* Why the message is sent */
typedef enum { IN_CHECKPOINT, WHILE_IDLE, AHEAD } Occasion;

typedef struct {
    const char *name;
    ColoProxyWay way;
    ColoMsgType type;
    size_t bytes;
    Occasion occasion;
    unsigned pages;             /* dirty, at least */
    bool committed, told;       /* S has the checkpoint; P knows */
} KillCase;

static const KillCase kill_cases[] = {
    { "stop", TO_S, COLO_MSG_STOP, 0 },
    { "in-stop", TO_S, COLO_MSG_STOP, 7 },
    { "after-stop", TO_S, COLO_MSG_STOP, H },
    { "ram", TO_S, COLO_MSG_RAM, 0 },
    { "in-ram-head", TO_S, COLO_MSG_RAM, 7 },
    { "in-ram", TO_S, COLO_MSG_RAM, H + 5000 },
    { "in-much-ram", TO_S, COLO_MSG_RAM, H + 3000000, IN_CHECKPOINT, MUCH },
    { "devices", TO_S, COLO_MSG_DEVICES, 0 },
    { "in-devices-head", TO_S, COLO_MSG_DEVICES, 7 },
    { "in-devices", TO_S, COLO_MSG_DEVICES, H + 5000 },
    { "committed", TO_P, COLO_MSG_COMMITTED, 0, .committed = true },
    { "in-committed", TO_P, COLO_MSG_COMMITTED, 10, .committed = true },
    { "running", TO_P, COLO_MSG_RUNNING, 0, .committed = true, .told = true },
    { "in-running", TO_P, COLO_MSG_RUNNING, 10, .committed = true, .told = true },
    { "alive", TO_S, COLO_MSG_ALIVE, 0, WHILE_IDLE },
    { "in-alive", TO_S, COLO_MSG_ALIVE, 7, WHILE_IDLE },
    { "answer", TO_P, COLO_MSG_ALIVE, 0, WHILE_IDLE },
    { "in-answer", TO_P, COLO_MSG_ALIVE, 7, WHILE_IDLE },
    { "background", TO_S, COLO_MSG_BACKGROUND, 0, AHEAD, MUCH },
    { "in-background-head", TO_S, COLO_MSG_BACKGROUND, 7, AHEAD, MUCH },
    { "in-background", TO_S, COLO_MSG_BACKGROUND, H + 50000, AHEAD, MUCH },
};

static ColoModel *start(Occasion occasion)
{
    ColoModel *m;

    alarm(COLO_CASE_SECONDS);
    m = colo_model_new("");
    colo_survivor_set_timeout(m->pair, PEER_TIMEOUT_MS);
    colo_model_commit(m);
    if (occasion == AHEAD) {
        /* There is one more checkpoint now, and then none for a while. */
        int64_t epoch = colo_query_epoch(m->pair->p);

        colo_pair_set_delay(m->pair, EPOCH_MS);
        colo_query_await_epoch(m->pair->s, epoch + 1);
    }
    return m;
}

static void finish(ColoModel *m)
{
    colo_model_free(m);
    alarm(0);
}

/* Both guests go on; the next message of that kind has the fault. */
static void go_on_to(ColoModel *m, ColoProxyWay way, ColoMsgType type,
                     size_t bytes, ColoProxyFault fault, Occasion occasion,
                     unsigned pages)
{
    colo_model_go_on(m, pages);
    colo_proxy_arm(m->proxy, way, type, bytes, fault);
    if (occasion == IN_CHECKPOINT) {
        colo_side_ok(m->pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    }
}

static void run_kill(const void *opaque)
{
    const KillCase *c = opaque;
    ColoModel *m = start(c->occasion);

    go_on_to(m, c->way, c->type, c->bytes, COLO_KILL, c->occasion, c->pages);
    colo_survivor_await_fault(m->pair, m->proxy);
    colo_model_kill(m, c->told);
    colo_side_await(m->pair->s, "COLO_LOST", 1, NOTICE_MS);
    colo_survivor_go_on(m->pair, SECONDARY);
    colo_model_expect_secondary(m, c->committed);
    finish(m);
}

/* What comes twice */
typedef struct {
    const char *name;
    ColoProxyWay way;
    ColoMsgType type;
    Occasion occasion;
    bool committed;             /* S has the checkpoint */
    bool by_primary;            /* who refuses it, */
    const char *reason;         /* and why */
} RepeatCase;

static const RepeatCase repeat_cases[] = {
    { "stop", TO_S, COLO_MSG_STOP, IN_CHECKPOINT, false, false,
      "the primary sent STOP in state STOPPED, where it may not" },
    /* The second one is taken for the memory that follows the first one. */
    { "ram", TO_S, COLO_MSG_RAM, IN_CHECKPOINT, false, false,
      "can't load the primary's memory: a batch of 28995 runs" },
    { "devices", TO_S, COLO_MSG_DEVICES, IN_CHECKPOINT, true, false,
      "the primary sent DEVICES in state READY, where it may not" },
    { "committed", TO_P, COLO_MSG_COMMITTED, IN_CHECKPOINT, true, true,
      "the secondary sent COMMITTED in state LOADING, where it may not" },
    { "running", TO_P, COLO_MSG_RUNNING, IN_CHECKPOINT, true, true,
      "the secondary sent RUNNING in state READY, where it may not" },
    { "alive", TO_S, COLO_MSG_ALIVE, WHILE_IDLE, false, true,
      "the secondary answers what it was not asked" },
    { "answer", TO_P, COLO_MSG_ALIVE, WHILE_IDLE, false, true,
      "the secondary answers what it was not asked" },
    { "background", TO_S, COLO_MSG_BACKGROUND, AHEAD, false, false,
      "can't load the primary's memory: a batch of 28995 runs" },
};

/* Both know why: who found out, and the other because it was told. */
static void expect_reasons(ColoPair *pair, bool by_primary, const char *reason)
{
    g_autofree char *told = g_strdup_printf("the %s says: ", by_primary ?
                                            "primary" : "secondary");

    colo_survivor_reason(pair->p, reason);
    colo_survivor_reason(pair->s, reason);
    colo_survivor_reason(by_primary ? pair->s : pair->p, told);
}

static void run_repeat(const RepeatCase *c, ColoSurvivor survivor)
{
    ColoModel *m = start(c->occasion);

    go_on_to(m, c->way, c->type, 0, COLO_REPEAT, c->occasion,
             c->occasion == AHEAD ? MUCH : 0);
    colo_survivor_await_loss(m->pair, m->proxy, NOTICE_MS);
    expect_reasons(m->pair, c->by_primary, c->reason);
    if (survivor == PRIMARY) {
        colo_survivor_go_on(m->pair, PRIMARY);
        colo_model_expect_primary(m);
    } else {
        bool told = !colo_output_held(m->output);

        g_assert(c->committed || !told);
        /* A COMMITTED that was on its way as S ended may be lost with that. */
        g_assert(told || !c->committed || c->way == TO_S);
        colo_model_kill(m, told);
        colo_survivor_go_on(m->pair, SECONDARY);
        colo_model_expect_secondary(m, c->committed);
    }
    finish(m);
}

static void run_repeat_p(const void *opaque)
{
    run_repeat(opaque, PRIMARY);
}

static void run_repeat_s(const void *opaque)
{
    run_repeat(opaque, SECONDARY);
}

/* The beginning: the first epoch has not begun when the fault happens. */
typedef struct {
    const char *name;
    ColoProxyWay way;
    ColoMsgType type;
    size_t bytes;
    ColoProxyFault fault;
    bool by_primary;            /* who refuses it ... */
    const char *reason;         /* ... and why; NULL: nobody says so */
    bool both;                  /* S can go on, too, for it has heard HELLO, */
    bool either;                /* or may have */
} BeginCase;

#define NEXT_VERSION "speaks version 6 of the checkpoint protocol, this QEMU " \
                     "version 5; use the same build on both sides"
QEMU_BUILD_BUG_ON(COLO_PROTOCOL_VERSION != 5);

static const BeginCase begin_cases[] = {
    { "greeting", TO_P, COLO_MSG_HELLO, 0, COLO_CUT },
    { "in-greeting", TO_P, COLO_MSG_HELLO, 10, COLO_CUT },
    { "in-greeting-text", TO_P, COLO_MSG_HELLO, H + 9, COLO_CUT },
    { "hello", TO_S, COLO_MSG_HELLO, 0, COLO_CUT },
    { "in-hello", TO_S, COLO_MSG_HELLO, 10, COLO_CUT },
    { "in-hello-text", TO_S, COLO_MSG_HELLO, H + 9, COLO_CUT },
    { "running", TO_P, COLO_MSG_RUNNING, 0, COLO_CUT, .both = true },
    { "in-running", TO_P, COLO_MSG_RUNNING, 10, COLO_CUT, .both = true },
    { "killed-running", TO_P, COLO_MSG_RUNNING, 0, COLO_KILL, .both = true },
    { "killed-in-running", TO_P, COLO_MSG_RUNNING, 10, COLO_KILL, .both = true },
    /* Nothing moves any more: P's guest does not wait for long */
    { "frozen-greeting", TO_P, COLO_MSG_HELLO, 0, COLO_FREEZE },
    { "frozen-in-greeting", TO_P, COLO_MSG_HELLO, 10, COLO_FREEZE },
    { "frozen-hello", TO_S, COLO_MSG_HELLO, 0, COLO_FREEZE },
    { "frozen-in-hello", TO_S, COLO_MSG_HELLO, 10, COLO_FREEZE },
    { "greeting-twice", TO_P, COLO_MSG_HELLO, 0, COLO_REPEAT, true,
      "the secondary sent HELLO in state ", .either = true },
    { "hello-twice", TO_S, COLO_MSG_HELLO, 0, COLO_REPEAT, false,
      "the primary sent HELLO in state READY, where it may not", .both = true },
    { "version-of-s", TO_P, COLO_MSG_HELLO, 0, COLO_VERSION, true, NEXT_VERSION },
    { "version-of-p", TO_S, COLO_MSG_HELLO, 0, COLO_VERSION, false, NEXT_VERSION },
    { "stock-s", TO_P, COLO_MSG_HELLO, 0, COLO_STOCK, true,
      "the peer doesn't speak qemu-colo's protocol (0x00000000): it looks like "
      "QEMU's stock COLO" },
    { "stock-p", TO_S, COLO_MSG_HELLO, 0, COLO_STOCK, false,
      "the peer doesn't speak qemu-colo's protocol (0x00000000): it looks like "
      "QEMU's stock COLO" },
};

static ColoModel *begin(const BeginCase *c)
{
    ColoModel *m;

    alarm(COLO_CASE_SECONDS);
    m = colo_model_new("");
    colo_survivor_set_timeout(m->pair, PEER_TIMEOUT_MS);
    colo_proxy_arm(m->proxy, c->way, c->type, c->bytes, c->fault);
    colo_model_begin(m);
    return m;
}

/* Both know, and P's guest goes on. */
static void lose_beginning(ColoModel *m, const BeginCase *c)
{
    colo_survivor_await_loss(m->pair, m->proxy, NOTICE_MS);
    if (c->reason) {
        expect_reasons(m->pair, c->by_primary, c->reason);
    }
    colo_side_until(m->pair->p, "query-status", "status", "running");
    colo_model_go_on_alone(m);
}

/*
 * Whoever is left can go on: the secondary as soon as it knows that the primary has
 * begun, and no sooner.
 */
static void run_begin(const BeginCase *c, ColoSurvivor survivor)
{
    ColoModel *m = begin(c);

    if (c->fault == COLO_KILL) {
        colo_survivor_await_fault(m->pair, m->proxy);
    } else {
        lose_beginning(m, c);
    }
    if (!c->both && !c->either) {
        colo_survivor_refuses(m->pair->s, "replication has not begun");
    }
    if (survivor == PRIMARY) {
        colo_survivor_go_on(m->pair, PRIMARY);
        colo_model_expect_primary(m);
    } else {
        colo_model_kill(m, false);
        colo_side_await(m->pair->s, "COLO_LOST", 1, NOTICE_MS);
        colo_survivor_go_on(m->pair, SECONDARY);
        colo_model_expect_secondary(m, false);
    }
    finish(m);
}

static void run_begin_p(const void *opaque)
{
    run_begin(opaque, PRIMARY);
}

static void run_begin_s(const void *opaque)
{
    run_begin(opaque, SECONDARY);
}

/*
 * What the secondary has committed can't be loaded, as it is garbage: it says
 * so, and that it can't take over; the primary can, and knows.
 */
static void become_unfit(ColoProxyFault fault, size_t bytes)
{
    ColoModel *m = start(IN_CHECKPOINT);

    go_on_to(m, TO_S, COLO_MSG_DEVICES, H + bytes, fault, IN_CHECKPOINT, 0);
    colo_survivor_await_loss(m->pair, m->proxy, NOTICE_MS);
    expect_reasons(m->pair, false, "the primary's device state can't be loaded");
    colo_survivor_refuses(m->pair->s, "device state can't be loaded");
    colo_model_go_on_alone(m);
    colo_survivor_go_on(m->pair, PRIMARY);
    colo_model_expect_primary(m);
    finish(m);
}

static void run_unfit(const void *opaque)
{
    become_unfit(COLO_GARBLE, GPOINTER_TO_SIZE(opaque));
}

/* Neither does a primary reach the secondary's disks that way */
static void run_section(const void *opaque)
{
    become_unfit(COLO_SECTION, 0);
}

static void add_case(const char *kind, const char *name, const char *survivor,
                     const void *c, void (*run)(const void *opaque))
{
    g_autofree char *path = g_strdup_printf("colo-boundary/%s/%s%s", kind, name,
                                            survivor);

    qtest_add_data_func(path, c, run);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(kill_cases); i++) {
        add_case("kill", kill_cases[i].name, "", &kill_cases[i], run_kill);
    }
    for (int i = 0; i < ARRAY_SIZE(repeat_cases); i++) {
        const RepeatCase *c = &repeat_cases[i];

        add_case("repeat", c->name, "/s", c, run_repeat_s);
        add_case("repeat", c->name, "/p", c, run_repeat_p);
    }
    for (int i = 0; i < ARRAY_SIZE(begin_cases); i++) {
        const BeginCase *c = &begin_cases[i];

        if (c->fault != COLO_KILL) {
            add_case("begin", c->name, "/p", c, run_begin_p);
        }
        if (c->both) {
            add_case("begin", c->name, "/s", c, run_begin_s);
        }
    }
    add_case("unfit", "begin", "", GSIZE_TO_POINTER(0), run_unfit);
    add_case("unfit", "middle", "", GSIZE_TO_POINTER(5000), run_unfit);
    add_case("unfit", "section", "", NULL, run_section);
    return g_test_run();
}
