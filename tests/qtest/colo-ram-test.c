/*
 * COLO's memory: at each checkpoint the secondary has what the primary has
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * Environment: QTEST_QEMU_BINARY.  A single case: "-p /x86_64/colo-ram/NAME".
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "qapi/qmp/qjson.h"
#include "colo-guest.h"
#include "colo-query.h"

#define CASE_SECONDS 240

#define PAGE COLO_GUEST_PAGE
#define FREE_RAM COLO_GUEST_FREE_RAM

static ColoPair *pair_start(const char *machine)
{
    return colo_pair_start_on(machine, COLO_NO_DISK, COLO_NO_TIMER);
}

static uint64_t checkpoints(ColoSide *s)
{
    QDict *status = colo_side_get(s, "{'execute': 'x-query-colo-ram-hash'}");
    uint64_t n = qdict_get_int(status, "checkpoints");

    qobject_unref(status);
    return n;
}

static void arm(ColoSide *s, uint64_t checkpoint)
{
    colo_side_ok(s, "{'execute': 'x-colo-ram-hash-at', 'arguments': "
                 "{'checkpoint': %" PRIu64 "}}", checkpoint);
}

/* What @s held at @checkpoint, as text: names, lengths and hashes */
static char *taken(ColoSide *s, uint64_t checkpoint)
{
    QDict *status = colo_side_get(s, "{'execute': 'x-query-colo-ram-hash'}");
    QDict *hash = qdict_get_qdict(status, "taken");
    g_autoptr(GString) text = NULL;

    if (!hash || qdict_get_int(hash, "checkpoint") != checkpoint) {
        colo_fail("no hash was taken at checkpoint %" PRIu64, checkpoint);
    }
    text = qobject_to_json_pretty(qdict_get(hash, "blocks"), true);
    qobject_unref(status);
    return g_strdup(text->str);
}

/* One checkpoint, at which both sides must be equal; returns their text */
static char *equal_checkpoint(ColoPair *pair)
{
    uint64_t n = checkpoints(pair->p) + 1;
    g_autofree char *p = NULL, *s = NULL;

    g_assert_cmpuint(checkpoints(pair->s) + 1, ==, n);
    arm(pair->p, n);
    arm(pair->s, n);
    colo_pair_request_checkpoint(pair);
    p = taken(pair->p, n);
    s = taken(pair->s, n);
    if (!g_str_equal(p, s)) {
        colo_fail("memory differs at checkpoint %" PRIu64 ":\n%s%s", n, p, s);
    }
    return g_steal_pointer(&p);
}

/* The guest writes all the time, on both sides at its own pace. */
static void check_machine(const void *opaque)
{
    ColoPair *pair = pair_start(opaque);
    g_autofree char *last = NULL;
    int i;

    for (i = 0; i < 5; i++) {
        g_autofree char *now = equal_checkpoint(pair);

        /* It goes on, so the hash can't stay. */
        if (last && g_str_equal(last, now)) {
            colo_fail("the guest's memory doesn't change: %s", now);
        }
        g_free(last);
        last = g_steal_pointer(&now);
    }
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* Each of these alone would leave the two apart. */
static void test_diverged(void)
{
    ColoPair *pair = pair_start("pc");

    colo_guest_fill(pair->s, FREE_RAM, 3, 7, 1);           /* S alone */
    g_free(equal_checkpoint(pair));
    colo_guest_fill(pair->p, FREE_RAM, 3, 7, 2);           /* P alone */
    g_free(equal_checkpoint(pair));
    colo_guest_fill(pair->p, FREE_RAM, 3, 7, 3);           /* both, the same and not */
    colo_guest_fill(pair->s, FREE_RAM, 2, 7, 3);
    colo_guest_fill(pair->s, FREE_RAM + 14 * PAGE, 1, 7, 4);
    g_free(equal_checkpoint(pair));
    g_free(equal_checkpoint(pair));             /* nothing */
    colo_guest_fill(pair->s, FREE_RAM, 3, 7, 0);           /* S again, since nobody did */
    g_free(equal_checkpoint(pair));
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* More than one thread's share, in one run and in many */
static void test_many(void)
{
    ColoPair *pair = pair_start("pc");

    colo_guest_fill(pair->p, FREE_RAM, 2500, 1, 1);
    g_free(equal_checkpoint(pair));
    colo_guest_fill(pair->s, FREE_RAM, 1500, 2, 1);
    g_free(equal_checkpoint(pair));
    colo_guest_fill(pair->p, FREE_RAM + PAGE, 1000, 2, 7);
    colo_guest_fill(pair->s, FREE_RAM, 1000, 3, 9);
    g_free(equal_checkpoint(pair));
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* What S executes is what is in its memory, not what once was. */
static void test_code(void)
{
    ColoPair *pair = pair_start("pc");
    uint8_t mark;

    colo_pair_request_checkpoint(pair);
    colo_guest_set_mark(pair->p, 0x77);
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    mark = colo_guest_mark(pair->p, pair->scratch);
    if (mark != 0x77) {
        colo_fail("the secondary's guest uses mark 0x%02x: it executes code "
                  "that has been replaced", mark);
    }
    colo_pair_free(pair);
}

/* After a failover, and as a primary that was a secondary */
static void test_second_life(void)
{
    ColoPair *pair = pair_start("pc");

    colo_guest_fill(pair->p, FREE_RAM, 600, 2, 1);
    g_free(equal_checkpoint(pair));
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_rejoin(pair);
    g_free(equal_checkpoint(pair));
    colo_guest_fill(pair->p, FREE_RAM, 600, 3, 2);
    colo_guest_fill(pair->s, FREE_RAM, 600, 5, 3);
    g_free(equal_checkpoint(pair));
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/*
 * Memory that nobody uses becomes resident on neither side, not even for a look
 * (which it does on some machines, and there it takes its time).
 */
static void test_unused(void)
{
    ColoPair *pair = pair_start("pc -device VGA,romfile=,vgamem_mb=256");

    colo_pair_request_checkpoint(pair);
    g_assert_cmpuint(colo_side_resident(pair->p), <, 128 * MiB);
    g_assert_cmpuint(colo_side_resident(pair->s), <, 128 * MiB);
    g_free(equal_checkpoint(pair));
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* The command for a stopped guest, and what it refuses */
static void test_command(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_NO_DISK, COLO_NO_TIMER);
    g_autoptr(GString) first = NULL, second = NULL;
    QDict *answer;

    answer = colo_side_try(pair->p, COLO_ANSWER_MS,
                           "{'execute': 'x-colo-ram-hash'}");
    g_assert(answer && qdict_haskey(answer, "error"));
    qobject_unref(answer);
    answer = colo_side_try(pair->p, COLO_ANSWER_MS,
                           "{'execute': 'x-colo-ram-hash-at', "
                           "'arguments': {'checkpoint': 0}}");
    g_assert(answer && qdict_haskey(answer, "error"));
    qobject_unref(answer);

    colo_side_ok(pair->p, "{'execute': 'stop'}");
    answer = colo_side_get(pair->p, "{'execute': 'x-colo-ram-hash'}");
    first = qobject_to_json(QOBJECT(answer));
    qobject_unref(answer);
    colo_guest_fill(pair->p, FREE_RAM, 1, 1, 1);
    answer = colo_side_get(pair->p, "{'execute': 'x-colo-ram-hash'}");
    second = qobject_to_json(QOBJECT(answer));
    qobject_unref(answer);
    g_assert_cmpstr(first->str, !=, second->str);
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_pair_free(pair);
}

/* --- while the guest runs ----------------------------------------------- */

#define BACKGROUND_MS 1000      /* the timer */
#define ROUND_PAGES 128
#define ROUND_US (50 * 1000)
#define FREE_ROUNDS 24          /* in other pages each, before the first again */

typedef struct Background {
    int64_t pages, bytes, pause_pages, pause_bytes, syncs;
} Background;

static Background get_background(ColoSide *side)
{
    QDict *info = colo_side_get(side, "{'execute': 'query-colo'}");
    QDict *memory = qdict_get_qdict(info, "memory");
    Background b = {
        .pages = qdict_get_int(memory, "pages-background"),
        .bytes = qdict_get_int(memory, "bytes-background"),
        .pause_pages = qdict_get_int(memory, "pages-pause"),
        .pause_bytes = qdict_get_int(memory, "bytes-pause"),
        .syncs = qdict_get_int(memory, "syncs"),
    };

    qobject_unref(info);
    return b;
}

/*
 * The guest's memory changes for as long, always elsewhere.  Returns how many bytes a
 * second went ahead of the checkpoints, at least; *@pause_bytes: and with them.
 */
static int64_t background_rate(ColoPair *pair, unsigned seconds,
                               int64_t *pause_bytes)
{
    static unsigned round;
    int64_t start = g_get_monotonic_time();
    Background before = get_background(pair->p), after;

    do {
        colo_guest_fill(pair->p, FREE_RAM + (round % FREE_ROUNDS) * ROUND_PAGES * PAGE,
                        ROUND_PAGES, 1, 1 + round);
        round++;
        g_usleep(ROUND_US);
    } while (g_get_monotonic_time() - start < seconds * 1000000LL);
    after = get_background(pair->p);
    *pause_bytes = after.pause_bytes - before.pause_bytes;
    return (after.bytes - before.bytes) * 1000000 /
           (g_get_monotonic_time() - start);
}

/* No more checkpoints, and all that there were are over */
static void stop_timer(ColoPair *pair)
{
    int64_t requests = colo_query_count(pair->p, "request");

    colo_pair_set_delay(pair, COLO_NO_TIMER);
    colo_query_await_count(pair->p, "request", requests + 1);
    colo_query_settle(pair);
}

/* What is sent ahead is there at the checkpoint, once more if it changes again. */
static void test_background(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, BACKGROUND_MS);
    uint64_t n = checkpoints(pair->p) + 4;
    g_autofree char *p = NULL, *s = NULL;
    int64_t received, pause_bytes;
    Background b;
    QDict *info;

    arm(pair->p, n);
    arm(pair->s, n);
    g_assert_cmpint(background_rate(pair, 3, &pause_bytes), >, 0);
    colo_query_await_epoch(pair->s, n);
    p = taken(pair->p, n);
    s = taken(pair->s, n);
    g_assert_cmpstr(p, ==, s);

    stop_timer(pair);
    b = get_background(pair->p);
    g_test_message("%" PRId64 " pages ahead, %" PRId64 " in pauses, %" PRId64
                   " syncs", b.pages, b.pause_pages, b.syncs);
    g_assert_cmpint(b.pages, >, ROUND_PAGES);
    g_assert_cmpint(b.bytes, >, b.pages * PAGE);
    g_assert_cmpint(b.syncs, >, 0);
    info = colo_side_get(pair->s, "{'execute': 'query-colo'}");
    received = qdict_get_int(qdict_get_qdict(info, "memory"), "pages-received");
    qobject_unref(info);
    /* Each once per checkpoint; there are some that went ahead and nothing else */
    g_assert_cmpint(received, >, b.pause_pages);
    g_assert_cmpint(received, <=, b.pause_pages + b.pages);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

static void set_bandwidth(ColoSide *side, int64_t bytes_per_s)
{
    QDict *info;

    colo_side_ok(side, "{'execute': 'x-colo-set-background-bandwidth', "
                 "'arguments': {'bandwidth': %" PRId64 "}}", bytes_per_s);
    info = colo_side_get(side, "{'execute': 'query-colo'}");
    g_assert_cmpint(qdict_get_int(info, "background-bandwidth"), ==, bytes_per_s);
    qobject_unref(info);
}

/*
 * No more than the bandwidth goes ahead, the rest in the pauses.  An epoch is short
 * here: what one has used up the next one does not have.
 */
static void test_bandwidth(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, BACKGROUND_MS / 4);
    int64_t free_rate, rate, limit, pause_bytes;

    set_bandwidth(pair->p, 0);
    free_rate = background_rate(pair, 3, &pause_bytes);
    limit = free_rate / 8;
    /* Else a single slice might be too much */
    g_assert_cmpint(limit, >, 32 * PAGE);

    set_bandwidth(pair->p, limit);
    rate = background_rate(pair, 3, &pause_bytes);
    g_test_message("%" PRId64 " bytes/s, with a limit of %" PRId64 ": %" PRId64,
                   free_rate, limit, rate);
    g_assert_cmpint(rate, >, 0);
    g_assert_cmpint(rate, <, 2 * limit);
    g_assert_cmpint(pause_bytes, >, 3 * rate);

    set_bandwidth(pair->p, 0);
    g_assert_cmpint(background_rate(pair, 3, &pause_bytes), >, 2 * limit);
    stop_timer(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

typedef struct {
    const char *name;
    void (*run)(void);
    const char *machine;        /* for check_machine() instead */
} RamCase;

static const RamCase cases[] = {
    { "command", test_command },
    { "diverged", test_diverged },
    { "many", test_many },
    { "code", test_code },
    { "second-life", test_second_life },
    { "unused", test_unused },
    { "background", test_background },
    { "bandwidth", test_bandwidth },
    { "pc", NULL, "pc" },
    { "q35", NULL, "q35" },
    { "memfd", NULL, "pc,memory-backend=m0 "
      "-object memory-backend-memfd,id=m0,size=16M,share=on" },
    { "file", NULL, "pc,memory-backend=m0 "
      "-object memory-backend-file,id=m0,size=16M,share=on,mem-path=/tmp" },
    { "two-blocks", NULL, "pc "
      "-object memory-backend-ram,id=m0,size=8M "
      "-object memory-backend-memfd,id=m1,size=8M "
      "-numa node,memdev=m0 -numa node,memdev=m1" },
    { "two-cpus", NULL, "pc -smp 2" },
    { "display", NULL, "pc -device VGA,romfile=" },
};

static int cases_run;

static void run_case(const void *opaque)
{
    const RamCase *c = opaque;

    cases_run++;
    /* Ends the process, and by that the QEMUs, if all other bounds fail. */
    alarm(CASE_SECONDS);
    if (c->run) {
        c->run();
    } else {
        check_machine(c->machine);
    }
    alarm(0);
}

int main(int argc, char **argv)
{
    int i, status;

    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_accel("tcg")) {
        fprintf(stderr, "colo-ram-test: this QEMU lacks TCG\n");
        return EXIT_FAILURE;
    }
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("colo-ram/%s", cases[i].name);

        qtest_add_data_func(path, &cases[i], run_case);
    }
    status = g_test_run();
    if (!cases_run) {
        fprintf(stderr, "colo-ram-test: no such case\n");
        return EXIT_FAILURE;
    }
    return status;
}
