/*
 * A made-up bench: results of which everything is known
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "colo-bench-sample.h"

const BenchReportInfo bench_sample_info = {
    .a_name = "ours",
    .b_name = "baseline",
    .a_version = "made up <&> 'quoted'",
    .b_version = "made up | too",
    .date = "2026-01-02T03:04:05Z",
    .machine = "no machine at all, 2 cores",
    .settings = "tcg, 256 MiB, virtio-net, virtio-blk, 500 ms",
};

/* True medians; what is 0 is not measured. */
static const struct {
    const char *metric;
    double value[BENCH_VARIANTS];
    double tail;           /* of the logarithm: 0.2 narrow, 1 wide */
    unsigned count;        /* samples per round */
} truths[] = {
    { "pause.idle", { 1.4, 46, 0, 0 }, 0.3, 40 },
    { "pause.30", { 2.6, 54, 0, 0 }, 0.4, 40 },
    { "pause.100", { 5.5, 120, 0, 0 }, 0.4, 40 },
    { "pause.200", { 9, 210, 0, 0 }, 0.4, 40 },
    { "pause.disk", { 3, 60, 0, 0 }, 0.5, 40 },
    { "pause.net", { 2.2, 75, 0, 0 }, 0.5, 40 },
    { "pause.idle.outside", { 1.5, 46.5, 0, 0 }, 0.3, 40 },
    { "hold", { 4, 90, 0, 0 }, 0.5, 30 },
    { "echo.rtt", { 0.31, 0.62, 0.14, 0 }, 0.35, 400 },
    { "connect.request", { 0.9, 1.9, 0.4, 0 }, 0.35, 200 },
    { "udp.rtt", { 0.3, 0.6, 0.13, 0 }, 0.35, 400 },
    { "requests.rate", { 2100, 0, 5200, 0 }, 0.05, 1 },
    { "tcp.guest-to-client", { 61, 22, 140, 0 }, 0.08, 1 },
    { "tcp.client-to-guest", { 73, 31, 160, 0 }, 0.08, 1 },
    { "disk.seq-write", { 210, 150, 290, 0 }, 0.08, 1 },
    { "disk.seq-write.fsync", { 42, 21, 55, 0 }, 0.1, 1 },
    { "disk.rand-write", { 33, 20, 47, 0 }, 0.1, 1 },
    { "disk.rand-write.fsync", { 4.1, 1.6, 6, 0 }, 0.1, 1 },
    { "failover.first-answer", { 380, 1900, 0, 0 }, 0.15, 1 },
    { "failover.gap", { 420, 2100, 0, 0 }, 0.15, 1 },
    { "resync.1m.time", { 90, 42000, 0, 0 }, 0.1, 1 },
    { "resync.1m.bytes", { 1.2, 4096, 0, 0 }, 0.01, 1 },
    { "cost.cpu.p.idle", { 0.14, 0.07, 0.03, 0 }, 0.05, 1 },
    { "cost.cpu.s.idle", { 0.08, 0.08, 0, 0 }, 0.15, 1 },
    { "cost.channel.bytes", { 900, 4100, 0, 0 }, 0.3, 40 },
    { "packet.mirror.rate", { 410e3, 120e3, 0, 0 }, 0.05, 1 },
    { "packet.compare.rate", { 190e3, 41e3, 0, 0 }, 0.05, 1 },
    { "packet.mirror.syscalls", { 0.4, 5, 0, 0 }, 0.01, 1 },
    { "packet.mirror.latency", { 18, 31, 0, 0 }, 0.3, 500 },
    { "limit.device-state", { 0, 0, 0, 0.6 }, 0.05, 5 },
    { "limit.rtt", { 0, 0, 0, 0.03 }, 0.2, 400 },
    { "limit.loopback", { 0, 0, 0, 3100 }, 0.05, 1 },
    { "limit.memcpy", { 0, 0, 0, 9000 }, 0.05, 1 },
};

static double normal(GRand *rand)
{
    return sqrt(-2 * log(1 - g_rand_double(rand))) *
           cos(2 * M_PI * g_rand_double(rand));
}

static void add_truths(BenchResults *results, unsigned round, GRand *rand)
{
    for (int i = 0; i < ARRAY_SIZE(truths); i++) {
        for (int j = 0; j < BENCH_VARIANTS; j++) {
            for (unsigned k = 0; truths[i].value[j] && k < truths[i].count;
                 k++) {
                bench_results_add(results, truths[i].metric, j, round,
                                  truths[i].value[j] *
                                  exp(truths[i].tail * normal(rand)));
            }
        }
    }
    /* Equal to the last digit */
    bench_results_add(results, "disk.read", BENCH_A, round, 300 + round);
    bench_results_add(results, "disk.read", BENCH_B, round, 300 + round);
    bench_results_add(results, "resync.1m.stopped", BENCH_A, round, 0);
    bench_results_add(results, "resync.1m.stopped", BENCH_B, round, 41e3);
}

static void add_answers(BenchResults *results, BenchVariant variant,
                        unsigned round, double silence, GRand *rand)
{
    double ms = -900 + 5 * g_rand_double(rand);

    while (ms < silence + 1500) {
        bench_results_add(results, "failover.answers", variant, round, ms);
        ms += 10 + 8 * g_rand_double(rand);
        if (ms > 0 && ms < silence) {
            ms = silence;
        }
    }
}

BenchResults *bench_sample(unsigned rounds)
{
    BenchResults *results = bench_results_new();
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (unsigned i = 0; i < rounds; i++) {
        add_truths(results, i, rand);
        add_answers(results, BENCH_A, i, 400 + 60 * g_rand_double(rand), rand);
        add_answers(results, BENCH_B, i, 1700 + 600 * g_rand_double(rand),
                    rand);
    }
    bench_results_missing(results, "requests.rate", BENCH_B,
                          "it hangs at the second connection");
    return results;
}
