/*
 * Two sides of a measurement, each on CPUs of its own
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-cpus.h"

void bench_cpus_divide(BenchCpus *cpus, const cpu_set_t *all)
{
    int first = 0;

    *cpus = (BenchCpus) { .before = *all, .theirs = *all };
    if (CPU_COUNT(all) < 2) {
        return;
    }
    while (!CPU_ISSET(first, all)) {
        first++;
    }
    CPU_SET(first, &cpus->ours);
    CPU_CLR(first, &cpus->theirs);
    cpus->split = true;
}

void bench_cpus_pin(BenchCpus *cpus)
{
    cpu_set_t all;

    /* Fails with more CPUs than there are bits; then nothing is pinned. */
    CPU_ZERO(&all);
    if (sched_getaffinity(0, sizeof(all), &all) < 0) {
        CPU_ZERO(&all);
    }
    bench_cpus_divide(cpus, &all);
    if (cpus->split &&
        sched_setaffinity(0, sizeof(cpus->ours), &cpus->ours) < 0) {
        cpus->split = false;
    }
}

void bench_cpus_restore(const BenchCpus *cpus)
{
    if (cpus->split) {
        sched_setaffinity(0, sizeof(cpus->before), &cpus->before);
    }
}

void bench_cpus_use_theirs(const BenchCpus *cpus)
{
    if (cpus->split) {
        sched_setaffinity(0, sizeof(cpus->theirs), &cpus->theirs);
    }
}
