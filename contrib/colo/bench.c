/*
 * colo bench: builds of QEMU measured against each other
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/resource.h>
#include "qemu/error-report.h"
#include "bench-output.h"
#include "bench-proc.h"
#include "bench-report.h"
#include "bench-selftest.h"
#include "bench-session.h"
#include "cli.h"
#include "commands.h"
#include "sandbox.h"

#define MIB (1024 * 1024ULL)
/* As in nice(1) */
#define PRIORITY -10
/* For a build to say what it is */
#define VERSION_MS (10 * 1000)

static const BenchEffort effort_full = {
    .name = "full", .rounds = 5, .pause_s = 6, .net_s = 2, .disk_s = 1.5,
    .cost_s = 5, .transfer_bytes = 64 * MIB, .holds = 20, .states = 5,
    .limit_s = 1, .packet_s = 0.7, .resync_disk_mib = 4096,
    .resync_1m = 1, .resync_100m = 100, .resync_all = 4096,
};

/* A first picture within five minutes */
static const BenchEffort effort_quick = {
    .name = "quick", .rounds = 2, .pause_s = 1.3, .net_s = 0.6, .disk_s = 0.3,
    .cost_s = 2, .transfer_bytes = 8 * MIB, .holds = 5, .states = 3,
    .limit_s = 0.3, .packet_s = 0.2, .skips = "resync",
};

/* Only to see that everything works; no figure means anything. */
static const BenchEffort effort_smoke = {
    .name = "smoke", .rounds = 1, .pause_s = 1.2, .net_s = 0.2, .disk_s = 0.1,
    .cost_s = 1.6, .transfer_bytes = 1 * MIB, .holds = 2, .states = 2,
    .limit_s = 0.1, .packet_s = 0.05, .resync_disk_mib = 256,
    .resync_1m = 1, .resync_100m = 2, .resync_all = 4,
};

typedef struct Bench {
    BenchPlan plan;
    const char *output;
    bool keep, selftest;
    int rounds;
    BenchResults *results;
    BenchReportInfo info;
    Timeline *timeline;
    char *report_error;      /* why a report could not be written, or NULL */
} Bench;

static bool bench_parse(Bench *b, int argc, char **argv)
{
    BenchPlan *p = &b->plan;
    ScenarioConfig *c = &p->config;
    gboolean quick = false, smoke = false, selftest = false, keep = false;
    gboolean no_alone = false;
    GOptionEntry entries[] = {
        { "a", 0, 0, G_OPTION_ARG_FILENAME, &p->qemu[BENCH_A],
          "The qemu-system-x86_64 to measure", "FILE" },
        { "b", 0, 0, G_OPTION_ARG_FILENAME, &p->qemu[BENCH_B],
          "... and the one to compare it with", "FILE" },
        { "a-name", 0, 0, G_OPTION_ARG_STRING, &p->name[BENCH_A],
          "What to call it (ours)", "NAME" },
        { "b-name", 0, 0, G_OPTION_ARG_STRING, &p->name[BENCH_B],
          "What to call the other (baseline)", "NAME" },
        { "qemu-img", 0, 0, G_OPTION_ARG_FILENAME, &c->qemu_img,
          "The qemu-img to make disks with", "FILE" },
        { "kernel", 0, 0, G_OPTION_ARG_FILENAME, &c->kernel,
          "The guest's kernel", "FILE" },
        { "initrd", 0, 0, G_OPTION_ARG_FILENAME, &c->initrd,
          "The guest's initial RAM disk, with guestd inside", "FILE" },
        { "metrics", 0, 0, G_OPTION_ARG_STRING, &p->metrics,
          "Some of pause, hold, net, disk, cost, work, failover, resync, packet, "
          "limits, or parts such as pause.idle (all)", "LIST" },
        { "rounds", 0, 0, G_OPTION_ARG_INT, &b->rounds,
          "How often the builds take their turns (5)", "N" },
        { "quick", 0, 0, G_OPTION_ARG_NONE, &quick,
          "A first picture in five minutes, without resync", NULL },
        { "smoke", 0, 0, G_OPTION_ARG_NONE, &smoke,
          "Only see whether everything can be measured", NULL },
        { "self-test", 0, 0, G_OPTION_ARG_NONE, &selftest,
          "Measure known pauses and delays instead", NULL },
        { "no-alone", 0, 0, G_OPTION_ARG_NONE, &no_alone,
          "Measure neither a guest alone nor the limits", NULL },
        { "output", 0, 0, G_OPTION_ARG_FILENAME, &b->output,
          "Where table, JSON and pictures go", "DIR" },
        { "machine", 0, 0, G_OPTION_ARG_STRING, &c->machine,
          "pc or q35 (pc)", "NAME" },
        { "nic", 0, 0, G_OPTION_ARG_STRING, &c->nic,
          "rtl8139, e1000 or virtio-net (rtl8139)", "NAME" },
        { "disk", 0, 0, G_OPTION_ARG_STRING, &c->disk,
          "ide, virtio-blk or virtio-scsi (ide)", "NAME" },
        { "compare", 0, 0, G_OPTION_ARG_STRING, &p->compare[BENCH_A],
          "colo-compare or filter-compare, for --a (colo-compare)", "NAME" },
        { "b-compare", 0, 0, G_OPTION_ARG_STRING, &p->compare[BENCH_B],
          "... for --b (colo-compare)", "NAME" },
        { "smp", 0, 0, G_OPTION_ARG_INT, &c->smp,
          "CPUs of the guest (1)", "N" },
        { "accel", 0, 0, G_OPTION_ARG_STRING, &c->accel,
          "tcg or kvm (tcg)", "NAME" },
        { "memory", 0, 0, G_OPTION_ARG_INT, &c->memory_mib,
          "RAM of the guest (256)", "MIB" },
        { "disk-size", 0, 0, G_OPTION_ARG_INT, &c->disk_mib,
          "Size of its disk, but for resync (256)", "MIB" },
        { "interval", 0, 0, G_OPTION_ARG_INT, &c->interval_ms,
          "Longest time between two checkpoints (500)", "MS" },
        { "keep", 0, 0, G_OPTION_ARG_NONE, &keep,
          "Leave the work directory, and say where", NULL },
        { }
    };

    if (!cli_parse(entries,
            "Measures a protected guest with one build of QEMU and another,\n"
            "in turn, and the same guest alone, and sets each result beside\n"
            "what this machine can do at best.",
            argc, argv)) {
        return false;
    }
    p->effort = smoke ? effort_smoke : quick ? effort_quick : effort_full;
    b->rounds = b->rounds ?: p->effort.rounds;
    p->effort.rounds = b->rounds;
    p->alone = !no_alone;
    b->selftest = selftest;
    b->keep = keep;
    return true;
}

/* The devices and all else are the same for both. */
static bool check_configs(const BenchPlan *p)
{
    ScenarioConfig a = p->config, b = p->config;

    a.compare = p->compare[BENCH_A];
    b.compare = p->compare[BENCH_B];
    return cli_check_config(&a) && cli_check_config(&b);
}

static bool bench_check(Bench *b)
{
    const BenchPlan *p = &b->plan;
    Error *err = NULL;

    if (!bench_plan_check(p->metrics, &err)) {
        fprintf(stderr, "colo bench: %s\n", error_get_pretty(err));
        error_free(err);
        return false;
    }
    return cli_check_file("a", p->qemu[BENCH_A], X_OK, "bench") &&
           (!p->qemu[BENCH_B] ||
            cli_check_file("b", p->qemu[BENCH_B], X_OK, "bench")) &&
           cli_check_file("qemu-img", p->config.qemu_img, X_OK, "bench") &&
           cli_check_file("kernel", p->config.kernel, R_OK, "bench") &&
           cli_check_file("initrd", p->config.initrd, R_OK, "bench") &&
           cli_check_number("rounds", b->rounds, 1, 1000) &&
           check_configs(p);
}

/*
 * Whatever else runs on the machine shall disturb as little as it can; all
 * that is measured inherits this.  Where it is not allowed, so be it.
 */
static void bench_go_first(void)
{
    static const char value[] = G_STRINGIFY(PRIORITY);
    int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

    /* Where the kernel weighs whole sessions, the sandbox is one of its own. */
    if (fd >= 0) {
        if (write(fd, value, strlen(value)) < 0) {
            warn_report("the bench's session runs at normal priority: %s",
                        strerror(errno));
        }
        close(fd);
    }
    if (setpriority(PRIO_PROCESS, 0, PRIORITY) < 0) {
        warn_report("the bench runs at normal priority: %s", strerror(errno));
    }
}

/*
 * All reports so far.  An interrupted bench has what it has measured, and the
 * pictures of the last round.
 */
static void bench_save(void *opaque, bool all)
{
    Bench *b = opaque;
    Error *err = NULL;

    if (b->output &&
        !bench_report_write(b->results, &b->info, b->output, all, &err)) {
        g_free(b->report_error);
        b->report_error = g_strdup(error_get_pretty(err));
        error_free(err);
    }
}

/* Inside the sandbox. */
static int bench_run(void *opaque, const char *dir)
{
    Bench *b = opaque;
    unsigned failures;

    bench_go_first();
    b->plan.save = bench_save;
    b->plan.opaque = b;
    b->results = bench_results_new();
    bench_save(b, false);
    if (b->report_error) {
        fprintf(stderr, "colo bench: %s\n", b->report_error);
        bench_results_free(b->results);
        return 2;
    }
    failures = bench_session(&b->plan, b->timeline, b->results, dir);
    printf("\n");
    bench_report_print(b->results, &b->info, stdout);
    if (b->output && !b->report_error) {
        printf("\nTable, JSON and pictures: %s\n", b->output);
    } else if (b->report_error) {
        fprintf(stderr, "colo bench: %s\n", b->report_error);
    }
    if (failures) {
        printf("%u measurements failed; the reasons stand above\n", failures);
    }
    bench_results_free(b->results);
    return failures || b->report_error || ferror(stdout) ? 1 : 0;
}

/* Inside the sandbox. */
static int bench_run_selftest(void *opaque, const char *dir)
{
    Bench *b = opaque;
    ScenarioConfig config = b->plan.config;
    g_autofree char *guest_dir = g_strdup_printf("%s/guest", dir);
    Error *err = NULL;
    BenchGuest *guest;
    bool ok;

    bench_go_first();
    config.qemu = b->plan.qemu[BENCH_A];
    config.compare = b->plan.compare[BENCH_A];
    guest = bench_guest_start(&config, false, b->timeline, guest_dir, &err);
    ok = guest && bench_selftest(guest, &config, b->timeline, &err);
    bench_guest_free(guest);
    if (!ok) {
        fprintf(stderr, "colo bench: %s\n", error_get_pretty(err));
        error_free(err);
        return 1;
    }
    printf("The known pauses and delays were found.\n");
    return 0;
}

/* What it calls itself, and which file it is; free with g_free(). */
static char *describe_build(const char *qemu)
{
    const char *const argv[] = { qemu, "--version", NULL };
    g_autofree char *sum = NULL, *out = NULL, *content = NULL;
    gsize len;

    if (!qemu) {
        return g_strdup("not measured");
    }
    out = bench_output_of(argv, VERSION_MS, NULL);
    if (!out || !g_file_get_contents(qemu, &content, &len, NULL)) {
        return g_strdup(qemu);
    }
    sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *)content,
                                      len);
    return g_strdup_printf("%.*s, file %.12s", (int)strcspn(out, "\n"), out,
                           sum);
}

static char *describe_settings(const Bench *b)
{
    const ScenarioConfig *c = &b->plan.config;

    return g_strdup_printf("%s, %s, %s, %s, %d MiB, %d CPU, checkpoint every "
                           "%d ms, %s (%s) and %s (%s), %s run", c->accel,
                           c->machine, c->nic, c->disk, c->memory_mib, c->smp,
                           c->interval_ms, b->plan.name[BENCH_A],
                           b->plan.compare[BENCH_A], b->plan.name[BENCH_B],
                           b->plan.compare[BENCH_B], b->plan.effort.name);
}

int colo_bench(int argc, char **argv)
{
    Bench b = {
        .plan.name = { "ours", "baseline" },
        .plan.compare = { "colo-compare", "colo-compare" },
    };
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *date = g_date_time_format(now,
                                                 "%Y-%m-%dT%H:%M:%S%:z");
    g_autofree char *machine = bench_machine();
    g_autofree char *settings = NULL, *a_version = NULL, *b_version = NULL;
    Error *err = NULL;
    int status;

    scenario_defaults(&b.plan.config);
    if (!bench_parse(&b, argc, argv) || !bench_check(&b)) {
        return 2;
    }
    settings = describe_settings(&b);
    a_version = describe_build(b.plan.qemu[BENCH_A]);
    b_version = describe_build(b.plan.qemu[BENCH_B]);
    b.info = (BenchReportInfo) {
        .a_name = b.plan.name[BENCH_A], .b_name = b.plan.name[BENCH_B],
        .a_version = a_version, .b_version = b_version,
        .date = date, .machine = machine, .settings = settings,
    };
    b.timeline = timeline_new(TIMELINE_PEOPLE);
    timeline_event(b.timeline, "begin", "%s; %s", machine, settings);
    status = sandbox_run("colo-bench", b.keep,
                         b.selftest ? bench_run_selftest : bench_run, &b,
                         &err);
    timeline_free(b.timeline);
    if (status < 0) {
        fprintf(stderr, "colo bench: %s\n", error_get_pretty(err));
        error_free(err);
        return 2;
    }
    return status;
}
