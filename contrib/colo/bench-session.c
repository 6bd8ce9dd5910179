/*
 * A whole bench: rounds, builds in turn, one runner after the other
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-session.h"

/* A build whose guest does not start so often will not start at all. */
#define BOOTS_FAILED_MAX 2

typedef struct Failure {
    const BenchRunner *runner;
    BenchVariant variant;
    char *why;
} Failure;

typedef struct Session {
    const BenchPlan *plan;
    Timeline *timeline;
    BenchResults *results;
    const char *dir;
    GArray *failures;        /* of Failure */
    unsigned guests;         /* started so far, for their directories */
} Session;

/* One build, or the guest alone, in one round */
typedef struct Turn {
    Session *s;
    BenchVariant variant;
    unsigned round;
    ScenarioConfig config;
    BenchGuest *guest;       /* NULL: none runs */
    bool used, big_disk;     /* ... of that guest */
    int boots_failed;        /* in a row */
} Turn;

static bool asked_for(const BenchPlan *plan, const BenchRunner *runner)
{
    g_auto(GStrv) names = g_strsplit(plan->metrics ?: "", ",", -1);

    return !plan->metrics || g_strv_contains((const char *const *)names,
                                             runner->name);
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

bool bench_plan_check(const char *metrics, Error **errp)
{
    g_auto(GStrv) names = g_strsplit(metrics ?: "", ",", -1);
    g_autoptr(GString) known = g_string_new(NULL);

    for (size_t i = 0; i < bench_runners_count; i++) {
        g_string_append_printf(known, "%s%s", i ? ", " : "",
                               bench_runners[i].name);
    }
    for (int n = 0; names[n]; n++) {
        bool found = false;

        for (size_t i = 0; i < bench_runners_count; i++) {
            found |= g_str_equal(names[n], bench_runners[i].name);
        }
        if (!found) {
            error_setg(errp, "there are no metrics '%s', but %s", names[n],
                       known->str);
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

static void fail(Turn *t, const BenchRunner *runner, BenchVariant variant,
                 const Error *err)
{
    Failure failure = {
        .runner = runner, .variant = variant,
        .why = g_strdup(error_get_pretty(err)),
    };

    timeline_event(t->s->timeline, "failed", "!!!! %s, %s: %s",
                   variant_name(t->s, variant), runner->name, failure.why);
    g_array_append_val(t->s->failures, failure);
}

static void end_guest(Turn *t)
{
    g_clear_pointer(&t->guest, bench_guest_free);
}

/* A guest that is fit for @runner runs after this. */
static bool ensure_guest(Turn *t, const BenchRunner *runner, Error **errp)
{
    g_autofree char *dir = NULL;
    ScenarioConfig config;

    if (t->guest && ((runner->fresh && t->used) ||
                     runner->big_disk != t->big_disk)) {
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
    dir = g_strdup_printf("%s/guest%u", t->s->dir, t->s->guests++);
    config = t->config;
    if (runner->big_disk) {
        config.disk_mib = t->s->plan->effort.resync_disk_mib;
    }
    t->guest = bench_guest_start(&config, t->variant != BENCH_ALONE,
                                 t->s->timeline, dir, errp);
    t->big_disk = runner->big_disk;
    t->used = false;
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
        .round = t->round, .dir = s->dir,
    };
    Error *err = NULL;
    bool ok;

    t->config = s->plan->config;
    t->config.qemu = s->plan->qemu[t->variant == BENCH_B];
    if (runner->no_guest) {
        end_guest(t); /* it would take its share of the CPUs */
        ok = true;
    } else {
        ok = ensure_guest(t, runner, &err);
    }

    if (ok) {
        timeline_event(s->timeline, "run", "%s: %s",
                       variant_name(s, run.variant), runner->name);
        run.guest = t->guest;
        t->used = true;
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
}

static void run_turn(Session *s, BenchVariant variant, unsigned round)
{
    Turn t = { .s = s, .variant = variant, .round = round };

    for (size_t i = 0; i < bench_runners_count; i++) {
        const BenchRunner *runner = &bench_runners[i];

        if (wanted(s->plan, runner) &&
            (variant == BENCH_ALONE ? !runner->needs_pair : !runner->limit)) {
            run_runner(&t, runner);
        }
    }
    end_guest(&t);
}

static bool has_samples(const BenchResults *results, const char *metric,
                        BenchVariant variant)
{
    for (unsigned r = 0; r < bench_results_rounds(results); r++) {
        size_t count;

        bench_results_samples(results, metric, variant, r, &count);
        if (count) {
            return true;
        }
    }
    return false;
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

static void note_missing(Session *s, const BenchRunner *runner,
                         BenchVariant variant, const char *why)
{
    for (size_t i = 0; i < bench_metrics_count; i++) {
        const char *metric = bench_metrics[i].name;

        if (gives(runner, metric) &&
            !has_samples(s->results, metric, variant)) {
            bench_results_missing(s->results, metric, variant, why);
        }
    }
}

static void note_all_missing(Session *s)
{
    for (guint i = 0; i < s->failures->len; i++) {
        Failure *f = &g_array_index(s->failures, Failure, i);

        note_missing(s, f->runner, f->variant, f->why);
    }
    for (size_t i = 0; s->plan->alone && i < bench_runners_count; i++) {
        if (bench_runners[i].needs_pair &&
            wanted(s->plan, &bench_runners[i])) {
            note_missing(s, &bench_runners[i], BENCH_ALONE,
                         bench_runners[i].why_alone);
        }
    }
    for (size_t i = 0; i < bench_runners_count; i++) {
        const BenchRunner *runner = &bench_runners[i];

        for (int v = 0; asked_for(s->plan, runner) &&
                        skipped(s->plan, runner) && v < BENCH_LIMIT; v++) {
            note_missing(s, runner, v, "left out of a quick run");
        }
    }
}

unsigned bench_session(const BenchPlan *plan, Timeline *timeline,
                       BenchResults *results, const char *dir)
{
    Session s = {
        .plan = plan, .timeline = timeline, .results = results, .dir = dir,
        .failures = g_array_new(false, false, sizeof(Failure)),
    };
    unsigned failures;

    for (int round = 0; round < plan->effort.rounds; round++) {
        timeline_event(timeline, "round", "round %d of %d", round + 1,
                       plan->effort.rounds);
        run_turn(&s, BENCH_A, round);
        if (plan->qemu[BENCH_B]) {
            run_turn(&s, BENCH_B, round);
        }
        if (plan->alone) {
            run_turn(&s, BENCH_ALONE, round);
        }
        note_all_missing(&s);
        plan->round_ended(plan->opaque);
    }
    failures = s.failures->len;
    for (guint i = 0; i < failures; i++) {
        g_free(g_array_index(s.failures, Failure, i).why);
    }
    g_array_unref(s.failures);
    return failures;
}
