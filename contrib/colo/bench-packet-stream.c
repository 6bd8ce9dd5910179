/*
 * Frames as a guest sends them: made up, but of realistic kinds and sizes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "bench-packet-stream.h"

#define ETH_LEN 14
#define IP_LEN 20
#define TCP_LEN 20
#define UDP_LEN 8
#define ARP_LEN 28
#define ETH_MIN 60         /* shorter frames are padded */

#define TCP_ACK 0x10
#define TCP_PSH 0x08
#define MSS 1460

typedef enum PacketKind { KIND_TCP, KIND_UDP, KIND_ARP } PacketKind;

typedef struct PacketShape {
    PacketKind kind;
    unsigned payload;
} PacketShape;

/* TCP as in the "simple IMIX": of twelve 7 small, 4 middle, 1 full */
static const PacketShape mixed[] = {
    { KIND_TCP, 0 },    { KIND_TCP, 536 },  { KIND_TCP, 6 },
    { KIND_UDP, 40 },   { KIND_TCP, 0 },    { KIND_TCP, 536 },
    { KIND_TCP, 100 },  { KIND_UDP, 1200 }, { KIND_TCP, MSS },
    { KIND_TCP, 0 },    { KIND_TCP, 536 },  { KIND_UDP, 64 },
    { KIND_TCP, 20 },   { KIND_TCP, 0 },    { KIND_TCP, 536 },
    { KIND_UDP, 512 },  { KIND_TCP, 0 },    { KIND_TCP, 536 },
    { KIND_TCP, 6 },    { KIND_UDP, 40 },   { KIND_TCP, MSS },
    { KIND_TCP, 0 },    { KIND_TCP, 536 },  { KIND_UDP, 1200 },
    { KIND_TCP, 100 },  { KIND_TCP, 0 },    { KIND_TCP, 536 },
    { KIND_UDP, 64 },   { KIND_TCP, 20 },   { KIND_TCP, 0 },
    { KIND_TCP, 536 },  { KIND_ARP, 0 },
};

static const PacketShape tso[] = { { KIND_TCP, 60 * KiB } };
static const PacketShape small[] = { { KIND_TCP, 100 } };

static const struct {
    const PacketShape *shapes;
    unsigned count;
} mixes[] = {
    [PACKET_MIXED] = { mixed, ARRAY_SIZE(mixed) },
    [PACKET_TSO] = { tso, ARRAY_SIZE(tso) },
    [PACKET_SMALL] = { small, ARRAY_SIZE(small) },
};

void packet_stream_init(PacketStream *stream, PacketMix mix)
{
    *stream = (PacketStream) { .mix = mix };
    for (int i = 0; i < PACKET_FLOWS; i++) {
        stream->seq[i] = 0x10000000u * (i + 1);
        stream->ack[i] = 0x01000000 * (i + 1);
    }
}

static void put_ethernet(uint8_t *frame, uint16_t type)
{
    static const uint8_t to[] = { 0x52, 0x54, 0, 0, 0, 1 };
    static const uint8_t from[] = { 0x52, 0x54, 0, 0, 0, 2 };

    memcpy(frame, to, sizeof(to));
    memcpy(frame + 6, from, sizeof(from));
    stw_be_p(frame + 12, type);
}

/* RFC 1071, of a header whose own checksum is 0 yet */
static uint16_t ip_checksum(const uint8_t *header)
{
    uint32_t sum = 0;

    for (int i = 0; i < IP_LEN; i += 2) {
        sum += lduw_be_p(header + i);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return ~(sum + (sum >> 16));
}

/* RFC 791; from 192.0.2.1 (RFC 5737) to 192.0.2.(10 + @flow) */
static void put_ip(uint8_t *ip, uint8_t protocol, unsigned payload,
                   unsigned flow)
{
    memset(ip, 0, IP_LEN);
    ip[0] = 0x45;
    stw_be_p(ip + 2, IP_LEN + payload);
    stw_be_p(ip + 6, 0x4000);          /* don't fragment */
    ip[8] = 64;
    ip[9] = protocol;
    stl_be_p(ip + 12, 0xc0000201);
    stl_be_p(ip + 16, 0xc0000200 + 10 + flow);
    stw_be_p(ip + 10, ip_checksum(ip));
}

static size_t put_tcp(PacketStream *stream, uint8_t *frame, unsigned payload)
{
    unsigned flow = stream->flow++ % PACKET_FLOWS;
    uint8_t *tcp = frame + ETH_LEN + IP_LEN;

    put_ethernet(frame, 0x0800);
    put_ip(frame + ETH_LEN, 6, TCP_LEN + payload, flow);
    memset(tcp, 0, TCP_LEN);
    stw_be_p(tcp, 80);
    stw_be_p(tcp + 2, 40000 + flow);
    stl_be_p(tcp + 4, stream->seq[flow]);
    if (!payload) {
        stream->ack[flow] += 2 * MSS;  /* every second segment, RFC 1122 */
    }
    stl_be_p(tcp + 8, stream->ack[flow]);
    tcp[12] = TCP_LEN / 4 << 4;
    tcp[13] = payload ? TCP_ACK | TCP_PSH : TCP_ACK;
    stw_be_p(tcp + 14, 0xffff);
    memset(tcp + TCP_LEN, 'a' + flow, payload);
    stream->seq[flow] += payload;
    return ETH_LEN + IP_LEN + TCP_LEN + payload;
}

static size_t put_udp(PacketStream *stream, uint8_t *frame, unsigned payload)
{
    unsigned flow = stream->position % PACKET_FLOWS;
    uint8_t *udp = frame + ETH_LEN + IP_LEN;

    put_ethernet(frame, 0x0800);
    put_ip(frame + ETH_LEN, 17, UDP_LEN + payload, flow);
    stw_be_p(udp, 53);
    stw_be_p(udp + 2, 50000 + flow);
    stw_be_p(udp + 4, UDP_LEN + payload);
    stw_be_p(udp + 6, 0);
    memset(udp + UDP_LEN, stream->position, payload);
    return ETH_LEN + IP_LEN + UDP_LEN + payload;
}

/* RFC 826: an answer */
static size_t put_arp(uint8_t *frame)
{
    uint8_t *arp = frame + ETH_LEN;

    put_ethernet(frame, 0x0806);
    memset(arp, 0, ARP_LEN);
    stw_be_p(arp, 1);
    stw_be_p(arp + 2, 0x0800);
    arp[4] = 6;
    arp[5] = 4;
    stw_be_p(arp + 6, 2);
    memcpy(arp + 8, frame + 6, 6);
    stl_be_p(arp + 14, 0xc0000201);
    memcpy(arp + 18, frame, 6);
    stl_be_p(arp + 24, 0xc000020a);
    return ETH_LEN + ARP_LEN;
}

size_t packet_stream_next(PacketStream *stream, uint8_t *frame)
{
    const PacketShape *shape = &mixes[stream->mix].shapes[
        stream->position % mixes[stream->mix].count];
    size_t len;

    switch (shape->kind) {
    case KIND_TCP:
        len = put_tcp(stream, frame, shape->payload);
        break;
    case KIND_UDP:
        len = put_udp(stream, frame, shape->payload);
        break;
    default:
        len = put_arp(frame);
        break;
    }
    stream->position++;
    if (len < ETH_MIN) {
        memset(frame + len, 0, ETH_MIN - len);
        len = ETH_MIN;
    }
    return len;
}
