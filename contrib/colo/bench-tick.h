/*
 * Watching a guest's counter from outside
 *
 * The guest counts in a page of its memory (command "tick", guest-proto.h).
 * This finds the page in the memory of its QEMU and looks at it all the time:
 * where the count stands still, the guest does, whatever QEMU says of it.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_TICK_H
#define COLO_BENCH_TICK_H

#include "bench-vcpu.h"
#include "bench-work.h"

typedef struct BenchTick {
    pid_t pid;            /* of QEMU */
    uint64_t nonce;       /* given to the guest */
    double memory_mib;    /* the guest's RAM: smaller mappings are left out */
    double seconds;       /* how long; until stopped where 0 */
    int64_t period_us;    /* of the count */
    int64_t gap_us;       /* shorter ones are not reported */
    BenchVcpus *vcpus;    /* of the same QEMU, or NULL */
    GArray *gaps;         /* out, of BenchSpan: times without a count */
    uint64_t counts;      /* out: how far it has counted */
} BenchTick;

/* Body of a BenchWork. */
BenchWorkFunc bench_tick_watch;

#endif
