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
#include "bench-stats.h"

/* Of the RAM; the guest allows a half of what the kernel has left. */
#define LOAD_PART 0.39
#define PAGE_BYTES 4096

#define PAUSE(load) \
    { "pause", load, "pause." load " pause." load ".outside pause." load \
      ".agreement pause." load ".unannounced load." load \
      " pause.disagreement", \
      bench_run_pause, .needs_pair = true, \
      .why_alone = "a guest alone is never stopped" }
#define NET(metric) { "net", metric, metric, bench_run_net }
#define NET_UDP(metric) { "net", metric, metric " udp.lost", bench_run_net }
#define DISK(mode, metric) { "disk", mode, "disk." metric, bench_run_disk }
#define RESYNC(size) \
    { "resync", size, "resync." size ".*", bench_run_resync, \
      .needs_pair = true, .why_alone = "a guest alone has one disk", \
      .big_disk = true }

/* In this order; those with equal needs share a guest. */
const BenchRunner bench_runners[] = {
    PAUSE("idle"), PAUSE("30"), PAUSE("100"), PAUSE("200"), PAUSE("disk"),
    PAUSE("net"),
    { "hold", NULL, "hold", bench_run_hold, .needs_pair = true,
      .why_alone = "nothing is held back for a guest alone" },
    NET("echo.rtt"), NET_UDP("udp.rtt"), NET("connect.request"),
    NET("requests.rate"), NET("tcp.guest-to-client"),
    NET("tcp.client-to-guest"),
    /* Reading finds what sequential writing has left. */
    DISK("seq-write", "seq-write"), DISK("seq-write-sync", "seq-write.fsync"),
    DISK("seq-read", "read"), DISK("rand-write", "rand-write"),
    DISK("rand-write-sync", "rand-write.fsync"),
    DISK("rand-read", "rand-read"),
    { "cost", "idle", "cost.cpu.?.idle cost.channel.bytes", bench_run_cost },
    { "cost", "loaded", "cost.cpu.?.loaded cost.channel.bytes.loaded "
      "cost.ram.* load.cost", bench_run_cost },
    { "work", "idle", "work.* limit.work.*", bench_run_work },
    { "failover", NULL, "failover.*", bench_run_failover, .needs_pair = true,
      .why_alone = "a guest alone dies with its host", .spoils = true },
    RESYNC("1m"), RESYNC("100m"), RESYNC("all"),
    /* With the guest alone that the others have left */
    { "limits", "commands", "limit.failover.commands", bench_run_commands,
      .limit = true },
    { "limits", "machine", "limit.rtt limit.rto limit.loopback limit.memcpy "
      "limit.requests limit.guest-ram limit.channel.* limit.resync.*",
      bench_run_machine, .no_guest = true, .limit = true },
    { "limits", "device-state", "limit.device-state*", bench_run_device_state,
      .shared_ram = true, .spoils = true, .rounds = 2, .limit = true },
    { "packet", NULL, "packet.*", bench_run_packet, .needs_pair = true,
      .why_alone = "there is no packet path", .no_guest = true },
    { "packet", NULL, "limit.packet.*", bench_run_packet_limits,
      .no_guest = true, .limit = true },
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

bool bench_run_set_interval(BenchRun *run, int ms, Error **errp)
{
    g_autofree char *command = g_strdup_printf(
        "{'execute': 'migrate-set-parameters', 'arguments': "
        "{'x-checkpoint-delay': %d}}", ms);

    return bench_guest_qmp(run->guest, BENCH_PRIMARY, command, errp);
}

double bench_median(const GArray *values)
{
    g_autofree double *sorted = g_memdup2(values->data,
                                          values->len * sizeof(double));

    if (!values->len) {
        return NAN;
    }
    bench_sort(sorted, values->len);
    return sorted[values->len / 2];
}

bool bench_run_packet(BenchRun *run, Error **errp)
{
    BenchPacketConfig config = {
        .seconds = run->effort->packet_s, .compare = run->config->compare,
    };

    return bench_packet_run(run->config->qemu, run->variant, run->round,
                            &config, run->results, errp);
}

bool bench_run_packet_limits(BenchRun *run, Error **errp)
{
    BenchPacketConfig config = { .seconds = run->effort->packet_s };

    return bench_packet_limit(run->round, &config, run->results, errp);
}

double bench_run_load_mib(const BenchRun *run)
{
    return run->config->memory_mib * LOAD_PART;
}

bool bench_run_load_pages(BenchRun *run, uint64_t *pages, Error **errp)
{
    g_autofree char *answer = bench_guest_ask(run->guest, "load-stat", errp);

    if (!answer) {
        return false;
    }
    if (sscanf(answer, "pages %" SCNu64, pages) != 1) {
        error_setg(errp, "the guest's answer to load-stat is '%s'", answer);
        return false;
    }
    return true;
}

double bench_run_load_mb_per_s(uint64_t pages, int64_t ns)
{
    return pages * PAGE_BYTES * 1e3 / ns;
}

bool bench_run_load(BenchRun *run, unsigned mb_per_s, Error **errp)
{
    g_autofree char *command = g_strdup_printf("load %.0f %.0f",
        mb_per_s * 1e6 / (1 << 20), bench_run_load_mib(run));

    return bench_guest_command(run->guest, mb_per_s ? command : "load 0 0",
                               errp);
}
