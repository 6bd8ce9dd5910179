/*
 * A whole bench: rounds, builds in turn, one runner after the other
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-ramdisk.h"
#include "bench-session.h"

/* A build whose guest does not start so often will not start at all. */
#define BOOTS_FAILED_MAX 2
/*
 * The content of a big disk, what one guest has changed, the other's copy;
 * with what the format needs beside it
 */
#define BIG_COPIES 3.2

typedef struct Session {
    const BenchPlan *plan;
    Timeline *timeline;
    BenchResults *results;
    const char *dir;
    unsigned failures;       /* of runners */
    unsigned guests;         /* started so far, for their directories */
    char *big_dir;           /* for guests with a big disk; NULL: not made */
    char *big_base;          /* ... what that disk is full of */
} Session;

/* One build, or the guest alone, in one round */
typedef struct Turn {
    Session *s;
    BenchVariant variant;
    unsigned round;
    ScenarioConfig config;
    BenchGuest *guest;       /* NULL: none runs */
    bool big_disk, shared_ram;   /* ... of that guest */
    int boots_failed;        /* in a row */
} Turn;

/* By the name of all of its kind ("pause"), or with the part ("pause.idle") */
static bool is_named(const BenchRunner *runner, const char *name)
{
    size_t len = strlen(runner->name);

    return strncmp(name, runner->name, len) == 0 &&
           (!name[len] || (name[len] == '.' && runner->part &&
                           g_str_equal(name + len + 1, runner->part)));
}

static bool asked_for(const BenchPlan *plan, const BenchRunner *runner)
{
    g_auto(GStrv) names = g_strsplit(plan->metrics ?: "", ",", -1);

    for (int n = 0; names[n]; n++) {
        if (is_named(runner, names[n])) {
            return true;
        }
    }
    return !plan->metrics;
}

static bool skipped(const BenchPlan *plan, const BenchRunner *runner)
{
    return plan->effort.skips &&
           g_str_equal(plan->effort.skips, runner->name);
}

static bool wanted(const BenchPlan *plan, const BenchRunner *runner)
{
    return asked_for(plan, runner) && !skipped(plan, runner);
}

/* What --metrics may name: "pause .idle .30, hold, ..."; free with g_free() */
static char *known_names(void)
{
    GString *known = g_string_new(NULL);
    const char *last = "";

    for (size_t i = 0; i < bench_runners_count; i++) {
        const BenchRunner *runner = &bench_runners[i];

        if (!g_str_equal(runner->name, last)) {
            g_string_append_printf(known, "%s%s", i ? ", " : "", runner->name);
        }
        if (runner->part) {
            g_string_append_printf(known, " .%s", runner->part);
        }
        last = runner->name;
    }
    return g_string_free(known, FALSE);
}

bool bench_plan_check(const char *metrics, Error **errp)
{
    g_auto(GStrv) names = g_strsplit(metrics ?: "", ",", -1);
    g_autofree char *known = known_names();

    for (int n = 0; names[n]; n++) {
        bool found = false;

        for (size_t i = 0; i < bench_runners_count && !found; i++) {
            found = is_named(&bench_runners[i], names[n]);
        }
        if (!found) {
            error_setg(errp, "there are no metrics '%s', but %s", names[n],
                       known);
            return false;
        }
    }
    return true;
}

static const char *variant_name(const Session *s, BenchVariant variant)
{
    switch (variant) {
    case BENCH_A:
    case BENCH_B:
        return s->plan->name[variant];
    case BENCH_ALONE:
        return "alone";
    default:
        return "limits";
    }
}

static bool gives(const BenchRunner *runner, const char *metric)
{
    g_auto(GStrv) patterns = g_strsplit(runner->metrics, " ", -1);

    for (int i = 0; patterns[i]; i++) {
        if (g_pattern_match_simple(patterns[i], metric)) {
            return true;
        }
    }
    return false;
}

/* Why metrics of @runner have no samples in @round, where they have none. */
static void note_missing(Session *s, const BenchRunner *runner,
                         BenchVariant variant, unsigned round,
                         const char *why)
{
    for (size_t i = 0; i < bench_metrics_count; i++) {
        const char *metric = bench_metrics[i].name;
        size_t count;

        if (gives(runner, metric)) {
            bench_results_samples(s->results, metric, variant, round, &count);
            if (!count) {
                bench_results_missing(s->results, metric, variant, why);
            }
        }
    }
}

static void fail(Turn *t, const BenchRunner *runner, BenchVariant variant,
                 const Error *err)
{
    const char *why = err ? error_get_pretty(err) : "it did not say why";

    timeline_event(t->s->timeline, "failed", "!!!! %s, %s %s: %s",
                   variant_name(t->s, variant), runner->name,
                   runner->part ?: "", why);
    note_missing(t->s, runner, variant, t->round, why);
    t->s->failures++;
}

static void end_guest(Turn *t)
{
    g_clear_pointer(&t->guest, bench_guest_free);
}

/* The big disk's place and content, for the first guest that has one */
static bool prepare_big_disk(Session *s, Error **errp)
{
    unsigned mib = s->plan->effort.resync_disk_mib;
    Error *err = NULL;

    if (s->big_base) {
        return true;
    }
    if (!s->big_dir) {
        s->big_dir = g_strdup_printf("%s/big", s->dir);
        if (!bench_ramdisk_make(s->big_dir, BIG_COPIES * mib + 64, &err)) {
            timeline_event(s->timeline, "ramdisk", "   the disks for resync "
                           "are not in RAM: %s", error_get_pretty(err));
            error_free(err);
        }
    }
    s->big_base = g_strdup_printf("%s/base", s->big_dir);
    if (!bench_ramdisk_fill(s->big_base, mib, errp)) {
        g_clear_pointer(&s->big_base, g_free);
        return false;
    }
    return true;
}

/* A guest that is fit for @runner runs after this. */
static bool ensure_guest(Turn *t, const BenchRunner *runner, Error **errp)
{
    g_autofree char *dir = NULL;
    ScenarioConfig config;

    if (t->guest && (runner->big_disk != t->big_disk ||
                     runner->shared_ram != t->shared_ram)) {
        end_guest(t);
    }
    if (t->guest) {
        return true;
    }
    if (t->boots_failed >= BOOTS_FAILED_MAX) {
        error_setg(errp, "its guest has failed to start %d times",
                   t->boots_failed);
        return false;
    }
    config = t->config;
    config.shared_ram = runner->shared_ram;
    if (runner->big_disk) {
        if (!prepare_big_disk(t->s, errp)) {
            return false;
        }
        config.disk_mib = t->s->plan->effort.resync_disk_mib;
        config.disk_base = t->s->big_base;
    }
    dir = g_strdup_printf("%s/guest%u", runner->big_disk ? t->s->big_dir :
                          t->s->dir, t->s->guests++);
    t->guest = bench_guest_start(&config, t->variant != BENCH_ALONE,
                                 t->s->timeline, dir, errp);
    t->big_disk = runner->big_disk;
    t->shared_ram = runner->shared_ram;
    t->boots_failed = t->guest ? 0 : t->boots_failed + 1;
    return t->guest != NULL;
}

static void run_runner(Turn *t, const BenchRunner *runner)
{
    Session *s = t->s;
    BenchRun run = {
        .effort = &s->plan->effort, .config = &t->config,
        .timeline = s->timeline, .results = s->results,
        .variant = runner->limit ? BENCH_LIMIT : t->variant,
        .round = t->round, .part = runner->part, .dir = s->dir,
    };
    Error *err = NULL;
    bool ok;

    t->config = s->plan->config;
    t->config.qemu = s->plan->qemu[t->variant == BENCH_B];
    t->config.compare = s->plan->compare[t->variant == BENCH_B];
    if (runner->no_guest) {
        end_guest(t); /* it would take its share of the CPUs */
        ok = true;
    } else {
        ok = ensure_guest(t, runner, &err);
    }

    if (ok) {
        timeline_event(s->timeline, "run", "%s: %s %s",
                       variant_name(s, run.variant), runner->name,
                       runner->part ?: "");
        run.guest = t->guest;
        ok = runner->run(&run, &err);
        /* The cause, rather than what it has led to */
        if (!ok && t->guest) {
            Error *cause = NULL;

            if (!bench_guest_check(t->guest, &cause)) {
                error_free(err);
                err = cause;
            }
        }
    }
    if (!ok) {
        fail(t, runner, run.variant, err);
        error_free(err);
    }
    if (!ok || runner->spoils) {
        end_guest(t);
    }
    s->plan->save(s->plan->opaque, false);
}

static void run_turn(Session *s, BenchVariant variant, unsigned round)
{
    Turn t = { .s = s, .variant = variant, .round = round };

    for (size_t i = 0; i < bench_runners_count; i++) {
        const BenchRunner *runner = &bench_runners[i];

        if (wanted(s->plan, runner) &&
            (!runner->rounds || round < runner->rounds) &&
            (variant == BENCH_ALONE ? !runner->needs_pair : !runner->limit)) {
            run_runner(&t, runner);
        }
    }
    end_guest(&t);
}

/* What is not measured on purpose */
static void note_left_out(Session *s)
{
    for (size_t i = 0; i < bench_runners_count; i++) {
        const BenchRunner *runner = &bench_runners[i];

        if (!asked_for(s->plan, runner)) {
            continue;
        }
        for (int v = 0; skipped(s->plan, runner) && v < BENCH_LIMIT; v++) {
            note_missing(s, runner, v, 0, "left out of a quick run");
        }
        if (s->plan->alone && runner->needs_pair) {
            note_missing(s, runner, BENCH_ALONE, 0, runner->why_alone);
        }
    }
}

/* Drift of the machine shall favour none: A B, B A, A B, ... */
static void run_round(Session *s, unsigned round)
{
    timeline_event(s->timeline, "round", "round %u of %d", round + 1,
                   s->plan->effort.rounds);
    for (int i = 0; i < 2; i++) {
        BenchVariant variant = (round + i) % 2 ? BENCH_B : BENCH_A;

        if (s->plan->qemu[variant]) {
            run_turn(s, variant, round);
        }
    }
    if (s->plan->alone) {
        run_turn(s, BENCH_ALONE, round);
    }
}

unsigned bench_session(const BenchPlan *plan, Timeline *timeline,
                       BenchResults *results, const char *dir)
{
    Session s = {
        .plan = plan, .timeline = timeline, .results = results, .dir = dir,
    };

    note_left_out(&s);
    for (int round = 0; round < plan->effort.rounds; round++) {
        run_round(&s, round);
        plan->save(plan->opaque, true);
    }
    g_free(s.big_dir);
    g_free(s.big_base);
    return s.failures;
}
