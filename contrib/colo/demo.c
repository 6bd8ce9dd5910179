/*
 * colo demo: the product shown to a person, in about a minute
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qnum.h"
#include "cli.h"
#include "commands.h"
#include "sandbox.h"
#include "scenario.h"

typedef struct Demo {
    ScenarioConfig config;
    bool json;
    bool keep;
} Demo;

static bool demo_parse(Demo *demo, int argc, char **argv)
{
    ScenarioConfig *c = &demo->config;
    gboolean json = false, keep = false, busy = false;
    GOptionEntry entries[] = {
        { "qemu", 0, 0, G_OPTION_ARG_FILENAME, &c->qemu,
          "The qemu-system-x86_64 to show", "FILE" },
        { "qemu-img", 0, 0, G_OPTION_ARG_FILENAME, &c->qemu_img,
          "The qemu-img of the same build", "FILE" },
        { "kernel", 0, 0, G_OPTION_ARG_FILENAME, &c->kernel,
          "The guest's kernel", "FILE" },
        { "initrd", 0, 0, G_OPTION_ARG_FILENAME, &c->initrd,
          "The guest's initial RAM disk, with guestd inside", "FILE" },
        { "cycles", 0, 0, G_OPTION_ARG_INT, &c->cycles,
          "Rounds of two failovers each (1)", "N" },
        { "machine", 0, 0, G_OPTION_ARG_STRING, &c->machine,
          "pc or q35 (pc)", "NAME" },
        { "nic", 0, 0, G_OPTION_ARG_STRING, &c->nic,
          "rtl8139, e1000 or virtio-net (rtl8139)", "NAME" },
        { "disk", 0, 0, G_OPTION_ARG_STRING, &c->disk,
          "ide, virtio-blk or virtio-scsi (ide)", "NAME" },
        { "compare", 0, 0, G_OPTION_ARG_STRING, &c->compare,
          "colo-compare or filter-compare (colo-compare)", "NAME" },
        { "smp", 0, 0, G_OPTION_ARG_INT, &c->smp,
          "CPUs of the guest (1)", "N" },
        { "accel", 0, 0, G_OPTION_ARG_STRING, &c->accel,
          "tcg or kvm (tcg)", "NAME" },
        { "memory", 0, 0, G_OPTION_ARG_INT, &c->memory_mib,
          "RAM of the guest (256)", "MIB" },
        { "disk-size", 0, 0, G_OPTION_ARG_INT, &c->disk_mib,
          "Size of its disk (256)", "MIB" },
        { "interval", 0, 0, G_OPTION_ARG_INT, &c->interval_ms,
          "Longest time between two checkpoints (500)", "MS" },
        { "busy", 0, 0, G_OPTION_ARG_NONE, &busy,
          "Keep the guest's RAM and disk busy", NULL },
        { "keep", 0, 0, G_OPTION_ARG_NONE, &keep,
          "Leave logs, consoles and disks, and say where", NULL },
        { "json", 0, 0, G_OPTION_ARG_NONE, &json,
          "Write the timeline as one JSON object per line", NULL },
        { }
    };

    if (!cli_parse(entries,
            "Starts a protected pair on this machine, kills one host, then the\n"
            "other, and shows that a client's connection and the disk live on.",
            argc, argv)) {
        return false;
    }
    demo->json = json;
    demo->keep = keep;
    c->busy = busy;
    return true;
}

static bool demo_check(const ScenarioConfig *c)
{
    return cli_check_file("qemu", c->qemu, X_OK, "demo") &&
           cli_check_file("qemu-img", c->qemu_img, X_OK, "demo") &&
           cli_check_file("kernel", c->kernel, R_OK, "demo") &&
           cli_check_file("initrd", c->initrd, R_OK, "demo") &&
           cli_check_number("cycles", c->cycles, 1, 1000000) &&
           cli_check_config(c);
}

static QDict *demo_result(const ScenarioReport *r, const char *error)
{
    QDict *dict = qdict_new();

    qdict_put_bool(dict, "passed", !error);
    if (error) {
        qdict_put_str(dict, "error", error);
    }
    qdict_put_int(dict, "records", r->records);
    qdict_put(dict, "longest-gap-ms", qnum_from_double(r->gap_ms));
    qdict_put_int(dict, "checkpoints", r->checkpoints);
    qdict_put_int(dict, "failovers", r->failovers);
    qdict_put(dict, "longest-failover-ms", qnum_from_double(r->failover_ms));
    qdict_put_int(dict, "joins", r->joins);
    qdict_put_int(dict, "disk-blocks-verified", r->blocks);
    qdict_put_bool(dict, "disks-equal", r->disks_equal);
    return dict;
}

static char *demo_verdict(const ScenarioReport *r, const char *error)
{
    if (error) {
        return g_strdup_printf("\nFAILED: %s", error);
    }
    return g_strdup_printf(
        "\nPASSED\n"
        "  hosts killed          %d, and %d times protected\n"
        "  client                %" PRIu64 " records in order, on one "
        "connection\n"
        "  longest gap           %.0f ms (kill to next record: %.0f ms)\n"
        "  checkpoints           %" PRIu64 "\n"
        "  acknowledged writes   %u blocks, all there\n"
        "  disks of both hosts   equal",
        r->failovers, r->joins, r->records, r->gap_ms, r->failover_ms,
        r->checkpoints, r->blocks);
}

/* A pair that has run and then failed left more to say than one line. */
static void demo_print_dump(const char *dir)
{
    g_autofree char *path = g_strdup_printf("%s/dump.txt", dir);
    g_autofree char *dump = NULL;

    if (g_file_get_contents(path, &dump, NULL, NULL)) {
        fprintf(stderr, "%s\n", dump);
    }
    fprintf(stderr, "colo demo: --keep leaves all logs\n");
}

/* Inside the sandbox. */
static int demo_run(void *opaque, const char *dir)
{
    Demo *demo = opaque;
    Timeline *timeline = timeline_new(demo->json ? TIMELINE_JSON : TIMELINE_PEOPLE);
    ScenarioReport report;
    Error *err = NULL;
    const char *error = NULL;
    g_autofree char *verdict = NULL;

    timeline_event(timeline, "begin", "two hosts, %s and %s, one guest: %s, "
                   "%s, %s, %d MiB, %d CPU, %s", "127.0.0.1", "127.0.0.2",
                   demo->config.machine, demo->config.nic, demo->config.disk,
                   demo->config.memory_mib, demo->config.smp,
                   demo->config.accel);
    if (demo->keep) {
        timeline_event(timeline, "kept", "logs and disks stay in %s", dir);
    }
    if (!scenario_run(&demo->config, timeline, dir, &report, &err)) {
        error = error_get_pretty(err);
    }
    if (!demo->keep && error && report.booted) {
        demo_print_dump(dir);
    }
    verdict = demo_verdict(&report, error);
    timeline_result(timeline, verdict, demo_result(&report, error));
    timeline_free(timeline);
    error_free(err);
    return error || ferror(stdout) ? 1 : 0;
}

int colo_demo(int argc, char **argv)
{
    Demo demo = { };
    Error *err = NULL;
    int status;

    scenario_defaults(&demo.config);
    if (!demo_parse(&demo, argc, argv) || !demo_check(&demo.config)) {
        return 2;
    }
    status = sandbox_run("colo-demo", demo.keep, demo_run, &demo, &err);
    if (status < 0) {
        fprintf(stderr, "colo demo: %s\n", error_get_pretty(err));
        error_free(err);
        return 2;
    }
    return status;
}
