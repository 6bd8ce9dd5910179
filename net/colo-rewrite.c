/*
 * The rewriter's connections and packets: see colo-rewrite.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-rewrite.h"

enum {
    PROTO_TCP = 6,
    /* Ended connections looked at with each packet, so that it stays O(1) */
    EXPIRE_BATCH = 4,
};

typedef struct Conn {
    ColoFlow flow;              /* its key is from the guest's side */
    ColoSeq seq;
    int64_t used_ms;
} Conn;

struct ColoRewrite {
    ColoFlowTable *table;
    ColoRewriteRole role;
    ColoRewriteStats stats;
};

static uint16_t fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

/*
 * Adds @add to the 32 bits at @field.  Returns what that does to the sum over
 * the TCP header, which begins at @tcp: RFC 1624 equation 3, where a field
 * at an odd offset counts with its bytes swapped (RFC 1071 section 2 B).
 */
static uint16_t add32(uint8_t *tcp, uint8_t *field, uint32_t add)
{
    uint32_t old = ldl_be_p(field), new = old + add;
    uint16_t sum;

    stl_be_p(field, new);
    sum = fold((~old >> 16) + (~old & 0xffff) + (new >> 16) + (new & 0xffff));
    return (field - tcp) & 1 ? bswap16(sum) : sum;
}

bool colo_rewrite_apply(const ColoPacket *p, uint8_t *frame,
                        const ColoSeqMap *map)
{
    uint8_t *tcp = frame + p->l4_off;
    uint8_t *csum = tcp + COLO_TCP_OFF_CSUM;
    bool sack = map->sack && p->tcp.n_sack;
    bool tsval = map->tsval && p->tcp.ts_off;
    bool tsecr = map->tsecr && p->tcp.ts_off;
    uint32_t sum = 0;

    if (!map->seq && !map->ack && !sack && !tsval && !tsecr) {
        return false;
    }
    sum += add32(tcp, tcp + COLO_TCP_OFF_SEQ, map->seq);
    sum += add32(tcp, tcp + COLO_TCP_OFF_ACK, map->ack);
    for (unsigned i = 0; sack && i < p->tcp.n_sack * 2; i++) {
        sum += add32(tcp, frame + p->tcp.sack_off + 4 * i, map->sack);
    }
    if (p->tcp.ts_off) {
        sum += add32(tcp, frame + p->tcp.ts_off, map->tsval);
        sum += add32(tcp, frame + p->tcp.ts_off + 4, map->tsecr);
    }
    if (!colo_packet_csum_partial(p)) {
        sum += (uint16_t)~lduw_be_p(csum);
        stw_be_p(csum, ~fold(sum));
    }
    return true;
}

static bool on_end(void *opaque, ColoFlow *flow, ColoFlowEnd why)
{
    ColoRewrite *rw = opaque;

    rw->stats.evicted += why == COLO_FLOW_EVICTED;
    return true;
}

ColoRewrite *colo_rewrite_new(unsigned max, ColoRewriteRole role)
{
    ColoRewrite *rw = g_new0(ColoRewrite, 1);

    rw->table = colo_flow_table_new(sizeof(Conn), max, on_end, rw);
    rw->role = role;
    return rw;
}

void colo_rewrite_free(ColoRewrite *rw)
{
    if (rw) {
        colo_flow_table_free(rw->table);
        g_free(rw);
    }
}

static void expire(ColoRewrite *rw, int64_t now_ms)
{
    for (int i = 0; i < EXPIRE_BATCH; i++) {
        Conn *conn = colo_flow_oldest_retired(rw->table);

        if (!conn || now_ms - conn->used_ms < COLO_REWRITE_LINGER_MS) {
            return;
        }
        colo_flow_remove(rw->table, &conn->flow);
    }
}

static bool is_tcp(const ColoPacket *p)
{
    return p->ip_version && p->ip_proto == PROTO_TCP && p->l4_len &&
           !p->has_ah && !p->tcp.is_signed;
}

/* The key from the guest's side.  A first fragment does know its ports. */
static void conn_key(ColoFlowKey *key, const ColoPacket *p,
                     const uint8_t *frame, bool out)
{
    colo_flow_key(key, p, frame);
    key->fragment = 0;
    key->src_port = p->src_port;
    key->dst_port = p->dst_port;
    if (!out) {
        colo_flow_key_reverse(key);
    }
}

/*
 * Only what the guest sends makes a connection: what others send may be sent
 * by anybody.  One without timestamps, met midway, needs nothing.
 */
static Conn *find_conn(ColoRewrite *rw, const ColoFlowKey *key,
                       const ColoPacket *p, bool out)
{
    Conn *conn = colo_flow_find(rw->table, key);
    bool is_new;

    if (rw->role == COLO_REWRITE_ALONE) {
        if (conn && out && colo_seq_restarts(&conn->seq, p)) {
            colo_flow_remove(rw->table, &conn->flow);
            conn = NULL;
        }
        return conn;
    }
    if (!conn && out && !(p->tcp.flags & COLO_TCP_RST) &&
        (p->tcp.ts_off || (p->tcp.flags & COLO_TCP_SYN))) {
        conn = colo_flow_get(rw->table, key, &is_new);
    }
    return conn;
}

/* One that has ended, or has not begun yet, is the first to go. */
static void use(ColoRewrite *rw, Conn *conn, int64_t now_ms)
{
    conn->used_ms = now_ms;
    if (rw->role == COLO_REWRITE_ALONE && !colo_seq_matters(&conn->seq)) {
        colo_flow_remove(rw->table, &conn->flow);
    } else if (colo_seq_ended(&conn->seq) || conn->seq.state != COLO_SEQ_OPEN) {
        colo_flow_retire(rw->table, &conn->flow);
    } else {
        colo_flow_touch(rw->table, &conn->flow);
    }
}

bool colo_rewrite_packet(ColoRewrite *rw, uint8_t *head, size_t have,
                         size_t size, size_t vnet_len, bool out,
                         int64_t now_ms)
{
    ColoPacket p;
    ColoFlowKey key;
    ColoSeqMap map;
    Conn *conn;

    if (colo_rewrite_idle(rw)) {
        return false;
    }
    expire(rw, now_ms);
    colo_packet_parse_head(&p, head, have, size, vnet_len);
    if (!is_tcp(&p)) {
        return false;
    }
    conn_key(&key, &p, head, out);
    conn = find_conn(rw, &key, &p, out);
    if (!conn) {
        return false;
    }
    if (out) {
        colo_seq_out(&conn->seq, &p, &map);
    } else {
        colo_seq_in(&conn->seq, &p, &map);
    }
    use(rw, conn, now_ms);
    if (!colo_rewrite_apply(&p, head, &map)) {
        return false;
    }
    rw->stats.rewritten++;
    return true;
}

bool colo_rewrite_idle(const ColoRewrite *rw)
{
    return rw->role == COLO_REWRITE_ALONE && !colo_flow_count(rw->table);
}

ColoRewriteRole colo_rewrite_role(const ColoRewrite *rw)
{
    return rw->role;
}

void colo_rewrite_checkpoint(ColoRewrite *rw, const ColoRewriteEntry *entries,
                             unsigned n, int64_t now_ms)
{
    if (rw->role == COLO_REWRITE_ALONE) {
        return;
    }
    colo_flow_remove_all(rw->table);
    for (unsigned i = 0; i < n; i++) {
        bool is_new;
        Conn *conn = colo_flow_get(rw->table, &entries[i].key, &is_new);

        conn->seq = entries[i].seq;
        use(rw, conn, now_ms);
    }
}

void colo_rewrite_alone(ColoRewrite *rw, bool margin)
{
    Conn *next;

    if (rw->role == COLO_REWRITE_ALONE) {
        return;
    }
    rw->role = COLO_REWRITE_ALONE;
    for (Conn *conn = colo_flow_first(rw->table); conn; conn = next) {
        next = colo_flow_next(rw->table, &conn->flow);
        if (margin) {
            colo_seq_failover(&conn->seq);
        }
        if (!colo_seq_matters(&conn->seq)) {
            colo_flow_remove(rw->table, &conn->flow);
        }
    }
}

unsigned colo_rewrite_count(const ColoRewrite *rw)
{
    return colo_flow_count(rw->table);
}

ColoRewriteEntry *colo_rewrite_export(ColoRewrite *rw, unsigned *n)
{
    unsigned count = colo_flow_count(rw->table);
    ColoRewriteEntry *entries;

    *n = 0;
    if (rw->role != COLO_REWRITE_ALONE || !count) {
        return NULL;
    }
    entries = g_new0(ColoRewriteEntry, count);
    for (Conn *conn = colo_flow_first(rw->table); conn;
         conn = colo_flow_next(rw->table, &conn->flow)) {
        entries[*n].key = conn->flow.key;
        entries[(*n)++].seq = conn->seq;
    }
    return entries;
}

const ColoRewriteStats *colo_rewrite_stats(const ColoRewrite *rw)
{
    return &rw->stats;
}
