/*
 * Fuzz target: the packet parser, and flow keys
 *
 * Input: a byte for the length of the vnet header, a byte for how much of the
 * frame is at hand, and the frame.  Each offset reported must be in order and
 * readable; what less of the frame tells must be no more than all of it; a
 * key reversed twice must be the same.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-flow.h"
#include "net/colo-packet.h"
#include "fuzz.h"

/* The optimizer must not leave out the reading. */
static volatile uint8_t sink;

static void touch(const uint8_t *frame, uint32_t off, uint32_t len)
{
    if (len) {
        sink = frame[off];
        sink = frame[off + len - 1];
    }
}

static void check_tcp(const ColoPacket *p, const uint8_t *frame)
{
    uint32_t options = p->l4_off + 20, end = p->l4_off + p->l4_len;
    const ColoTcp *tcp = &p->tcp;

    assert(p->l4_len >= 20 && p->l4_len <= 60);
    assert(!tcp->ts_off ||
           (tcp->ts_off >= options && tcp->ts_off + 8 <= end));
    assert(tcp->n_sack <= COLO_SACK_BLOCKS);
    assert(!tcp->n_sack || (tcp->sack_off >= options &&
                            tcp->sack_off + tcp->n_sack * 8 <= end));
}

static void check(const ColoPacket *p, const uint8_t *frame, size_t have,
                  size_t size, size_t vnet_len)
{
    assert(p->kind < COLO_KIND__MAX);
    assert(p->size == size);
    assert(p->l2_off == MIN(vnet_len, size));
    assert(p->l3_off >= p->l2_off && p->l4_off >= p->l3_off);
    assert(p->payload_off == p->l4_off + p->l4_len);
    assert(p->payload_off <= size);
    assert(p->payload_len <= size - p->payload_off);
    assert(p->n_vlan <= COLO_VLAN_TAGS);
    assert(!p->l4_len || p->payload_off <= have);
    assert((p->kind == COLO_KIND_FRAGMENT) == (p->frag != COLO_FRAG_NONE));
    assert(!p->ip_version == (p->kind <= COLO_KIND_ARP));
    touch(frame, p->l2_off, MIN(p->l4_off + p->l4_len, have) -
          MIN(p->l2_off, have));
    if (p->l4_len && p->ip_proto == 6) {
        check_tcp(p, frame);
    }
    if (colo_packet_csum_partial(p)) {
        assert(p->csum_start + p->csum_offset + 2 <= size - p->l2_off);
    }
}

static void check_key(const ColoPacket *p, const uint8_t *frame, size_t have)
{
    ColoFlowKey key, other;

    if (have < p->size) {
        return; /* a key may need the MAC addresses */
    }
    colo_flow_key(&key, p, frame);
    other = key;
    colo_flow_key_reverse(&other);
    colo_flow_key_canonical(&other);
    colo_flow_key_canonical(&key);
    assert(colo_flow_key_equal(&key, &other));
    assert(colo_flow_key_hash(&key, 1) == colo_flow_key_hash(&other, 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t vnet_lens[] = { 0, 10, 12, 20 };
    size_t vnet_len, have;
    ColoPacket all, head;

    if (size < 2) {
        return 0;
    }
    vnet_len = vnet_lens[data[0] % 4];
    have = MIN(data[1], size - 2);
    data += 2;
    size -= 2;

    colo_packet_parse(&all, data, size, vnet_len);
    check(&all, data, size, size, vnet_len);
    check_key(&all, data, size);

    colo_packet_parse_head(&head, data, have, size, vnet_len);
    check(&head, data, have, size, vnet_len);
    assert(!head.l4_len || head.kind == all.kind);
    return 0;
}
