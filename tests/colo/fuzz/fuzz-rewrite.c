/*
 * Fuzz target: the rewriter
 *
 * Input: records of a byte of options, a byte of length, and so many bytes of
 * a frame; or no frame, but a checkpoint, a failover, a new secondary, time.
 *
 * A frame that changes must keep its kind, its flow and its TCP flags, and a
 * checksum that was right stays right, one that was wrong stays wrong.  What
 * is exported must be valid and be taken in again.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-rewrite.h"
#include "fuzz.h"

enum {
    MAX = 4,

    /* options: the low bits tell what it is */
    OPT_WHAT = 7,
    WHAT_CHECKPOINT = 4,
    WHAT_FAILOVER = 5,
    WHAT_INHERIT = 6,
    WHAT_TIME = 7,
    OPT_OUT = 1,
    OPT_VNET = 2,
};

static uint16_t tcp_sum(const ColoPacket *p, const uint8_t *frame)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < p->l4_len; i++) {
        sum += frame[p->l4_off + i] << (i & 1 ? 0 : 8);
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum == 0xffff ? 0 : sum;
}

static void check_changed(const uint8_t *before, const uint8_t *after,
                          size_t size, size_t vnet_len)
{
    ColoPacket a, b;
    ColoFlowKey key_a, key_b;

    colo_packet_parse(&a, before, size, vnet_len);
    colo_packet_parse(&b, after, size, vnet_len);
    colo_flow_key(&key_a, &a, before);
    colo_flow_key(&key_b, &b, after);
    assert(a.kind == b.kind && a.payload_off == b.payload_off);
    assert(colo_flow_key_equal(&key_a, &key_b));
    assert(a.tcp.flags == b.tcp.flags && a.tcp.ts_off == b.tcp.ts_off);
    assert(!memcmp(before, after, a.l4_off));
    if (!colo_packet_csum_partial(&a)) {
        assert(tcp_sum(&a, before) == tcp_sum(&b, after));
    }
}

static void frame(ColoRewrite *rw, uint8_t options, const uint8_t *data,
                  size_t size, int64_t now_ms)
{
    size_t vnet_len = options & OPT_VNET ? 12 : 0;
    /* no byte more than there is, and never NULL */
    uint8_t *copy = g_malloc(MAX(size, 1));

    memcpy(copy, data, size);
    if (colo_rewrite_packet(rw, copy, size, size, vnet_len,
                            options & OPT_OUT, now_ms)) {
        check_changed(data, copy, size, vnet_len);
    } else {
        assert(!memcmp(data, copy, size));
    }
    assert(colo_rewrite_count(rw) <= MAX);
    g_free(copy);
}

static ColoRewrite *inherit(ColoRewrite *old, int64_t now_ms)
{
    ColoRewrite *rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY);
    unsigned n;
    ColoRewriteEntry *entries = colo_rewrite_export(old, &n);

    for (unsigned i = 0; i < n; i++) {
        assert(colo_seq_valid(&entries[i].seq));
    }
    colo_rewrite_checkpoint(rw, entries, n, now_ms);
    assert(colo_rewrite_count(rw) == n);
    g_free(entries);
    colo_rewrite_free(old);
    return rw;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ColoRewrite *rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY);
    int64_t now_ms = 0;

    while (size >= 2) {
        uint8_t options = data[0];
        size_t len = MIN(data[1], size - 2);

        data += 2;
        size -= 2;
        switch (options & OPT_WHAT) {
        case WHAT_CHECKPOINT:
            colo_rewrite_checkpoint(rw, NULL, 0, now_ms);
            break;
        case WHAT_FAILOVER:
            colo_rewrite_alone(rw, options & 8);
            break;
        case WHAT_INHERIT:
            rw = inherit(rw, now_ms);
            break;
        case WHAT_TIME:
            now_ms += len * 1000;
            break;
        default:
            frame(rw, options, data, len, now_ms);
            data += len;
            size -= len;
        }
    }
    colo_rewrite_free(rw);
    return 0;
}
