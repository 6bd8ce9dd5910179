/*
 * ACKs of P's lowered to S's: segments in, segments out
 *
 * Each case is a text, a line for each event, and behind "=>" the segments that
 * must leave for it, each as "ACK/WINDOW", with "ts=VALUE:ECHO" and "sack=A-B"
 * where it has these.
 *
 *   P SEGMENT        P has sent it, and it has to wait; see colo-packet-text.h
 *   L SEGMENT        P has sent it, and it leaves; with "sack=" if what S has
 *                    not was cut out of its SACK blocks
 *   S SEGMENT        S has sent it
 *   checkpoint       what waits leaves, too
 *
 * All are of one flow, whose headers are written as ${T}, ${T6}, ${V}.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-cut.h"
#include "net/colo-lower.h"
#include "colo-packet-text.h"

static const struct {
    const char *name;
    const char *text;
} headers[] = {
    { "${T}", "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999" },
    { "${T6}", "ip6 fe80::1 > fe80::2 dst tcp 80 > 999" },
    { "${V}", "vnet csum vlan=5 ip4 10.0.0.1 > 10.0.0.2 ipopt=4 tcp 80 > 999" },
};

typedef struct Segment {
    GByteArray *frame;
    ColoPacket packet;
} Segment;

typedef struct Run {
    ColoLower lower;
    Segment held;               /* the first of P's that waits */
    GString *effects;
} Run;

static void segment_free(Segment *s)
{
    if (s->frame) {
        g_byte_array_unref(s->frame);
        s->frame = NULL;
    }
}

static Segment segment_of(const char *text)
{
    Segment s = { .frame = g_byte_array_new() };
    g_autofree char *full = g_strdup(text);

    for (int i = 0; i < ARRAY_SIZE(headers); i++) {
        const char *at = strstr(text, headers[i].name);

        if (at) {
            g_free(full);
            full = g_strconcat(headers[i].text, at + strlen(headers[i].name),
                               NULL);
        }
    }
    packet_build(s.frame, full);
    colo_packet_parse(&s.packet, s.frame->data, s.frame->len,
                      packet_vnet_len(full));
    g_assert_cmpint(s.packet.kind, ==, COLO_KIND_TCP);
    return s;
}

static uint16_t ip4_sum(const uint8_t *ip)
{
    uint32_t sum = 0;

    for (int i = 0; i < (ip[0] & 15) * 4; i += 2) {
        sum += lduw_be_p(ip + i);
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* What must be true of all of them */
static void check(const Segment *held, const ColoPacket *p,
                  const uint8_t *frame)
{
    const ColoPacket *h = &held->packet;

    g_assert_cmpint(p->kind, ==, COLO_KIND_TCP);
    g_assert_cmpuint(p->payload_len, ==, 0);
    g_assert_cmpuint(p->payload_off, ==, p->size);
    g_assert_cmpuint(p->tcp.flags & ~0x40, ==, COLO_TCP_ACK);
    g_assert_cmpuint(p->tcp.seq, ==, h->tcp.seq);
    g_assert_cmpuint(p->tcp.tsval, ==, h->tcp.tsval);
    g_assert_false(p->tcp.malformed_options);
    g_assert_cmpuint(p->l4_off, ==, h->l4_off);
    g_assert_cmpint(p->gso_type, ==, VIRTIO_NET_HDR_GSO_NONE);
    g_assert(!memcmp(frame + p->l2_off, held->frame->data + p->l2_off,
                     p->l3_off - p->l2_off));
    if (p->ip_version == 4) {
        g_assert_cmphex(ip4_sum(frame + p->l3_off), ==, 0xffff);
    }
    if (!colo_packet_csum_partial(p)) {
        g_assert_cmphex(packet_l4_sum(p, frame), ==, 0);
    } else {
        g_autofree uint8_t *whole = g_memdup2(frame, p->size);
        uint8_t *csum = whole + p->l4_off + COLO_TCP_OFF_CSUM;
        uint32_t pseudo = lduw_be_p(csum), sum;

        /* With nothing in the field, the sum lacks what the header sums to */
        stw_be_p(csum, 0);
        sum = (uint16_t)~packet_l4_sum(p, whole);
        for (uint32_t i = p->l4_off; i < p->size; i += 2) {
            uint32_t word = lduw_be_p(whole + i);

            sum = sum >= word ? sum - word : sum + 0xffff - word;
        }
        g_assert_cmphex(pseudo % 0xffff, ==, sum % 0xffff);
    }
}

static void print_sack(Run *run, const ColoPacket *p, const uint8_t *frame)
{
    for (unsigned i = 0; i < p->tcp.n_sack; i++) {
        const uint8_t *block = frame + p->tcp.sack_off + 8 * i;

        g_string_append_printf(run->effects, "%s%u-%u", i ? "," : " sack=",
                               (unsigned)ldl_be_p(block),
                               (unsigned)ldl_be_p(block + 4));
    }
}

static void leave(Run *run, Segment *segment)
{
    uint8_t *frame = segment->frame->data;
    ColoPacket p;

    if (colo_lower_sack(&run->lower, &segment->packet, frame)) {
        colo_cut_finish(&segment->packet, frame, segment->packet.l4_len,
                        segment->packet.payload_len);
        colo_packet_parse(&p, frame, segment->frame->len,
                          segment->packet.l2_off);
        g_assert_cmphex(packet_l4_sum(&p, frame), ==, 0);
        g_assert_false(p.tcp.malformed_options);
        g_assert_cmpuint(p.payload_off, ==, segment->packet.payload_off);
        g_assert_cmpuint(p.tcp.ack, ==, segment->packet.tcp.ack);
        if (p.tcp.n_sack) {
            print_sack(run, &p, frame);
        } else {
            g_string_append(run->effects, " sack=");
        }
    }
    colo_lower_left(&run->lower, &segment->packet);
}

static void lower(Run *run)
{
    uint8_t out[COLO_LOWER_SIZE];
    const Segment *held = &run->held;
    uint32_t len;
    ColoPacket p;

    while (held->frame &&
           (len = colo_lower(&run->lower, &held->packet, held->frame->data,
                             out))) {
        colo_packet_parse(&p, out, len, held->packet.l2_off);
        check(held, &p, out);
        g_string_append_printf(run->effects, " %u/%u", p.tcp.ack, p.tcp.window);
        if (p.tcp.ts_off) {
            g_string_append_printf(run->effects, " ts=%u:%u", p.tcp.tsval,
                                   p.tcp.tsecr);
        }
        print_sack(run, &p, out);
    }
}

/* It leaves once S has acknowledged as much */
static void settle(Run *run)
{
    const ColoAck *s = &run->lower.secondary;

    if (run->held.frame && s->valid &&
        !colo_seq_before(s->ack, run->held.packet.tcp.ack)) {
        colo_lower_left(&run->lower, &run->held.packet);
        segment_free(&run->held);
    }
    lower(run);
}

static void event(Run *run, const char *text)
{
    Segment segment;

    if (!strcmp(text, "checkpoint")) {
        colo_lower_checkpoint(&run->lower);
        if (run->held.frame) {
            colo_lower_left(&run->lower, &run->held.packet);
            segment_free(&run->held);
        }
        return;
    }
    segment = segment_of(text + 2);
    if (text[0] == 'S') {
        colo_lower_secondary(&run->lower, &segment.packet, segment.frame->data);
    } else {
        colo_lower_primary(&run->lower, &segment.packet, segment.frame->data);
        if (text[0] == 'L') {
            leave(run, &segment);
        } else if (!run->held.frame) {
            run->held = segment;
            segment.frame = NULL;
        }
    }
    segment_free(&segment);
    settle(run);
}

static void run_case(gconstpointer text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    Run run = { .effects = g_string_new("") };

    colo_lower_init(&run.lower);
    for (char **line = lines; *line; line++) {
        char *expected = strstr(*line, "=>");

        if (expected) {
            *expected = 0;
            expected += 2;
        }
        g_strstrip(*line);
        g_string_truncate(run.effects, 0);
        event(&run, *line);
        g_test_message("%s =>%s", *line, run.effects->str);
        g_assert_cmpstr(run.effects->str, ==, expected ? expected : "");
    }
    segment_free(&run.held);
    g_string_free(run.effects, true);
}

/* ISNs are 99 and 9, so that the client's bytes begin at 10 */
#define OPEN(ws) "L ${T} SA seq=99 ack=10 win=100 " ws "\n"

static const struct {
    const char *name;
    const char *text;
} cases[] = {
    { "news/what-both-have",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=30 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90\n"
      "P ${T} A seq=100 ack=40 win=90\n"
      "S ${T} A seq=100 ack=25 win=90 => 25/90\n"
      "S ${T} A seq=100 ack=30 win=90" },
    { "news/secondary-first",
      OPEN("ws=0")
      "S ${T} A seq=100 ack=20 win=90\n"
      "P ${T} A seq=100 ack=30 win=90 => 20/90" },
    { "news/nothing-that-has-left",
      OPEN("ws=0")
      "L ${T} A seq=100 ack=20 win=90\n"
      "P ${T} A seq=100 ack=30 win=90\n"
      "S ${T} A seq=100 ack=15 win=90\n"
      "S ${T} A seq=100 ack=20 win=80\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=18 win=90" },
    { "news/from-data-of-both",
      OPEN("ws=0")
      "P ${T} FPA seq=100 ack=30 win=90 len=10\n"
      "S ${T} PA seq=100 ack=20 win=90 len=10 => 20/90" },
    { "news/not-for-data-alone",
      OPEN("ws=0")
      "P ${T} PA seq=100 ack=10 win=90 len=10\n"
      "S ${T} A seq=100 ack=10 win=90" },
    { "news/no-secondary-no-ack",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=30 win=90\n"
      "S ${T} R seq=100\n"
      "S ${T} SA seq=7 ack=30\n"
      "S ${T} . seq=100" },
    { "news/not-of-before-the-checkpoint",
      OPEN("ws=0")
      "S ${T} A seq=100 ack=20 win=90\n"
      "checkpoint\n"
      "P ${T} A seq=100 ack=30 win=90\n"
      "S ${T} A seq=100 ack=25 win=90 => 25/90" },
    { "news/met-midway",
      "P ${T} A seq=100 ack=30 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90" },
    { "news/signed-stays",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=30 win=90 md5\n"
      "S ${T} A seq=100 ack=20 win=90 md5" },
    { "news/wraps",
      "L ${T} SA seq=99 ack=0xfffffff0 win=100 ws=0\n"
      "P ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=0xfffffff8 win=90 => 4294967288/92\n"
      "S ${T} A seq=100 ack=4 win=90 => 4/90\n"
      "S ${T} A seq=100 ack=0xffffffff win=90\n"
      "S ${T} A seq=100 ack=4 win=90 sack=0xfffffffe-2,10-12\n"
      "S ${T} A seq=100 ack=4 win=90 sack=10-12 => 4/90 sack=10-12" },
    { "news/new-connection",
      OPEN("ws=7")
      "P ${T} A seq=100 ack=30 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90\n"
      "S ${T} A seq=100 ack=30 win=90\n"
      "L ${T} SA seq=5000 ack=70 win=9 ws=7\n"
      "S ${T} SA seq=8000 ack=70 win=9 ws=7\n"
      "P ${T} A seq=5001 ack=90 win=9\n"
      "S ${T} A seq=5001 ack=80 win=9 => 80/9" },
    { "duplicate/one-for-each",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=40 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90\n"
      "P ${T} A seq=100 ack=50 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90\n"
      "P ${T} A seq=100 ack=60 win=90" },
    { "duplicate/of-before-primary-had-it",
      OPEN("ws=0")
      "L ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "P ${T} A seq=100 ack=40 win=90 => 20/90 20/90\n"
      "P ${T} A seq=100 ack=50 win=90" },
    { "duplicate/no-more-than-a-few-wait",
      OPEN("ws=0")
      "L ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\nS ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\nS ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\nS ${T} A seq=100 ack=20 win=90\n"
      "P ${T} A seq=100 ack=40 win=90 => 20/90 20/90 20/90" },
    { "duplicate/that-primary-has-sent-itself",
      OPEN("ws=0")
      "L ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "L ${T} A seq=100 ack=20 win=90\n"
      "P ${T} A seq=100 ack=40 win=90" },
    { "duplicate/forgotten-when-secondary-goes-on",
      OPEN("ws=0")
      "L ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=20 win=90\n"
      "S ${T} A seq=100 ack=30 win=90\n"
      "P ${T} A seq=100 ack=40 win=90 => 30/90" },
    { "duplicate/data-are-none",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=40 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90\n"
      "S ${T} A seq=100 ack=20 win=90 len=5" },
    { "duplicate/a-smaller-window-is-none",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=40 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90\n"
      "S ${T} A seq=100 ack=20 win=80" },
    { "duplicate/first-after-a-checkpoint-by-its-blocks",
      OPEN("ws=0")
      "L ${T} A seq=100 ack=20 win=90\n"
      "checkpoint\n"
      "P ${T} A seq=100 ack=40 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=30-40 => 20/90 sack=30-40" },
    { "duplicate/d-sack-is-none",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=90 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=12-18\n"
      "S ${T} A seq=100 ack=20 win=90 sack=32-38,30-40\n"
      "S ${T} A seq=100 ack=20 win=90 sack=50-60,30-40"
      " => 20/90 sack=50-60,30-40" },
    { "sack/what-primary-has-acknowledged",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=40 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=30-60 => 20/90 sack=30-40\n"
      "P ${T} A seq=100 ack=50 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=30-60 => 20/90 sack=30-50" },
    { "sack/or-has-blocks-for",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=40 win=90 sack=70-80,45-50\n"
      "S ${T} A seq=100 ack=20 win=90 sack=30-75"
      " => 20/90 sack=30-40,70-75,45-50" },
    { "sack/nothing-that-primary-has-not",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=30 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=40-50 => 20/90" },
    { "sack/as-many-as-fit-besides-timestamps",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=99 win=90 nop nop ts=7:8\n"
      "S ${T} A seq=100 ack=20 win=90 sack=30-35,40-45,50-55,60-65"
      " => 20/90 ts=7:8 sack=30-35,40-45,50-55" },
    { "sack/no-d-sack-is-made",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=36 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=32-34,30-40 => 20/90 sack=30-36" },
    { "sack/nonsense",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=40 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=35-30,30-30,25-0x80000000"
      " => 20/90" },
    { "sack/what-was-told-before-counts",
      OPEN("ws=0")
      "L ${T} A seq=100 ack=20 win=90\n"
      "P ${T} A seq=100 ack=99 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=30-40 => 20/90 sack=30-40\n"
      "S ${T} A seq=100 ack=20 win=90 sack=50-60 => 20/90 sack=50-60,30-40\n"
      "S ${T} A seq=100 ack=20 win=90 sack=40-50 => 20/90 sack=30-60\n"
      "S ${T} A seq=100 ack=60 win=90 => 60/90\n"
      "S ${T} A seq=100 ack=60 win=90 => 60/90" },
    { "sack/primarys-own-says-no-more-than-secondary-has",
      OPEN("ws=0")
      "S ${T} A seq=100 ack=20 win=90 sack=30-40\n"
      "L ${T} A seq=100 ack=20 win=90 sack=35-50 => sack=35-40\n"
      "L ${T} A seq=100 ack=20 win=90 ts=1:2 sack=50-60,35-38 => sack=35-38\n"
      "L ${T} A seq=100 ack=20 win=90 sack=50-60 => sack=\n"
      "L ${T} A seq=100 ack=20 win=90 sack=32-35\n"
      "S ${T} A seq=100 ack=50 win=90\n"
      "L ${T} A seq=100 ack=20 win=90 sack=30-40 len=10\n"
      "L ${T} A seq=100 ack=20 win=90 sack=30-60 len=10 => sack=30-50" },
    { "sack/primarys-d-sack-stays",
      OPEN("ws=0")
      "S ${T} A seq=100 ack=20 win=90 sack=30-40\n"
      "L ${T} A seq=100 ack=20 win=90 sack=10-15,30-40\n"
      "L ${T} A seq=100 ack=20 win=90 sack=10-15,50-60 => sack=10-15" },
    { "sack/of-before-the-checkpoint-is-over",
      OPEN("ws=0")
      "S ${T} A seq=100 ack=20 win=90 sack=30-40\n"
      "checkpoint\n"
      "L ${T} A seq=100 ack=20 win=90 sack=30-40 => sack=" },
    { "sack/checkpoint-gives-secondary-what-primary-has",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=20 win=90 sack=30-40\n"
      "checkpoint\n"
      "L ${T} A seq=100 ack=20 win=90 sack=30-50 => sack=30-40\n"
      "P ${T} A seq=100 ack=60 win=90\n"
      "S ${T} A seq=100 ack=20 win=90 sack=55-60"
      " => 20/90 sack=55-60,30-40" },
    { "timestamps/echo-is-the-older-one",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=40 win=90 ts=500:60\n"
      "S ${T} A seq=100 ack=20 win=90 ts=900:50 => 20/90 ts=500:50\n"
      "S ${T} A seq=100 ack=30 win=90 ts=901:70 => 30/90 ts=500:60" },
    { "timestamps/they-wrap",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=40 win=90 ts=500:3\n"
      "S ${T} A seq=100 ack=20 win=90 ts=900:0xfffffffe"
      " => 20/90 ts=500:4294967294" },
    { "window/up-to-primarys-edge",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=110 win=50\n"
      "S ${T} A seq=100 ack=60 win=500 => 60/100" },
    { "window/scaled",
      OPEN("ws=4")
      "P ${T} A seq=100 ack=110 win=5\n"
      "S ${T} A seq=100 ack=60 win=500 => 60/8" },
    { "window/scale-not-known",
      "P ${T} A seq=100 ack=110 win=5\n"
      "S ${T} A seq=100 ack=60 win=500 => 60/5" },
    { "window/asked-for-but-not-granted",
      "L ${T} S seq=99 win=100 ws=4\n"
      "P ${T} A seq=100 ack=110 win=5\n"
      "S ${T} A seq=100 ack=60 win=500 => 60/8" },
    { "window/is-not-taken-back",
      OPEN("ws=0")
      "L ${T} A seq=100 ack=20 win=90\n"
      "P ${T} A seq=100 ack=60 win=50\n"
      "S ${T} A seq=100 ack=30 win=10 => 30/80\n"
      "S ${T} A seq=100 ack=30 win=10 => 30/80" },
    { "window/is-not-taken-back-scaled",
      OPEN("ws=4")
      "L ${T} A seq=100 ack=20 win=90\n"
      "P ${T} A seq=100 ack=99 win=50\n"
      "S ${T} A seq=100 ack=37 win=1 => 37/88" },
    { "window/update",
      OPEN("ws=0")
      "P ${T} A seq=100 ack=110 win=90\n"
      "S ${T} A seq=100 ack=110 win=0\n"
      "P ${T} A seq=100 ack=200 win=90\n"
      "S ${T} A seq=100 ack=150 win=0 => 150/50\n"
      "S ${T} A seq=100 ack=150 win=60 => 150/60" },
    { "window/zero-is-probed",
      OPEN("ws=0")
      "S ${T} A seq=100 ack=110 win=0\n"
      "P ${T} A seq=100 ack=300 win=90 => 110/0\n"
      "S ${T} A seq=100 ack=110 win=0 => 110/0\n"
      "S ${T} A seq=100 ack=110 win=20 => 110/20" },
    { "frame/ip6-with-extension-headers",
      "P ${T6} A seq=100 ack=40 win=90 ts=5:6\n"
      "S ${T6} A seq=100 ack=20 win=90 ts=5:6 sack=30-40"
      " => 20/90 ts=5:6 sack=30-40" },
    { "frame/vlan-ip-options-checksum-left-to-the-device",
      "P ${V} A seq=100 ack=40 win=90 ts=5:6\n"
      "S ${V} A seq=100 ack=20 win=90 ts=5:6 sack=30-40"
      " => 20/90 ts=5:6 sack=30-40" },
    { "frame/padding-goes",
      "P ${T} A seq=100 ack=40 win=90 pad=6\n"
      "S ${T} A seq=100 ack=20 win=90 pad=6 => 20/90" },
    { "frame/of-tso",
      "P vnet csum gso=100 ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 A seq=100"
      " ack=40 win=90 len=900\n"
      "S ${T} A seq=100 ack=20 win=90 => 20/90" },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/colo/lower/%s",
                                                cases[i].name);

        g_test_add_data_func(path, cases[i].text, run_case);
    }
    return g_test_run();
}
