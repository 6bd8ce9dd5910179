/*
 * Pictures of the results: has gnuplot draw what bench-draw*.c describe
 *
 * Thread: one, any.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PLOT_H
#define COLO_BENCH_PLOT_H

#include "bench-report.h"

/*
 * Writes each picture for which there are results into @dir, as NAME.svg and
 * NAME.png.  False with @errp set where gnuplot is missing, fails, or takes
 * more than a minute for one.
 */
bool bench_plot(const BenchResults *results, const BenchReportInfo *info,
                const char *dir, Error **errp);

#endif
