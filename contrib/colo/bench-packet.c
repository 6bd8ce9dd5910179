/*
 * The packet path in isolation: one network object, one QEMU, no guest
 *
 * What is measured, and with what around it, stands in bench-packet-rig.h.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-packet.h"
#include "bench-cpus.h"
#include "bench-output.h"
#include "bench-packet-pump.h"
#include "bench-packet-rig.h"
#include "bench-syscalls.h"

/* On their way at a time; less than a stock colo-compare can hold (1024) */
#define WINDOW 128
#define WINDOW_TSO 8
/* System calls are counted in bursts, whose size decides how many there are. */
#define BURST 16
#define BURSTS 64
/* For a binary to list its objects */
#define LIST_MS (10 * 1000)

static const char *const figures[] = { "rate", "rate.tso", "syscalls",
                                       "latency" };

/* What all measurements of one call have in common */
typedef struct Bench {
    const char *prefix;    /* "packet.mirror" */
    double plain;          /* CPU seconds of one frame there; 0: not known */
    BenchVariant variant;
    unsigned round;
    double seconds;
    unsigned latencies;
    BenchCpus cpus;        /* the pump's, and the process's */
    BenchResults *results;
} Bench;

static void add(const Bench *bench, const char *figure, double value)
{
    g_autofree char *metric = g_strdup_printf("%s.%s", bench->prefix, figure);

    bench_results_add(bench->results, metric, bench->variant, bench->round,
                      value);
}

static void missing(const Bench *bench, const char *figure, const char *why)
{
    g_autofree char *metric = g_strdup_printf("%s.%s", bench->prefix, figure);

    bench_results_missing(bench->results, metric, bench->variant, why);
}

/* The process has started when the first frames have come out. */
static PacketPump *start(PacketRig *rig, PacketMix mix, Error **errp)
{
    PacketPump *pump;

    g_ptr_array_add(rig->argv, NULL);
    if (!packet_process_start(rig->process, (char **)rig->argv->pdata, errp)) {
        return NULL;
    }
    pump = packet_pump_new(rig->in, &rig->out, rig->sink.fd, mix);
    if (!packet_pump_burst(pump, 1, errp) ||
        !packet_pump_burst(pump, BURST / 2, errp)) {
        packet_pump_free(pump);
        return NULL;
    }
    return pump;
}

/* CPU time of one frame, in seconds */
static void add_rate(Bench *bench, const PacketRig *rig, double cost)
{
    add(bench, rig->tso ? "rate.tso" : "rate", 1 / cost);
    if (rig->tso || !rig->netdevs) {
        return;
    }
    if (!bench->plain) {
        bench->plain = cost;
    } else {
        /* A small one may be lost in the noise of the two */
        add(bench, "added", MAX((cost - bench->plain) * 1e6, 0.001));
    }
}

static bool measure_rate(Bench *bench, PacketRig *rig, Error **errp)
{
    g_autoptr(PacketPump) pump = start(rig, rig->tso ? PACKET_TSO :
                                       PACKET_MIXED, errp);
    double cpu;
    uint64_t frames;

    if (!pump) {
        return false;
    }
    cpu = packet_process_cpu(rig->process);
    if (!packet_pump_run(pump, rig->tso ? WINDOW_TSO : WINDOW, bench->seconds,
                         &frames, errp)) {
        return false;
    }
    cpu = packet_process_cpu(rig->process) - cpu;
    if (cpu <= 0) {
        error_setg(errp, "the process has used no CPU time for %" PRIu64
                   " frames", frames);
        return false;
    }
    add_rate(bench, rig, cpu / frames);
    return true;
}

static bool measure_syscalls(Bench *bench, PacketRig *rig, Error **errp)
{
    g_autoptr(PacketPump) pump = start(rig, PACKET_MIXED, errp);
    SyscallCounter *counter;
    Error *err = NULL;
    uint64_t before;
    bool ok;

    if (!pump) {
        return false;
    }
    counter = syscall_counter_new(packet_process_pid(rig->process), &err);
    if (!counter) {
        missing(bench, "syscalls", error_get_pretty(err));
        error_free(err);
        return true;
    }
    /* What attaching has interrupted is not counted. */
    ok = packet_pump_burst(pump, BURST, errp);
    before = syscall_counter_read(counter);
    for (int i = 0; ok && i < BURSTS; i++) {
        ok = packet_pump_burst(pump, BURST, errp);
    }
    if (ok) {
        add(bench, "syscalls", (syscall_counter_read(counter) - before) /
                               (double)(BURST * BURSTS));
    }
    syscall_counter_free(counter);
    return ok;
}

static bool measure_latency(Bench *bench, PacketRig *rig, Error **errp)
{
    g_autoptr(PacketPump) pump = start(rig, PACKET_SMALL, errp);

    if (!pump) {
        return false;
    }
    for (unsigned i = 0; i < bench->latencies; i++) {
        struct timespec begin, end;

        clock_gettime(CLOCK_MONOTONIC, &begin);
        if (!packet_pump_burst(pump, 1, errp)) {
            return false;
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        add(bench, "latency", (end.tv_sec - begin.tv_sec) * 1e6 +
                              (end.tv_nsec - begin.tv_nsec) / 1e3);
    }
    return true;
}

typedef bool MeasureFunc(Bench *bench, PacketRig *rig, Error **errp);

/* By the index of @figures */
static MeasureFunc *const measures[] = {
    measure_rate, measure_rate, measure_syscalls, measure_latency
};

/*
 * One packet's way is measured on one CPU, and all else with the pump on a CPU
 * of its own: on two, each packet would wait until a CPU that sleeps has woken
 * up, which takes longer than all that the object does.
 */
static void rig_init(PacketRig *rig, const Bench *bench, const char *figure)
{
    bool together = g_str_equal(figure, "latency");

    packet_rig_init(rig, together ? NULL : &bench->cpus,
                    g_str_equal(figure, "rate.tso"));
}

/* A process for each figure: none inherits what another has left behind. */
static bool measure(Bench *bench, const char *qemu,
                    const PacketTopology *topology, int figure, Error **errp)
{
    PacketRig rig;
    bool ok;

    rig_init(&rig, bench, figures[figure]);
    packet_rig_qemu(&rig, qemu);
    ok = topology->build(&rig, errp) &&
         measures[figure](bench, &rig, errp);
    if (!ok) {
        packet_process_explain(rig.process, errp);
    }
    packet_rig_end(&rig);
    return ok;
}

/* The objects that the binary knows, as it lists them; free with g_free(). */
static char *list_objects(const char *qemu, Error **errp)
{
    const char *const argv[] = { qemu, "-M", "none", "-object", "help", NULL };

    return bench_output_of(argv, LIST_MS, errp);
}

static bool is_listed(const char *objects, const char *name)
{
    g_auto(GStrv) lines = g_strsplit(objects, "\n", -1);

    for (int i = 0; lines[i]; i++) {
        if (g_str_equal(g_strstrip(lines[i]), name)) {
            return true;
        }
    }
    return false;
}

/*
 * A figure that fails is missing, with its reason: what one object cannot do
 * shall not hide what the others can.  @first is set to the first reason.
 */
static void run_topology(Bench *bench, const char *name, const char *qemu,
                         const PacketTopology *topology, const char *objects,
                         Error **first)
{
    g_autofree char *prefix = g_strdup_printf("packet.%s", name);
    g_autofree char *unknown = g_strdup_printf("it has no object %s",
                                               topology->object ?: "");

    bench->prefix = prefix;
    for (int i = 0; i < ARRAY_SIZE(figures); i++) {
        Error *err = NULL;

        if (topology->object && !is_listed(objects, topology->object)) {
            missing(bench, figures[i], unknown);
        } else if (!measure(bench, qemu, topology, i, &err)) {
            error_prepend(&err, "%s.%s: ", prefix, figures[i]);
            missing(bench, figures[i], error_get_pretty(err));
            /* Only the first is kept. */
            error_propagate(first, err);
        }
    }
}

/* What is measured under that name */
static const PacketTopology *topology_for(const char *name,
                                          const BenchPacketConfig *config)
{
    const char *object = g_str_equal(name, "compare") ? config->compare : NULL;

    for (int i = 0; i < PACKET_TOPOLOGIES; i++) {
        if (!g_strcmp0(object ?: name, object ? packet_topologies[i].object :
                                                packet_topologies[i].name)) {
            return &packet_topologies[i];
        }
    }
    g_assert_not_reached();
}

static Bench bench_of(BenchVariant variant, unsigned round,
                      const BenchPacketConfig *config, BenchResults *results)
{
    return (Bench) {
        .variant = variant,
        .round = round,
        .seconds = config->seconds ? CLAMP(config->seconds, 0.05, 60) : 1,
        .latencies = config->latencies ? config->latencies : 1000,
        .results = results,
    };
}

bool bench_packet_run(const char *qemu, BenchVariant variant, unsigned round,
                      const BenchPacketConfig *config, BenchResults *results,
                      Error **errp)
{
    Bench bench = bench_of(variant, round, config, results);
    g_autofree char *objects = list_objects(qemu, errp);
    Error *first = NULL;

    if (!objects) {
        return false;
    }
    bench_cpus_pin(&bench.cpus);
    for (int i = 0; i < PACKET_TOPOLOGIES; i++) {
        const char *name = packet_topologies[i].name;

        run_topology(&bench, name, qemu, topology_for(name, config), objects,
                     &first);
    }
    bench_cpus_restore(&bench.cpus);
    if (first) {
        error_propagate(errp, first);
        return false;
    }
    return true;
}

bool bench_packet_limit(unsigned round, const BenchPacketConfig *config,
                        BenchResults *results, Error **errp)
{
    Bench bench = bench_of(BENCH_LIMIT, round, config, results);
    bool ok = true;

    bench.prefix = "limit.packet";
    bench_cpus_pin(&bench.cpus);
    for (int i = 0; ok && i < ARRAY_SIZE(figures); i++) {
        PacketRig rig;

        rig_init(&rig, &bench, figures[i]);
        ok = packet_rig_build_limit(&rig, errp) &&
             measures[i](&bench, &rig, errp);
        packet_rig_end(&rig);
    }
    bench_cpus_restore(&bench.cpus);
    return ok;
}
