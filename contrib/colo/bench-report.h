/*
 * Reports of a bench: table, JSON, pictures
 *
 *     bench_report_print(results, &info, stdout);
 *     if (!bench_report_write(results, &info, "build/bench", true, &err)) ...
 *
 * Thread: one, any; waits for gnuplot (at most a minute per picture).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_REPORT_H
#define COLO_BENCH_REPORT_H

#include "qapi/error.h"
#include "bench-result.h"

/* What the results are of.  All strings are the caller's, none is NULL. */
typedef struct BenchReportInfo {
    const char *a_name;     /* a word or two for BENCH_A: "ours" */
    const char *b_name;     /* and for BENCH_B: "baseline" */
    const char *a_version;  /* what was built: `git describe`, or a path */
    const char *b_version;
    const char *date;       /* when it began, ISO 8601 with the time zone */
    const char *machine;    /* CPU, cores, RAM, kernel: a line */
    const char *settings;   /* accelerator, guest, NIC, disk, interval: a line */
} BenchReportInfo;

/* The table as plain text. */
void bench_report_print(const BenchResults *results,
                        const BenchReportInfo *info, FILE *out);

/*
 * Writes table.txt, table.md, results.json, and where @pictures these as
 * *.svg and *.png, into the directory @dir, which is made where it does not
 * exist.
 *
 * Where something cannot be written (gnuplot is not installed, the disk is
 * full) all else is written nevertheless; then returns false with @errp set
 * to the first reason.
 */
bool bench_report_write(const BenchResults *results,
                        const BenchReportInfo *info, const char *dir,
                        bool pictures, Error **errp);

#endif
