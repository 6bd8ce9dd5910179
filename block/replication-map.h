/*
 * What the secondary's disk consists of (pure)
 *
 * The secondary sees, sector by sector, in this order:
 *
 *   own      what its guest has written in this epoch
 *   held     what stood on the parent disk at the last commit, kept because
 *            the primary has overwritten it since
 *   parent   the disk itself
 *
 * A map tells which.  The data of "own" and "held" lie in two stores, in
 * slots of one cluster each; a slot is handed out when a cluster is first
 * written, from 0 upwards, and says nothing about where on the disk it
 * belongs: only the map does.  Hence the stores need no emptying: forgetting
 * the map is enough, it concerns both stores in the same instant, and the
 * next epoch uses the same slots again.
 *
 * All offsets and lengths are bytes, multiples of 512, and inside the disk
 * (asserted: the block layer has checked them).  Not thread-safe: the caller
 * runs in the AioContext of the node.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_REPLICATION_MAP_H
#define BLOCK_REPLICATION_MAP_H

#define REPL_CLUSTER    65536
#define REPL_SECTOR     512

typedef struct ReplMap ReplMap;

typedef enum ReplStoreId {
    REPL_OWN,
    REPL_HELD,
    REPL_STORES,
} ReplStoreId;

typedef enum ReplKind {
    REPL_DATA_PARENT,       /* nothing of it is in a store */
    REPL_DATA_STORE,        /* in slot @slot of store @store */
    REPL_DATA_ZERO,         /* zeroes, in no store */
} ReplKind;

typedef struct ReplExtent {
    int64_t bytes;          /* how far this reaches; never 0 */
    ReplKind kind;
    ReplStoreId store;      /* which layer; undefined for the parent */
    uint32_t slot;
} ReplExtent;

typedef struct ReplMapStats {
    uint64_t clusters, clusters_peak;   /* with anything of either layer */
    uint64_t bytes[REPL_STORES];        /* of this epoch, zeroes included */
    uint64_t bytes_peak;                /* of both together, of any epoch */
} ReplMapStats;

/* RAM that the map takes for each cluster, of its own and in the hash table */
#define REPL_MAP_BYTES  160

/* Bytes from @offset to the end of its cluster, at most @bytes */
static inline int64_t repl_in_cluster(int64_t offset, int64_t bytes)
{
    return MIN(bytes, REPL_CLUSTER - offset % REPL_CLUSTER);
}

/*
 * @length: of the disk.  @max_clusters bounds the memory that the map itself
 * takes, REPL_MAP_BYTES each; 0: as many as the disk has.
 */
ReplMap *repl_map_new(int64_t length, uint64_t max_clusters);
void repl_map_free(ReplMap *map);

/* What the secondary sees at @offset, at most @bytes of it. */
ReplExtent repl_map_view(ReplMap *map, int64_t offset, int64_t bytes);

/*
 * Find in @offset, *@bytes the first run of which the parent's content has to
 * be kept before it is overwritten: what is neither held nor own.  It lies
 * inside one cluster.  Returns its offset and sets *@bytes, or returns -1.
 */
int64_t repl_map_unheld(ReplMap *map, int64_t offset, int64_t *bytes);

/*
 * The slot in @store for the cluster that contains @offset: where to write
 * before repl_map_set() says so.  -ENOSPC where the map or the store, which has
 * @max_slots whole ones, are full.
 */
int64_t repl_map_slot(ReplMap *map, ReplStoreId store, int64_t offset,
                      uint64_t max_slots);

/*
 * From now on @offset, @bytes are in @store, or zeroes of that layer.  Data need
 * a slot that was asked for before, and lie inside one cluster; zeroes
 * may span clusters.  Held content stays below what is own.
 * Returns 0, or -ENOSPC for zeroes where the map is full.
 */
int repl_map_set(ReplMap *map, ReplStoreId store, bool zero,
                 int64_t offset, int64_t bytes);

/* The parent has the newest content there: neither own nor held any more. */
void repl_map_clear(ReplMap *map, int64_t offset, int64_t bytes);

/* Forget everything: a commit.  O(clusters in the map), no I/O. */
void repl_map_reset(ReplMap *map);

bool repl_map_is_empty(const ReplMap *map);

/* Offsets (int64_t) of the clusters that have anything in the map, ascending */
GArray *repl_map_clusters(ReplMap *map);

const ReplMapStats *repl_map_stats(const ReplMap *map);

#endif
