/*
 * The runners of the bench: each measures some metrics of a running guest
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_RUN_H
#define COLO_BENCH_RUN_H

#include "bench-guest.h"
#include "bench-result.h"

/* What requests.rate, and its limit, have at a time */
#define BENCH_REQUESTS_CONNECTIONS 8
/* The memory load of cost.*.loaded, 10^6 bytes a second */
#define BENCH_COST_MB_PER_S 100

/* How much is done per round; one is chosen by option. */
typedef struct BenchEffort {
    const char *name;
    int rounds;
    const char *skips;       /* a runner that is left out, or NULL */
    double pause_s;          /* per load */
    double net_s;            /* per kind of traffic */
    double disk_s;           /* per kind of access, about */
    double cost_s;           /* idle, and loaded */
    uint64_t transfer_bytes;
    unsigned holds;
    unsigned states;         /* times the device state is saved and loaded */
    double limit_s;
    double packet_s;         /* per rate of the packet path */
    int resync_disk_mib;
    /* MiB changed */
    int resync_1m, resync_100m, resync_all;
} BenchEffort;

/* What a runner is given */
typedef struct BenchRun {
    const BenchEffort *effort;
    const ScenarioConfig *config;   /* its qemu is the variant's */
    Timeline *timeline;
    BenchGuest *guest;       /* NULL for a runner with no_guest */
    BenchResults *results;
    BenchVariant variant;
    unsigned round;
    const char *part;        /* the runner's */
    const char *dir;         /* for files of its own */
} BenchRun;

/* Fails as a whole: what shall fail by itself is a runner of its own. */
typedef struct BenchRunner {
    const char *name;        /* for --metrics; several may have the same */
    const char *part;        /* which of them this is, or NULL */
    const char *metrics;     /* those which it gives: patterns, by spaces */
    bool (*run)(BenchRun *run, Error **errp);
    bool needs_pair;         /* why_alone says why */
    const char *why_alone;
    unsigned rounds;         /* takes long: only in so many; 0: in all */
    bool spoils;             /* leaves no guest that is of use */
    bool big_disk;           /* of resync_disk_mib */
    bool shared_ram;         /* of a guest alone */
    bool no_guest;           /* starts QEMUs of its own: BENCH_A and _B */
    bool limit;              /* for BENCH_LIMIT, with a guest alone */
} BenchRunner;

extern const BenchRunner bench_runners[];
extern const size_t bench_runners_count;

/* Adds @value for @run's variant and round. */
void bench_run_add(BenchRun *run, const char *metric, double value);
/* Adds all of @values (of double). */
void bench_run_add_all(BenchRun *run, const char *metric,
                       const GArray *values);
/* The middle one; NaN where there are none. */
double bench_median(const GArray *values);

/* Of a pair: that much time between two checkpoints; no timer makes one here. */
#define BENCH_LONG_INTERVAL_MS 20000
bool bench_run_set_interval(BenchRun *run, int ms, Error **errp);

/* bench-run-pause.c */
bool bench_run_pause(BenchRun *run, Error **errp);
bool bench_run_hold(BenchRun *run, Error **errp);
/* bench-run-net.c */
bool bench_run_net(BenchRun *run, Error **errp);
/* bench-run-disk.c */
bool bench_run_disk(BenchRun *run, Error **errp);
/* bench-run-cost.c */
bool bench_run_cost(BenchRun *run, Error **errp);
/* bench-run-work.c */
bool bench_run_work(BenchRun *run, Error **errp);
/* bench-run-death.c */
bool bench_run_failover(BenchRun *run, Error **errp);
bool bench_run_resync(BenchRun *run, Error **errp);
/* bench-run.c */
bool bench_run_packet(BenchRun *run, Error **errp);
bool bench_run_packet_limits(BenchRun *run, Error **errp);
/* bench-run-limit.c */
bool bench_run_commands(BenchRun *run, Error **errp);
bool bench_run_machine(BenchRun *run, Error **errp);
bool bench_run_device_state(BenchRun *run, Error **errp);

/*
 * Memory load of @mb_per_s (10^6) in the guest; 0 ends it.  Its buffer is a
 * fixed part of the RAM, so that at most that is dirty per checkpoint.
 */
bool bench_run_load(BenchRun *run, unsigned mb_per_s, Error **errp);
double bench_run_load_mib(const BenchRun *run);
/* Pages that it has written so far; the two guests differ in the answer. */
bool bench_run_load_pages(BenchRun *run, uint64_t *pages, Error **errp);
/* ... and what rate that is, in @ns */
double bench_run_load_mb_per_s(uint64_t pages, int64_t ns);

#endif
