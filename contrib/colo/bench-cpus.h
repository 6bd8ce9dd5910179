/*
 * Two sides of a measurement, each on CPUs of its own
 *
 * Where the scheduler may choose, both end on one CPU now and on two then,
 * and a round trip between them takes two quite different times.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_CPUS_H
#define COLO_BENCH_CPUS_H

#include <sched.h>
#include "qapi/error.h"

typedef struct BenchCpus {
    bool split;          /* there are two or more; else nothing is pinned */
    cpu_set_t before;    /* those that the thread may use */
    cpu_set_t ours;      /* the first of them */
    cpu_set_t theirs;    /* all others */
} BenchCpus;

/* Divides @all (pure). */
void bench_cpus_divide(BenchCpus *cpus, const cpu_set_t *all);

/*
 * Moves the calling thread to ours; what it starts is to be moved to theirs
 * by bench_cpus_use_theirs().  Undone by bench_cpus_restore(), same thread.
 */
void bench_cpus_pin(BenchCpus *cpus);
void bench_cpus_restore(const BenchCpus *cpus);
/* Moves the calling thread to theirs; async-signal-safe. */
void bench_cpus_use_theirs(const BenchCpus *cpus);

/*
 * Half of @all for each of two hosts; of an odd number the last is for none.  False
 * where there is one at most (pure).
 */
bool bench_cpus_halve(const cpu_set_t *all, cpu_set_t host[2]);
/* All threads of process @pid, and those that they make, have @cpus from now on. */
bool bench_cpus_confine(pid_t pid, const cpu_set_t *cpus, Error **errp);

#endif
