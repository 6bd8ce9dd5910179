/*
 * The whole documented cycle with a real guest that is kept busy
 *
 * One combination of machine, disk, NIC and number of CPUs; the options are
 * those of "colo demo". The programs and the guest come from
 * the environment: COLO_QEMU, COLO_QEMU_IMG, COLO_KERNEL, COLO_INITRD; and
 * COLO_ACCEL, if it is not to be tcg.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "scenario.h"
#include "system.h"

/* What meson takes for "skipped" */
#define EXIT_SKIPPED 77

static ScenarioConfig config;
static gboolean fresh, seed_stopped;

static void test_cycle(void)
{
    Timeline *timeline = timeline_new(TIMELINE_TAP);
    ScenarioReport report;
    Error *err = NULL;
    bool ok = scenario_run(&config, timeline, system_dir(), &report, &err);

    timeline_event(timeline, "report", "%" PRIu64 " records, longest gap "
                   "%.0f ms, failover %.0f ms, %" PRIu64 " checkpoints, stood "
                   "still to join for %.0f ms", report.records, report.gap_ms,
                   report.failover_ms, report.checkpoints,
                   report.seed_stop_ms);
    timeline_free(timeline);
    if (!ok) {
        system_print_dump("dump.txt");
        g_test_message("%s", error_get_pretty(err));
        printf("# FAILED: %s\n", error_get_pretty(err));
        error_free(err);
        g_test_fail();
        return;
    }
    g_assert_cmpint(report.failovers, ==, 2 * config.cycles);
    g_assert_cmpint(report.joins, ==, 2 * config.cycles + 1);
    g_assert_cmpint(report.unlucky, ==, 2 * config.cycles * config.unlucky);
    g_assert_cmpuint(report.records, >, 0);
    g_assert_cmpuint(report.checkpoints, >=, report.joins);
    g_assert_true(report.disks_equal);
    g_assert_true(report.fresh || !fresh);
    if (config.seed_mib) {
        g_assert_cmpint(report.seed_ends, ==, 2 * config.cycles);
    }
}

/* Two of three QEMUs of a cycle live at a time. */
static bool lacks_hugepages(void)
{
    const char *path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    int64_t wanted = 2 * config.memory_mib / 2 + 2;
    g_autofree char *text = NULL;

    if (g_strcmp0(config.ram, "hugepages") ||
        (g_file_get_contents(path, &text, NULL, NULL) &&
         g_ascii_strtoll(text, NULL, 10) >= wanted)) {
        return false;
    }
    fprintf(stderr, "test-cycle: SKIPPED: %" PRId64 " free huge pages of 2 MiB "
            "are needed: sysctl vm.nr_hugepages\n", wanted);
    return true;
}

int main(int argc, char **argv)
{
    GOptionEntry entries[] = {
        { "smp", 0, 0, G_OPTION_ARG_INT, &config.smp, NULL, "" },
        { "memory", 0, 0, G_OPTION_ARG_INT, &config.memory_mib, NULL, "MIB" },
        { "ram", 0, 0, G_OPTION_ARG_STRING, &config.ram,
          "memfd, file or hugepages", "" },
        { "cycles", 0, 0, G_OPTION_ARG_INT, &config.cycles, NULL, "" },
        { "interval", 0, 0, G_OPTION_ARG_INT, &config.interval_ms, NULL, "" },
        { "seed-stopped", 0, 0, G_OPTION_ARG_NONE, &seed_stopped,
          "the guest stands still while a secondary gets its RAM", NULL },
        { "seed-mib", 0, 0, G_OPTION_ARG_INT, &config.seed_mib,
          "RAM to join per second, less than the guest changes", "MIB" },
        { "unlucky", 0, 0, G_OPTION_ARG_INT, &config.unlucky,
          "secondaries that die while they join, before one does", "N" },
        { "fresh", 0, 0, G_OPTION_ARG_NONE, &fresh,
          "fail where a checkpoint came between the client's connection and "
          "the first failover", NULL },
        { }
    };
    g_autofree char *path = NULL;

    g_test_init(&argc, &argv, NULL);
    scenario_defaults(&config);
    config.dwell_ms = 2500;
    config.cycles = 3;
    system_options(&config, entries, &argc, &argv);
    config.seed_stopped = seed_stopped;
    config.seed = g_test_rand_int();
    config.busy = !fresh; /* a busy guest causes checkpoints */
    if (lacks_hugepages()) {
        return EXIT_SKIPPED;
    }
    path = g_strdup_printf("/colo/cycle/%s/%s/%s/%d/%s", config.machine,
                           config.disk, config.nic, config.smp,
                           config.compare);
    g_test_add_func(path, test_cycle);
    return system_run("colo-cycle");
}
