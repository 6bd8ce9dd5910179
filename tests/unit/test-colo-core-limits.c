/*
 * The compare engine: what it counts, how much it keeps, and for how long
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-core-run.h"

static void test_statistics(void)
{
    static const char *const lines[] = {
        "P ${U} len=1", "S ${U} len=1 => 1", "P ${U} len=2", "P ${U} len=3",
        "S ${U} len=4 => want-length", "checkpoint 0 => 2 3",
        "failover", "P arp => 4",
    };
    CoreRun *run = core_run_new();
    const ColoCoreStats *stats = colo_core_stats(run->core);
    g_autofree char *flow = NULL;

    for (int i = 0; i < ARRAY_SIZE(lines); i++) {
        g_autofree char *line = g_strdup(lines[i]);

        core_run_line(run, line);
    }
    g_assert_cmpuint(stats->primary_packets, ==, 4);
    g_assert_cmpuint(stats->secondary_packets, ==, 2);
    g_assert_cmpuint(stats->matches, ==, 1);
    g_assert_cmpuint(stats->mismatches[COLO_REASON_LENGTH], ==, 1);
    g_assert_cmpuint(stats->mismatches[COLO_REASON_DATA], ==, 0);
    g_assert_cmpuint(stats->released_by_checkpoint, ==, 2);
    g_assert_cmpuint(stats->released_uncompared, ==, 1);
    g_assert_cmpuint(stats->checkpoints, ==, 1);
    g_assert_cmpuint(stats->queue_packets, ==, 0);
    g_assert_cmpuint(stats->queue_packets_max, ==, 2);
    g_assert_cmpuint(stats->queue_bytes, ==, 0);
    g_assert_cmpuint(stats->queue_bytes_max, >, 2 * COLO_HELD_SMALL);
    g_assert(stats->has_last_mismatch);
    g_assert_cmpint(stats->last_mismatch_reason, ==, COLO_REASON_LENGTH);
    flow = colo_flow_key_str(&stats->last_mismatch);
    g_assert_cmpstr(flow, ==, "udp 10.0.0.1:53 > 10.0.0.2:999");
    core_run_free(run);
}

/* The guest is slowed down at twice the limit, until it is kept to again. */
static void test_pressed(void)
{
    CoreRun *run = core_run_new();
    ColoCoreConfig config = { .compare_timeout = 3000, .max_queue_size = 1024 };
    const ColoCoreStats *stats = colo_core_stats(run->core);

    core_run_event(run, "P ip4 10.0.0.1 > 10.0.0.2 udp 53 > 9 len=1");
    config.max_bytes = stats->queue_bytes;
    colo_core_configure(run->core, &config);
    core_run_event(run, "P ip4 10.0.0.1 > 10.0.0.2 udp 53 > 9 len=1");
    g_assert_false(colo_core_is_pressed(run->core, false));
    g_assert_true(colo_core_is_pressed(run->core, true));
    core_run_event(run, "P ip4 10.0.0.1 > 10.0.0.2 udp 53 > 9 len=1");
    core_run_event(run, "P ip4 10.0.0.1 > 10.0.0.2 udp 53 > 9 len=1");
    g_assert_true(colo_core_is_pressed(run->core, false));
    g_assert_false(colo_core_is_overfull(run->core));
    core_run_event(run, "checkpoint 0");
    g_assert_false(colo_core_is_pressed(run->core, true));
    core_run_free(run);
}

/* More flows than there is room for: P's frames stay, others leave room */
static void test_many_flows(void)
{
    CoreRun *run = core_run_new();
    const ColoCoreStats *stats = colo_core_stats(run->core);

    for (int i = 0; i < COLO_CORE_FLOWS + 10; i++) {
        g_autofree char *text = g_strdup_printf(
            "S ip4 10.0.%d.%d > 10.0.0.2 udp 53 > 9 len=1", i / 256, i % 256);

        core_run_event(run, text);
    }
    g_assert_cmpstr(run->effects->str, ==, "");
    for (int i = 0; i < COLO_CORE_FLOWS + 10; i++) {
        g_autofree char *text = g_strdup_printf(
            "P ip4 11.0.%d.%d > 10.0.0.2 udp 53 > 9 len=1", i / 256, i % 256);

        core_run_event(run, text);
    }
    g_assert_cmpstr(run->effects->str, ==, " want-full");
    g_assert_cmpuint(stats->queue_packets, ==, COLO_CORE_FLOWS + 10);
    core_run_event(run, "checkpoint 0");
    g_assert_cmpuint(stats->queue_packets, ==, 0);
    g_assert_cmpuint(stats->released_by_checkpoint, ==, COLO_CORE_FLOWS + 10);
    core_run_free(run);
}

/*
 * S's frames for which P sends none take no more memory than P's may, however
 * many flows they are spread over; a checkpoint or a failover frees it.
 */
static void test_flood(void)
{
    const unsigned frames = COLO_CORE_MAX_BYTES / COLO_HELD_LARGE + 100;
    const ColoCoreStats *stats;
    uint64_t dropped;
    CoreRun *run = core_run_new();

    stats = colo_core_stats(run->core);
    for (int round = 0; round < 3; round++) {
        dropped = stats->secondary_dropped;
        if (round == 1) {
            core_run_event(run, "marker 1"); /* early ones count, too */
        }
        for (unsigned i = 0; i < frames; i++) {
            g_autofree char *text = g_strdup_printf(
                "S ip4 10.0.%u.%u > 10.0.0.2 udp 53 > 9 len=20000", i / 256,
                i % 256);

            core_run_event(run, text);
        }
        dropped = stats->secondary_dropped - dropped;
        g_assert_cmpuint(dropped, >=, 90);
        g_assert_cmpuint(dropped, <=, 110);
        core_run_event(run, round ? "failover" : "checkpoint 0");
        core_run_event(run, "checkpoint 0");
        core_run_event(run, "marker 0");
    }
    core_run_free(run);
}

/* Early frames for which there is no room: what follows tells of it. */
static void test_early_lost(void)
{
    CoreRun *run = core_run_new();

    core_run_event(run, "checkpoint 1");
    core_run_event(run, "marker 2");
    for (int i = 0; i < 5000; i++) {
        core_run_event(run, "S ${U} len=1");
    }
    g_assert_cmpuint(colo_core_stats(run->core)->secondary_dropped, >, 0);
    g_assert_cmpstr(run->effects->str, ==, "");
    core_run_event(run, "checkpoint 2");
    g_assert_cmpstr(run->effects->str, ==, " want-full");
    g_string_truncate(run->effects, 0);
    core_run_event(run, "checkpoint 3");
    g_assert_cmpstr(run->effects->str, ==, "");
    core_run_free(run);
}

/* Flows that have been quiet give their memory back */
static void test_idle(void)
{
    CoreRun *run = core_run_new();

    core_run_event(run, "S ${T} A seq=1 ack=1 len=10");
    core_run_event(run, "P ${T} A seq=1 ack=1 len=10");
    g_assert_cmpstr(run->effects->str, ==, " 1");
    core_run_event(run, "wait 61000");
    g_string_truncate(run->effects, 0);
    core_run_event(run, "P ${T} A seq=1 ack=1 len=10");
    g_assert_cmpstr(run->effects->str, ==, "");
    core_run_free(run);
}

/* One connection, in which a server says @len bytes and closes */
static void short_connection(CoreRun *run, unsigned i, unsigned len)
{
    g_autofree char *flow = g_strdup_printf(
        "ip4 10.0.0.1 > 10.%u.%u.2 tcp 80 > 999", i / 256, i % 256);
    g_autofree char *syn = g_strdup_printf("X %s SA seq=0 ack=1", flow);
    g_autofree char *data = g_strdup_printf("X %s PA seq=1 ack=1 len=%u", flow,
                                            len);
    g_autofree char *fin = g_strdup_printf("X %s FA seq=%u ack=1", flow,
                                           1 + len);
    char *const frames[] = { syn, data, fin };

    for (int k = 0; k < ARRAY_SIZE(frames); k++) {
        frames[k][0] = 'S';
        core_run_event(run, frames[k]);
        frames[k][0] = 'P';
        core_run_event(run, frames[k]);
    }
}

/*
 * A busy server: connections come and go, and take far more memory together than
 * there is, if none gives back what it took.  No checkpoint helps.
 */
static void test_short_connections(void)
{
    enum { COUNT = 6000, LEN = 10 * 1024 };
    CoreRun *run = core_run_new();
    const ColoCoreStats *stats = colo_core_stats(run->core);

    QEMU_BUILD_BUG_ON((uint64_t)COUNT * LEN < 0.9 * COLO_CORE_MAX_STREAM_BYTES);
    for (unsigned i = 0; i < COUNT; i++) {
        short_connection(run, i, LEN);
        core_run_event(run, "wait 1");
    }
    g_assert_null(strstr(run->effects->str, "want"));
    g_assert_cmpuint(stats->matches, ==, 3 * COUNT);
    g_assert_cmpuint(stats->mismatches[COLO_REASON_FULL], ==, 0);
    core_run_free(run);
}

/* S runs ahead in many connections until there is no room: that must be said. */
static void test_streams_in_use(void)
{
    enum { LEN = 32 * 1024 };
    CoreRun *run = core_run_new();
    const ColoCoreStats *stats = colo_core_stats(run->core);
    unsigned i;

    for (i = 0; !stats->mismatches[COLO_REASON_FULL]; i++) {
        g_autofree char *text = g_strdup_printf(
            "S ip4 10.0.0.1 > 10.%u.%u.2 tcp 80 > 999 A seq=1 ack=1 len=%u",
            i / 256, i % 256, LEN);

        g_assert_cmpuint(i, <=, COLO_CORE_MAX_STREAM_BYTES / LEN);
        core_run_event(run, text);
    }
    g_assert_cmpstr(run->effects->str, ==, " want-full");
    g_assert_cmpuint(i, >=, COLO_CORE_MAX_STREAM_BYTES / LEN / 2);
    /* None was forgotten */
    core_run_event(run, "P ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 A seq=1 ack=1 "
                   "len=32768");
    g_assert_cmpuint(stats->matches, ==, 1);
    /* The checkpoint frees it all */
    core_run_event(run, "checkpoint 0");
    short_connection(run, 7777, LEN);
    g_assert_cmpuint(stats->matches, ==, 4);
    core_run_free(run);
}
int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/core/statistics", test_statistics);
    g_test_add_func("/colo/core/pressed", test_pressed);
    g_test_add_func("/colo/core/many-flows", test_many_flows);
    g_test_add_func("/colo/core/flood", test_flood);
    g_test_add_func("/colo/core/short-connections", test_short_connections);
    g_test_add_func("/colo/core/streams-in-use", test_streams_in_use);
    g_test_add_func("/colo/core/early-lost", test_early_lost);
    g_test_add_func("/colo/core/idle", test_idle);
    return g_test_run();
}
