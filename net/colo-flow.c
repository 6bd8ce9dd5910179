/*
 * Flows, and a bounded table of them: see colo-flow.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <arpa/inet.h>
#include "qemu/host-utils.h"
#include "qemu/jhash.h"
#include "net/colo-flow.h"

typedef QTAILQ_HEAD(, ColoFlow) FlowList;
typedef QSLIST_HEAD(, ColoFlow) FlowBucket;

struct ColoFlowTable {
    FlowBucket *buckets;
    uint32_t mask;              /* buckets - 1 */
    uint32_t seed;
    size_t size;
    unsigned count, max;
    FlowList live, retired;     /* the one to be evicted next first */
    FlowBucket spare;
    ColoFlowEndFn *end;
    void *opaque;
};

static void key_macs(ColoFlowKey *key, const ColoPacket *p,
                     const uint8_t *frame)
{
    enum { MAC = 6 };

    if (p->size - p->l2_off >= 2 * MAC) {
        memcpy(key->dst, frame + p->l2_off, MAC);
        memcpy(key->src, frame + p->l2_off + MAC, MAC);
    }
}

void colo_flow_key(ColoFlowKey *key, const ColoPacket *p,
                   const uint8_t *frame)
{
    *key = (ColoFlowKey) {
        .vlan = { p->vlan[0], p->vlan[1] },
        .eth_type = p->eth_type,
    };
    if (!p->ip_version) {
        key_macs(key, p, frame);
        return;
    }
    memcpy(key->src, p->src, sizeof(key->src));
    memcpy(key->dst, p->dst, sizeof(key->dst));
    key->ip_version = p->ip_version;
    key->proto = p->ip_proto;
    key->fragment = p->frag != COLO_FRAG_NONE;
    if (!key->fragment) {
        key->src_port = p->src_port;
        key->dst_port = p->dst_port;
    }
}

void colo_flow_key_reverse(ColoFlowKey *key)
{
    ColoFlowKey old = *key;

    memcpy(key->src, old.dst, sizeof(key->src));
    memcpy(key->dst, old.src, sizeof(key->dst));
    key->src_port = old.dst_port;
    key->dst_port = old.src_port;
}

bool colo_flow_key_canonical(ColoFlowKey *key)
{
    int order = memcmp(key->src, key->dst, sizeof(key->src));

    if (order > 0 || (!order && key->src_port > key->dst_port)) {
        colo_flow_key_reverse(key);
        return true;
    }
    return false;
}

uint32_t colo_flow_key_hash(const ColoFlowKey *key, uint32_t seed)
{
    uint32_t words[12] = { }, a, b, c;

    QEMU_BUILD_BUG_ON(sizeof(*key) > sizeof(words));
    memcpy(words, key, sizeof(*key));

    a = b = c = JHASH_INITVAL + sizeof(*key) + seed;
    for (unsigned i = 0; i < ARRAY_SIZE(words); i += 3) {
        a += words[i];
        b += words[i + 1];
        c += words[i + 2];
        __jhash_mix(a, b, c);
    }
    __jhash_final(a, b, c);
    return c;
}

static void append_end(GString *s, const ColoFlowKey *key, const uint8_t *addr,
                       uint16_t port)
{
    char text[INET6_ADDRSTRLEN];

    if (!key->ip_version) {
        for (int i = 0; i < 6; i++) {
            g_string_append_printf(s, "%s%02x", i ? ":" : "", addr[i]);
        }
        return;
    }
    inet_ntop(key->ip_version == 6 ? AF_INET6 : AF_INET, addr, text,
              sizeof(text));
    if (!port) {
        g_string_append(s, text);
    } else {
        g_string_append_printf(s, key->ip_version == 6 ? "[%s]:%u" : "%s:%u",
                               text, port);
    }
}

char *colo_flow_key_str(const ColoFlowKey *key)
{
    static const char *const names[256] = {
        [1] = "icmp", [6] = "tcp", [17] = "udp", [58] = "icmpv6",
    };
    GString *s = g_string_new(NULL);

    if (names[key->proto]) {
        g_string_append(s, names[key->proto]);
    } else if (key->ip_version) {
        g_string_append_printf(s, "protocol %u", key->proto);
    } else {
        g_string_append_printf(s, "type 0x%04x", key->eth_type);
    }
    g_string_append_c(s, ' ');
    append_end(s, key, key->src, key->src_port);
    g_string_append(s, " > ");
    append_end(s, key, key->dst, key->dst_port);
    if (key->fragment) {
        g_string_append(s, " fragments");
    }
    for (int i = 0; i < COLO_VLAN_TAGS; i++) {
        if (key->vlan[i]) {
            g_string_append_printf(s, " vlan %u", key->vlan[i]);
        }
    }
    return g_string_free(s, false);
}

ColoFlowTable *colo_flow_table_new(size_t size, unsigned max,
                                   ColoFlowEndFn *end, void *opaque)
{
    ColoFlowTable *t = g_new0(ColoFlowTable, 1);
    uint32_t buckets = pow2ceil(MAX(max, 16));

    assert(size >= sizeof(ColoFlow) && max >= 1 && max <= (1 << 24));
    t->buckets = g_new0(FlowBucket, buckets);
    t->mask = buckets - 1;
    t->seed = g_random_int();
    t->size = size;
    t->max = max;
    t->end = end;
    t->opaque = opaque;
    QTAILQ_INIT(&t->live);
    QTAILQ_INIT(&t->retired);
    QSLIST_INIT(&t->spare);
    return t;
}

void colo_flow_table_free(ColoFlowTable *t)
{
    ColoFlow *flow;

    if (!t) {
        return;
    }
    colo_flow_remove_all(t);
    while ((flow = QSLIST_FIRST(&t->spare))) {
        QSLIST_REMOVE_HEAD(&t->spare, bucket);
        g_free(flow);
    }
    g_free(t->buckets);
    g_free(t);
}

unsigned colo_flow_count(const ColoFlowTable *t)
{
    return t->count;
}

static FlowList *list_of(ColoFlowTable *t, const ColoFlow *flow)
{
    return flow->retired ? &t->retired : &t->live;
}

static void to_list(ColoFlowTable *t, ColoFlow *flow, bool retired)
{
    QTAILQ_REMOVE(list_of(t, flow), flow, lru);
    flow->retired = retired;
    QTAILQ_INSERT_TAIL(list_of(t, flow), flow, lru);
}

static ColoFlow *find_hashed(ColoFlowTable *t, const ColoFlowKey *key,
                             uint32_t hash)
{
    ColoFlow *flow;

    QSLIST_FOREACH(flow, &t->buckets[hash & t->mask], bucket) {
        if (flow->hash == hash && colo_flow_key_equal(&flow->key, key)) {
            return flow;
        }
    }
    return NULL;
}

void *colo_flow_find(ColoFlowTable *t, const ColoFlowKey *key)
{
    return find_hashed(t, key, colo_flow_key_hash(key, t->seed));
}

/* Takes @flow out of everything and keeps its memory. */
static void unlink_flow(ColoFlowTable *t, ColoFlow *flow)
{
    QSLIST_REMOVE(&t->buckets[flow->hash & t->mask], flow, ColoFlow, bucket);
    QTAILQ_REMOVE(list_of(t, flow), flow, lru);
    QSLIST_INSERT_HEAD(&t->spare, flow, bucket);
    t->count--;
}

static bool evict_one(ColoFlowTable *t)
{
    ColoFlow *flow = colo_flow_first(t);

    for (int i = 0; flow && i < COLO_FLOW_EVICT_TRIES; i++) {
        ColoFlow *next = colo_flow_next(t, flow);

        if (!t->end || t->end(t->opaque, flow, COLO_FLOW_EVICTED)) {
            unlink_flow(t, flow);
            return true;
        }
        flow = next;
    }
    return false;
}

void *colo_flow_get(ColoFlowTable *t, const ColoFlowKey *key, bool *is_new)
{
    uint32_t hash = colo_flow_key_hash(key, t->seed);
    ColoFlow *flow = find_hashed(t, key, hash);

    *is_new = !flow;
    if (flow) {
        colo_flow_touch(t, flow);
        return flow;
    }
    if (t->count == t->max && !evict_one(t)) {
        return NULL;
    }
    flow = QSLIST_FIRST(&t->spare);
    if (flow) {
        QSLIST_REMOVE_HEAD(&t->spare, bucket);
        memset(flow, 0, t->size);
    } else {
        flow = g_malloc0(t->size);
    }
    flow->key = *key;
    flow->hash = hash;
    QSLIST_INSERT_HEAD(&t->buckets[hash & t->mask], flow, bucket);
    QTAILQ_INSERT_TAIL(&t->live, flow, lru);
    t->count++;
    return flow;
}

void colo_flow_touch(ColoFlowTable *t, ColoFlow *flow)
{
    to_list(t, flow, false);
}

void colo_flow_retire(ColoFlowTable *t, ColoFlow *flow)
{
    to_list(t, flow, true);
}

void *colo_flow_oldest_retired(ColoFlowTable *t)
{
    return QTAILQ_FIRST(&t->retired);
}

void colo_flow_remove(ColoFlowTable *t, ColoFlow *flow)
{
    if (t->end) {
        t->end(t->opaque, flow, COLO_FLOW_REMOVED);
    }
    unlink_flow(t, flow);
}

void colo_flow_remove_all(ColoFlowTable *t)
{
    ColoFlow *flow;

    while ((flow = colo_flow_first(t))) {
        colo_flow_remove(t, flow);
    }
}

void *colo_flow_first(ColoFlowTable *t)
{
    ColoFlow *flow = QTAILQ_FIRST(&t->retired);

    return flow ?: QTAILQ_FIRST(&t->live);
}

void *colo_flow_next(ColoFlowTable *t, ColoFlow *flow)
{
    ColoFlow *next = QTAILQ_NEXT(flow, lru);

    return next || !flow->retired ? next : QTAILQ_FIRST(&t->live);
}
