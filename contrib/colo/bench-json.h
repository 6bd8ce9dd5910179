/*
 * The results for machines
 *
 * The format is docs/bench-results.schema.json (JSON Schema, draft 2020-12),
 * which also says what each member means.
 *
 * Pure.  Thread: any.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_JSON_H
#define COLO_BENCH_JSON_H

#include "qapi/qmp/qdict.h"
#include "bench-report.h"

/* Raised when a member changes its meaning or goes. */
#define BENCH_JSON_FORMAT 1

/* A new reference, the caller's. */
QDict *bench_json(const BenchResults *results, const BenchReportInfo *info);

#endif
