/*
 * A TCP segment in a lesser form
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-cut.h"

enum {
    PROTO_TCP = 6,
    OFF_FLAGS = 13,             /* in a TCP header */
    IP4_OFF_LENGTH = 2, IP4_OFF_CSUM = 10, IP4_OFF_ADDRESSES = 12,
    IP6_OFF_LENGTH = 4, IP6_OFF_ADDRESSES = 8, IP6_HEADER = 40,
    VNET_OFF_GSO_TYPE = 1, VNET_OFF_HDR_LEN = 2, VNET_OFF_GSO_SIZE = 4,
};

/* RFC 1071, not complemented */
static uint32_t add(uint32_t sum, const uint8_t *data, uint32_t len)
{
    uint64_t wide = sum;

    for (; len > 1; data += 2, len -= 2) {
        wide += lduw_be_p(data);
    }
    wide += len ? *data << 8 : 0;
    while (wide >> 16) {
        wide = (wide & 0xffff) + (wide >> 16);
    }
    return wide;
}

static uint16_t fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

static uint16_t pseudo_sum(const ColoPacket *p, const uint8_t *l3, uint32_t len)
{
    uint32_t sum = p->ip_version == 4 ? add(0, l3 + IP4_OFF_ADDRESSES, 8)
                                      : add(0, l3 + IP6_OFF_ADDRESSES, 32);

    return fold(sum + PROTO_TCP + fold(len));
}

bool colo_cut_possible(const ColoPacket *p)
{
    return p->kind == COLO_KIND_TCP && !p->has_ah && !p->tcp.is_signed;
}

static void set_ip_length(const ColoPacket *p, uint8_t *l3, uint32_t len)
{
    if (p->ip_version == 6) {
        stw_be_p(l3 + IP6_OFF_LENGTH, len - IP6_HEADER);
        return;
    }
    stw_be_p(l3 + IP4_OFF_LENGTH, len);
    stw_be_p(l3 + IP4_OFF_CSUM, 0);
    stw_be_p(l3 + IP4_OFF_CSUM, ~add(0, l3, (l3[0] & 0xf) * 4));
}

/* A virtio-net header asks for no more than there is */
static void set_vnet(const ColoPacket *p, uint8_t *frame, uint32_t payload_len,
                     uint32_t end)
{
    if (p->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
        return;
    }
    if (payload_len <= p->gso_size) {
        frame[VNET_OFF_GSO_TYPE] = VIRTIO_NET_HDR_GSO_NONE;
        stw_he_p(frame + VNET_OFF_GSO_SIZE, 0);
    }
    stw_he_p(frame + VNET_OFF_HDR_LEN, end - payload_len - p->l2_off);
}

uint32_t colo_cut_finish(const ColoPacket *p, uint8_t *frame, uint32_t l4_len,
                         uint32_t payload_len)
{
    uint8_t *l3 = frame + p->l3_off, *tcp = frame + p->l4_off;
    uint32_t len = l4_len + payload_len, end = p->l4_off + len;
    uint16_t pseudo = pseudo_sum(p, l3, len);

    set_ip_length(p, l3, end - p->l3_off);
    if (colo_packet_csum_partial(p)) {
        stw_be_p(tcp + COLO_TCP_OFF_CSUM, pseudo);
    } else {
        stw_be_p(tcp + COLO_TCP_OFF_CSUM, 0);
        stw_be_p(tcp + COLO_TCP_OFF_CSUM, ~add(pseudo, tcp, len));
    }
    set_vnet(p, frame, payload_len, end);
    return end;
}

uint32_t colo_cut(const ColoPacket *p, uint8_t *frame, uint32_t payload_len)
{
    frame[p->l4_off + OFF_FLAGS] &= ~(COLO_TCP_PSH | COLO_TCP_FIN);
    return colo_cut_finish(p, frame, p->l4_len, payload_len);
}
