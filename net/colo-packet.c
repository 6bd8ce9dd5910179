/*
 * What is in an Ethernet frame: see colo-packet.h
 *
 * Each parse_* function looks at one header. It returns false, and leaves the
 * kind as it was, where the header is not all there or cannot be true.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-packet.h"

enum {
    ETHER_HEADER = 14,
    ETHER_TYPE_MIN = 0x600,     /* below it is a length: IEEE 802.3 */
    ETHER_IPV4 = 0x0800,
    ETHER_ARP = 0x0806,
    ETHER_VLAN = 0x8100,
    ETHER_IPV6 = 0x86dd,
    ETHER_QINQ = 0x88a8,
    ETHER_QINQ_OLD = 0x9100,

    IPV4_HEADER = 20,
    IPV6_HEADER = 40,
    ARP_LENGTH = 28,            /* with MAC and IPv4 addresses */
    TCP_HEADER = 20,
    UDP_HEADER = 8,
    ICMP_HEADER = 8,
    ICMPV6_HEADER = 4,

    PROTO_HOP_BY_HOP = 0,
    PROTO_ICMP = 1,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_AH = 51,
    PROTO_ICMPV6 = 58,
    PROTO_DEST_OPTIONS = 60,

    TCP_OPT_END = 0,
    TCP_OPT_NOP = 1,
    TCP_OPT_MSS = 2,
    TCP_OPT_WSCALE = 3,
    TCP_OPT_SACK_PERMITTED = 4,
    TCP_OPT_SACK = 5,
    TCP_OPT_TIMESTAMP = 8,
    TCP_OPT_MD5 = 19,
    TCP_OPT_AO = 29,
};

/* The bytes at hand, and where the innermost sound length says they end */
typedef struct Cursor {
    const uint8_t *frame;
    uint32_t have;              /* may be read */
    uint32_t end;               /* of what the outer header contains */
} Cursor;

/* @len bytes at @off are part of the packet and may be read. */
static bool readable(const Cursor *c, uint32_t off, uint32_t len)
{
    return off <= c->end && len <= c->end - off &&
           off <= c->have && len <= c->have - off;
}

static bool parse_tcp_option(ColoTcp *tcp, const uint8_t *opt, uint8_t len,
                             uint32_t off)
{
    switch (opt[0]) {
    case TCP_OPT_MSS:
        if (len != 4) {
            return false;
        }
        tcp->has_mss = true;
        tcp->mss = lduw_be_p(opt + 2);
        break;
    case TCP_OPT_WSCALE:
        if (len != 3) {
            return false;
        }
        tcp->has_wscale = true;
        tcp->wscale = opt[2];
        break;
    case TCP_OPT_SACK_PERMITTED:
        if (len != 2) {
            return false;
        }
        tcp->sack_permitted = true;
        break;
    case TCP_OPT_SACK:
        if (len < 10 || (len - 2) % 8) {
            return false;
        }
        tcp->n_sack = (len - 2) / 8;
        tcp->sack_off = off + 2;
        break;
    case TCP_OPT_TIMESTAMP:
        if (len != 10) {
            return false;
        }
        tcp->ts_off = off + 2;
        tcp->tsval = ldl_be_p(opt + 2);
        tcp->tsecr = ldl_be_p(opt + 6);
        break;
    case TCP_OPT_MD5:
    case TCP_OPT_AO:
        tcp->is_signed = true;
        break;
    }
    return true;
}

/* The options lie at @off and end at @end, all of them readable. */
static void parse_tcp_options(ColoTcp *tcp, const uint8_t *frame,
                              uint32_t off, uint32_t end)
{
    while (off < end && frame[off] != TCP_OPT_END) {
        uint8_t len;

        if (frame[off] == TCP_OPT_NOP) {
            off++;
            continue;
        }
        len = end - off >= 2 ? frame[off + 1] : 0;
        if (len < 2 || len > end - off ||
            !parse_tcp_option(tcp, frame + off, len, off)) {
            tcp->malformed_options = true;
            return;
        }
        off += len;
    }
}

static bool parse_tcp(ColoPacket *p, const Cursor *c)
{
    const uint8_t *tcp = c->frame + p->l4_off;
    uint32_t len;

    if (!readable(c, p->l4_off, TCP_HEADER)) {
        return false;
    }
    len = (tcp[12] >> 4) * 4;
    if (len < TCP_HEADER || !readable(c, p->l4_off, len)) {
        return false;
    }
    p->l4_len = len;
    p->src_port = lduw_be_p(tcp);
    p->dst_port = lduw_be_p(tcp + 2);
    p->tcp.seq = ldl_be_p(tcp + COLO_TCP_OFF_SEQ);
    p->tcp.ack = ldl_be_p(tcp + COLO_TCP_OFF_ACK);
    p->tcp.flags = tcp[13];
    p->tcp.window = lduw_be_p(tcp + 14);
    p->tcp.urgent = lduw_be_p(tcp + 18);
    parse_tcp_options(&p->tcp, c->frame, p->l4_off + TCP_HEADER,
                      p->l4_off + len);
    p->kind = COLO_KIND_TCP;
    return true;
}

static bool parse_udp(ColoPacket *p, Cursor *c)
{
    const uint8_t *udp = c->frame + p->l4_off;
    uint32_t len;

    if (!readable(c, p->l4_off, UDP_HEADER)) {
        return false;
    }
    len = lduw_be_p(udp + 4);
    if (p->frag == COLO_FRAG_NONE) {
        if (len < UDP_HEADER || len > c->end - p->l4_off) {
            return false;
        }
        c->end = p->l4_off + len;
    }
    p->l4_len = UDP_HEADER;
    p->src_port = lduw_be_p(udp);
    p->dst_port = lduw_be_p(udp + 2);
    p->kind = COLO_KIND_UDP;
    return true;
}

/* Types with an identifier, in ICMP (RFC 792) and in ICMPv6 (RFC 4443) */
static bool icmp_has_id(uint8_t ip_version, uint8_t type)
{
    return ip_version == 4 ? type == 0 || type == 8 || type == 13 || type == 14
                           : type == 128 || type == 129;
}

static bool parse_icmp(ColoPacket *p, const Cursor *c)
{
    bool v4 = p->ip_version == 4;
    const uint8_t *icmp = c->frame + p->l4_off;
    uint32_t len = v4 ? ICMP_HEADER : ICMPV6_HEADER;

    /* Only one of the two belongs into each IP version. */
    if (p->ip_proto != (v4 ? PROTO_ICMP : PROTO_ICMPV6) ||
        !readable(c, p->l4_off, len)) {
        return false;
    }
    p->l4_len = len;
    p->icmp_type = icmp[0];
    p->icmp_code = icmp[1];
    if (icmp_has_id(p->ip_version, icmp[0]) && readable(c, p->l4_off, 6)) {
        p->src_port = p->dst_port = lduw_be_p(icmp + 4);
    }
    p->kind = v4 ? COLO_KIND_ICMP : COLO_KIND_ICMPV6;
    return true;
}

static bool parse_l4(ColoPacket *p, Cursor *c)
{
    switch (p->ip_proto) {
    case PROTO_TCP:
        return parse_tcp(p, c);
    case PROTO_UDP:
        return parse_udp(p, c);
    case PROTO_ICMP:
    case PROTO_ICMPV6:
        return parse_icmp(p, c);
    default:
        return false;
    }
}

static bool parse_fragment_header(ColoPacket *p, const uint8_t *ext)
{
    uint16_t field = lduw_be_p(ext + 2);

    if (p->frag != COLO_FRAG_NONE) {
        return false;
    }
    p->frag_off = field & 0xfff8;
    p->frag_more = field & 1;
    p->frag_id = ldl_be_p(ext + 4);
    /* RFC 6946: an "atomic" fragment, the first and last one, is none */
    if (p->frag_off) {
        p->frag = COLO_FRAG_LATER;
    } else if (p->frag_more) {
        p->frag = COLO_FRAG_FIRST;
    }
    return true;
}

/*
 * Walks over the headers between IP and the protocol: IPv6 extension
 * headers, and AH in either version.  Afterwards l4_off and ip_proto tell
 * where it has ended.  False where one of them is not sound.
 */
static bool walk_extensions(ColoPacket *p, const Cursor *c)
{
    for (int i = 0; i < COLO_EXT_HEADERS; i++) {
        const uint8_t *ext = c->frame + p->l4_off;
        uint32_t len;

        switch (p->ip_proto) {
        case PROTO_HOP_BY_HOP:
        case PROTO_ROUTING:
        case PROTO_FRAGMENT:
        case PROTO_DEST_OPTIONS:
            if (p->ip_version == 4) {
                return true;
            }
            break;
        case PROTO_AH:
            break;
        default:
            return true;
        }

        if (!readable(c, p->l4_off, 8)) {
            return false;
        }
        switch (p->ip_proto) {
        case PROTO_FRAGMENT:
            len = 8;
            if (!parse_fragment_header(p, ext)) {
                return false;
            }
            break;
        case PROTO_AH:
            len = (ext[1] + 2) * 4;
            p->has_ah = true;
            break;
        default:
            len = (ext[1] + 1) * 8;
        }
        if (!readable(c, p->l4_off, len)) {
            return false;
        }
        p->ip_proto = ext[0];
        p->l4_off += len;
        if (p->frag == COLO_FRAG_LATER) {
            return true;
        }
    }
    /* Too many of them; what comes next is not looked at. */
    return false;
}

static void parse_ip_payload(ColoPacket *p, Cursor *c)
{
    bool sound = true;

    p->kind = COLO_KIND_IP;
    p->l4_off = p->payload_off;
    if (p->frag != COLO_FRAG_LATER) {
        sound = walk_extensions(p, c);
    }
    if (sound && p->frag != COLO_FRAG_LATER) {
        parse_l4(p, c);
    }
    if (p->frag != COLO_FRAG_NONE) {
        p->kind = COLO_KIND_FRAGMENT;
    }
    p->payload_off = p->l4_off + p->l4_len;
    p->payload_len = c->end - p->payload_off;
}

static bool parse_ipv4(ColoPacket *p, Cursor *c)
{
    const uint8_t *ip = c->frame + p->l3_off;
    uint32_t header, total;
    uint16_t field;

    if (!readable(c, p->l3_off, IPV4_HEADER) || ip[0] >> 4 != 4) {
        return false;
    }
    header = (ip[0] & 0xf) * 4;
    total = lduw_be_p(ip + 2);
    if (header < IPV4_HEADER || total < header ||
        total > c->end - p->l3_off || !readable(c, p->l3_off, header)) {
        return false;
    }
    c->end = p->l3_off + total;

    p->ip_version = 4;
    p->ip_proto = ip[9];
    memcpy(p->src, ip + 12, 4);
    memcpy(p->dst, ip + 16, 4);

    field = lduw_be_p(ip + 6);
    p->frag_id = lduw_be_p(ip + 4);
    p->frag_off = (field & 0x1fff) * 8;
    p->frag_more = field & 0x2000;
    if (p->frag_off) {
        p->frag = COLO_FRAG_LATER;
    } else if (p->frag_more) {
        p->frag = COLO_FRAG_FIRST;
    }

    p->payload_off = p->l3_off + header;
    parse_ip_payload(p, c);
    return true;
}

/* Jumbograms (RFC 2675) say 0 here; no NIC of ours has them. */
static bool parse_ipv6(ColoPacket *p, Cursor *c)
{
    const uint8_t *ip = c->frame + p->l3_off;
    uint32_t len;

    if (!readable(c, p->l3_off, IPV6_HEADER) || ip[0] >> 4 != 6) {
        return false;
    }
    len = lduw_be_p(ip + 4);
    if (len > c->end - p->l3_off - IPV6_HEADER) {
        return false;
    }
    c->end = p->l3_off + IPV6_HEADER + len;

    p->ip_version = 6;
    p->ip_proto = ip[6];
    memcpy(p->src, ip + 8, 16);
    memcpy(p->dst, ip + 24, 16);

    p->payload_off = p->l3_off + IPV6_HEADER;
    parse_ip_payload(p, c);
    return true;
}

static bool parse_arp(ColoPacket *p, const Cursor *c)
{
    static const uint8_t ethernet_ipv4[] = { 0, 1, 8, 0, 6, 4 };

    if (!readable(c, p->l3_off, ARP_LENGTH) ||
        memcmp(c->frame + p->l3_off, ethernet_ipv4, sizeof(ethernet_ipv4))) {
        return false;
    }
    p->kind = COLO_KIND_ARP;
    p->payload_len = ARP_LENGTH;
    return true;
}

static bool is_vlan(uint16_t type)
{
    return type == ETHER_VLAN || type == ETHER_QINQ || type == ETHER_QINQ_OLD;
}

/* Sets l3_off and eth_type; false where these are not to be found. */
static bool parse_ethernet(ColoPacket *p, const Cursor *c)
{
    uint32_t off = p->l2_off + ETHER_HEADER;
    uint16_t type;

    if (!readable(c, p->l2_off, ETHER_HEADER)) {
        return false;
    }
    type = lduw_be_p(c->frame + off - 2);
    while (is_vlan(type)) {
        if (p->n_vlan == COLO_VLAN_TAGS || !readable(c, off, 4)) {
            return false;
        }
        p->vlan[p->n_vlan++] = lduw_be_p(c->frame + off) & 0xfff;
        type = lduw_be_p(c->frame + off + 2);
        off += 4;
    }
    p->l3_off = off;
    p->eth_type = type >= ETHER_TYPE_MIN ? type : 0;
    return true;
}

static void parse_vnet(ColoPacket *p, const Cursor *c, uint32_t vnet_len)
{
    const uint8_t *vnet = c->frame;

    if (vnet_len < sizeof(struct virtio_net_hdr) ||
        !readable(c, 0, sizeof(struct virtio_net_hdr))) {
        return;
    }
    p->vnet_flags = vnet[0];
    p->gso_type = vnet[1];
    p->gso_size = lduw_le_p(vnet + 4);
    p->csum_start = lduw_le_p(vnet + 6);
    p->csum_offset = lduw_le_p(vnet + 8);
}

void colo_packet_parse_head(ColoPacket *p, const uint8_t *frame, size_t have,
                            size_t size, size_t vnet_len)
{
    Cursor c = { .frame = frame };

    /* Sums of offsets below stay far from wrapping. */
    size = MIN(size, INT32_MAX);
    c.end = size;
    c.have = MIN(have, size);
    vnet_len = MIN(vnet_len, size);

    *p = (ColoPacket) { .kind = COLO_KIND_FRAME, .size = size };
    parse_vnet(p, &c, vnet_len);
    p->l2_off = p->l3_off = vnet_len;

    if (!parse_ethernet(p, &c)) {
        /* l3_off is still where the frame begins: all of it is payload */
        p->n_vlan = 0;
        memset(p->vlan, 0, sizeof(p->vlan));
    }
    p->l4_off = p->payload_off = p->l3_off;
    p->payload_len = c.end - p->payload_off;

    switch (p->eth_type) {
    case ETHER_IPV4:
        parse_ipv4(p, &c);
        break;
    case ETHER_IPV6:
        parse_ipv6(p, &c);
        break;
    case ETHER_ARP:
        parse_arp(p, &c);
        break;
    }
}

void colo_packet_parse(ColoPacket *p, const uint8_t *frame, size_t size,
                       size_t vnet_len)
{
    colo_packet_parse_head(p, frame, size, size, vnet_len);
}

bool colo_packet_csum_partial(const ColoPacket *p)
{
    uint32_t field = p->ip_proto == PROTO_TCP ? COLO_TCP_OFF_CSUM
                                              : COLO_UDP_OFF_CSUM;

    return (p->vnet_flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && p->l4_len &&
           (p->ip_proto == PROTO_TCP || p->ip_proto == PROTO_UDP) &&
           p->csum_start == p->l4_off - p->l2_off && p->csum_offset == field;
}

const char *colo_kind_name(ColoKind kind)
{
    static const char *const names[COLO_KIND__MAX] = {
        [COLO_KIND_FRAME] = "frame",
        [COLO_KIND_ARP] = "arp",
        [COLO_KIND_IP] = "ip",
        [COLO_KIND_FRAGMENT] = "fragment",
        [COLO_KIND_TCP] = "tcp",
        [COLO_KIND_UDP] = "udp",
        [COLO_KIND_ICMP] = "icmp",
        [COLO_KIND_ICMPV6] = "icmpv6",
    };

    return kind < COLO_KIND__MAX ? names[kind] : "?";
}
