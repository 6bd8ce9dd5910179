/*
 * Pauses of a guest, from inside and from outside
 *
 * Inside: QEMU's STOP and RESUME events.  Outside: a counter in the guest's
 * memory that was seen to stand still.  Pure.
 *
 * All times are microseconds since 1970, as QEMU stamps its events.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PAUSE_H
#define COLO_BENCH_PAUSE_H

typedef struct BenchSpan {
    int64_t start_us, end_us;
    int64_t awake_us;     /* outside: the vCPU had a CPU, or waited for one */
} BenchSpan;

/* Makes spans (GArray of BenchSpan) of STOP and RESUME. */
typedef struct BenchPauses {
    GArray *spans;
    int64_t stopped_us;   /* of a STOP without its RESUME yet, or 0 */
} BenchPauses;

void bench_pauses_init(BenchPauses *pauses);
void bench_pauses_clear(BenchPauses *pauses);
/* Any event; those that are no STOP and no RESUME are ignored. */
void bench_pauses_event(BenchPauses *pauses, const char *name,
                        int64_t time_us);

double bench_span_ms(const BenchSpan *span);
/* Less what the vCPU was awake: what QEMU has to answer for */
double bench_span_held_ms(const BenchSpan *span);

/*
 * The longest of @spans which has some time in common with @span; NULL where
 * there is none.  @slack_us is allowed between them, for two clocks are read
 * by two programs.
 */
const BenchSpan *bench_span_overlap(const GArray *spans,
                                    const BenchSpan *span, int64_t slack_us);

/*
 * How long, ms, the load itself holds the counter up: 99 of 100 of the @gaps
 * which have no time in common with any of @spans are no longer, less what the
 * vCPU was awake.
 */
double bench_gaps_usual_ms(const GArray *gaps, const GArray *spans,
                           int64_t slack_us);
/* ... and the longest of them; 0 where there are none. */
double bench_gaps_longest_ms(const GArray *gaps, const GArray *spans,
                             int64_t slack_us);

/*
 * How far inside and outside may be apart, ms: the counter's period twice
 * (it may stop just before a count, and begin late), what the reader and the
 * vCPU may be late on a busy machine, and a tenth of the pause itself.  Under
 * load bench_gaps_usual_ms() comes on top.
 */
double bench_pause_bound_ms(double pause_ms, double period_ms);

#endif
