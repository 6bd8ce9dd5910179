/*
 * Are two frames the same, but for what may differ?
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-same.h"

/* Offsets in IPv4 and IPv6 headers, RFC 791 and RFC 8200 */
enum {
    IPV4_ID = 4,
    IPV4_CHECKSUM = 10,
    IPV6_FLOW_LABEL = 1,
    IPV6_FRAGMENT_ID_BEFORE_L4 = 4,
};

/* Compares two frames from left to right */
typedef struct Cursor {
    const uint8_t *p;           /* behind the virtio-net header */
    const uint8_t *s;
    uint32_t at;
    bool equal;
} Cursor;

static void compare_up_to(Cursor *c, uint32_t to)
{
    c->equal = c->equal && !memcmp(c->p + c->at, c->s + c->at, to - c->at);
    c->at = to;
}

static void skip(Cursor *c, uint32_t from, uint32_t len)
{
    compare_up_to(c, from);
    c->at += len;
}

/*
 * Of the byte which holds a part of the traffic class and the upper bits of the
 * flow label, only the former counts.
 */
static void skip_flow_label(Cursor *c, uint32_t from)
{
    compare_up_to(c, from);
    c->equal = c->equal && (c->p[from] & 0xf0) == (c->s[from] & 0xf0);
    c->at += 3;
}

static bool has_fragment_id(const ColoPacket *packet, const uint8_t *frame)
{
    return packet->l4_off - packet->l3_off >= 48 &&
           ldl_be_p(frame + packet->l4_off - IPV6_FRAGMENT_ID_BEFORE_L4) ==
           packet->frag_id;
}

static void compare_headers(Cursor *c, const ColoPacket *p,
                            const uint8_t *pframe, const ColoPacket *s,
                            const uint8_t *sframe)
{
    uint32_t l3 = p->l3_off - p->l2_off, l4 = p->l4_off - p->l2_off;

    if (p->ip_version == 4 && s->ip_version == 4) {
        skip(c, l3 + IPV4_ID, 2);
        skip(c, l3 + IPV4_CHECKSUM, 2);
    } else if (p->ip_version == 6 && s->ip_version == 6) {
        skip_flow_label(c, l3 + IPV6_FLOW_LABEL);
        if (p->kind == COLO_KIND_FRAGMENT && has_fragment_id(p, pframe) &&
            has_fragment_id(s, sframe)) {
            skip(c, l4 - IPV6_FRAGMENT_ID_BEFORE_L4, 4);
        }
    }
    compare_up_to(c, p->payload_off - p->l2_off);
}

/* With the checksum left to the device, the field holds no checksum yet */
static bool same_checksum_left(const ColoPacket *p, const ColoPacket *s)
{
    return colo_packet_csum_partial(p) == colo_packet_csum_partial(s);
}

ColoReason colo_same_frame(const ColoPacket *p, const uint8_t *pframe,
                           const ColoPacket *s, const uint8_t *sframe)
{
    Cursor c = {
        .p = pframe + p->l2_off, .s = sframe + s->l2_off, .equal = true,
    };

    if (p->size - p->l2_off != s->size - s->l2_off) {
        return COLO_REASON_LENGTH;
    }
    if (p->kind != s->kind || !same_checksum_left(p, s) ||
        p->l3_off - p->l2_off != s->l3_off - s->l2_off ||
        p->l4_off - p->l2_off != s->l4_off - s->l2_off ||
        p->payload_off - p->l2_off != s->payload_off - s->l2_off) {
        return COLO_REASON_HEADER;
    }
    compare_headers(&c, p, pframe, s, sframe);
    if (!c.equal) {
        return COLO_REASON_HEADER;
    }
    compare_up_to(&c, p->size - p->l2_off);
    return c.equal ? COLO_REASON_NONE : COLO_REASON_DATA;
}
