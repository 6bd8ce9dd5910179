/*
 * A distribution of durations in fixed memory
 *
 * Buckets grow with what they count: 8 to each power of two, so that a
 * percentile is exact to 1/8.  Pure; the caller locks.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_HISTOGRAM_H
#define MIGRATION_COLO_HISTOGRAM_H

#define COLO_HISTOGRAM_SUB_BITS 3
#define COLO_HISTOGRAM_BUCKETS ((64 - COLO_HISTOGRAM_SUB_BITS + 1) << \
                                COLO_HISTOGRAM_SUB_BITS)

/* All zeroes: empty */
typedef struct ColoHistogram {
    uint64_t count;
    uint64_t sum;
    uint64_t last;
    uint64_t max;
    uint32_t bucket[COLO_HISTOGRAM_BUCKETS];
} ColoHistogram;

void colo_histogram_add(ColoHistogram *h, uint64_t value);

/*
 * The value that @per_mille of all values do not exceed, rounded up to the end
 * of its bucket, but never above the largest; 0 if there is none.
 */
uint64_t colo_histogram_percentile(const ColoHistogram *h, unsigned per_mille);

#endif
