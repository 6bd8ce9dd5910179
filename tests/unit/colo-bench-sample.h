/*
 * A made-up bench: results of which everything is known
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_SAMPLE_H
#define COLO_BENCH_SAMPLE_H

#include "bench-report.h"

extern const BenchReportInfo bench_sample_info;

/*
 * @rounds rounds.  A is better in pauses and hold, worse in cost.cpu.p.idle,
 * equal in disk.read; requests.rate is missing for B, cost.ram.* for all.
 */
BenchResults *bench_sample(unsigned rounds);

#endif
