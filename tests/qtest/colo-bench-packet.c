/*
 * Smoke test of the packet bench: a short round with the QEMU just built
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-packet.h"
#include "bench-stats.h"

static const char *const figures[] = { "rate", "rate.tso", "syscalls",
                                       "latency" };

/* Plausible for any machine: what is outside is an error of the bench. */
static const struct {
    double least, most;
} bounds[] = { { 100, 100e6 }, { 10, 10e6 }, { 0.01, 100 }, { 0.5, 5e6 } };

static void check(BenchResults *results, const char *object, int figure)
{
    g_autofree char *name = g_strdup_printf("packet.%s.%s", object,
                                            figures[figure]);
    const char *why = bench_results_why(results, name, BENCH_A);
    double value;

    if (why && g_str_equal(figures[figure], "syscalls") && getuid() != 0) {
        g_test_message("%s: %s", name, why);
        return;
    }
    if (why) {
        g_error("%s: %s", name, why);
    }
    g_assert_true(bench_round_figure(results, bench_metric_find(name),
                                     BENCH_A, 0, BENCH_P50, &value));
    g_test_message("%s: %g", name, value);
    g_assert_cmpfloat(value, >, bounds[figure].least);
    g_assert_cmpfloat(value, <, bounds[figure].most);
}

static void test_run(void)
{
    static const char *const objects[] = { "plain", "mirror", "redirector",
                                           "compare", "filter-compare" };
    const BenchPacketConfig config = { .seconds = 0.1, .latencies = 20 };
    g_autoptr(BenchResults) results = bench_results_new();
    const char *why;

    bench_packet_run(g_getenv("COLO_QEMU"), BENCH_A, 0, &config, results,
                     &error_abort);
    why = bench_results_why(results, "packet.filter-compare.rate", BENCH_A);
    for (int i = 0; i < ARRAY_SIZE(objects); i++) {
        if (g_str_equal(objects[i], "filter-compare") && why &&
            g_str_equal(why, "it has no object filter-compare")) {
            g_test_message("this QEMU has no filter-compare");
            continue;
        }
        for (int j = 0; j < ARRAY_SIZE(figures); j++) {
            check(results, objects[i], j);
        }
    }
}

static void test_no_qemu(void)
{
    const BenchPacketConfig config = { };
    g_autoptr(BenchResults) results = bench_results_new();
    Error *err = NULL;

    g_assert_false(bench_packet_run("/no/such/qemu", BENCH_A, 0, &config,
                                    results, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "/no/such/qemu"));
    error_free(err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench-packet/no-qemu", test_no_qemu);
    g_test_add_func("/bench-packet/run", test_run);
    return g_test_run();
}
