/*
 * Pauses of a guest, from inside and from outside
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-pause.h"
#include "bench-stats.h"

#define LATE_MS 3.0
#define TENTH 0.1

void bench_pauses_init(BenchPauses *pauses)
{
    pauses->spans = g_array_new(false, false, sizeof(BenchSpan));
    pauses->stopped_us = 0;
}

void bench_pauses_clear(BenchPauses *pauses)
{
    g_clear_pointer(&pauses->spans, g_array_unref);
}

void bench_pauses_event(BenchPauses *pauses, const char *name,
                        int64_t time_us)
{
    if (g_str_equal(name, "STOP")) {
        pauses->stopped_us = time_us;
    } else if (g_str_equal(name, "RESUME") && pauses->stopped_us) {
        BenchSpan span = {
            .start_us = pauses->stopped_us, .end_us = time_us,
        };

        g_array_append_val(pauses->spans, span);
        pauses->stopped_us = 0;
    }
}

double bench_span_ms(const BenchSpan *span)
{
    return (span->end_us - span->start_us) / 1e3;
}

double bench_span_held_ms(const BenchSpan *span)
{
    return MAX(0, span->end_us - span->start_us - span->awake_us) / 1e3;
}

const BenchSpan *bench_span_overlap(const GArray *spans,
                                    const BenchSpan *span, int64_t slack_us)
{
    const BenchSpan *best = NULL;

    for (guint i = 0; i < spans->len; i++) {
        const BenchSpan *s = &g_array_index(spans, BenchSpan, i);

        if (s->start_us <= span->end_us + slack_us &&
            s->end_us + slack_us >= span->start_us &&
            (!best || bench_span_ms(s) > bench_span_ms(best))) {
            best = s;
        }
    }
    return best;
}

/* Of @gaps, those with nothing in common with @spans: held ms, sorted */
static GArray *gaps_between(const GArray *gaps, const GArray *spans,
                            int64_t slack_us)
{
    GArray *ms = g_array_new(false, false, sizeof(double));

    for (guint i = 0; i < gaps->len; i++) {
        const BenchSpan *gap = &g_array_index(gaps, BenchSpan, i);

        if (!bench_span_overlap(spans, gap, slack_us)) {
            double held = bench_span_held_ms(gap);

            g_array_append_val(ms, held);
        }
    }
    bench_sort((double *)ms->data, ms->len);
    return ms;
}

double bench_gaps_usual_ms(const GArray *gaps, const GArray *spans,
                           int64_t slack_us)
{
    g_autoptr(GArray) ms = gaps_between(gaps, spans, slack_us);

    return ms->len ? bench_percentile((double *)ms->data, ms->len, 0.99) : 0;
}

double bench_gaps_longest_ms(const GArray *gaps, const GArray *spans,
                             int64_t slack_us)
{
    g_autoptr(GArray) ms = gaps_between(gaps, spans, slack_us);

    return ms->len ? g_array_index(ms, double, ms->len - 1) : 0;
}

double bench_pause_bound_ms(double pause_ms, double period_ms)
{
    return 2 * period_ms + LATE_MS + TENTH * pause_ms;
}
