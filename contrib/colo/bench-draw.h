/*
 * Pictures of the results, as gnuplot scripts
 *
 * Each function returns a script which draws one picture, without terminal
 * and output (those are bench-plot.c's), or NULL where there is nothing to
 * draw.  Free with g_free().
 *
 * Colours are those of Okabe and Ito, which people with any kind of colour
 * vision can tell apart (https://jfly.uni-koeln.de/color/); what matters is
 * told by position and words besides.
 *
 * Pure.  Thread: any.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_DRAW_H
#define COLO_BENCH_DRAW_H

#include "bench-report.h"
#include "bench-stats.h"

typedef char *BenchDrawFunc(const BenchResults *results,
                            const BenchReportInfo *info);

BenchDrawFunc bench_draw_pauses;       /* each pause, by load */
BenchDrawFunc bench_draw_echo;         /* latency as the share below it */
BenchDrawFunc bench_draw_connect;
BenchDrawFunc bench_draw_udp;
BenchDrawFunc bench_draw_failover;     /* answers before and after the kill */
BenchDrawFunc bench_draw_throughput;   /* bars: network and disk */
BenchDrawFunc bench_draw_packets;      /* bars: packets per core */
BenchDrawFunc bench_draw_ratios;       /* how many times better, with spread */

/* What the pictures have in common */

/* "#rrggbb" */
const char *bench_colour(BenchVariant variant);

/* "ours", "baseline", "alone", "limit" */
const char *bench_variant_name(const BenchReportInfo *info,
                               BenchVariant variant);

/* @text as a string of gnuplot's; free with g_free(). */
char *bench_quote(const char *text);

/* Title, subtitle, and what makes a picture plain: thin axes, no frame. */
void bench_draw_begin(GString *script, const char *title,
                      const char *subtitle);

/* A text at any position, which is given in gnuplot's syntax. */
void bench_draw_label(GString *script, const char *text, const char *at,
                      const char *colour, const char *options);

/* Beside each other at the upper edge: a bullet and a name per variant. */
void bench_draw_key(GString *script, const BenchReportInfo *info,
                    const BenchVariant *variants, int count);

/* All samples of all rounds, ascending; NULL where there are none. */
GArray *bench_draw_samples(const BenchResults *results, const char *metric,
                           BenchVariant variant);

#endif
