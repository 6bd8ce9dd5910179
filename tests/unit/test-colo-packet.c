/*
 * Tests of the packet parser: packets as text in, descriptions out
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-flow.h"
#include "net/colo-packet.h"
#include "colo-packet-text.h"

#define IP4 "ip4 10.0.0.1 > 10.0.0.2 "
#define IP6 "ip6 fe80::1 > fe80::2 "
#define TCP "tcp 80 > 999 "

/* What a case says about the packet; see describe(). */
typedef struct Case {
    const char *packet;
    const char *expected;
} Case;

static void append_tcp(GString *s, const ColoPacket *p)
{
    const ColoTcp *tcp = &p->tcp;

    g_string_append_printf(s, " seq %u ack %u", tcp->seq, tcp->ack);
    if (tcp->urgent) {
        g_string_append_printf(s, " urg %u", tcp->urgent);
    }
    if (tcp->has_mss) {
        g_string_append_printf(s, " mss %u", tcp->mss);
    }
    if (tcp->has_wscale) {
        g_string_append_printf(s, " ws %u", tcp->wscale);
    }
    if (tcp->sack_permitted) {
        g_string_append(s, " sackok");
    }
    if (tcp->ts_off) {
        g_string_append_printf(s, " ts@%u %u:%u", tcp->ts_off - p->l4_off,
                               tcp->tsval, tcp->tsecr);
    }
    if (tcp->n_sack) {
        g_string_append_printf(s, " sack@%u*%u", tcp->sack_off - p->l4_off,
                               tcp->n_sack);
    }
    if (tcp->is_signed) {
        g_string_append(s, " signed");
    }
    if (tcp->malformed_options) {
        g_string_append(s, " malformed");
    }
}

/*
 * KIND @L4 +HEADER +PAYLOAD, and behind it what else there is:
 *     "tcp @34 +20 +10: tcp 10.0.0.1:80 > 10.0.0.2:999 seq 1 ack 2 ..."
 */
static char *describe(const ColoPacket *p, const uint8_t *frame)
{
    GString *s = g_string_new(colo_kind_name(p->kind));
    g_autofree char *flow = NULL;
    ColoFlowKey key;

    g_string_append_printf(s, " @%u +%u +%u", p->l4_off - p->l2_off, p->l4_len,
                           p->payload_len);
    if (p->frag != COLO_FRAG_NONE) {
        g_string_append_printf(s, " frag %u%s", p->frag_off,
                               p->frag_more ? "+" : "");
    }
    if (p->has_ah) {
        g_string_append(s, " ah");
    }
    if (p->gso_type) {
        g_string_append_printf(s, " gso %u", p->gso_size);
    }
    if (colo_packet_csum_partial(p)) {
        g_string_append(s, " partial");
    }
    colo_flow_key(&key, p, frame);
    flow = colo_flow_key_str(&key);
    g_string_append_printf(s, ": %s", flow);
    if (p->l4_len && p->ip_proto == 6) {
        append_tcp(s, p);
    }
    return g_string_free(s, false);
}

static void check_offsets(const ColoPacket *p, size_t have)
{
    g_assert_cmpuint(p->l2_off, <=, p->l3_off);
    g_assert_cmpuint(p->l3_off, <=, p->l4_off);
    g_assert_cmpuint(p->l4_off + p->l4_len, ==, p->payload_off);
    g_assert_cmpuint(p->payload_off + p->payload_len, <=, p->size);
    if (p->l4_len) {
        g_assert_cmpuint(p->payload_off, <=, have);
    }
}

static void run_cases(const Case *cases, size_t n)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();

    for (size_t i = 0; i < n; i++) {
        g_autofree char *got = NULL;
        g_autofree uint8_t *exact = NULL;
        ColoPacket p;

        packet_build(frame, cases[i].packet);
        /* memory of just that size, so that a sanitizer sees one too many */
        exact = g_memdup2(frame->data, frame->len);
        colo_packet_parse(&p, exact, frame->len,
                          packet_vnet_len(cases[i].packet));
        check_offsets(&p, frame->len);
        got = describe(&p, exact);
        if (!g_str_equal(got, cases[i].expected)) {
            g_error("%s\n     got: %s\nexpected: %s", cases[i].packet, got,
                    cases[i].expected);
        }
    }
}

static void test_link(void)
{
    static const Case cases[] = {
        { "type=1234 len=46",
          "frame @14 +0 +46: type 0x1234 02:00:00:00:00:01 > "
          "02:00:00:00:00:02" },
        { "type=0026 len=46", /* 802.3 */
          "frame @14 +0 +46: type 0x0000 02:00:00:00:00:01 > "
          "02:00:00:00:00:02" },
        { "type=1234 cut=13",
          "frame @0 +0 +13: type 0x0000 02:00:00:00:00:01 > "
          "02:00:00:00:00:02" },
        { "type=1234 cut=1",
          "frame @0 +0 +1: type 0x0000 00:00:00:00:00:00 > "
          "00:00:00:00:00:00" },
        { "vlan=5 type=1234 len=2",
          "frame @18 +0 +2: type 0x1234 02:00:00:00:00:01 > "
          "02:00:00:00:00:02 vlan 5" },
        { "arp pad=18",
          "arp @14 +0 +28: type 0x0806 02:00:00:00:00:01 > "
          "02:00:00:00:00:02" },
        { "qinq=7 vlan=8 arp",
          "arp @22 +0 +28: type 0x0806 02:00:00:00:00:01 > "
          "02:00:00:00:00:02 vlan 7 vlan 8" },
        { "arp cut=41",
          "frame @14 +0 +27: type 0x0806 02:00:00:00:00:01 > "
          "02:00:00:00:00:02" },
        { "arp set=18:10", /* hardware addresses of 16 bytes */
          "frame @14 +0 +28: type 0x0806 02:00:00:00:00:01 > "
          "02:00:00:00:00:02" },
        { "qinq=7 vlan=8 vlan=9 arp", /* too many to look through */
          "frame @0 +0 +54: type 0x0000 02:00:00:00:00:01 > "
          "02:00:00:00:00:02" },
        { "vlan=5 " IP4 TCP "S cut=17",
          "frame @0 +0 +17: type 0x0000 02:00:00:00:00:01 > "
          "02:00:00:00:00:02" },
        { "vlan=5 " IP4 TCP "A seq=1 ack=2 len=3",
          "tcp @38 +20 +3: tcp 10.0.0.1:80 > 10.0.0.2:999 vlan 5 "
          "seq 1 ack 2" },
        { "qinq=100 vlan=5 " IP6 TCP "A seq=1 ack=2 len=3",
          "tcp @62 +20 +3: tcp [fe80::1]:80 > [fe80::2]:999 vlan 100 vlan 5 "
          "seq 1 ack 2" },
        { "vlan=0x6000 " IP4 TCP "S", /* priority only */
          "tcp @38 +20 +0: tcp 10.0.0.1:80 > 10.0.0.2:999 seq 0 ack 0" },
    };

    run_cases(cases, ARRAY_SIZE(cases));
}

static void test_ipv4(void)
{
    static const Case cases[] = {
        { IP4 TCP "A len=10 pad=6",
          "tcp @34 +20 +10: tcp 10.0.0.1:80 > 10.0.0.2:999 seq 0 ack 0" },
        { IP4 "ipopt=40 " TCP "A len=10",
          "tcp @74 +20 +10: tcp 10.0.0.1:80 > 10.0.0.2:999 seq 0 ack 0" },
        { IP4 "udp 53 > 1000 len=100 pad=1",
          "udp @34 +8 +100: udp 10.0.0.1:53 > 10.0.0.2:1000" },
        { IP4 "udp 53 > 1000 len=4 set=38:000a", /* UDP length 10 of 12 */
          "udp @34 +8 +2: udp 10.0.0.1:53 > 10.0.0.2:1000" },
        { IP4 "udp 53 > 1000 len=4 set=38:000d", /* 13 of 12 */
          "ip @34 +0 +12: udp 10.0.0.1 > 10.0.0.2" },
        { IP4 "udp 53 > 1000 set=38:0007",
          "ip @34 +0 +8: udp 10.0.0.1 > 10.0.0.2" },
        { IP4 "icmp 8 id=77 len=56",
          "icmp @34 +8 +56: icmp 10.0.0.1:77 > 10.0.0.2:77" },
        { IP4 "icmp 3 id=77 len=28",
          "icmp @34 +8 +28: icmp 10.0.0.1 > 10.0.0.2" },
        { IP4 "icmp 8 set=17:1b", /* 27 - 20 bytes of 8 */
          "ip @34 +0 +7: icmp 10.0.0.1 > 10.0.0.2" },
        { IP4 "icmp6 128", /* in the wrong IP version */
          "ip @34 +0 +8: icmpv6 10.0.0.1 > 10.0.0.2" },
        { IP4 "proto=47 len=30",
          "ip @34 +0 +30: protocol 47 10.0.0.1 > 10.0.0.2" },
        { IP4 "proto=0 len=30", /* no extension headers in IPv4 */
          "ip @34 +0 +30: protocol 0 10.0.0.1 > 10.0.0.2" },
        { IP4 "ah " TCP "A len=1",
          "tcp @46 +20 +1 ah: tcp 10.0.0.1:80 > 10.0.0.2:999 seq 0 ack 0" },
    };

    run_cases(cases, ARRAY_SIZE(cases));
}

#define MACS "02:00:00:00:00:01 > 02:00:00:00:00:02"

static void test_ipv4_lies(void)
{
    static const Case cases[] = {
        { IP4 TCP "A cut=33", "frame @14 +0 +19: type 0x0800 " MACS },
        { IP4 TCP "A set=14:44", /* header of 16 bytes */
          "frame @14 +0 +40: type 0x0800 " MACS },
        { IP4 TCP "A set=14:4f", /* header longer than the packet */
          "frame @14 +0 +40: type 0x0800 " MACS },
        { IP4 TCP "A set=14:65", "frame @14 +0 +40: type 0x0800 " MACS },
        { IP4 TCP "A set=16:0013", "frame @14 +0 +40: type 0x0800 " MACS },
        { IP4 TCP "A set=16:0029", /* one byte more than there is */
          "frame @14 +0 +40: type 0x0800 " MACS },
        { IP4 TCP "A set=16:0014", /* nothing in it */
          "ip @34 +0 +0: tcp 10.0.0.1 > 10.0.0.2" },
        { IP4 TCP "A set=16:0027",
          "ip @34 +0 +19: tcp 10.0.0.1 > 10.0.0.2" },
        { IP4 TCP "A set=46:40", /* TCP header of 16 bytes */
          "ip @34 +0 +20: tcp 10.0.0.1 > 10.0.0.2" },
        { IP4 TCP "A len=3 set=46:60", /* and of 24 in 23 */
          "ip @34 +0 +23: tcp 10.0.0.1 > 10.0.0.2" },
    };

    run_cases(cases, ARRAY_SIZE(cases));
}

static void test_ipv6(void)
{
    static const Case cases[] = {
        { IP6 TCP "A len=10 pad=6",
          "tcp @54 +20 +10: tcp [fe80::1]:80 > [fe80::2]:999 seq 0 ack 0" },
        { IP6 "hbh dst route dst " TCP "A len=10",
          "tcp @86 +20 +10: tcp [fe80::1]:80 > [fe80::2]:999 seq 0 ack 0" },
        { IP6 "hbh ah udp 5 > 6 len=1",
          "udp @74 +8 +1 ah: udp [fe80::1]:5 > [fe80::2]:6" },
        { IP6 "frag=0 udp 5 > 6 len=1", /* RFC 6946 */
          "udp @62 +8 +1: udp [fe80::1]:5 > [fe80::2]:6" },
        { IP6 "icmp6 128 id=9 len=56",
          "icmpv6 @54 +4 +60: icmpv6 [fe80::1]:9 > [fe80::2]:9" },
        { IP6 "icmp6 135 len=20",
          "icmpv6 @54 +4 +24: icmpv6 fe80::1 > fe80::2" },
        { IP6 "icmp 8",
          "ip @54 +0 +8: icmp fe80::1 > fe80::2" },
        { IP6 "proto=59", "ip @54 +0 +0: protocol 59 fe80::1 > fe80::2" },
        { IP6 "proto=50 len=40",
          "ip @54 +0 +40: protocol 50 fe80::1 > fe80::2" },
        { IP6 "hbh dst dst dst dst dst dst " TCP "A",
          "tcp @110 +20 +0: tcp [fe80::1]:80 > [fe80::2]:999 seq 0 ack 0" },
        { IP6 "hbh dst dst dst dst dst dst dst " TCP "A", /* too many */
          "ip @118 +0 +20: tcp fe80::1 > fe80::2" },
    };

    run_cases(cases, ARRAY_SIZE(cases));
}

static void test_ipv6_lies(void)
{
    static const Case cases[] = {
        { IP6 TCP "A cut=53", "frame @14 +0 +39: type 0x86dd " MACS },
        { IP6 TCP "A set=14:40", "frame @14 +0 +60: type 0x86dd " MACS },
        { IP6 TCP "A set=18:0015", /* one byte more than there is */
          "frame @14 +0 +60: type 0x86dd " MACS },
        { IP6 TCP "A set=18:0013",
          "ip @54 +0 +19: tcp fe80::1 > fe80::2" },
        { IP6 TCP "A set=18:0000", /* jumbogram */
          "ip @54 +0 +0: tcp fe80::1 > fe80::2" },
        { IP6 "hbh " TCP "A set=55:03", /* 32 bytes of 28 */
          "ip @54 +0 +28: protocol 0 fe80::1 > fe80::2" },
        { IP6 "hbh " TCP "A set=55:ff",
          "ip @54 +0 +28: protocol 0 fe80::1 > fe80::2" },
        { IP6 "ah " TCP "A set=55:ff",
          "ip @54 +0 +32 ah: protocol 51 fe80::1 > fe80::2" },
        { IP6 "hbh cut=61 set=18:0007",
          "ip @54 +0 +7: protocol 0 fe80::1 > fe80::2" },
    };

    run_cases(cases, ARRAY_SIZE(cases));
}

static void test_fragments(void)
{
    static const Case cases[] = {
        { IP4 "frag=0+ " TCP "A seq=5 ack=6 ts=1:2 len=100",
          "fragment @34 +32 +100 frag 0+: tcp 10.0.0.1 > 10.0.0.2 fragments "
          "seq 5 ack 6 ts@22 1:2" },
        { IP4 "frag=120+ proto=6 len=64",
          "fragment @34 +0 +64 frag 120+: tcp 10.0.0.1 > 10.0.0.2 fragments" },
        { IP4 "frag=184 proto=6 len=64",
          "fragment @34 +0 +64 frag 184: tcp 10.0.0.1 > 10.0.0.2 fragments" },
        { IP4 "frag=0+ proto=6 len=16", /* RFC 1858: a tiny fragment */
          "fragment @34 +0 +16 frag 0+: tcp 10.0.0.1 > 10.0.0.2 fragments" },
        { IP4 "frag=0+ udp 5 > 6 len=24 set=38:1000",
          "fragment @34 +8 +24 frag 0+: udp 10.0.0.1 > 10.0.0.2 fragments" },
        { IP6 "hbh frag=0+ " TCP "A seq=5 ack=6 len=100",
          "fragment @70 +20 +100 frag 0+: tcp fe80::1 > fe80::2 fragments "
          "seq 5 ack 6" },
        { IP6 "frag=120 dst len=64", /* what looks like a header is data */
          "fragment @62 +0 +72 frag 120: protocol 60 fe80::1 > fe80::2 "
          "fragments" },
        { IP6 "frag=0 frag=0 " TCP "A",
          "tcp @70 +20 +0: tcp [fe80::1]:80 > [fe80::2]:999 seq 0 ack 0" },
        { IP6 "frag=0+ frag=8+ " TCP "A",
          "fragment @62 +0 +28 frag 0+: protocol 44 fe80::1 > fe80::2 "
          "fragments" },
    };

    run_cases(cases, ARRAY_SIZE(cases));
}

#define FLOW ": tcp 10.0.0.1:80 > 10.0.0.2:999 seq 0 ack 0"

static void test_tcp_options(void)
{
    static const Case cases[] = {
        { IP4 TCP "S mss=1460 sackok ts=7:0 nop ws=7",
          "tcp @34 +40 +0" FLOW " mss 1460 ws 7 sackok ts@28 7:0" },
        { IP4 TCP "A nop nop ts=4000000000:5 len=5",
          "tcp @34 +32 +5" FLOW " ts@24 4000000000:5" },
        { IP4 TCP "A ts=1:2 nop nop sack=1-2,3-4,5-6",
          "tcp @34 +60 +0" FLOW " ts@22 1:2 sack@34*3" },
        { IP4 TCP "A nop sack=1-2", /* at an odd offset */
          "tcp @34 +32 +0" FLOW " sack@23*1" },
        { IP4 TCP "A sack=1-2,3-4,5-6,7-8",
          "tcp @34 +56 +0" FLOW " sack@22*4" },
        { IP4 TCP "A md5 ts=1:2",
          "tcp @34 +48 +0" FLOW " ts@40 1:2 signed" },
        { IP4 TCP "A ts=1:2 ts=3:4", /* the last one counts */
          "tcp @34 +40 +0" FLOW " ts@32 3:4" },
        { IP4 TCP "A mss=9 set=54:00", /* end of options */
          "tcp @34 +24 +0" FLOW },
        { IP4 TCP "A nop nop nop nop set=57:08", /* no length */
          "tcp @34 +24 +0" FLOW " malformed" },
        { IP4 TCP "A ts=1:2 set=55:0d", /* longer than the header */
          "tcp @34 +32 +0" FLOW " malformed" },
        { IP4 TCP "A ts=1:2 set=55:08",
          "tcp @34 +32 +0" FLOW " malformed" },
        { IP4 TCP "A ts=1:2 nop nop sack=1-2 set=67:09",
          "tcp @34 +44 +0" FLOW " ts@22 1:2 malformed" },
        { IP4 TCP "A mss=9 ts=1:2 set=55:01", /* would never end */
          "tcp @34 +36 +0" FLOW " malformed" },
        { IP4 TCP "AU urg=3 len=8",
          "tcp @34 +20 +8" FLOW " urg 3" },
    };

    run_cases(cases, ARRAY_SIZE(cases));
}

static void test_vnet(void)
{
    static const Case cases[] = {
        { "vnet " IP4 TCP "A len=10",
          "tcp @34 +20 +10" FLOW },
        { "vnet=10 csum " IP4 TCP "A len=10",
          "tcp @34 +20 +10 partial" FLOW },
        { "vnet csum gso=1448 " IP4 TCP "A len=30000",
          "tcp @34 +20 +30000 gso 1448 partial" FLOW },
        { "vnet=20 csum vlan=9 " IP6 "udp 5 > 6 len=10",
          "udp @58 +8 +10 partial: udp [fe80::1]:5 > [fe80::2]:6 vlan 9" },
        /* csum_start tells of something else, as with tunnels */
        { "vnet csum " IP4 TCP "A len=100 set=6:5000",
          "tcp @34 +20 +100" FLOW },
        { "vnet csum " IP4 "frag=8 proto=6 len=80",
          "fragment @34 +0 +80 frag 8: tcp 10.0.0.1 > 10.0.0.2 fragments" },
        /* a header too short to be one is only skipped */
        { "vnet=4 " IP4 TCP "A len=10", "tcp @34 +20 +10" FLOW },
        { "vnet cut=5",
          "frame @0 +0 +0: type 0x0000 00:00:00:00:00:00 > "
          "00:00:00:00:00:00" },
        { "vnet cut=12",
          "frame @0 +0 +0: type 0x0000 00:00:00:00:00:00 > "
          "00:00:00:00:00:00" },
    };

    run_cases(cases, ARRAY_SIZE(cases));
}

/* Only the beginning at hand: lengths of all, headers of what is there */
static void test_head(void)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    ColoPacket p;

    packet_build(frame, IP4 TCP "A seq=1 ack=2 ts=3:4 len=1000");
    for (size_t have = 0; have <= frame->len; have++) {
        g_autofree uint8_t *head = g_memdup2(frame->data, have);

        colo_packet_parse_head(&p, head, have, frame->len, 0);
        check_offsets(&p, have);
        if (have < 34) {
            g_assert_cmpint(p.kind, ==, COLO_KIND_FRAME);
        } else if (have < 34 + 32) {
            g_assert_cmpint(p.kind, ==, COLO_KIND_IP);
        } else {
            g_assert_cmpint(p.kind, ==, COLO_KIND_TCP);
            g_assert_cmpuint(p.payload_len, ==, 1000);
            g_assert_cmpuint(p.tcp.tsecr, ==, 4);
        }
    }
}

/* Each prefix and each flipped bit of a packet with everything in it */
static void test_damage(void)
{
    static const char *const packets[] = {
        "vnet csum qinq=1 vlan=2 " IP6 "hbh route dst frag=0 ah " TCP
        "SA mss=1 sackok ts=1:2 ws=3 len=8",
        IP4 "ipopt=8 " TCP "A ts=1:2 nop sack=1-2,3-4 len=8",
        IP4 "udp 1 > 2 len=8", IP6 "icmp6 128 id=3 len=8", "arp",
    };
    g_autoptr(GByteArray) frame = g_byte_array_new();

    for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
        ColoPacket p;

        packet_build(frame, packets[i]);
        for (size_t len = 0; len <= frame->len; len++) {
            g_autofree uint8_t *cut = g_memdup2(frame->data, len);

            colo_packet_parse(&p, cut, len, packet_vnet_len(packets[i]));
            check_offsets(&p, len);
        }
        for (size_t bit = 0; bit < frame->len * 8; bit++) {
            g_autofree uint8_t *bad = g_memdup2(frame->data, frame->len);

            bad[bit / 8] ^= 1 << (bit % 8);
            colo_packet_parse(&p, bad, frame->len,
                              packet_vnet_len(packets[i]));
            check_offsets(&p, frame->len);
        }
    }
}

/* The sums that packet_build() makes are right: checked by another formula */
static void test_checksums(void)
{
    static const char *const packets[] = {
        IP4 TCP "A len=9", IP6 TCP "A ts=1:2 len=1",
        IP4 "udp 1 > 2 len=3", IP6 "hbh udp 1 > 2 len=4",
    };
    g_autoptr(GByteArray) frame = g_byte_array_new();
    ColoPacket p;

    for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
        packet_build(frame, packets[i]);
        colo_packet_parse(&p, frame->data, frame->len, 0);
        g_assert_cmpuint(packet_l4_sum(&p, frame->data), ==, 0);
        frame->data[p.payload_off]++;
        g_assert_cmpuint(packet_l4_sum(&p, frame->data), !=, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/packet/link", test_link);
    g_test_add_func("/colo/packet/ipv4", test_ipv4);
    g_test_add_func("/colo/packet/ipv4/lies", test_ipv4_lies);
    g_test_add_func("/colo/packet/ipv6", test_ipv6);
    g_test_add_func("/colo/packet/ipv6/lies", test_ipv6_lies);
    g_test_add_func("/colo/packet/fragments", test_fragments);
    g_test_add_func("/colo/packet/tcp-options", test_tcp_options);
    g_test_add_func("/colo/packet/vnet", test_vnet);
    g_test_add_func("/colo/packet/head", test_head);
    g_test_add_func("/colo/packet/damage", test_damage);
    g_test_add_func("/colo/packet/checksums", test_checksums);
    return g_test_run();
}
