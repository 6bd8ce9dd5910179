/*
 * A distribution of durations in fixed memory
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "colo-histogram.h"

#define SUB COLO_HISTOGRAM_SUB_BITS

/* Below 2 << SUB each value has its own bucket */
static unsigned bucket_of(uint64_t value)
{
    unsigned shift;

    if (value >> (SUB + 1) == 0) {
        return value;
    }
    shift = 63 - clz64(value) - SUB;
    return (shift << SUB) + (value >> shift);
}

static uint64_t bucket_end(unsigned bucket)
{
    unsigned shift;

    if (bucket < 2 << SUB) {
        return bucket;
    }
    shift = (bucket >> SUB) - 1;
    return ((uint64_t)(bucket - (shift << SUB)) << shift) +
           ((1ULL << shift) - 1);
}

void colo_histogram_add(ColoHistogram *h, uint64_t value)
{
    h->count++;
    h->sum += value;
    h->last = value;
    h->max = MAX(h->max, value);
    h->bucket[bucket_of(value)]++;
}

uint64_t colo_histogram_percentile(const ColoHistogram *h, unsigned per_mille)
{
    uint64_t rank = (h->count * per_mille + 999) / 1000, seen = 0;

    for (unsigned i = 0; i < COLO_HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen && seen >= rank) {
            return MIN(bucket_end(i), h->max);
        }
    }
    return 0;
}
