/*
 * What the secondary's disk consists of (pure)
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/bitops.h"
#include "block/replication-map.h"

#define SECTORS     (REPL_CLUSTER / REPL_SECTOR)
#define NO_SLOT     UINT32_MAX

/* A cluster of which anything is own or held */
typedef struct Cluster {
    uint64_t index;
    uint32_t slot[REPL_STORES];
    /* Which sectors are of that layer, and which of these are zeroes */
    DECLARE_BITMAP(has[REPL_STORES], SECTORS);
    DECLARE_BITMAP(zero[REPL_STORES], SECTORS);
} Cluster;

struct ReplMap {
    int64_t length;
    uint64_t max_clusters;
    GHashTable *clusters;           /* index -> Cluster, owned */
    uint32_t next_slot[REPL_STORES];
    ReplMapStats stats;
};

ReplMap *repl_map_new(int64_t length, uint64_t max_clusters)
{
    ReplMap *map = g_new0(ReplMap, 1);
    uint64_t all = DIV_ROUND_UP(length, REPL_CLUSTER);

    map->length = length;
    /* A slot's number has to fit, too */
    map->max_clusters = MIN(max_clusters ? MIN(max_clusters, all) : all,
                            NO_SLOT - 1);
    map->clusters = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL,
                                          g_free);
    return map;
}

void repl_map_free(ReplMap *map)
{
    if (map) {
        g_hash_table_destroy(map->clusters);
        g_free(map);
    }
}

static Cluster *find(ReplMap *map, int64_t offset)
{
    uint64_t index = offset / REPL_CLUSTER;

    return g_hash_table_lookup(map->clusters, &index);
}

static Cluster *find_or_add(ReplMap *map, int64_t offset)
{
    Cluster *c = find(map, offset);
    uint64_t count = g_hash_table_size(map->clusters);
    int i;

    if (c || count >= map->max_clusters) {
        return c;
    }
    c = g_new0(Cluster, 1);
    c->index = offset / REPL_CLUSTER;
    for (i = 0; i < REPL_STORES; i++) {
        c->slot[i] = NO_SLOT;
    }
    g_hash_table_insert(map->clusters, &c->index, c);
    map->stats.clusters = count + 1;
    map->stats.clusters_peak = MAX(map->stats.clusters_peak, count + 1);
    return c;
}

static int first_sector(int64_t offset)
{
    return offset % REPL_CLUSTER / REPL_SECTOR;
}

static void check(const ReplMap *map, int64_t offset, int64_t bytes)
{
    assert(offset >= 0 && bytes > 0 && offset <= map->length - bytes);
    assert(offset % REPL_SECTOR == 0 && bytes % REPL_SECTOR == 0);
}

static bool same_extent(const ReplExtent *a, const ReplExtent *b)
{
    return a->kind == b->kind &&
           (a->kind == REPL_DATA_PARENT || a->store == b->store);
}

static ReplExtent view_sector(const Cluster *c, int sector)
{
    int store;

    for (store = REPL_OWN; store < REPL_STORES; store++) {
        if (test_bit(sector, c->has[store])) {
            bool zero = test_bit(sector, c->zero[store]);

            return (ReplExtent) {
                .kind = zero ? REPL_DATA_ZERO : REPL_DATA_STORE,
                .store = store,
                .slot = c->slot[store],
            };
        }
    }
    return (ReplExtent) { .kind = REPL_DATA_PARENT };
}

static ReplExtent view_cluster(const Cluster *c, int64_t offset, int64_t bytes)
{
    int first = first_sector(offset);
    int end = first + repl_in_cluster(offset, bytes) / REPL_SECTOR;
    ReplExtent extent = view_sector(c, first);
    int i;

    for (i = first + 1; i < end; i++) {
        ReplExtent next = view_sector(c, i);

        if (!same_extent(&extent, &next)) {
            break;
        }
    }
    extent.bytes = (int64_t)(i - first) * REPL_SECTOR;
    return extent;
}

ReplExtent repl_map_view(ReplMap *map, int64_t offset, int64_t bytes)
{
    ReplExtent extent = { .kind = REPL_DATA_PARENT };
    Cluster *c;

    check(map, offset, bytes);
    if (!g_hash_table_size(map->clusters)) {
        extent.bytes = bytes;
        return extent;
    }
    c = find(map, offset);
    if (c) {
        return view_cluster(c, offset, bytes);
    }
    do {
        extent.bytes += repl_in_cluster(offset + extent.bytes, bytes - extent.bytes);
    } while (extent.bytes < bytes && !find(map, offset + extent.bytes));
    return extent;
}

int64_t repl_map_unheld(ReplMap *map, int64_t offset, int64_t *bytes)
{
    int64_t end = offset + *bytes;

    check(map, offset, *bytes);
    while (offset < end) {
        Cluster *c = find(map, offset);
        ReplExtent extent;

        if (!c) {
            *bytes = repl_in_cluster(offset, end - offset);
            return offset;
        }
        extent = view_cluster(c, offset, end - offset);
        if (extent.kind == REPL_DATA_PARENT) {
            *bytes = extent.bytes;
            return offset;
        }
        offset += extent.bytes;
    }
    return -1;
}

/*
 * A short last cluster has the last slot, which is as short in an image of the
 * disk's size.  The others take the slots below, so it is never theirs.
 */
static bool is_tail(const ReplMap *map, int64_t offset)
{
    return offset / REPL_CLUSTER == map->length / REPL_CLUSTER;
}

int64_t repl_map_slot(ReplMap *map, ReplStoreId store, int64_t offset,
                      uint64_t max_slots)
{
    Cluster *c;

    check(map, offset, REPL_SECTOR);
    c = find(map, offset);
    if (c && c->slot[store] != NO_SLOT) {
        return c->slot[store];
    }
    if (!is_tail(map, offset) && map->next_slot[store] >= max_slots) {
        return -ENOSPC;
    }
    c = c ?: find_or_add(map, offset);
    if (!c) {
        return -ENOSPC;
    }
    c->slot[store] = is_tail(map, offset) ? map->length / REPL_CLUSTER
                                          : map->next_slot[store]++;
    return c->slot[store];
}

static void set_in_cluster(ReplMap *map, Cluster *c, ReplStoreId store,
                           bool zero, int first, int count)
{
    ReplMapStats *stats = &map->stats;
    int i;

    for (i = first; i < first + count; i++) {
        if (!test_and_set_bit(i, c->has[store])) {
            stats->bytes[store] += REPL_SECTOR;
        }
    }
    if (zero) {
        bitmap_set(c->zero[store], first, count);
    } else {
        bitmap_clear(c->zero[store], first, count);
    }
    stats->bytes_peak = MAX(stats->bytes_peak, stats->bytes[REPL_OWN] +
                                               stats->bytes[REPL_HELD]);
}

int repl_map_set(ReplMap *map, ReplStoreId store, bool zero,
                 int64_t offset, int64_t bytes)
{
    check(map, offset, bytes);
    while (bytes) {
        int64_t n = repl_in_cluster(offset, bytes);
        Cluster *c = zero ? find_or_add(map, offset) : find(map, offset);

        assert(zero || (n == bytes && c && c->slot[store] != NO_SLOT));
        if (!c) {
            return -ENOSPC;
        }
        set_in_cluster(map, c, store, zero, first_sector(offset),
                       n / REPL_SECTOR);
        offset += n;
        bytes -= n;
    }
    return 0;
}

static void clear_in_cluster(ReplMap *map, Cluster *c, int first, int count)
{
    bool any = false;
    int store, i;

    for (store = 0; store < REPL_STORES; store++) {
        for (i = first; i < first + count; i++) {
            if (test_and_clear_bit(i, c->has[store])) {
                map->stats.bytes[store] -= REPL_SECTOR;
            }
        }
        any |= !bitmap_empty(c->has[store], SECTORS);
    }
    if (!any) {
        g_hash_table_remove(map->clusters, &c->index);
        map->stats.clusters = g_hash_table_size(map->clusters);
    }
}

void repl_map_clear(ReplMap *map, int64_t offset, int64_t bytes)
{
    check(map, offset, bytes);
    while (bytes && !repl_map_is_empty(map)) {
        int64_t n = repl_in_cluster(offset, bytes);
        Cluster *c = find(map, offset);

        if (c) {
            clear_in_cluster(map, c, first_sector(offset), n / REPL_SECTOR);
        }
        offset += n;
        bytes -= n;
    }
}

void repl_map_reset(ReplMap *map)
{
    int i;

    g_hash_table_remove_all(map->clusters);
    for (i = 0; i < REPL_STORES; i++) {
        map->next_slot[i] = 0;
        map->stats.bytes[i] = 0;
    }
    map->stats.clusters = 0;
}

bool repl_map_is_empty(const ReplMap *map)
{
    return !g_hash_table_size(map->clusters);
}

static gint by_value(gconstpointer a, gconstpointer b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

GArray *repl_map_clusters(ReplMap *map)
{
    GArray *offsets = g_array_sized_new(false, false, sizeof(int64_t),
                                        g_hash_table_size(map->clusters));
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, map->clusters);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        int64_t offset = *(uint64_t *)key * REPL_CLUSTER;

        g_array_append_val(offsets, offset);
    }
    g_array_sort(offsets, by_value);
    return offsets;
}

const ReplMapStats *repl_map_stats(const ReplMap *map)
{
    return &map->stats;
}
