/*
 * Tests of the rewriter: a script of packets in and out, in the spirit of
 * packetdrill, run over IPv4, IPv6, VLANs, and with checksums left to the
 * device.
 *
 *     out PACKET             the guest sends it, it passes unchanged
 *     out PACKET => PACKET   it leaves like that, checksum included
 *     in  PACKET [=> PACKET] the same for one to the guest
 *     checkpoint             S's guest is equal to P's
 *     failover               S goes on alone
 *     inherit                a new S takes over from this one at a checkpoint
 *     wait SECONDS
 *     count N                so many connections are in the table
 *
 * PACKET is what follows the ports in colo-packet-text.h.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-rewrite.h"
#include "colo-packet-text.h"

enum { MAX = 4 };

typedef struct Wrap {
    const char *name, *out, *in;
} Wrap;

static const Wrap wraps[] = {
    { "ipv4", "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 ",
      "ip4 10.0.0.2 > 10.0.0.1 tcp 999 > 80 " },
    { "ipv6", "ip6 fe80::1 > fe80::2 hbh tcp 80 > 999 ",
      "ip6 fe80::2 > fe80::1 dst tcp 999 > 80 " },
    { "vlan", "qinq=4 vlan=5 ip4 10.0.0.1 > 10.0.0.2 ipopt=4 tcp 80 > 999 ",
      "qinq=4 vlan=5 ip4 10.0.0.2 > 10.0.0.1 tcp 999 > 80 " },
    { "partial", "vnet csum ip6 fe80::1 > fe80::2 tcp 80 > 999 ",
      "vnet csum ip6 fe80::2 > fe80::1 tcp 999 > 80 " },
    { "vnet", "vnet ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 ",
      "vnet=10 ip4 10.0.0.2 > 10.0.0.1 tcp 999 > 80 " },
};

typedef struct Run {
    ColoRewrite *rw;
    const Wrap *wrap;
    int64_t now_ms;
} Run;

static void inherit(Run *run)
{
    unsigned n;
    g_autofree ColoRewriteEntry *entries = colo_rewrite_export(run->rw, &n);

    colo_rewrite_free(run->rw);
    run->rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY);
    colo_rewrite_checkpoint(run->rw, entries, n, run->now_ms);
}

static void packet(Run *run, const char *line, bool out)
{
    g_auto(GStrv) sides = g_strsplit(line, "=>", 0);
    const char *wrap = out ? run->wrap->out : run->wrap->in;
    g_autofree char *before = g_strconcat(wrap, sides[0], NULL);
    g_autofree char *after = g_strconcat(wrap, sides[1] ?: sides[0], NULL);
    g_autoptr(GByteArray) frame = g_byte_array_new();
    g_autoptr(GByteArray) expected = g_byte_array_new();
    bool changed, changes;
    g_autofree uint8_t *got = NULL;
    ColoPacket p;

    packet_build(frame, before);
    packet_build(expected, after);
    changes = frame->len != expected->len ||
              memcmp(frame->data, expected->data, frame->len);
    got = g_memdup2(frame->data, frame->len);
    changed = colo_rewrite_packet(run->rw, got, frame->len, frame->len,
                                  packet_vnet_len(before), out, run->now_ms);
    colo_packet_parse(&p, got, frame->len, packet_vnet_len(before));
    if (changed != changes || frame->len != expected->len ||
        memcmp(got, expected->data, frame->len)) {
        g_error("%s: %s\nis now: seq %u ack %u ts %u:%u", run->wrap->name,
                line, p.tcp.seq, p.tcp.ack, p.tcp.tsval, p.tcp.tsecr);
    }
    if (p.kind == COLO_KIND_TCP && !colo_packet_csum_partial(&p)) {
        g_assert_cmpuint(packet_l4_sum(&p, got), ==, 0);
    }
}

static void step(Run *run, const char *line)
{
    if (g_str_has_prefix(line, "out ")) {
        packet(run, line + 4, true);
    } else if (g_str_has_prefix(line, "in ")) {
        packet(run, line + 3, false);
    } else if (g_str_equal(line, "checkpoint")) {
        colo_rewrite_checkpoint(run->rw, NULL, 0, run->now_ms);
    } else if (g_str_equal(line, "failover")) {
        colo_rewrite_alone(run->rw, true);
    } else if (g_str_equal(line, "inherit")) {
        inherit(run);
    } else if (g_str_has_prefix(line, "wait ")) {
        run->now_ms += atoi(line + 5) * 1000;
    } else if (g_str_has_prefix(line, "count ")) {
        g_assert_cmpuint(colo_rewrite_count(run->rw), ==, atoi(line + 6));
    } else {
        g_error("no such step: %s", line);
    }
}

static void run_script(const void *opaque)
{
    g_auto(GStrv) lines = g_strsplit(opaque, "\n", 0);

    for (size_t i = 0; i < ARRAY_SIZE(wraps); i++) {
        Run run = {
            .rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY),
            .wrap = &wraps[i],
        };

        for (char **line = lines; *line; line++) {
            g_strstrip(*line);
            if (**line && **line != '#') {
                step(&run, *line);
            }
        }
        colo_rewrite_free(run.rw);
    }
}

/* S's ISN is 5000, P's 90000: offset -85000.  S's TSval is P's less 700. */
#define ACCEPTED \
    "in S seq=100 mss=1460 sackok ts=7:0\n" \
    "out SA seq=5000 ack=101 mss=1460 sackok ts=1000:7\n" \
    "in A seq=101 ack=90001 ts=8:1700 => A seq=101 ack=5001 ts=8:1000\n"

#define CONNECTED \
    "out S seq=5000 mss=1460 sackok ts=1000:0\n" \
    "in SA seq=100 ack=90001 mss=1460 ts=7:1700 => " \
    "   SA seq=100 ack=5001 mss=1460 ts=7:1000\n" \
    "out A seq=5001 ack=101 ts=1001:7 => A seq=90001 ack=101 ts=1701:7\n"

static const struct {
    const char *name, *script;
} scripts[] = {
    { "accept", ACCEPTED
      "in A seq=101 ack=90001 ts=9:1700 len=10 => "
      "   A seq=101 ack=5001 ts=9:1000 len=10\n"
      "out A seq=5001 ack=111 ts=1010:9 len=20 => "
      "    A seq=90001 ack=111 ts=1710:9 len=20\n"
      "in A seq=111 ack=90021 ts=10:1710 => A seq=111 ack=5021 ts=10:1010\n"
      "count 1\n" },
    { "connect", CONNECTED
      "out AP seq=5001 ack=101 ts=1002:7 len=5 => "
      "    AP seq=90001 ack=101 ts=1702:7 len=5\n"
      "in A seq=101 ack=90006 ts=9:1702 => A seq=101 ack=5006 ts=9:1002\n" },
    { "connect/refused",
      "out S seq=5000 ts=1000:0\n"
      "in RA seq=0 ack=90001 => RA seq=0 ack=5001\n"
      "count 1\n wait 60\n in A seq=0 ack=0\n count 0\n" },
    { "connect/old-connection", /* RFC 9293 3.5.1: half-open at the server */
      "out S seq=5000\n"
      "in A seq=77 ack=12345\n"
      "out R seq=12345\n"
      "out S seq=5000\n"
      "in SA seq=100 ack=90001 => SA seq=100 ack=5001\n" },
    { "connect/both-at-once", /* RFC 9293 figure 8 */
      "out S seq=5000 ts=1000:0\n"
      "in S seq=100 ts=7:0\n"
      "out SA seq=5000 ack=101 ts=1001:7\n"
      "in SA seq=100 ack=90001 ts=8:1701 => SA seq=100 ack=5001 ts=8:1000\n"
      "out A seq=5001 ack=101 ts=1002:8 => A seq=90001 ack=101 ts=1703:8\n" },
    { "accept/first-ack-lost",
      "in S seq=100\n"
      "out SA seq=5000 ack=101\n"
      "out SA seq=5000 ack=101\n"
      "in AP seq=101 ack=90001 len=100 => AP seq=101 ack=5001 len=100\n"
      "out A seq=5001 ack=201 => A seq=90001 ack=201\n" },
    { "accept/first-ack-late", /* data came first, out of order */
      "in S seq=100\n"
      "out SA seq=5000 ack=101\n"
      "in A seq=201 ack=90001 len=100 => A seq=201 ack=5001 len=100\n"
      "in A seq=101 ack=90001 => A seq=101 ack=5001\n" },
    { "accept/old-duplicate", /* neither learnt nor mapped */
      "in S seq=100000\n"
      "out SA seq=5000 ack=100001\n"
      "in A seq=100 ack=7777\n"
      "in A seq=100001 ack=90001 => A seq=100001 ack=5001\n" },
    { "accept/answer-again", /* the guest knows better */
      ACCEPTED
      "out SA seq=5000 ack=101 mss=1460 sackok ts=1200:7 => "
      "    SA seq=90000 ack=101 mss=1460 sackok ts=1900:7\n"
      "in A seq=101 ack=95001 ts=8:1900 => A seq=101 ack=5001 ts=8:1000\n"
      "out A seq=5001 ack=101 ts=1300:8 => A seq=95001 ack=101 ts=2200:8\n" },
    { "accept/answered-twice", /* which of P's is echoed, nobody knows */
      "in S seq=100 ts=7:0\n"
      "out SA seq=5000 ack=101 ts=1000:7\n"
      "out SA seq=5000 ack=101 ts=2000:7\n"
      "in A seq=101 ack=90001 ts=8:1700 => A seq=101 ack=5001 ts=8:1000\n"
      "out A seq=5001 ack=101 ts=2001:8 => A seq=90001 ack=101 ts=2701:8\n" },
    { "wrap",
      "in S seq=0xfffffffe ts=0xffffffff:0\n"
      "out SA seq=0xffffffff ack=0xffffffff ts=0xfffffff0:0xffffffff\n"
      "in A seq=0xffffffff ack=0x10 ts=1:0x20 => "
      "   A seq=0xffffffff ack=0 ts=1:0xfffffff0\n"
      "out A seq=0 ack=5 ts=0:1 len=8 => A seq=0x10 ack=5 ts=0x30:1 len=8\n"
      "out A seq=8 ack=5 ts=0x7fffffff:1 => "
      "    A seq=0x18 ack=5 ts=0x8000002f:1\n"
      "in A seq=5 ack=0x18 ts=2:0x8000002f => "
      "   A seq=5 ack=8 ts=2:0x7fffffff\n" },
    { "sack", ACCEPTED
      "in A seq=101 ack=90001 nop nop ts=8:1700 nop nop "
      "   sack=91000-92000,93000-0xfffffff0 => "
      "   A seq=101 ack=5001 nop nop ts=8:1000 nop nop "
      "   sack=6000-7000,8000-4294882280\n"
      /* at odd offsets the sum's bytes are swapped */
      "in A seq=101 ack=90001 nop sack=91000-92000 => "
      "   A seq=101 ack=5001 nop sack=6000-7000\n"
      "in A seq=101 ack=90001 nop ts=8:1700 sack=91000-92000,94000-95000 => "
      "   A seq=101 ack=5001 nop ts=8:1000 sack=6000-7000,9000-10000\n"
      /* what the guest reports are the client's numbers */
      "out A seq=5001 ack=101 nop nop sack=91000-92000 => "
      "    A seq=90001 ack=101 nop nop sack=91000-92000\n" },
    { "urgent", ACCEPTED
      "out AU seq=5001 ack=101 ts=1001:8 urg=4 len=9 => "
      "    AU seq=90001 ack=101 ts=1701:8 urg=4 len=9\n"
      "in AU seq=101 ack=90010 ts=9:1701 urg=1 len=1 => "
      "   AU seq=101 ack=5010 ts=9:1001 urg=1 len=1\n" },
    { "keepalive-and-zero-window", ACCEPTED
      "in A seq=100 ack=90001 ts=9:1700 => A seq=100 ack=5001 ts=9:1000\n"
      "out A seq=5001 ack=101 win=0 ts=1100:9 => "
      "    A seq=90001 ack=101 win=0 ts=1800:9\n" },
    { "timestamps/clock-behind", ACCEPTED
      /* P's clock is 30 ahead by now */
      "out A seq=5001 ack=101 ts=1100:8 len=10 => "
      "    A seq=90001 ack=101 ts=1800:8 len=10\n"
      "in A seq=101 ack=90011 ts=9:1830 => A seq=101 ack=5011 ts=9:1100\n"
      "out A seq=5011 ack=101 ts=1101:9 => A seq=90011 ack=101 ts=1831:9\n"
      /* echoes of long ago change nothing, nor what no guest has said */
      "in A seq=101 ack=90011 ts=9:1600 => A seq=101 ack=5011 ts=9:870\n"
      "in A seq=101 ack=99999 ts=9:1900 => A seq=101 ack=14999 ts=9:1170\n"
      "out A seq=5011 ack=101 ts=1102:9 => A seq=90011 ack=101 ts=1832:9\n" },
    { "timestamps/met-midway",
      "out A seq=1 ack=2 ts=1000:3 len=5\n"
      "in A seq=2 ack=6 ts=4:1050 => A seq=2 ack=6 ts=4:1000\n"
      "out A seq=6 ack=2 ts=1002:4 => A seq=6 ack=2 ts=1052:4\n"
      "in A seq=2 ack=6 ts=4:0\n" },
    { "timestamps/failover", ACCEPTED
      "out A seq=5001 ack=101 ts=1100:8 len=10 => "
      "    A seq=90001 ack=101 ts=1800:8 len=10\n"
      "failover\n"
      /* an echo of P seems no older than it is; the margin shows after it */
      "in A seq=101 ack=90011 ts=9:1790 => A seq=101 ack=5011 ts=9:1090\n"
      "out A seq=5011 ack=101 ts=1200:9 => A seq=90011 ack=101 ts=2900:9\n"
      "in A seq=101 ack=90011 ts=9:2900 => A seq=101 ack=5011 ts=9:1200\n" },
    { "close/by-client", ACCEPTED
      "in FA seq=101 ack=90001 => FA seq=101 ack=5001\n"
      "out A seq=5001 ack=102 => A seq=90001 ack=102\n"
      "out FA seq=5001 ack=102 => FA seq=90001 ack=102\n"
      "in A seq=102 ack=90002 => A seq=102 ack=5002\n"
      /* its FIN again: the last ACK was lost; that restarts the time */
      "wait 59\n"
      "in FA seq=101 ack=90001 => FA seq=101 ack=5001\n"
      "out A seq=5002 ack=102 => A seq=90002 ack=102\n"
      "wait 59\n count 1\n in A seq=102 ack=90002 => A seq=102 ack=5002\n"
      "wait 60\n in A seq=1 ack=1\n count 0\n" },
    { "close/by-guest", ACCEPTED
      "out FA seq=5001 ack=101 => FA seq=90001 ack=101\n"
      "in FA seq=101 ack=90002 => FA seq=101 ack=5002\n"
      "out A seq=5002 ack=102 => A seq=90002 ack=102\n"
      "wait 60\n in A seq=102 ack=1\n count 0\n" },
    { "close/half", ACCEPTED
      "out FA seq=5001 ack=101 => FA seq=90001 ack=101\n"
      "in A seq=101 ack=90002 => A seq=101 ack=5002\n"
      "wait 1000\n"
      "in A seq=101 ack=90002 len=1 => A seq=101 ack=5002 len=1\n"
      "count 1\n" },
    { "close/both-at-once", ACCEPTED
      "out FA seq=5001 ack=101 => FA seq=90001 ack=101\n"
      "in FA seq=101 ack=90001 => FA seq=101 ack=5001\n"
      "out A seq=5002 ack=102 => A seq=90002 ack=102\n"
      "in A seq=102 ack=90002 => A seq=102 ack=5002\n"
      "wait 60\n in A seq=102 ack=1\n count 0\n" },
    { "reset/by-client", ACCEPTED
      "in R seq=101\n"
      "wait 60\n in A seq=102 ack=1\n count 0\n" },
    { "reset/by-stranger", ACCEPTED /* RFC 5961: the guest only answers */
      "in R seq=110\n"
      "out A seq=5001 ack=101 => A seq=90001 ack=101\n"
      "wait 100\n"
      "in A seq=101 ack=90001 => A seq=101 ack=5001\n" },
    { "reset/survived", ACCEPTED
      "in R seq=101\n"
      "out A seq=5001 ack=101 => A seq=90001 ack=101\n"
      "wait 100\n"
      "in A seq=101 ack=90001 => A seq=101 ack=5001\n" },
    { "reset/by-guest", ACCEPTED
      "out RA seq=5001 ack=101 => RA seq=90001 ack=101\n"
      "wait 60\n in A seq=102 ack=1\n count 0\n" },
    { "reuse/by-client", ACCEPTED
      /* a SYN alone ends nothing: the guest may well keep the old one */
      "in S seq=700\n"
      "out A seq=5001 ack=101 => A seq=90001 ack=101\n"
      "in S seq=700 ts=1:0\n"
      "out SA seq=8000 ack=701 ts=2000:1\n"
      "in A seq=701 ack=9001 ts=2:2500 => A seq=701 ack=8001 ts=2:2000\n" },
    { "reuse/by-guest", CONNECTED
      "out S seq=6000\n"
      "in SA seq=9 ack=7001 => SA seq=9 ack=6001\n"
      "out A seq=6001 ack=10 => A seq=7001 ack=10\n" },
    { "checkpoint/open", ACCEPTED
      "checkpoint\n count 0\n"
      /* S's guest has P's numbers now */
      "out A seq=90001 ack=101 ts=1750:8 len=10\n"
      "in A seq=101 ack=90011 ts=9:1750\n" },
    { "checkpoint/handshake",
      "in S seq=100\n"
      "out SA seq=5000 ack=101\n"
      "checkpoint\n"
      "in A seq=101 ack=90001\n"
      "out A seq=90001 ack=101 len=10\n" },
    { "checkpoint/old-packets", /* that were still on their way */
      ACCEPTED
      "checkpoint\n"
      "in S seq=100\n"
      "out A seq=90001 ack=101\n"
      "in A seq=101 ack=90001\n"
      "out A seq=90001 ack=101 len=10\n" },
    { "checkpoint/handshake-again", /* with P's ISN */
      "in S seq=100\n"
      "out SA seq=90000 ack=101\n"
      "in A seq=101 ack=90001\n"
      "out A seq=90001 ack=101 len=10\n" },
    { "failover/handshake-of-the-dead", /* the client got P's SYN-ACK */
      "in S seq=100\n"
      "out SA seq=5000 ack=101\n"
      "failover\n"
      "in A seq=101 ack=90001 => A seq=101 ack=5001\n"
      "out A seq=5001 ack=101 len=10 => A seq=90001 ack=101 len=10\n" },
    { "failover/handshake-of-the-survivor", /* it got S's */
      "in S seq=100\n"
      "out SA seq=5000 ack=101\n"
      "failover\n"
      "out SA seq=5000 ack=101\n"
      "count 1\n"
      "in A seq=101 ack=5001\n"
      "count 0\n" },
    { "failover/guest-connecting",
      "out S seq=5000 ts=1000:0\n"
      "failover\n"
      "in SA seq=100 ack=90001 ts=7:1700 => SA seq=100 ack=5001 ts=7:1000\n"
      "out A seq=5001 ack=101 ts=1001:7 => A seq=90001 ack=101 ts=1701:7\n" },
    { "failover/new-connections", /* pass as they are */
      ACCEPTED "failover\n count 1\n"
      "in S seq=700\n"
      "out SA seq=8000 ack=701\n"
      "count 0\n"
      "in A seq=701 ack=8001\n"
      "out S seq=1\n in SA seq=2 ack=2\n count 0\n" },
    { "failover/nothing-to-keep",
      "out SA seq=5000 ack=101\n"
      "in A seq=101 ack=5001\n"
      "count 1\n failover\n count 0\n" },
    { "failover/checkpoints-after", ACCEPTED
      "failover\n checkpoint\n"
      "out A seq=5001 ack=101 len=10 => A seq=90001 ack=101 len=10\n"
      "in A seq=101 ack=90011 => A seq=101 ack=5011\n" },
    { "failover/twice", ACCEPTED
      "failover\n inherit\n"
      /* the new S's guest is the old S's */
      "in A seq=101 ack=90001 len=10 => A seq=101 ack=5001 len=10\n"
      "out A seq=5001 ack=111 len=10 => A seq=90001 ack=111 len=10\n"
      /* and for new connections it has a P of its own */
      "failover\n inherit\n failover\n"
      "in A seq=111 ack=90011 => A seq=111 ack=5011\n"
      "out FA seq=5011 ack=111 => FA seq=90011 ack=111\n"
      "in FA seq=111 ack=90012 => FA seq=111 ack=5012\n"
      "out A seq=5012 ack=112 => A seq=90012 ack=112\n"
      "inherit\n wait 61\n out A seq=1 ack=1\n count 0\n" },
    { "signed", /* would only become invalid */
      "out SA seq=5000 ack=101 md5\n"
      "in A seq=101 ack=90001 md5\n"
      "count 0\n" },
    { "not-from-the-guest", /* nobody outside fills the table */
      "in S seq=1\n in A seq=1 ack=2 ts=3:4\n in SA seq=1 ack=2\n"
      "out R seq=1\n out A seq=1 ack=1\n count 0\n" },
};

/* The headers at hand, the rest elsewhere; fragments; TSO */
static void test_frames(void)
{
    static const struct {
        const char *wrap, *name;
    } frames[] = {
        { "ip4 10.0.0.1 > 10.0.0.2 frag=0+ tcp 80 > 999 ", "first fragment" },
        { "vnet csum gso=1448 ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 ", "TSO" },
        { "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 ", "large" },
    };
    Run run = { .wrap = &wraps[0] };

    for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
        g_autofree char *in = g_strconcat(frames[i].wrap, "A seq=5001 ack=101 "
                                          "ts=1010:9 len=40000", NULL);
        g_autofree char *out = g_strconcat(frames[i].wrap, "A seq=90001 "
                                           "ack=101 ts=1710:9 len=40000",
                                           NULL);
        g_autoptr(GByteArray) frame = g_byte_array_new();
        g_autoptr(GByteArray) expected = g_byte_array_new();
        g_autofree uint8_t *head = NULL;
        g_auto(GStrv) lines = g_strsplit(ACCEPTED, "\n", 0);

        run.rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY);
        for (char **line = lines; **line; line++) {
            step(&run, *line);
        }
        packet_build(frame, in);
        packet_build(expected, out);
        head = g_memdup2(frame->data, COLO_REWRITE_HEAD_MAX);
        g_assert(colo_rewrite_packet(run.rw, head, COLO_REWRITE_HEAD_MAX,
                                     frame->len, packet_vnet_len(in), true,
                                     0));
        g_assert(!memcmp(head, expected->data, COLO_REWRITE_HEAD_MAX));
        colo_rewrite_free(run.rw);
    }
}

static void test_left_alone(void)
{
    static const char *const packets[] = {
        "ip4 10.0.0.1 > 10.0.0.2 udp 80 > 999 len=4", "arp", "type=1234",
        "ip4 10.0.0.1 > 10.0.0.2 frag=8 proto=6 len=64",
        "ip4 10.0.0.1 > 10.0.0.2 ah tcp 80 > 999 SA seq=5000 ack=101",
        "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 SA set=46:40",
    };
    ColoRewrite *rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY);
    g_autoptr(GByteArray) frame = g_byte_array_new();

    for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
        packet_build(frame, packets[i]);
        g_assert(!colo_rewrite_packet(rw, frame->data, frame->len, frame->len,
                                      0, true, 0));
    }
    g_assert_cmpuint(colo_rewrite_count(rw), ==, 0);
    colo_rewrite_free(rw);
}

static void pass(ColoRewrite *rw, bool out, const char *format, unsigned port)
{
    g_autofree char *text = g_strdup_printf(format, port);
    g_autoptr(GByteArray) frame = g_byte_array_new();

    packet_build(frame, text);
    colo_rewrite_packet(rw, frame->data, frame->len, frame->len, 0, out, 0);
}

/* Half-open connections make room for each other, not for open ones. */
static void test_flood(void)
{
    ColoRewrite *rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY);

    pass(rw, true, "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > %u SA seq=5 ack=6", 1);
    pass(rw, false, "ip4 10.0.0.2 > 10.0.0.1 tcp %u > 80 A seq=6 ack=60", 1);
    g_assert_cmpuint(colo_rewrite_stats(rw)->rewritten, ==, 1);
    for (unsigned port = 2; port < 1002; port++) {
        pass(rw, true, "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > %u SA seq=5 ack=6",
             port);
    }
    g_assert_cmpuint(colo_rewrite_count(rw), ==, MAX);
    g_assert_cmpuint(colo_rewrite_stats(rw)->evicted, ==, 1000 - MAX + 1);
    pass(rw, true, "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > %u A seq=6 ack=6", 1);
    g_assert_cmpuint(colo_rewrite_stats(rw)->rewritten, ==, 2);
    colo_rewrite_free(rw);
}

/* A checkpoint that brings more than there is room for, or nonsense */
static void test_import(void)
{
    ColoRewriteEntry entries[MAX * 2] = { };
    ColoRewrite *rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY);
    unsigned n;

    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
        entries[i].key.src_port = i;
        entries[i].seq.offset = 1;
    }
    colo_rewrite_checkpoint(rw, entries, ARRAY_SIZE(entries), 0);
    g_assert_cmpuint(colo_rewrite_count(rw), ==, MAX);
    g_assert_null(colo_rewrite_export(rw, &n));
    colo_rewrite_alone(rw, true);
    g_free(colo_rewrite_export(rw, &n));
    g_assert_cmpuint(n, ==, MAX);
    colo_rewrite_free(rw);

    g_assert(colo_seq_valid(&entries[0].seq));
    entries[0].seq.state = COLO_SEQ_STATE__MAX;
    g_assert(!colo_seq_valid(&entries[0].seq));
    entries[1].seq.flags = COLO_SEQ_FLAGS_ALL + 1;
    g_assert(!colo_seq_valid(&entries[1].seq));
}

/* The target of an ordinary migration: no P was ever ahead of it. */
static void test_plain_migration(void)
{
    ColoRewriteEntry entry = {
        .seq = { .flags = COLO_SEQ_HAS_TS, .offset = 1, .ts_add = 5 },
    };
    ColoRewrite *rw = colo_rewrite_new(MAX, COLO_REWRITE_SECONDARY);
    g_autofree ColoRewriteEntry *got = NULL;
    unsigned n;

    colo_rewrite_checkpoint(rw, &entry, 1, 0);
    g_assert(!colo_rewrite_idle(rw));
    colo_rewrite_alone(rw, false);
    g_assert(!colo_rewrite_idle(rw));
    got = colo_rewrite_export(rw, &n);
    g_assert_cmpuint(n, ==, 1);
    g_assert_cmpuint(got->seq.ts_add, ==, 5);
    colo_rewrite_free(rw);

    rw = colo_rewrite_new(MAX, COLO_REWRITE_ALONE);
    g_assert(colo_rewrite_idle(rw));
    colo_rewrite_free(rw);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        g_autofree char *path = g_strconcat("/colo/rewrite/",
                                            scripts[i].name, NULL);

        g_test_add_data_func(path, scripts[i].script, run_script);
    }
    g_test_add_func("/colo/rewrite/frames", test_frames);
    g_test_add_func("/colo/rewrite/left-alone", test_left_alone);
    g_test_add_func("/colo/rewrite/flood", test_flood);
    g_test_add_func("/colo/rewrite/import", test_import);
    g_test_add_func("/colo/rewrite/plain-migration", test_plain_migration);
    return g_test_run();
}
