/*
 * What is in an Ethernet frame
 *
 *     ColoPacket p;
 *     colo_packet_parse(&p, frame, size, vnet_len);
 *     if (p.kind == COLO_KIND_TCP) { ... p.tcp.seq ... frame + p.payload_off
 *
 * Pure: no I/O, no allocation, no state; any thread.
 *
 * Guaranteed for any bytes whatsoever:
 * - nothing outside of frame[0 .. have) is read;
 * - vnet_len <= l2_off <= l3_off <= l4_off <= payload_off, and payload_off +
 *   payload_len <= size, except that a frame shorter than the vnet header
 *   has all offsets equal to its size;
 * - each header whose kind or length is reported lies within "have" bytes,
 *   so that l4_off + l4_len <= have, and so do the options reported;
 * - what a length in a header says is believed only where it is possible.
 *   A truncated or lying header gives the kind one level lower: a bad TCP
 *   header COLO_KIND_IP, a bad IP header COLO_KIND_FRAME.
 * Bytes behind the end that the IP header tells (padding of short frames)
 * belong to no payload.
 *
 * Checksums are not looked at.
 *
 * Sources: IEEE 802.1Q; RFC 791 (IPv4), 8200 (IPv6), 4302 (AH), 9293 (TCP),
 * 7323 (timestamps), 2018 (SACK), 2385 and 5925 (signatures), 768 (UDP),
 * 792 and 4443 (ICMP), 826 (ARP), virtio 1.1 section 5.1.6 (vnet header).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_PACKET_H
#define NET_COLO_PACKET_H

#include "standard-headers/linux/virtio_net.h"

typedef enum ColoKind {
    COLO_KIND_FRAME,        /* anything else, or too short, or lying */
    COLO_KIND_ARP,          /* for IPv4 over Ethernet */
    COLO_KIND_IP,           /* IPv4 or IPv6 with anything else inside */
    COLO_KIND_FRAGMENT,     /* of IPv4 or IPv6; see ColoPacket.frag */
    COLO_KIND_TCP,
    COLO_KIND_UDP,
    COLO_KIND_ICMP,
    COLO_KIND_ICMPV6,
    COLO_KIND__MAX,
} ColoKind;

typedef enum ColoFrag {
    COLO_FRAG_NONE,
    COLO_FRAG_FIRST,        /* offset 0, more to come */
    COLO_FRAG_LATER,
} ColoFrag;

enum {
    /* Tags looked through; a frame with more is COLO_KIND_FRAME */
    COLO_VLAN_TAGS = 2,
    /* IPv6 extension headers (and AH) looked through; with more it is _IP */
    COLO_EXT_HEADERS = 8,
    /* RFC 2018: more do not fit into 40 bytes of options */
    COLO_SACK_BLOCKS = 4,

    COLO_TCP_FIN = 0x01,
    COLO_TCP_SYN = 0x02,
    COLO_TCP_RST = 0x04,
    COLO_TCP_PSH = 0x08,
    COLO_TCP_ACK = 0x10,
    COLO_TCP_URG = 0x20,

    /* offsets within a TCP header */
    COLO_TCP_OFF_SEQ = 4,
    COLO_TCP_OFF_ACK = 8,
    COLO_TCP_OFF_CSUM = 16,
    COLO_UDP_OFF_CSUM = 6,
};

/* Everything in host byte order.  Offsets *_off count from frame[0]. */
typedef struct ColoTcp {
    uint32_t seq;
    uint32_t ack;               /* has a meaning only with COLO_TCP_ACK */
    uint16_t window;            /* not scaled */
    uint16_t urgent;
    uint8_t flags;              /* COLO_TCP_*, and ECE, CWR */
    /*
     * Options.  An option that occurs twice counts as the last of them, as
     * Linux does it; of malformed ones nothing is reported, nor of those
     * behind them.
     */
    bool has_mss, has_wscale, sack_permitted, malformed_options;
    /* MD5 or TCP-AO: whoever changes the packet makes it invalid */
    bool is_signed;
    uint8_t wscale;
    uint16_t mss;
    uint8_t n_sack;             /* blocks of 8 bytes */
    uint32_t sack_off;          /* of the first block; not aligned */
    uint32_t ts_off;            /* of TSval, TSecr follows; 0: no option */
    uint32_t tsval, tsecr;
} ColoTcp;

typedef struct ColoPacket {
    ColoKind kind;
    uint32_t size;              /* bytes, vnet header included */

    /* vnet header: zero where there is none */
    uint8_t vnet_flags;         /* VIRTIO_NET_HDR_F_* */
    uint8_t gso_type;           /* VIRTIO_NET_HDR_GSO_* */
    uint16_t gso_size;          /* bytes of payload in each segment */
    uint16_t csum_start, csum_offset;   /* counted from l2_off */

    uint32_t l2_off;            /* behind the vnet header */
    uint32_t l3_off;            /* behind MAC addresses, tags, EtherType */
    uint32_t l4_off;            /* behind IP options, extension headers */
    uint32_t payload_off;
    uint32_t payload_len;

    uint16_t eth_type;          /* of the payload; 0: none (802.3, runt) */
    uint8_t n_vlan;             /* tags */
    uint16_t vlan[COLO_VLAN_TAGS];      /* VLAN id, outermost first */

    /* Where ip_version is 4 or 6 */
    uint8_t ip_version;         /* 0: no (sound) IP header */
    uint8_t ip_proto;           /* behind all the headers looked through */
    bool has_ah;                /* authenticated: changes make it invalid */
    ColoFrag frag;
    uint32_t frag_id;
    uint32_t frag_off;          /* bytes */
    bool frag_more;
    uint8_t src[16], dst[16];   /* IPv4: the first 4 bytes, the others 0 */

    /*
     * TCP, UDP, ICMP: length of the header, TCP's options included.  0 where
     * there is none of these, as in later fragments.  A first fragment which
     * has the header is of kind COLO_KIND_FRAGMENT with this set.
     */
    uint8_t l4_len;
    uint16_t src_port, dst_port;        /* ICMP echo: both the identifier */
    uint8_t icmp_type, icmp_code;
    ColoTcp tcp;                /* where ip_proto is TCP and l4_len not 0 */
} ColoPacket;

/*
 * @frame has @size bytes, a virtio-net header of @vnet_len bytes (0: none)
 * included.  Always fills in all of @p.
 */
void colo_packet_parse(ColoPacket *p, const uint8_t *frame, size_t size,
                       size_t vnet_len);

/*
 * The same where only the first @have of the frame's @size bytes are at
 * @frame.  Headers that do not end there count as truncated.
 */
void colo_packet_parse_head(ColoPacket *p, const uint8_t *frame, size_t have,
                            size_t size, size_t vnet_len);

/*
 * The TCP or UDP checksum is left to the device (vnet header's NEEDS_CSUM):
 * the field holds the sum of the pseudo header, into which neither ports
 * nor sequence numbers enter.
 */
bool colo_packet_csum_partial(const ColoPacket *p);

/* "tcp", "frame", ...: for traces, statistics and tests. */
const char *colo_kind_name(ColoKind kind);

/* Sequence numbers and timestamps, which wrap (RFC 9293 3.4, RFC 7323 5.2) */
static inline bool colo_seq_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline bool colo_seq_after(uint32_t a, uint32_t b)
{
    return colo_seq_before(b, a);
}

/* Sequence numbers that a segment takes: payload, SYN, and FIN. */
static inline uint32_t colo_tcp_seq_len(const ColoPacket *p)
{
    return p->payload_len + !!(p->tcp.flags & COLO_TCP_SYN) +
           !!(p->tcp.flags & COLO_TCP_FIN);
}

#endif
