/*
 * Scenario: the life of a pair through several deaths
 *
 * One round: protected; the primary is killed, the secondary takes over, a
 * new one joins; protected; the secondary is killed, the primary goes on, a
 * new one joins; protected.  All the time one TCP connection carries
 * numbered records, and disk writes which the guest has acknowledged are
 * checked after each failover.  Before each new one joins, others may have died
 * in the attempt.  "colo demo" shows it; the tests of the whole
 * system run it with the guest kept busy.
 *
 * To be called inside the sandbox (sandbox.h).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_SCENARIO_H
#define COLO_SCENARIO_H

#include "qapi/error.h"
#include "timeline.h"

typedef struct ScenarioConfig {
    const char *qemu;
    const char *qemu_img;
    const char *kernel;
    const char *initrd;
    const char *machine;     /* a choice of the procedure's */
    const char *nic;         /* likewise */
    const char *disk;        /* likewise */
    const char *compare;     /* likewise */
    const char *accel;       /* tcg or kvm */
    const char *append;      /* to the kernel's command line; may be NULL */
    const char *ram;         /* NULL, or "memfd", "file", "hugepages" */
    int smp;
    int memory_mib;
    int disk_mib;
    bool shared_ram;         /* of a guest alone: another QEMU may map it */
    const char *disk_base;   /* raw file that the disk begins as; may be NULL */
    int interval_ms;         /* between two checkpoints */
    int seed_mib;            /* MiB per second of RAM to join; 0: QEMU's choice */
    bool seed_stopped;       /* the guest stands still until a join is done */
    int cycles;              /* rounds as above */
    int record_us;           /* between two records */
    int dwell_ms;            /* time to be looked at when protected */
    bool busy;               /* keep the guest's RAM and disk busy */
    int unlucky;             /* secondaries that die while they join, each time */
    uint32_t seed;           /* of chance: when they die */
} ScenarioConfig;

/* What was found; valid as far as it got where the scenario failed. */
typedef struct ScenarioReport {
    uint64_t records;        /* received in order on one connection */
    double gap_ms;           /* the longest without a record */
    uint64_t checkpoints;
    int failovers;
    double failover_ms;      /* the longest from a kill to a record */
    int joins;
    int unlucky;             /* secondaries that died while they joined */
    int seed_ends;           /* joins of a guest that changed RAM too fast */
    double seed_stop_ms;     /* the longest stop of the guest for a join */
    unsigned blocks;         /* acknowledged disk writes, verified */
    bool disks_equal;        /* both hosts' images, at the end */
    bool booted;             /* the guest has answered */
    /* No checkpoint between the connection's opening and the first death */
    bool fresh;
} ScenarioReport;

/* The values that most people want; the paths are left NULL. */
void scenario_defaults(ScenarioConfig *config);

/* False with @errp set where the procedure knows no such devices. */
bool scenario_check_config(const ScenarioConfig *config, Error **errp);

/*
 * Runs it in the empty directory @dir.  False with @errp set on the first
 * thing that is not as it must be; then @dir/dump.txt tells about both
 * sides.
 */
bool scenario_run(const ScenarioConfig *config, Timeline *timeline,
                  const char *dir, ScenarioReport *report, Error **errp);

#endif
