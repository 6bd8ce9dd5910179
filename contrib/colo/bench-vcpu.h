/*
 * How long a QEMU's vCPUs were awake
 *
 * A vCPU whose guest is stopped sleeps.  While its thread has a CPU, or waits
 * for one that others use, it is not QEMU that holds the guest: so this time is
 * no part of a pause, though the guest's programs may not get on.
 *
 * A CPU: perf's task clock, which is exact at any moment.  Waiting for one:
 * schedstat of the thread, which is brought up to date when it gets one.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_VCPU_H
#define COLO_BENCH_VCPU_H

#include "bench-guest.h"

typedef struct BenchVcpus BenchVcpus;

/*
 * The vCPU threads of @side, to be freed with bench_vcpus_free().  NULL with
 * @errp set where the kernel does not tell.
 */
BenchVcpus *bench_vcpus_new(BenchGuest *guest, BenchSide side, Error **errp);
void bench_vcpus_free(BenchVcpus *vcpus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchVcpus, bench_vcpus_free)

/* The following are for one thread, any.  NULL was never awake. */

/* Begin here. */
void bench_vcpus_mark(BenchVcpus *vcpus);
/* Since the mark, of that vCPU which was awake longest; microseconds */
int64_t bench_vcpus_awake_us(BenchVcpus *vcpus);

#endif
