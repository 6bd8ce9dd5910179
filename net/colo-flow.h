/*
 * Flows: what belongs together on the wire, and a bounded table of them
 *
 *     typedef struct Mine { ColoFlow flow; ... } Mine;
 *
 *     ColoFlowTable *t = colo_flow_table_new(sizeof(Mine), 16384, end, me);
 *     colo_flow_key(&key, &packet);
 *     Mine *m = colo_flow_get(t, &key, &is_new);
 *
 * Pure: no I/O, no locks.  A table belongs to one thread at a time.
 *
 * Guaranteed:
 * - lookup, insertion, removal and eviction are O(1) on average; the hash is
 *   seeded for each table, so that nobody outside can aim at one bucket;
 * - never more than the maximum of flows exist;
 * - only a new flow allocates, and only as long as no removed one can be
 *   taken again; no packet of a known flow does.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_FLOW_H
#define NET_COLO_FLOW_H

#include "qemu/queue.h"
#include "net/colo-packet.h"

/*
 * Directed: from src to dst.  Compared and hashed as bytes; there is no
 * padding.  Host byte order.
 */
typedef struct ColoFlowKey {
    uint8_t src[16], dst[16];   /* IPv4: 4 bytes; without IP: MAC, 6 bytes */
    uint16_t src_port, dst_port;        /* 0 where there are none */
    uint16_t vlan[COLO_VLAN_TAGS];      /* 0: untagged, or priority only */
    uint16_t eth_type;
    uint8_t ip_version;         /* 4, 6; 0: no IP */
    uint8_t proto;
    uint8_t fragment;           /* 1: ports are not known */
    uint8_t zero;
} ColoFlowKey;

QEMU_BUILD_BUG_ON(sizeof(ColoFlowKey) != 46);

/*
 * The directed key of a packet.  All the fragments between two addresses
 * are one flow, for only the first of them knows the ports.
 */
void colo_flow_key(ColoFlowKey *key, const ColoPacket *p,
                   const uint8_t *frame);

/* The same flow seen from the other side. */
void colo_flow_key_reverse(ColoFlowKey *key);

/*
 * Makes @key the same for both directions; true where that has reversed it.
 */
bool colo_flow_key_canonical(ColoFlowKey *key);

uint32_t colo_flow_key_hash(const ColoFlowKey *key, uint32_t seed);

static inline bool colo_flow_key_equal(const ColoFlowKey *a,
                                       const ColoFlowKey *b)
{
    return !memcmp(a, b, sizeof(*a));
}

/* "tcp 10.0.0.1:80 > [fe80::1]:1234 vlan 5"; free with g_free(). */
char *colo_flow_key_str(const ColoFlowKey *key);

/* The first member of a user's flow; only key is the user's to read. */
typedef struct ColoFlow {
    ColoFlowKey key;
    uint32_t hash;
    bool retired;
    QTAILQ_ENTRY(ColoFlow) lru;
    QSLIST_ENTRY(ColoFlow) bucket;
} ColoFlow;

typedef struct ColoFlowTable ColoFlowTable;

typedef enum ColoFlowEnd {
    COLO_FLOW_REMOVED,          /* asked for by the user */
    COLO_FLOW_EVICTED,          /* to make room for another one */
} ColoFlowEnd;

/*
 * A flow is about to go; the user lets go of what it has hung on to it.  On
 * COLO_FLOW_EVICTED the user may refuse by returning false; otherwise what
 * is returned has no meaning.  It must not call into the table.
 */
typedef bool ColoFlowEndFn(void *opaque, ColoFlow *flow, ColoFlowEnd why);

/* @size: of the user's flow, bytes.  @max: at least 1.  @end may be NULL. */
ColoFlowTable *colo_flow_table_new(size_t size, unsigned max,
                                   ColoFlowEndFn *end, void *opaque);

/* Removes all flows first.  @t may be NULL. */
void colo_flow_table_free(ColoFlowTable *t);

unsigned colo_flow_count(const ColoFlowTable *t);

/* NULL: not there.  Does not count as use. */
void *colo_flow_find(ColoFlowTable *t, const ColoFlowKey *key);

/*
 * Finds the flow or makes one, all bytes behind its ColoFlow zero; either
 * way it is the one most recently used now.  Where the table is full, the
 * least recently used flow is evicted, retired ones before others.  Where
 * the user refuses to give up any of COLO_FLOW_EVICT_TRIES candidates: NULL.
 */
void *colo_flow_get(ColoFlowTable *t, const ColoFlowKey *key, bool *is_new);

enum { COLO_FLOW_EVICT_TRIES = 8 };

/* Marks @flow as most recently used; it is not retired any more. */
void colo_flow_touch(ColoFlowTable *t, ColoFlow *flow);

/*
 * @flow has come to its end, but packets may still follow: it is evicted
 * before all others.  Retiring again makes it the latest of these.
 */
void colo_flow_retire(ColoFlowTable *t, ColoFlow *flow);

/* The flow that was retired first; NULL: there is none. */
void *colo_flow_oldest_retired(ColoFlowTable *t);

/* @flow is invalid afterwards. */
void colo_flow_remove(ColoFlowTable *t, ColoFlow *flow);

void colo_flow_remove_all(ColoFlowTable *t);

/*
 * All flows, the least recently used first; NULL at the end.  The current
 * one may be removed if the next one was fetched before.
 *
 *     for (f = colo_flow_first(t); f; f = colo_flow_next(t, f))
 */
void *colo_flow_first(ColoFlowTable *t);
void *colo_flow_next(ColoFlowTable *t, ColoFlow *flow);

#endif
