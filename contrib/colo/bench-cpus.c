/*
 * Two sides of a measurement, each on CPUs of its own
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-cpus.h"

/* Threads that make threads while they are moved come to an end */
#define PASSES 10

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

bool bench_cpus_halve(const cpu_set_t *all, cpu_set_t host[2])
{
    int each = CPU_COUNT(all) / 2, seen = 0;

    CPU_ZERO(&host[0]);
    CPU_ZERO(&host[1]);
    for (int cpu = 0; seen < 2 * each; cpu++) {
        if (CPU_ISSET(cpu, all)) {
            CPU_SET(cpu, &host[seen++ / each]);
        }
    }
    return each > 0;
}

/* Threads that were there; false on error */
static bool confine_threads(const char *path, const cpu_set_t *cpus, int *moved,
                            Error **errp)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *entry;
    cpu_set_t now;

    if (!dir) {
        error_setg(errp, "%s: there is no such process", path);
        return false;
    }
    *moved = 0;
    while ((entry = g_dir_read_name(dir))) {
        pid_t tid = atoi(entry);

        /* One that has ended needs none */
        if (sched_getaffinity(tid, sizeof(now), &now) < 0 ||
            CPU_EQUAL(&now, cpus)) {
            continue;
        }
        (*moved)++;
        if (sched_setaffinity(tid, sizeof(*cpus), cpus) < 0 && errno != ESRCH) {
            error_setg_errno(errp, errno, "a thread can't be moved to other CPUs");
            return false;
        }
    }
    return true;
}

bool bench_cpus_confine(pid_t pid, const cpu_set_t *cpus, Error **errp)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)pid);
    int moved;

    /* One that was not yet moved may have made another one meanwhile */
    for (int i = 0; i < PASSES; i++) {
        if (!confine_threads(path, cpus, &moved, errp)) {
            return false;
        }
        if (!moved) {
            return true;
        }
    }
    error_setg(errp, "process %d keeps threads on other CPUs", (int)pid);
    return false;
}
