/*
 * The secondary's images against a simple model, in random interleavings
 *
 * What the driver does is replayed here step by step on arrays instead of
 * disks, one value per sector: each request is cut where the driver may yield,
 * and a scheduler picks which one goes on.  The model is one array: what the
 * secondary's guest must see.
 *
 *   test-colo-disk-map --seed-of-sequence N    replays what a failure has printed
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "block/replication-map.h"
#include "block/replication-state.h"

#define CLUSTER_SECTORS (REPL_CLUSTER / REPL_SECTOR)
#define SECTORS         (3 * CLUSTER_SECTORS + 16)  /* the last is a short one */
#define SLOTS           4
#define SEQUENCES       100000
#define IN_FLIGHT       4
#define STEPS           48

typedef enum What {
    NOTHING, HOST_WRITE, GUEST_WRITE, GUEST_ZERO, GUEST_READ,
} What;

typedef struct Op {
    What what;
    int first, count;       /* sectors */
    uint8_t value;
    int step, done;         /* sectors done */
    int run_first, run_count;
    int slot;
    bool zero;
    uint8_t buffer[SECTORS];
} Op;

typedef struct Sim {
    GRand *rand;
    uint32_t seed;
    ReplMap *map;
    ReplStage stage;
    bool peer_lost;         /* a host write failed: no commit any more */
    uint8_t parent[SECTORS];
    uint8_t store[REPL_STORES][SLOTS][CLUSTER_SECTORS];
    uint8_t model[SECTORS];
    uint64_t slots;         /* fewer than clusters: the store may be full */
    Op ops[IN_FLIGHT];
    int errors;             /* chance of an I/O error, in 1000 */
    uint64_t commits, failovers, faults, rereads;
} Sim;

static uint64_t seen_commits, seen_failovers, seen_faults, seen_rereads;

static int pick(Sim *sim, int from, int to)
{
    return g_rand_int_range(sim->rand, from, to);
}

static bool fault(Sim *sim)
{
    bool hit = pick(sim, 0, 1000) < sim->errors;

    sim->faults += hit;
    return hit;
}

static uint8_t view_value(Sim *sim, int sector)
{
    ReplExtent e = repl_map_view(sim->map, (int64_t)sector * REPL_SECTOR,
                                 REPL_SECTOR);

    switch (e.kind) {
    case REPL_DATA_ZERO:
        return 0;
    case REPL_DATA_STORE:
        return sim->store[e.store][e.slot][sector % CLUSTER_SECTORS];
    default:
        return sim->parent[sector];
    }
}

static bool overlaps(Sim *sim, bool host, int first, int count)
{
    int i;

    for (i = 0; i < IN_FLIGHT; i++) {
        Op *op = &sim->ops[i];

        if (op->what != NOTHING && (op->what == HOST_WRITE) == host &&
            op->first < first + count && first < op->first + op->count) {
            return true;
        }
    }
    return false;
}

static void check_range(Sim *sim, int first, int count, const char *when)
{
    int i;

    for (i = first; i < first + count; i++) {
        /* where the guest is writing just now, either is right */
        if (view_value(sim, i) != sim->model[i] && !overlaps(sim, false, i, 1)) {
            g_error("seed %u: sector %d %s: sees %d, should see %d",
                    sim->seed, i, when, view_value(sim, i), sim->model[i]);
        }
    }
}

/*
 * The block layer says nothing of requests of one guest that overlap, and the
 * driver lets overlapping ones of the primary wait: neither happens here.
 */
static void new_op(Sim *sim, Op *op)
{
    int first = pick(sim, 0, SECTORS);
    int count = pick(sim, 1, MIN(SECTORS - first, 1 << pick(sim, 1, 9)) + 1);
    What what = pick(sim, HOST_WRITE, GUEST_READ + 1);
    bool host = what == HOST_WRITE;

    if (overlaps(sim, host, first, count) ||
        (host && (sim->stage != REPL_RUNNING || sim->peer_lost))) {
        return;
    }
    *op = (Op) { .what = what, .first = first, .count = count };
    op->value = what == GUEST_ZERO ? 0 : pick(sim, 0, 250);
}

static void take_slot(Sim *sim, Op *op, ReplStoreId store)
{
    op->slot = repl_map_slot(sim->map, store,
                             (int64_t)op->run_first * REPL_SECTOR, sim->slots);
}

static uint8_t *slot_data(Sim *sim, Op *op, ReplStoreId store)
{
    return sim->store[store][op->slot] + op->run_first % CLUSTER_SECTORS;
}

static void map_set(Sim *sim, Op *op, ReplStoreId store)
{
    int ret = repl_map_set(sim->map, store, op->zero,
                           (int64_t)op->run_first * REPL_SECTOR,
                           (int64_t)op->run_count * REPL_SECTOR);

    g_assert_cmpint(ret, ==, 0);
}

static void host_failed(Sim *sim, Op *op)
{
    ReplStage p = REPL_RUNNING;

    /* The primary learns of it by the failed request, and never commits */
    g_assert(repl_event(REPL_PRIMARY, &p, REPL_LOST, NULL) == REPL_DO);
    g_assert(repl_event(REPL_PRIMARY, &p, REPL_CHECKPOINT, NULL) ==
             REPL_REFUSED);
    sim->peer_lost = true;
    op->what = NOTHING;
}

static void host_write(Sim *sim, Op *op)
{
    int64_t start, bytes;

    switch (op->step) {
    case 0: /* find what has to be kept, and read it */
        bytes = (int64_t)op->count * REPL_SECTOR;
        start = repl_map_unheld(sim->map, (int64_t)op->first * REPL_SECTOR,
                                &bytes);
        if (start < 0) {
            op->step = 2;
            return;
        }
        op->run_first = start / REPL_SECTOR;
        op->run_count = bytes / REPL_SECTOR;
        memcpy(op->buffer, sim->parent + op->run_first, op->run_count);
        op->zero = buffer_is_zero(op->buffer, op->run_count);
        if (!op->zero) {
            take_slot(sim, op, REPL_HELD);
        }
        op->step = 1;
        return;
    case 1: /* keep it */
        if (fault(sim) || (!op->zero && op->slot < 0)) {
            host_failed(sim, op);
            return;
        }
        if (!op->zero) {
            memcpy(slot_data(sim, op, REPL_HELD), op->buffer, op->run_count);
        }
        map_set(sim, op, REPL_HELD);
        op->step = 0;
        return;
    default: /* overwrite the parent, some of it even when that fails */
        if (fault(sim)) {
            memset(sim->parent + op->first, op->value, op->count / 2);
            host_failed(sim, op);
            return;
        }
        memset(sim->parent + op->first, op->value, op->count);
        op->what = NOTHING;
    }
}

/* A write that failed may have done anything: take what is there */
static void adopt(Sim *sim, Op *op)
{
    int i;

    for (i = op->first; i < op->first + op->count; i++) {
        sim->model[i] = view_value(sim, i);
    }
    op->what = NOTHING;
}

static void guest_write(Sim *sim, Op *op)
{
    int at = op->first + op->done;

    if (sim->stage != REPL_RUNNING) {
        /* After the failover: to the parent, then its overlays are void */
        memset(sim->parent + op->first, op->value, op->count);
        repl_map_clear(sim->map, (int64_t)op->first * REPL_SECTOR,
                       (int64_t)op->count * REPL_SECTOR);
        memset(sim->model + op->first, op->value, op->count);
        op->what = NOTHING;
        return;
    }
    op->run_first = at;
    op->run_count = MIN(op->count - op->done,
                        CLUSTER_SECTORS - at % CLUSTER_SECTORS);
    op->zero = op->what == GUEST_ZERO;
    if (op->step == 0) {
        if (!op->zero) {
            take_slot(sim, op, REPL_OWN);
            if (op->slot < 0 || fault(sim)) {
                adopt(sim, op);
                return;
            }
            memset(slot_data(sim, op, REPL_OWN), op->value, op->run_count);
        }
        op->step = 1;
        return;
    }
    map_set(sim, op, REPL_OWN);
    memset(sim->model + op->run_first, op->value, op->run_count);
    op->step = 0;
    op->done += op->run_count;
    if (op->done == op->count) {
        op->what = NOTHING;
    }
}

static void guest_read(Sim *sim, Op *op)
{
    int at = op->first + op->done;
    int64_t offset = (int64_t)at * REPL_SECTOR;
    ReplExtent e;
    int i;

    if (op->step == 0) {
        e = repl_map_view(sim->map, offset,
                          (int64_t)(op->count - op->done) * REPL_SECTOR);
        op->run_count = e.bytes / REPL_SECTOR;
        op->zero = e.kind != REPL_DATA_PARENT;
        for (i = 0; i < op->run_count && op->zero; i++) {
            op->buffer[i] = view_value(sim, at + i);
        }
        op->step = 1;
        return;
    }
    if (!op->zero) {
        /* The parent is read some time after the map; then look again */
        if (op->step == 1) {
            memcpy(op->buffer, sim->parent + at, op->run_count);
            op->step = 2;
            return;
        }
        e = repl_map_view(sim->map, offset,
                          (int64_t)op->run_count * REPL_SECTOR);
        if (e.kind != REPL_DATA_PARENT ||
            e.bytes < (int64_t)op->run_count * REPL_SECTOR) {
            sim->rereads++;
            op->step = 0;
            return;
        }
    }
    for (i = 0; i < op->run_count; i++) {
        if (op->buffer[i] != sim->model[at + i]) {
            g_error("seed %u: read of sector %d: %d, should be %d", sim->seed,
                    at + i, op->buffer[i], sim->model[at + i]);
        }
    }
    op->step = 0;
    op->done += op->run_count;
    if (op->done == op->count) {
        op->what = NOTHING;
    }
}

static void step(Sim *sim, Op *op)
{
    switch (op->what) {
    case NOTHING:
        new_op(sim, op);
        break;
    case HOST_WRITE:
        host_write(sim, op);
        break;
    case GUEST_WRITE:
    case GUEST_ZERO:
        guest_write(sim, op);
        break;
    case GUEST_READ:
        guest_read(sim, op);
        break;
    }
}

static void drain(Sim *sim)
{
    int i;

    for (i = 0; i < IN_FLIGHT; i++) {
        while (sim->ops[i].what != NOTHING) {
            step(sim, &sim->ops[i]);
        }
    }
}

static void checkpoint(Sim *sim)
{
    drain(sim);
    if (sim->peer_lost ||
        repl_event(REPL_SECONDARY, &sim->stage, REPL_CHECKPOINT, NULL) !=
        REPL_DO) {
        return;
    }
    repl_map_reset(sim->map);
    memcpy(sim->model, sim->parent, SECTORS);
    sim->commits++;
}

static void failover(Sim *sim)
{
    drain(sim);
    if (repl_event(REPL_SECONDARY, &sim->stage, REPL_FAILOVER, NULL) ==
        REPL_DO) {
        sim->failovers++;
    }
    check_range(sim, 0, SECTORS, "after the failover");
}

/* Offset of some cluster that is in the map, or -1 */
static int64_t some_cluster(Sim *sim)
{
    GArray *clusters = repl_map_clusters(sim->map);
    int64_t offset = -1;
    unsigned i;

    for (i = 1; i < clusters->len; i++) {
        g_assert_cmpint(g_array_index(clusters, int64_t, i - 1), <,
                        g_array_index(clusters, int64_t, i));
    }
    if (clusters->len) {
        offset = g_array_index(clusters, int64_t,
                               g_rand_int_range(sim->rand, 0, clusters->len));
    }
    g_array_free(clusters, true);
    return offset;
}

/* One cluster goes down; a request of the guest may come at any moment */
static void merge(Sim *sim)
{
    int64_t offset = some_cluster(sim);
    int first, count, i;

    if (sim->stage == REPL_STUCK) {
        repl_event(REPL_SECONDARY, &sim->stage, REPL_MERGE_AGAIN, NULL);
    }
    if (sim->stage != REPL_MERGING) {
        return;
    }
    if (offset < 0) {
        repl_event(REPL_SECONDARY, &sim->stage, REPL_MERGED, NULL);
        return;
    }
    first = offset / REPL_SECTOR;
    count = MIN(CLUSTER_SECTORS, SECTORS - first);
    if (overlaps(sim, false, first, count)) {
        return;
    }
    for (i = first; i < first + count; i++) {
        if (pick(sim, 0, 100 * CLUSTER_SECTORS) < sim->errors) {
            repl_event(REPL_SECONDARY, &sim->stage, REPL_MERGE_FAILED, NULL);
            return;
        }
        sim->parent[i] = view_value(sim, i);
    }
    repl_map_clear(sim->map, offset, (int64_t)count * REPL_SECTOR);
}

static void sequence(uint32_t seed)
{
    Sim *sim = g_new0(Sim, 1);
    ReplStage *stage = &sim->stage;
    int i, n;

    sim->seed = seed;
    sim->rand = g_rand_new_with_seed(seed);
    sim->map = repl_map_new(SECTORS * REPL_SECTOR, 0);
    sim->slots = pick(sim, 0, 4) ? SLOTS : pick(sim, 0, SLOTS);
    sim->errors = pick(sim, 0, 2) ? 0 : pick(sim, 1, 60);
    g_assert(repl_event(REPL_SECONDARY, stage, REPL_START_SECONDARY, NULL) ==
             REPL_DO);
    for (i = 0; i < STEPS; i++) {
        step(sim, &sim->ops[pick(sim, 0, IN_FLIGHT)]);
        n = pick(sim, 0, 400);
        if (n < 12) {
            checkpoint(sim);
        } else if (n < 15) {
            failover(sim);
        }
        merge(sim);
    }
    check_range(sim, 0, SECTORS, "in the end, requests in flight");
    failover(sim);
    sim->errors = 0;
    while (*stage != REPL_DONE) {
        merge(sim);
    }
    g_assert(repl_map_is_empty(sim->map));
    g_assert_cmpint(repl_map_stats(sim->map)->bytes[REPL_OWN], ==, 0);
    g_assert_cmpint(repl_map_stats(sim->map)->bytes[REPL_HELD], ==, 0);
    if (memcmp(sim->parent, sim->model, SECTORS)) {
        g_error("seed %u: the merged disk differs", seed);
    }
    seen_commits += sim->commits;
    seen_failovers += sim->failovers;
    seen_faults += sim->faults;
    seen_rereads += sim->rereads;
    repl_map_free(sim->map);
    g_rand_free(sim->rand);
    g_free(sim);
}

static unsigned int first_seed;
static bool one_seed;

static void test_model(void)
{
    uint32_t i;

    g_test_message("seeds %u to %u", first_seed, first_seed + SEQUENCES - 1);
    for (i = 0; i < (one_seed ? 1 : SEQUENCES); i++) {
        sequence(first_seed + i);
    }
    g_test_message("%" PRIu64 " commits, %" PRIu64 " failovers, %" PRIu64
                   " faults, %" PRIu64 " reads done again", seen_commits,
                   seen_failovers, seen_faults, seen_rereads);
    if (!one_seed) {
        /* The sequences do reach what they are for */
        g_assert_cmpint(seen_commits, >, SEQUENCES / 4);
        g_assert_cmpint(seen_failovers, >=, SEQUENCES);
        g_assert_cmpint(seen_faults, >, SEQUENCES / 10);
        g_assert_cmpint(seen_rereads, >, SEQUENCES / 100);
    }
}

static void test_full(void)
{
    ReplMap *map = repl_map_new(10 * REPL_CLUSTER, 2);

    g_assert_cmpint(repl_map_slot(map, REPL_OWN, 0, 1), ==, 0);
    g_assert_cmpint(repl_map_slot(map, REPL_OWN, 512, 1), ==, 0);
    g_assert_cmpint(repl_map_slot(map, REPL_OWN, REPL_CLUSTER, 1), ==, -ENOSPC);
    g_assert_cmpint(repl_map_slot(map, REPL_HELD, REPL_CLUSTER, 1), ==, 0);
    /* two clusters, and the map takes no third */
    g_assert_cmpint(repl_map_slot(map, REPL_HELD, 2 * REPL_CLUSTER, 9), ==,
                    -ENOSPC);
    g_assert_cmpint(repl_map_set(map, REPL_OWN, true, 2 * REPL_CLUSTER,
                                 REPL_CLUSTER), ==, -ENOSPC);
    repl_map_reset(map);
    g_assert_cmpint(repl_map_slot(map, REPL_HELD, 2 * REPL_CLUSTER, 9), ==, 0);
    repl_map_free(map);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    first_seed = g_test_rand_int_range(1, INT_MAX);
    if (argc == 3 && !strcmp(argv[1], "--seed-of-sequence")) {
        one_seed = qemu_strtoui(argv[2], NULL, 10, &first_seed) == 0;
    }
    g_test_add_func("/colo/disk/map/full", test_full);
    g_test_add_func("/colo/disk/map/model", test_model);
    return g_test_run();
}
