/*
 * The table of runners, and what they share
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "bench-packet.h"
#include "bench-run.h"

/* Of the RAM; the guest allows a half of what the kernel has left. */
#define LOAD_PART 0.39

const BenchRunner bench_runners[] = {
    { "pause", "pause.* load.*", bench_run_pause, .needs_pair = true,
      .why_alone = "a guest alone is never stopped" },
    { "hold", "hold", bench_run_hold, .needs_pair = true,
      .why_alone = "nothing is held back for a guest alone" },
    { "net", "echo.* connect.* udp.* requests.* tcp.*", bench_run_net },
    { "disk", "disk.*", bench_run_disk },
    { "cost", "cost.*", bench_run_cost },
    { "failover", "failover.*", bench_run_failover, .needs_pair = true,
      .why_alone = "a guest alone dies with its host", .spoils = true },
    { "resync", "resync.*", bench_run_resync, .needs_pair = true,
      .why_alone = "a guest alone has one disk", .fresh = true,
      .spoils = true, .big_disk = true },
    { "packet", "packet.*", bench_run_packet, .needs_pair = true,
      .why_alone = "there is no packet path", .no_guest = true },
    { "packet", "limit.packet.*", bench_run_packet_limits, .no_guest = true,
      .limit = true },
    { "limits", "limit.device-state limit.rtt limit.loopback limit.memcpy "
      "limit.guest-ram limit.resync.*", bench_run_limits, .spoils = true,
      .limit = true },
};

const size_t bench_runners_count = ARRAY_SIZE(bench_runners);

void bench_run_add(BenchRun *run, const char *metric, double value)
{
    bench_results_add(run->results, metric, run->variant, run->round, value);
}

void bench_run_add_all(BenchRun *run, const char *metric,
                       const GArray *values)
{
    for (guint i = 0; i < values->len; i++) {
        bench_run_add(run, metric, g_array_index(values, double, i));
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double bench_median(const GArray *values)
{
    g_autofree double *sorted = g_memdup2(values->data,
                                          values->len * sizeof(double));

    if (!values->len) {
        return NAN;
    }
    qsort(sorted, values->len, sizeof(double), compare_doubles);
    return sorted[values->len / 2];
}

bool bench_run_packet(BenchRun *run, Error **errp)
{
    BenchPacketConfig config = { .seconds = run->effort->packet_s };

    return bench_packet_run(run->config->qemu, run->variant, run->round,
                            &config, run->results, errp);
}

bool bench_run_packet_limits(BenchRun *run, Error **errp)
{
    BenchPacketConfig config = { .seconds = run->effort->packet_s };

    return bench_packet_limit(run->round, &config, run->results, errp);
}

bool bench_run_load(BenchRun *run, unsigned mb_per_s, Error **errp)
{
    g_autofree char *command = g_strdup_printf("load %.0f %.0f",
        mb_per_s * 1e6 / (1 << 20), run->config->memory_mib * LOAD_PART);

    return bench_guest_command(run->guest, mb_per_s ? command : "load 0 0",
                               errp);
}
