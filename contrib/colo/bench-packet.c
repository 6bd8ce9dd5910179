/*
 * The packet path in isolation: one network object, one QEMU, no guest
 *
 * Frames come and go over sockets.  "wire" is a netdev with QEMU's socket
 * backend, in the place of the tap; "guest" another one, joined with it by a
 * hub, in the place of the NIC.  In all cases the object is measured together
 * with what must be there to feed it:
 *
 *   mirror          wire -> filter-mirror -> stream, and the guest
 *   redirector      stream -> filter-redirector -> filter-redirector -> stream
 *   compare         guest -> redirector -> colo-compare -> redirector -> wire,
 *                   over TCP on 127.0.0.1 as in docs/COLO-FT.txt, with the
 *                   secondary's stream
 *   filter-compare  guest -> filter-compare -> wire, with the secondary's
 *                   stream
 *
 * Segments of 60 KB go with vnet_hdr_support=on, for which the streams have
 * a field more.
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
#include "bench-packet-qemu.h"
#include "bench-syscalls.h"

/* On their way at a time; less than a stock colo-compare can hold (1024) */
#define WINDOW 128
#define WINDOW_TSO 8
/* System calls are counted in bursts, whose size decides how many there are. */
#define BURST 16
#define BURSTS 64
/* For a binary to list its objects */
#define LIST_MS (10 * 1000)

typedef struct Rig {
    PacketProcess *process;
    PacketPort in[2];
    PacketPort out;
    PacketPort sink;
    bool tso;
    GPtrArray *argv;
} Rig;

typedef struct Topology {
    const char *name;
    const char *object;    /* that the binary must know */
    bool (*build)(Rig *rig, Error **errp);
} Topology;

static void G_GNUC_PRINTF(3, 4) option(Rig *rig, const char *name,
                                       const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(rig->argv, g_strdup(name));
    g_ptr_array_add(rig->argv, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

static const char *vnet(const Rig *rig)
{
    return rig->tso ? ",vnet_hdr_support=on" : "";
}

/* Joined with the others by a hub, in the place of a tap or a NIC */
static bool add_netdev(Rig *rig, const char *id, PacketPort *port,
                       Error **errp)
{
    int theirs, ours = packet_process_connect(rig->process, PACKET_UNIX,
                                              &theirs, errp);

    if (ours < 0) {
        return false;
    }
    *port = (PacketPort) { .fd = ours };
    option(rig, "-netdev", "socket,id=%s,fd=%d", id, theirs);
    option(rig, "-netdev", "hubport,id=hub-%s,hubid=0,netdev=%s", id, id);
    return true;
}

/* A channel between hosts, as mirror0 and compare1 are */
static bool add_stream(Rig *rig, const char *id, PacketPort *port,
                       Error **errp)
{
    int theirs, ours = packet_process_connect(rig->process, PACKET_TCP,
                                              &theirs, errp);

    if (ours < 0) {
        return false;
    }
    *port = (PacketPort) { .fd = ours, .vnet_field = rig->tso };
    option(rig, "-chardev", "socket,id=%s,fd=%d", id, theirs);
    return true;
}

/* Two chardevs that are connected with each other */
static bool add_loop(Rig *rig, const char *id1, const char *id2, Error **errp)
{
    int theirs[2];

    if (!packet_process_loop(rig->process, PACKET_TCP, theirs, errp)) {
        return false;
    }
    option(rig, "-chardev", "socket,id=%s,fd=%d", id1, theirs[0]);
    option(rig, "-chardev", "socket,id=%s,fd=%d", id2, theirs[1]);
    return true;
}

static bool build_mirror(Rig *rig, Error **errp)
{
    if (!add_netdev(rig, "hn0", &rig->in[0], errp) ||
        !add_netdev(rig, "hn1", &rig->sink, errp) ||
        !add_stream(rig, "mirror0", &rig->out, errp)) {
        return false;
    }
    option(rig, "-object", "filter-mirror,id=m0,netdev=hn0,queue=tx,"
           "outdev=mirror0%s", vnet(rig));
    return true;
}

static bool build_redirector(Rig *rig, Error **errp)
{
    PacketPort wire;

    if (!add_netdev(rig, "hn0", &wire, errp) ||
        !add_stream(rig, "red0", &rig->in[0], errp) ||
        !add_stream(rig, "red1", &rig->out, errp)) {
        return false;
    }
    option(rig, "-object", "filter-redirector,id=f1,netdev=hn0,queue=tx,"
           "indev=red0%s", vnet(rig));
    option(rig, "-object", "filter-redirector,id=f2,netdev=hn0,queue=tx,"
           "outdev=red1%s", vnet(rig));
    return true;
}

static bool build_compare(Rig *rig, Error **errp)
{
    if (!add_netdev(rig, "hn0", &rig->out, errp) ||
        !add_netdev(rig, "hn1", &rig->in[0], errp) ||
        !add_stream(rig, "compare1", &rig->in[1], errp) ||
        !add_loop(rig, "compare0", "compare0-0", errp) ||
        !add_loop(rig, "compare_out", "compare_out0", errp)) {
        return false;
    }
    option(rig, "-object", "filter-redirector,id=redire0,netdev=hn0,queue=rx,"
           "indev=compare_out%s", vnet(rig));
    option(rig, "-object", "filter-redirector,id=redire1,netdev=hn0,queue=rx,"
           "outdev=compare0%s", vnet(rig));
    option(rig, "-object", "iothread,id=iothread1");
    option(rig, "-object", "colo-compare,id=comp0,primary_in=compare0-0,"
           "secondary_in=compare1,outdev=compare_out0,iothread=iothread1%s",
           vnet(rig));
    return true;
}

static bool build_filter_compare(Rig *rig, Error **errp)
{
    if (!add_netdev(rig, "hn0", &rig->out, errp) ||
        !add_netdev(rig, "hn1", &rig->in[0], errp) ||
        !add_stream(rig, "compare1", &rig->in[1], errp)) {
        return false;
    }
    option(rig, "-object", "iothread,id=iothread1");
    option(rig, "-object", "filter-compare,id=fc0,netdev=hn0,"
           "secondary_in=compare1,iothread=iothread1%s", vnet(rig));
    return true;
}

static const Topology topologies[] = {
    { "mirror", "filter-mirror", build_mirror },
    { "redirector", "filter-redirector", build_redirector },
    { "compare", "colo-compare", build_compare },
    { "filter-compare", "filter-compare", build_filter_compare },
};

static const char *const figures[] = { "rate", "rate.tso", "syscalls",
                                       "latency" };

/* What all measurements of one call have in common */
typedef struct Bench {
    const char *prefix;    /* "packet.mirror" */
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
static PacketPump *start(Rig *rig, PacketMix mix, Error **errp)
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

static bool measure_rate(const Bench *bench, Rig *rig, Error **errp)
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
    add(bench, rig->tso ? "rate.tso" : "rate", frames / cpu);
    return true;
}

static bool measure_syscalls(const Bench *bench, Rig *rig, Error **errp)
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

static bool measure_latency(const Bench *bench, Rig *rig, Error **errp)
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

typedef bool MeasureFunc(const Bench *bench, Rig *rig, Error **errp);

/* By the index of @figures */
static MeasureFunc *const measures[] = {
    measure_rate, measure_rate, measure_syscalls, measure_latency
};

/*
 * One packet's way is measured on one CPU, and all else with the pump on a CPU
 * of its own: on two, each packet would wait until a CPU that sleeps has woken
 * up, which takes longer than all that the object does.
 */
static void rig_init(Rig *rig, const Bench *bench, const char *figure)
{
    bool together = g_str_equal(figure, "latency");
    bool tso = g_str_equal(figure, "rate.tso");

    *rig = (Rig) {
        .process = packet_process_new(together ? NULL : &bench->cpus),
        .in = { { .fd = -1 }, { .fd = -1 } },
        .sink = { .fd = -1 },
        .tso = tso,
        .argv = g_ptr_array_new_with_free_func(g_free),
    };
}

static void rig_end(Rig *rig)
{
    packet_process_free(rig->process);
    g_ptr_array_unref(rig->argv);
}

/* A process for each figure: none inherits what another has left behind. */
static bool measure(const Bench *bench, const char *qemu,
                    const Topology *topology, int figure, Error **errp)
{
    Rig rig;
    bool ok;

    rig_init(&rig, bench, figures[figure]);
    g_ptr_array_add(rig.argv, g_strdup(qemu));
    option(&rig, "-M", "none");
    option(&rig, "-accel", "tcg");
    option(&rig, "-display", "none");
    g_ptr_array_add(rig.argv, g_strdup("-nodefaults"));
    ok = topology->build(&rig, errp) &&
         measures[figure](bench, &rig, errp);
    if (!ok) {
        packet_process_explain(rig.process, errp);
    }
    rig_end(&rig);
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
                         const Topology *topology, const char *objects,
                         Error **first)
{
    g_autofree char *prefix = g_strdup_printf("packet.%s", name);
    g_autofree char *unknown = g_strdup_printf("it has no object %s",
                                               topology->object);

    bench->prefix = prefix;
    for (int i = 0; i < ARRAY_SIZE(figures); i++) {
        Error *err = NULL;

        if (!is_listed(objects, topology->object)) {
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
static const Topology *topology_for(const char *name,
                                    const BenchPacketConfig *config)
{
    const char *object = g_str_equal(name, "compare") ? config->compare : NULL;

    for (int i = 0; i < ARRAY_SIZE(topologies); i++) {
        if (g_str_equal(object ?: name, object ? topologies[i].object :
                                                 topologies[i].name)) {
            return &topologies[i];
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
    for (int i = 0; i < ARRAY_SIZE(topologies); i++) {
        const char *name = topologies[i].name;

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

/* A pipe that copies whatever comes */
static bool build_limit(Rig *rig, Error **errp)
{
    int in, out;

    rig->in[0] = (PacketPort) {
        .fd = packet_process_connect(rig->process, PACKET_UNIX, &in, errp)
    };
    if (rig->in[0].fd < 0) {
        return false;
    }
    rig->out = (PacketPort) {
        .fd = packet_process_connect(rig->process, PACKET_UNIX, &out, errp)
    };
    option(rig, "/bin/sh", "-c");
    g_ptr_array_add(rig->argv, g_strdup_printf("exec cat <&%d >&%d", in, out));
    return rig->out.fd >= 0;
}

bool bench_packet_limit(unsigned round, const BenchPacketConfig *config,
                        BenchResults *results, Error **errp)
{
    Bench bench = bench_of(BENCH_LIMIT, round, config, results);
    bool ok = true;

    bench.prefix = "limit.packet";
    bench_cpus_pin(&bench.cpus);
    for (int i = 0; ok && i < ARRAY_SIZE(figures); i++) {
        Rig rig;

        rig_init(&rig, &bench, figures[i]);
        ok = build_limit(&rig, errp) && measures[i](&bench, &rig, errp);
        rig_end(&rig);
    }
    bench_cpus_restore(&bench.cpus);
    return ok;
}
