/*
 * A protected guest at work for long: nothing differs, nothing grows
 *
 * Checkpoints at a short interval, with RAM and disk kept busy.  Every so many
 * checkpoints both sides take the hash of their guest's RAM at the same one;
 * the memory of both QEMUs is watched, and both consoles.  The programs and
 * the guest come from the environment, as for test-cycle.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qlist.h"
#include "bench-guest.h"
#include "bench-proc.h"
#include "system.h"

#define POLL_S 0.25
#define SAMPLE_S 5
#define SIDES 2

/* By how much a QEMU may grow from the second quarter of the run to the last */
#define GROWTH_MIB 32

/* The longest without a checkpoint, on a machine that does other things too */
#define SILENCE_S 60

static ScenarioConfig config;
static double minutes = 1;
static int every = 100;
static int disk_kib = 128;

typedef struct Soak {
    BenchGuest *guest;
    Timeline *timeline;
    int64_t begin_us;
    GArray *seconds;            /* of double: when memory was looked at ... */
    GArray *rss[SIDES];         /* ... and what was resident, MiB */
    uint64_t checkpoints;       /* the last number seen */
    int64_t moved_us;           /* when it last changed */
    uint64_t compare_at;        /* 0: no hash is wanted */
    unsigned compared;
} Soak;

static const char *const side_names[SIDES] = {
    [BENCH_PRIMARY] = "primary", [BENCH_SECONDARY] = "secondary",
};

static double soak_seconds(Soak *soak)
{
    return (g_get_monotonic_time() - soak->begin_us) / 1e6;
}

static QDict *query(Soak *soak, BenchSide side, Error **errp)
{
    QObject *ret = bench_guest_qmp_ask(soak->guest, side,
                                       "{'execute': 'x-query-colo-ram-hash'}",
                                       errp);

    return qobject_to(QDict, ret);
}

/* The hashes at the wanted checkpoint as text, NULL: not yet */
static char *taken(QDict *status, uint64_t checkpoint)
{
    QDict *hash = qdict_get_qdict(status, "taken");
    g_autoptr(GString) text = NULL;

    if (!hash || qdict_get_int(hash, "checkpoint") != checkpoint) {
        return NULL;
    }
    text = qobject_to_json(QOBJECT(qdict_get_qlist(hash, "blocks")));
    return g_strdup(text->str);
}

static bool want_hash(Soak *soak, Error **errp)
{
    uint64_t at = (soak->checkpoints / every + 1) * every;
    g_autofree char *command = NULL;

    /* Both have to know in time */
    if (at - soak->checkpoints < MIN(every, 10)) {
        return true;
    }
    command = g_strdup_printf("{'execute': 'x-colo-ram-hash-at', "
                              "'arguments': {'checkpoint': %" PRIu64 "}}", at);
    soak->compare_at = at;
    return bench_guest_qmp(soak->guest, BENCH_PRIMARY, command, errp) &&
           bench_guest_qmp(soak->guest, BENCH_SECONDARY, command, errp);
}

static bool compare(Soak *soak, QDict *p, QDict *s, Error **errp)
{
    g_autofree char *of_p = taken(p, soak->compare_at);
    g_autofree char *of_s = taken(s, soak->compare_at);

    if (of_p && of_s) {
        if (!g_str_equal(of_p, of_s)) {
            error_setg(errp, "RAM differs after checkpoint %" PRIu64 ": "
                       "primary %s, secondary %s", soak->compare_at, of_p,
                       of_s);
            return false;
        }
        soak->compared++;
        soak->compare_at = 0;
    } else if (soak->checkpoints > soak->compare_at + every) {
        error_setg(errp, "no hash was taken at checkpoint %" PRIu64,
                   soak->compare_at);
        return false;
    }
    return true;
}

static bool look_at_checkpoints(Soak *soak, Error **errp)
{
    QDict *p = query(soak, BENCH_PRIMARY, errp);
    QDict *s = p ? query(soak, BENCH_SECONDARY, errp) : NULL;
    int64_t now = g_get_monotonic_time();
    uint64_t count;
    bool ok = s != NULL;

    if (ok) {
        count = qdict_get_int(p, "checkpoints");
        if (count != soak->checkpoints) {
            soak->checkpoints = count;
            soak->moved_us = now;
        } else if (now - soak->moved_us > SILENCE_S * 1000000LL) {
            error_setg(errp, "no checkpoint for %d s", SILENCE_S);
            ok = false;
        }
        ok = ok && (soak->compare_at ? compare(soak, p, s, errp) :
                                       want_hash(soak, errp));
    }
    qobject_unref(p);
    qobject_unref(s);
    return ok;
}

static bool sample_memory(Soak *soak, Error **errp)
{
    double now = soak_seconds(soak);

    if (soak->seconds->len &&
        now < g_array_index(soak->seconds, double, soak->seconds->len - 1) +
              SAMPLE_S) {
        return true;
    }
    for (int i = 0; i < SIDES; i++) {
        double rss, pss;

        if (!bench_ram_mib(bench_guest_pid(soak->guest, i), &rss, &pss,
                           errp)) {
            return false;
        }
        g_array_append_val(soak->rss[i], rss);
    }
    g_array_append_val(soak->seconds, now);
    return true;
}

/* The mean of samples [@begin, @end) */
static double mean(const GArray *values, guint begin, guint end)
{
    double sum = 0;

    for (guint i = begin; i < end; i++) {
        sum += g_array_index(values, double, i);
    }
    return sum / (end - begin);
}

/* Least squares, of the samples from @begin on; MiB per hour */
static double slope(const GArray *seconds, const GArray *rss, guint begin)
{
    double x0 = mean(seconds, begin, seconds->len);
    double y0 = mean(rss, begin, rss->len);
    double xx = 0, xy = 0;

    for (guint i = begin; i < rss->len; i++) {
        double x = g_array_index(seconds, double, i) - x0;

        xx += x * x;
        xy += x * (g_array_index(rss, double, i) - y0);
    }
    return xx > 0 ? xy / xx * 3600 : 0;
}

static bool judge_memory(Soak *soak, Error **errp)
{
    guint n = soak->seconds->len, quarter = n / 4;

    if (!quarter) {
        error_setg(errp, "too short: memory was looked at %u times", n);
        return false;
    }
    for (int i = 0; i < SIDES; i++) {
        double growth = mean(soak->rss[i], n - quarter, n) -
                        mean(soak->rss[i], quarter, 2 * quarter);

        timeline_event(soak->timeline, "memory", "%s: %.1f MiB resident at "
                       "the end, slope %.1f MiB/h since the first quarter, "
                       "%.1f MiB more in the last than in the second",
                       side_names[i],
                       g_array_index(soak->rss[i], double, n - 1),
                       slope(soak->seconds, soak->rss[i], quarter), growth);
        if (growth > GROWTH_MIB) {
            error_setg(errp, "the %s has grown by %.1f MiB", side_names[i],
                       growth);
            return false;
        }
    }
    return true;
}

static bool soak_run(Soak *soak, Error **errp)
{
    soak->begin_us = soak->moved_us = g_get_monotonic_time();
    while (soak_seconds(soak) < minutes * 60) {
        if (!bench_guest_sleep(soak->guest, POLL_S, errp) ||
            !bench_guest_check(soak->guest, errp) ||
            !look_at_checkpoints(soak, errp) || !sample_memory(soak, errp)) {
            return false;
        }
    }
    timeline_event(soak->timeline, "report", "%" PRIu64 " checkpoints in %.0f "
                   "s, RAM compared after %u of them", soak->checkpoints,
                   soak_seconds(soak), soak->compared);
    if (!soak->compared) {
        error_setg(errp, "RAM was never compared");
        return false;
    }
    return judge_memory(soak, errp);
}

static bool soak_guest(Soak *soak, Error **errp)
{
    g_autofree char *dir = g_build_filename(system_dir(), "guest", NULL);
    g_autofree char *disk_load = g_strdup_printf("disk-load %d 8192 196608",
                                                 disk_kib);
    bool ok;

    soak->guest = bench_guest_start(&config, true, soak->timeline, dir, errp);
    if (!soak->guest) {
        return false;
    }
    ok = bench_guest_command(soak->guest, "load 8 16", errp) &&
         bench_guest_command(soak->guest, disk_load, errp) &&
         soak_run(soak, errp);
    if (!ok) {
        system_print_dump("guest/dump.txt");
    }
    bench_guest_free(soak->guest);
    return ok;
}

static void test_soak(void)
{
    Soak soak = {
        .timeline = timeline_new(TIMELINE_TAP),
        .seconds = g_array_new(false, false, sizeof(double)),
    };
    Error *err = NULL;

    for (int i = 0; i < SIDES; i++) {
        soak.rss[i] = g_array_new(false, false, sizeof(double));
    }
    if (!soak_guest(&soak, &err)) {
        printf("# FAILED: %s\n", error_get_pretty(err));
        error_free(err);
        g_test_fail();
    }
    for (int i = 0; i < SIDES; i++) {
        g_array_unref(soak.rss[i]);
    }
    g_array_unref(soak.seconds);
    timeline_free(soak.timeline);
}

int main(int argc, char **argv)
{
    GOptionEntry entries[] = {
        { "minutes", 0, 0, G_OPTION_ARG_DOUBLE, &minutes,
          "how long, after the guest has booted (1)", "N" },
        { "every", 0, 0, G_OPTION_ARG_INT, &every,
          "checkpoints from one comparison of RAM to the next (100)", "N" },
        { "disk-load", 0, 0, G_OPTION_ARG_INT, &disk_kib,
          "what the guest writes to its disk per second (128)", "KIB" },
        { "smp", 0, 0, G_OPTION_ARG_INT, &config.smp, NULL, "" },
        { "memory", 0, 0, G_OPTION_ARG_INT, &config.memory_mib, NULL, "MIB" },
        { "interval", 0, 0, G_OPTION_ARG_INT, &config.interval_ms, NULL, "" },
        { }
    };

    g_test_init(&argc, &argv, NULL);
    scenario_defaults(&config);
    config.interval_ms = 100;
    system_options(&config, entries, &argc, &argv);
    if (every < 1) {
        fprintf(stderr, "test-soak: --every must be 1 or more\n");
        return EXIT_FAILURE;
    }
    g_test_add_func("/colo/soak", test_soak);
    return system_run("colo-soak");
}
