/*
 * The compare engine: frames in, frames out
 *
 * Each case is a text, a line for each event, and behind "=>" what must come of
 * it: numbers of P's frames which leave, counted from 1 in the order in which
 * they came, as NUMBER/LENGTH where no more than LENGTH bytes of the payload
 * leave, as NUMBER^ACK where an ACK leaves that is lowered to that number, with
 * ~WINDOW behind it where that is not P's (and @ its sequence number where it has no
 * payload), and "want-REASON" for a checkpoint that is
 * asked for.
 *
 *   P FRAME          P has sent it; see colo-packet-text.h.  ${T} and the like
 *   P@5 FRAME        in epoch 5             stand for the headers below
 *   S FRAME          S has sent it
 *   marker 5         what comes from S now is of epoch 5
 *   checkpoint 5     epoch 5 begins
 *   failover
 *   wait 100         100 ms pass
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-core.h"
#include "colo-packet-text.h"

#define TIMEOUT 3000
#define QUEUE 4

static const struct {
    const char *name;
    const char *text;
} headers[] = {
    { "${T}", "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999" },
    { "${T2}", "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 998" },
    { "${T6}", "ip6 fe80::1 > fe80::2 tcp 80 > 999" },
    { "${U}", "ip4 10.0.0.1 > 10.0.0.2 udp 53 > 999" },
    { "${U6}", "ip6 fe80::1 > fe80::2 udp 53 > 999" },
    { "${I}", "ip4 10.0.0.1 > 10.0.0.2 icmp 0 id=7" },
    { "${I6}", "ip6 fe80::1 > fe80::2 icmp6 129 id=7" },
};

#define LENGTHS 64

typedef struct Run {
    ColoCore *core;
    unsigned sent;
    uint32_t length[LENGTHS];   /* of the first frames of P's */
    uint32_t ack[LENGTHS];      /* what they acknowledge */
    uint16_t window[LENGTHS];   /* and what they promise */
    GString *effects;
    int64_t now;
} Run;

/* The number of a frame of P's stands in front of it, as a virtio-net header */
#define NUMBER_LEN 12

static void check_part(Run *run, const ColoHeld *held)
{
    ColoPacket p;

    colo_packet_parse(&p, held->data + NUMBER_LEN, held->len - NUMBER_LEN, 0);
    g_assert_cmpint(p.kind, ==, COLO_KIND_TCP);
    g_assert_cmpuint(p.payload_off + p.payload_len, ==, p.size);
    g_assert_cmpuint(packet_l4_sum(&p, held->data + NUMBER_LEN), ==, 0);
    g_assert_cmpuint(p.tcp.flags, ==, COLO_TCP_ACK);
    g_string_append_printf(run->effects, "/%u", p.payload_len);
}

static void on_release(void *opaque, ColoHeld *held)
{
    Run *run = opaque;
    uint32_t number;
    ColoPacket p;

    colo_packet_parse(&p, held->data, held->len, NUMBER_LEN);
    memcpy(&number, held->data, sizeof(number));
    g_string_append_printf(run->effects, " %u", number);
    if (number <= LENGTHS && p.tcp.ack != run->ack[number - 1]) {
        g_assert_cmpuint(p.payload_len, ==, 0);
        g_string_append_printf(run->effects, "^%u", p.tcp.ack);
    } else if (number <= LENGTHS && held->len != run->length[number - 1]) {
        check_part(run, held);
    }
    if (p.kind == COLO_KIND_TCP && number <= LENGTHS &&
        p.tcp.window != run->window[number - 1] &&
        p.tcp.ack == run->ack[number - 1]) {
        g_string_append_printf(run->effects, "~%u", p.tcp.window);
        if (!p.payload_len) {
            g_string_append_printf(run->effects, "@%u", p.tcp.seq);
        }
        g_assert_cmphex(packet_l4_sum(&p, held->data), ==, 0);
    }
    colo_core_recycle(run->core, held);
}

static void on_want(void *opaque, ColoReason reason)
{
    Run *run = opaque;

    g_string_append_printf(run->effects, " want-%s", colo_reason_name(reason));
}

static const ColoCoreOps ops = {
    .release = on_release,
    .want_checkpoint = on_want,
};

static GByteArray *frame_of(const char *text)
{
    GByteArray *frame = g_byte_array_new();

    for (int i = 0; i < ARRAY_SIZE(headers); i++) {
        const char *at = strstr(text, headers[i].name);

        if (at) {
            g_autofree char *full = g_strdup_printf(
                "%.*s%s%s", (int)(at - text), text, headers[i].text,
                at + strlen(headers[i].name));

            packet_build(frame, full);
            return frame;
        }
    }
    packet_build(frame, text);
    return frame;
}

static void primary(Run *run, const char *text)
{
    uint64_t epoch = 0;
    g_autoptr(GByteArray) frame = NULL;
    uint32_t number[NUMBER_LEN / 4] = { ++run->sent };
    struct iovec iov[2];
    ColoHeld *held;

    if (text[1] == '@') {
        epoch = g_ascii_strtoull(text + 2, NULL, 10);
    }
    frame = frame_of(strchr(text, ' ') + 1);
    iov[0] = (struct iovec) { number, NUMBER_LEN };
    iov[1] = (struct iovec) { frame->data, frame->len };
    held = colo_core_new_held(run->core, iov, 2, NUMBER_LEN + frame->len,
                              NUMBER_LEN);
    if (run->sent <= LENGTHS) {
        run->length[run->sent - 1] = held->len;
        run->ack[run->sent - 1] = held->packet.tcp.ack;
        run->window[run->sent - 1] = held->packet.tcp.window;
    }
    held->epoch = epoch;
    /* The number is no virtio-net header: nothing is in that */
    colo_packet_parse(&held->packet, held->data, held->len, NUMBER_LEN);
    held->packet.vnet_flags = 0;
    colo_core_primary(run->core, held, run->now);
}

static void event(Run *run, const char *text)
{
    const char *argument = strchr(text, ' ');
    uint64_t number = argument ? g_ascii_strtoull(argument, NULL, 10) : 0;

    if (text[0] == 'P') {
        primary(run, text);
    } else if (g_str_has_prefix(text, "S ")) {
        g_autoptr(GByteArray) frame = frame_of(text + 2);

        colo_core_secondary(run->core, frame->data, frame->len,
                            packet_vnet_len(text), run->now);
    } else if (g_str_has_prefix(text, "marker ")) {
        colo_core_secondary_epoch(run->core, number);
    } else if (g_str_has_prefix(text, "checkpoint ")) {
        colo_core_checkpoint(run->core, number, run->now);
    } else if (!strcmp(text, "failover")) {
        colo_core_failover(run->core);
    } else {
        g_assert(g_str_has_prefix(text, "wait "));
        run->now += number;
        colo_core_tick(run->core, run->now);
    }
}

static void run_line(Run *run, char *line)
{
    char *expected = strstr(line, "=>");

    if (expected) {
        *expected = 0;
        expected += 2;
    }
    g_strstrip(line);
    g_string_truncate(run->effects, 0);
    event(run, line);
    g_test_message("%s =>%s", line, run->effects->str);
    g_assert_cmpstr(run->effects->str, ==, expected ? expected : "");
}

static Run *run_new(void)
{
    ColoCoreConfig config = {
        .compare_timeout = TIMEOUT,
        .max_queue_size = QUEUE,
        .max_bytes = COLO_CORE_MAX_BYTES,
        .max_stream_bytes = COLO_CORE_MAX_STREAM_BYTES,
    };
    Run *run = g_new0(Run, 1);

    run->effects = g_string_new("");
    run->now = 1000;
    run->core = colo_core_new(&config, &ops, 0, run);
    return run;
}

static void run_free(Run *run)
{
    colo_core_free(run->core);
    g_string_free(run->effects, true);
    g_free(run);
}

static void run_case(gconstpointer text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    Run *run = run_new();

    for (char **line = lines; *line; line++) {
        if (**line && **line != '#') {
            run_line(run, *line);
        }
    }
    run_free(run);
}

/* What the client sends begins at 1, and it may send 100 bytes */
#define OPEN \
    "S ${T} SA seq=500 ack=1 win=100 ws=0\n" \
    "P ${T} SA seq=0 ack=1 win=100 ws=0 => 1\n"

static const struct {
    const char *name;
    const char *text;
} cases[] = {
    { "udp/same",
      "P ${U} len=10\n"
      "S ${U} len=10 => 1\n"
      "S ${U} len=20\n"
      "P ${U} len=20 => 2" },
    { "udp/other-data",
      "P ${U} len=10\n"
      "S ${U} len=10 set=42:ff => want-data\n"
      "checkpoint 0 => 1\n"
      "P ${U} len=10\n"
      "S ${U} len=10 => 2" },
    { "udp/other-length",
      "S ${U} len=11\n"
      "P ${U} len=10 => want-length" },
    { "udp/other-checksum-although-the-data-are-the-same",
      "S ${U} len=10\n"
      "P ${U} len=10 set=40:1234 => want-header" },
    { "udp/checksum-left-to-the-device-by-both",
      "S csum vnet ${U} len=10\n"
      "P ${U} len=10 => want-header" },
    { "udp/ip-identification-and-its-checksum-may-differ",
      "S ${U} len=10 set=18:1234 set=24:5678\n"
      "P ${U} len=10 => 1" },
    { "udp/ttl-may-not",
      "S ${U} len=10 set=22:11\n"
      "P ${U} len=10 => want-header" },
    { "udp/tos-may-not",
      "S ${U} len=10 set=15:04\n"
      "P ${U} len=10 => want-header" },
    { "udp/flow-label-may-differ",
      "S ${U6} len=10 set=15:054321\n"
      "P ${U6} len=10 => 1\n"
      "# traffic class may not\n"
      "S ${U6} len=10 set=15:10\n"
      "P ${U6} len=10 => want-header" },
    { "udp/hop-limit-may-not",
      "S ${U6} len=10 set=21:11\n"
      "P ${U6} len=10 => want-header" },
    { "udp/other-order",
      "S ${U} len=10\n"
      "S ${U} len=20\n"
      "P ${U} len=20 => 1\n"
      "P ${U} len=10 => 2" },
    { "udp/other-order-primary-first",
      "P ${U} len=10\n"
      "P ${U} len=20\n"
      "S ${U} len=20\n"
      "S ${U} len=10 => 1 2" },
    { "udp/order-of-release-is-that-of-arrival",
      "P ${U} len=10\n"
      "P ${U} len=20\n"
      "P ${U} len=30\n"
      "S ${U} len=30\n"
      "S ${U} len=20\n"
      "S ${U} len=10 => 1 2 3" },
    { "udp/vlans-are-apart",
      "P vlan=5 ${U} len=10\n"
      "S ${U} len=10\n"
      "S vlan=6 ${U} len=10\n"
      "S vlan=5 ${U} len=10 => 1" },
    { "udp/vlan-priority-has-to-be-equal",
      "P vlan=5 ${U} len=10\n"
      "S vlan=5 ${U} len=10 set=14:20 => want-header" },
    { "udp/qinq",
      "P qinq=2 vlan=5 ${U} len=10\n"
      "S qinq=2 vlan=5 ${U} len=10 => 1" },
    { "udp/padding-counts",
      "P ${U} len=1 pad=17\n"
      "S ${U} len=1 pad=17 => 1\n"
      "P ${U} len=1 pad=17\n"
      "S ${U} len=1 pad=17 set=50:ee => want-data" },
    { "icmp/both-versions",
      "P ${I} len=10\n"
      "P ${I6} len=10\n"
      "S ${I6} len=10 => 2\n"
      "S ${I} len=10 => 1" },
    { "arp/same-and-other",
      "P arp\n"
      "S arp => 1\n"
      "P arp\n"
      "S arp set=28:99 => want-data" },
    { "other/unknown-type",
      "P type=88cc len=30\n"
      "S type=88cc len=30 => 1" },
    { "other/runt",
      "P type=88cc cut=5\n"
      "S type=88cc cut=5 => 1" },
    { "other/truncated-header",
      "P ${T} . cut=40\n"
      "S ${T} . cut=40 => 1" },
    { "other/lying-header",
      "P ${T} A len=10 set=46:f0\n"
      "S ${T} A len=10 set=46:f0 => 1" },
    { "fragments/identification-differs",
      "P ip4 10.0.0.1 > 10.0.0.2 frag=0+ udp 53 > 999 len=32\n"
      "P ip4 10.0.0.1 > 10.0.0.2 frag=40 proto=17 len=32\n"
      "S ip4 10.0.0.1 > 10.0.0.2 frag=40 proto=17 len=32 set=18:7777\n"
      "S ip4 10.0.0.1 > 10.0.0.2 frag=0+ udp 53 > 999 len=32 set=18:7777"
      " => 1 2" },
    { "fragments/ip6",
      "P ip6 fe80::1 > fe80::2 frag=0+ udp 53 > 999 len=32\n"
      "S ip6 fe80::1 > fe80::2 frag=0+ udp 53 > 999 len=32 set=58:77777777"
      " => 1\n"
      "P ip6 fe80::1 > fe80::2 frag=40 proto=17 len=32\n"
      "S ip6 fe80::1 > fe80::2 frag=40 proto=17 len=32 set=56:0001"
      " => want-header" },
    { "tcp/segments-differ",
      "P ${T} A seq=1 ack=1 len=256\n"
      "P ${T} A seq=257 ack=1 len=256\n"
      "S ${T} A seq=1 ack=1 len=512 => 1 2" },
    { "tcp/ip6",
      "P ${T6} A seq=1 ack=1 len=10\n"
      "S ${T6} A seq=1 ack=1 len=10 => 1" },
    { "tcp/tso",
      "P ${T} A seq=1 ack=1 len=4096\n"
      "S ${T} A seq=1 ack=1 len=1024\n"
      "S ${T} A seq=1025 ack=1 len=1024\n"
      "S ${T} A seq=2049 ack=1 len=2048 => 1" },
    { "tcp/padding-is-not-payload",
      "P ${T} A seq=1 ack=1 pad=6\n"
      "S ${T} A seq=1 ack=1 => 1" },
    { "tcp/pure-ack-waits",
      "P ${T} A seq=1 ack=100\n"
      "S ${T} A seq=1 ack=99 => 1^99\n"
      "S ${T} A seq=1 ack=100 => 1" },
    { "tcp/what-secondary-has-lost-is-asked-for",
      "S ${T} A seq=1 ack=50\n"
      "P ${T} A seq=1 ack=50 => 1\n"
      "P ${T} A seq=1 ack=60\n"
      "P ${T} A seq=1 ack=70\n"
      "S ${T} A seq=1 ack=50 sack=60-70 => 2^50\n"
      "P ${T2} A seq=1 ack=99\n"
      "S ${T} A seq=1 ack=50 sack=60-80 => 2^50\n"
      "S ${T} A seq=1 ack=80 => 2 3\n"
      "P ${T} A seq=1 ack=90 => 5^80\n"
      "checkpoint 0 => 4 5\n"
      "P ${T} A seq=1 ack=95\n"
      "S ${T} A seq=1 ack=92 => 6^92" },
    { "tcp/no-more-window-than-both-have",
      OPEN
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 2~20@1\n"
      "P ${T} A seq=1 ack=150 win=95\n"
      "S ${T} A seq=1 ack=150 win=70 => 3~70@1\n"
      "S ${T} A seq=1 ack=150 win=99 => 3\n"
      "S ${T} A seq=1 ack=150 win=120\n"
      "P ${T} A seq=1 ack=150 win=110 => 4\n"
      "P ${T} A seq=1 ack=160 win=90\n"
      "S ${T} A seq=1 ack=170 win=10 => 5" },
    { "tcp/repeated-ack-with-a-cut-window",
      OPEN
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 2~20@1\n"
      "# answers to probes, or something is missing\n"
      "P ${T} A seq=1 ack=150 win=90 => 3~20@1\n"
      "P ${T} A seq=1 ack=150 win=80 => 4~20@1\n"
      "# an open window is told when S has it, too\n"
      "P ${T} A seq=1 ack=150 win=90\n"
      "P ${T} A seq=1 ack=150 win=90 => 6~20@1\n"
      "S ${T} A seq=1 ack=150 win=70 => 6~70@1\n"
      "P ${T} A seq=1 ack=150 win=90 => 7~70@1\n"
      "S ${T} A seq=1 ack=150 win=90 => 7\n"
      "P ${T} A seq=1 ack=150 win=90 => 8" },
    { "tcp/window-behind-data",
      OPEN
      "S ${T} A seq=1 ack=150 win=20 len=10\n"
      "P ${T} A seq=1 ack=150 win=90 len=10 => 2~20\n"
      "S ${T} A seq=11 ack=150 win=30 => 2/0~30@11\n"
      "S ${T} A seq=11 ack=150 win=95 => 2/0" },
    { "tcp/window-is-not-taken-back",
      OPEN
      "S ${T} A seq=1 ack=50 win=20\n"
      "P ${T} A seq=1 ack=50 win=90 => 2~51@1\n"
      "S ${T} A seq=1 ack=50 win=40\n"
      "S ${T} A seq=1 ack=50 win=60 => 2~60@1" },
    { "tcp/window-after-a-checkpoint",
      OPEN
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 2~20@1\n"
      "checkpoint 0 => 2\n"
      "P ${T} A seq=1 ack=150 win=95\n"
      "S ${T} A seq=1 ack=150 win=99 => 3" },
    { "tcp/window-after-a-failover",
      OPEN
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 2~20@1\n"
      "failover => 2" },
    { "tcp/window-of-unknown-scale",
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 1" },
    { "tcp/no-lowered-ack-of-a-new-epoch",
      "checkpoint 1\n"
      "marker 1\n"
      "P@2 ${T} A seq=1 ack=60\n"
      "S ${T} A seq=1 ack=50\n"
      "checkpoint 2\n"
      "marker 2\n"
      "S ${T} A seq=1 ack=55 => 1^55" },
    { "tcp/flows-do-not-wait-for-each-other",
      "P ${T} A seq=1 ack=1 len=10\n"
      "P ${T2} A seq=1 ack=1 len=10\n"
      "S ${T2} A seq=1 ack=1 len=10 => 2\n"
      "S ${T} A seq=1 ack=1 len=10 => 1" },
    { "tcp/in-a-flow-they-do",
      "P ${T} A seq=1 ack=5\n"
      "P ${T} A seq=1 ack=1 len=10\n"
      "S ${T} A seq=1 ack=1 len=10 => 1^1\n"
      "S ${T} A seq=11 ack=5 => 1 2" },
    { "tcp/mismatch-asks-once",
      "S ${T} A seq=1 ack=1 len=10 set=54:ff\n"
      "P ${T} A seq=1 ack=1 len=10 => want-data\n"
      "P ${T} A seq=11 ack=1 len=10\n"
      "S ${T} A seq=11 ack=1 len=10\n"
      "# until the engine must have forgotten it\n"
      "wait 1000 => want-none\n"
      "checkpoint 0 => 1 2" },
    { "tcp/part-lets-secondary-go-on",
      "S ${T} A seq=1 ack=1 len=3\n"
      "P ${T} PA seq=1 ack=1 len=10\n"
      "wait 20\n"
      "P ${T} A seq=11 ack=1 len=10 => 1/3\n"
      "P ${T} A seq=21 ack=1 len=10\n"
      "S ${T} A seq=1 ack=1 len=7 => 1/7\n"
      "S ${T} A seq=1 ack=1 len=10 => 1\n"
      "S ${T} A seq=11 ack=1 len=10 => 2" },
    { "tcp/part-of-ip6-before-its-fin",
      "S ${T6} A seq=1 ack=1 len=7\n"
      "P ${T6} FPA seq=1 ack=1 len=10\n"
      "wait 20\n"
      "S ${T6} A seq=1 ack=1 => 1/7\n"
      "S ${T6} FA seq=1 ack=1 len=10 => 1" },
    { "tcp/no-part-with-another-ack",
      "S ${T} A seq=1 ack=1 len=3\n"
      "P ${T} A seq=1 ack=2 len=10 => 1^1\n"
      "wait 20\n"
      "P ${T} A seq=11 ack=2 len=10\n"
      "S ${T} A seq=1 ack=2 => 1/3" },
    { "tcp/no-part-that-differs",
      "S ${T} A seq=1 ack=1 len=3 set=54:ff\n"
      "P ${T} A seq=1 ack=1 len=10 => want-data\n"
      "wait 20 => want-none\n"
      "P ${T} A seq=11 ack=1 len=10" },
    { "timeout/primary",
      "P ${T} A seq=1 ack=1 len=10\n"
      "wait 3000\n"
      "wait 1 => want-timeout\n"
      "checkpoint 0 => 1\n"
      "wait 9999" },
    { "timeout/secondary",
      "S ${U} len=10\n"
      "wait 3000\n"
      "wait 1 => want-timeout\n"
      "checkpoint 0\n"
      "wait 9999" },
    { "timeout/secondary-stream",
      "S ${T} A seq=1 ack=1 len=10\n"
      "wait 1\n"
      "P ${T} A seq=1 ack=1 len=10 => 1\n"
      "wait 3001\n"
      "S ${T} A seq=11 ack=1 len=10\n"
      "wait 1\n"
      "wait 3001 => want-timeout" },
    { "timeout/secondary-is-ahead-but-primary-follows",
      "S ${T} A seq=1 ack=1 len=10\n"
      "S ${T} A seq=11 ack=1 len=10\n"
      "wait 1000\n"
      "P ${T} A seq=1 ack=1 len=10 => 1\n"
      "S ${T} A seq=21 ack=1 len=10\n"
      "wait 1000\n"
      "P ${T} A seq=11 ack=1 len=10 => 2\n"
      "S ${T} A seq=31 ack=1 len=10\n"
      "wait 1000\n"
      "P ${T} A seq=21 ack=1 len=10 => 3\n"
      "S ${T} A seq=41 ack=1 len=10\n"
      "wait 1000\n"
      "P ${T} A seq=31 ack=1 len=10 => 4\n"
      "S ${T} A seq=51 ack=1 len=10\n"
      "wait 1000\n"
      "wait 3001 => want-timeout" },
    { "full/asks-and-keeps",
      "P ${U} len=1\nP ${U} len=2\nP ${U} len=3\nP ${U} len=4\n"
      "P ${U} len=5 => want-full\n"
      "P ${U} len=6\n"
      "S ${U} len=1 => 1\n"
      "checkpoint 0 => 2 3 4 5 6" },
    { "checkpoint/in-order-of-arrival",
      "P ${U} len=1\n"
      "P ${T} A seq=1 ack=1 len=10\n"
      "P ${U} len=2\n"
      "P arp\n"
      "checkpoint 0 => 1 2 3 4" },
    { "checkpoint/drops-the-secondary",
      "S ${U} len=1\n"
      "S ${T} A seq=1 ack=1 len=10\n"
      "checkpoint 0\n"
      "P ${U} len=1\n"
      "P ${T} A seq=1 ack=1 len=10" },
    { "checkpoint/what-the-secondary-had-acknowledged-is-gone",
      "S ${T} A seq=1 ack=10\n"
      "P ${T} A seq=1 ack=4 => 1\n"
      "checkpoint 0\n"
      "P ${T} A seq=1 ack=10\n"
      "S ${T} A seq=1 ack=4 => 2^4\n"
      "S ${T} A seq=1 ack=10 => 2" },
    { "epoch/late-secondary-is-not-compared",
      "checkpoint 1\n"
      "marker 1\n"
      "P@1 ${U} len=1\n"
      "checkpoint 2 => 1\n"
      "S ${U} len=1\n"
      "marker 2\n"
      "P@2 ${U} len=2\n"
      "S ${U} len=2 => 2" },
    { "epoch/early-secondary-is-kept",
      "checkpoint 1\n"
      "marker 1\n"
      "P@1 ${U} len=1\n"
      "marker 2\n"
      "S ${U} len=1\n"
      "S ${U} len=2\n"
      "checkpoint 2 => 1\n"
      "P@2 ${U} len=1 => 2\n"
      "P@2 ${U} len=2 => 3" },
    { "epoch/first-of-all-is-kept-too",
      "marker 1\n"
      "S ${U} len=1\n"
      "checkpoint 1\n"
      "P@1 ${U} len=1 => 1" },
    { "epoch/late-primary-is-committed",
      "checkpoint 1\n"
      "marker 1\n"
      "checkpoint 2\n"
      "marker 2\n"
      "P@1 ${U} len=1 => 1\n"
      "P@2 ${U} len=2" },
    { "epoch/early-primary-is-held",
      "checkpoint 1\n"
      "marker 1\n"
      "P@1 ${U} len=1\n"
      "P@2 ${U} len=2\n"
      "S ${U} len=2\n"
      "checkpoint 2 => 1\n"
      "marker 2\n"
      "S ${U} len=2 => 2" },
    { "epoch/both-are-early",
      "checkpoint 1\n"
      "marker 2\n"
      "P@2 ${U} len=2\n"
      "S ${U} len=2\n"
      "checkpoint 2 => 1" },
    { "epoch/early-primary-waits-for-its-turn-in-the-flow",
      "checkpoint 1\n"
      "marker 1\n"
      "P@2 ${T} A seq=1 ack=1 len=10\n"
      "S ${T} A seq=1 ack=1 len=10\n"
      "wait 1\n"
      "checkpoint 2\n"
      "marker 2\n"
      "S ${T} A seq=1 ack=1 len=10 => 1" },
    { "epoch/numbers-begin-anew",
      "checkpoint 7\n"
      "marker 7\n"
      "P@7 ${U} len=1\n"
      "marker 0\n"
      "checkpoint 1 => 1\n"
      "marker 1\n"
      "P@7 ${U} len=2\n"
      "S ${U} len=2 => 2" },
    { "epoch/peer-without-markers",
      "checkpoint 1\n"
      "P@1 ${U} len=1\n"
      "S ${U} len=1 => 1\n"
      "checkpoint 2\n"
      "S ${U} len=1\n"
      "P@2 ${U} len=1 => 2" },
    { "epoch/engine-without-numbers",
      "P ${U} len=1\n"
      "checkpoint 0 => 1\n"
      "S ${U} len=1\n"
      "P ${U} len=1 => 2" },
    { "failover/releases-and-lets-through",
      "P ${U} len=1\n"
      "P ${T} A seq=1 ack=1 len=10\n"
      "S ${U6} len=9\n"
      "failover => 1 2\n"
      "P ${U} len=2 => 3\n"
      "S ${U} len=2\n"
      "wait 9999" },
    { "failover/then-a-new-secondary",
      "failover\n"
      "P ${U} len=1 => 1\n"
      "checkpoint 1\n"
      "P ${U} len=2\n"
      "S ${U} len=2 => 2" },
};

static void test_statistics(void)
{
    static const char *const lines[] = {
        "P ${U} len=1", "S ${U} len=1 => 1", "P ${U} len=2", "P ${U} len=3",
        "S ${U} len=4 => want-length", "checkpoint 0 => 2 3",
        "failover", "P arp => 4",
    };
    Run *run = run_new();
    const ColoCoreStats *stats = colo_core_stats(run->core);
    g_autofree char *flow = NULL;

    for (int i = 0; i < ARRAY_SIZE(lines); i++) {
        g_autofree char *line = g_strdup(lines[i]);

        run_line(run, line);
    }
    g_assert_cmpuint(stats->primary_packets, ==, 4);
    g_assert_cmpuint(stats->secondary_packets, ==, 2);
    g_assert_cmpuint(stats->matches, ==, 1);
    g_assert_cmpuint(stats->mismatches[COLO_REASON_LENGTH], ==, 1);
    g_assert_cmpuint(stats->mismatches[COLO_REASON_DATA], ==, 0);
    g_assert_cmpuint(stats->released_by_checkpoint, ==, 2);
    g_assert_cmpuint(stats->released_uncompared, ==, 1);
    g_assert_cmpuint(stats->checkpoints, ==, 1);
    g_assert_cmpuint(stats->queue_packets, ==, 0);
    g_assert_cmpuint(stats->queue_packets_max, ==, 2);
    g_assert_cmpuint(stats->queue_bytes, ==, 0);
    g_assert_cmpuint(stats->queue_bytes_max, >, 2 * COLO_HELD_SMALL);
    g_assert(stats->has_last_mismatch);
    g_assert_cmpint(stats->last_mismatch_reason, ==, COLO_REASON_LENGTH);
    flow = colo_flow_key_str(&stats->last_mismatch);
    g_assert_cmpstr(flow, ==, "udp 10.0.0.1:53 > 10.0.0.2:999");
    run_free(run);
}

/* The guest is slowed down at twice the limit, until it is kept to again. */
static void test_pressed(void)
{
    Run *run = run_new();
    ColoCoreConfig config = { .compare_timeout = 3000, .max_queue_size = 1024 };
    const ColoCoreStats *stats = colo_core_stats(run->core);

    event(run, "P ip4 10.0.0.1 > 10.0.0.2 udp 53 > 9 len=1");
    config.max_bytes = stats->queue_bytes;
    colo_core_configure(run->core, &config);
    event(run, "P ip4 10.0.0.1 > 10.0.0.2 udp 53 > 9 len=1");
    g_assert_false(colo_core_is_pressed(run->core, false));
    g_assert_true(colo_core_is_pressed(run->core, true));
    event(run, "P ip4 10.0.0.1 > 10.0.0.2 udp 53 > 9 len=1");
    event(run, "P ip4 10.0.0.1 > 10.0.0.2 udp 53 > 9 len=1");
    g_assert_true(colo_core_is_pressed(run->core, false));
    g_assert_false(colo_core_is_overfull(run->core));
    event(run, "checkpoint 0");
    g_assert_false(colo_core_is_pressed(run->core, true));
    run_free(run);
}

/* More flows than there is room for: P's frames stay, others leave room */
static void test_many_flows(void)
{
    Run *run = run_new();
    const ColoCoreStats *stats = colo_core_stats(run->core);

    for (int i = 0; i < COLO_CORE_FLOWS + 10; i++) {
        g_autofree char *text = g_strdup_printf(
            "S ip4 10.0.%d.%d > 10.0.0.2 udp 53 > 9 len=1", i / 256, i % 256);

        event(run, text);
    }
    g_assert_cmpstr(run->effects->str, ==, "");
    for (int i = 0; i < COLO_CORE_FLOWS + 10; i++) {
        g_autofree char *text = g_strdup_printf(
            "P ip4 11.0.%d.%d > 10.0.0.2 udp 53 > 9 len=1", i / 256, i % 256);

        event(run, text);
    }
    g_assert_cmpstr(run->effects->str, ==, " want-full");
    g_assert_cmpuint(stats->queue_packets, ==, COLO_CORE_FLOWS + 10);
    event(run, "checkpoint 0");
    g_assert_cmpuint(stats->queue_packets, ==, 0);
    g_assert_cmpuint(stats->released_by_checkpoint, ==, COLO_CORE_FLOWS + 10);
    run_free(run);
}

/*
 * S's frames for which P sends none take no more memory than P's may, however
 * many flows they are spread over; a checkpoint or a failover frees it.
 */
static void test_flood(void)
{
    const unsigned frames = COLO_CORE_MAX_BYTES / COLO_HELD_LARGE + 100;
    const ColoCoreStats *stats;
    uint64_t dropped;
    Run *run = run_new();

    stats = colo_core_stats(run->core);
    for (int round = 0; round < 3; round++) {
        dropped = stats->secondary_dropped;
        if (round == 1) {
            event(run, "marker 1"); /* early ones count, too */
        }
        for (unsigned i = 0; i < frames; i++) {
            g_autofree char *text = g_strdup_printf(
                "S ip4 10.0.%u.%u > 10.0.0.2 udp 53 > 9 len=20000", i / 256,
                i % 256);

            event(run, text);
        }
        dropped = stats->secondary_dropped - dropped;
        g_assert_cmpuint(dropped, >=, 90);
        g_assert_cmpuint(dropped, <=, 110);
        event(run, round ? "failover" : "checkpoint 0");
        event(run, "checkpoint 0");
        event(run, "marker 0");
    }
    run_free(run);
}

/* Early frames for which there is no room: what follows tells of it. */
static void test_early_lost(void)
{
    Run *run = run_new();

    event(run, "checkpoint 1");
    event(run, "marker 2");
    for (int i = 0; i < 5000; i++) {
        event(run, "S ${U} len=1");
    }
    g_assert_cmpuint(colo_core_stats(run->core)->secondary_dropped, >, 0);
    g_assert_cmpstr(run->effects->str, ==, "");
    event(run, "checkpoint 2");
    g_assert_cmpstr(run->effects->str, ==, " want-full");
    g_string_truncate(run->effects, 0);
    event(run, "checkpoint 3");
    g_assert_cmpstr(run->effects->str, ==, "");
    run_free(run);
}

/* Fragments of one datagram: P's in one order, S's in any */
static void test_fragments(void)
{
    static const char *const fragments[2][3] = {
        { "ip4 10.0.0.1 > 10.0.0.2 frag=0+ udp 53 > 999 len=32",
          "ip4 10.0.0.1 > 10.0.0.2 frag=40+ proto=17 len=32",
          "ip4 10.0.0.1 > 10.0.0.2 frag=72 proto=17 len=9" },
        { "ip6 fe80::1 > fe80::2 frag=0+ udp 53 > 999 len=32",
          "ip6 fe80::1 > fe80::2 frag=40+ proto=17 len=32",
          "ip6 fe80::1 > fe80::2 frag=72 proto=17 len=9" },
    };
    static const uint8_t orders[6][3] = {
        { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
    };

    for (int i = 0; i < 2 * 6 * 6; i++) {
        const char *const *fragment = fragments[i % 2];
        const uint8_t *p = orders[i / 2 % 6], *s = orders[i / 12];
        Run *run = run_new();

        for (int k = 0; k < 3; k++) {
            g_autofree char *text = g_strdup_printf("P %s", fragment[p[k]]);

            event(run, text);
        }
        g_assert_cmpstr(run->effects->str, ==, "");
        for (int k = 0; k < 3; k++) {
            g_autofree char *text = g_strdup_printf("S %s", fragment[s[k]]);

            event(run, text);
        }
        g_assert_cmpstr(run->effects->str, ==, " 1 2 3");
        run_free(run);
    }
}

/* Flows that have been quiet give their memory back */
static void test_idle(void)
{
    Run *run = run_new();

    event(run, "S ${T} A seq=1 ack=1 len=10");
    event(run, "P ${T} A seq=1 ack=1 len=10");
    g_assert_cmpstr(run->effects->str, ==, " 1");
    event(run, "wait 61000");
    g_string_truncate(run->effects, 0);
    event(run, "P ${T} A seq=1 ack=1 len=10");
    g_assert_cmpstr(run->effects->str, ==, "");
    run_free(run);
}

/* One connection, in which a server says @len bytes and closes */
static void short_connection(Run *run, unsigned i, unsigned len)
{
    g_autofree char *flow = g_strdup_printf(
        "ip4 10.0.0.1 > 10.%u.%u.2 tcp 80 > 999", i / 256, i % 256);
    g_autofree char *syn = g_strdup_printf("X %s SA seq=0 ack=1", flow);
    g_autofree char *data = g_strdup_printf("X %s PA seq=1 ack=1 len=%u", flow,
                                            len);
    g_autofree char *fin = g_strdup_printf("X %s FA seq=%u ack=1", flow,
                                           1 + len);
    char *const frames[] = { syn, data, fin };

    for (int k = 0; k < ARRAY_SIZE(frames); k++) {
        frames[k][0] = 'S';
        event(run, frames[k]);
        frames[k][0] = 'P';
        event(run, frames[k]);
    }
}

/*
 * A busy server: connections come and go, and take far more memory together than
 * there is, if none gives back what it took.  No checkpoint helps.
 */
static void test_short_connections(void)
{
    enum { COUNT = 6000, LEN = 10 * 1024 };
    Run *run = run_new();
    const ColoCoreStats *stats = colo_core_stats(run->core);

    QEMU_BUILD_BUG_ON((uint64_t)COUNT * LEN < 0.9 * COLO_CORE_MAX_STREAM_BYTES);
    for (unsigned i = 0; i < COUNT; i++) {
        short_connection(run, i, LEN);
        event(run, "wait 1");
    }
    g_assert_null(strstr(run->effects->str, "want"));
    g_assert_cmpuint(stats->matches, ==, 3 * COUNT);
    g_assert_cmpuint(stats->mismatches[COLO_REASON_FULL], ==, 0);
    run_free(run);
}

/* S runs ahead in many connections until there is no room: that must be said. */
static void test_streams_in_use(void)
{
    enum { LEN = 32 * 1024 };
    Run *run = run_new();
    const ColoCoreStats *stats = colo_core_stats(run->core);
    unsigned i;

    for (i = 0; !stats->mismatches[COLO_REASON_FULL]; i++) {
        g_autofree char *text = g_strdup_printf(
            "S ip4 10.0.0.1 > 10.%u.%u.2 tcp 80 > 999 A seq=1 ack=1 len=%u",
            i / 256, i % 256, LEN);

        g_assert_cmpuint(i, <=, COLO_CORE_MAX_STREAM_BYTES / LEN);
        event(run, text);
    }
    g_assert_cmpstr(run->effects->str, ==, " want-full");
    g_assert_cmpuint(i, >=, COLO_CORE_MAX_STREAM_BYTES / LEN / 2);
    /* None was forgotten */
    event(run, "P ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 A seq=1 ack=1 len=32768");
    g_assert_cmpuint(stats->matches, ==, 1);
    /* The checkpoint frees it all */
    event(run, "checkpoint 0");
    short_connection(run, 7777, LEN);
    g_assert_cmpuint(stats->matches, ==, 4);
    run_free(run);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/colo/core/%s", cases[i].name);

        g_test_add_data_func(path, cases[i].text, run_case);
    }
    g_test_add_func("/colo/core/statistics", test_statistics);
    g_test_add_func("/colo/core/pressed", test_pressed);
    g_test_add_func("/colo/core/many-flows", test_many_flows);
    g_test_add_func("/colo/core/flood", test_flood);
    g_test_add_func("/colo/core/short-connections", test_short_connections);
    g_test_add_func("/colo/core/streams-in-use", test_streams_in_use);
    g_test_add_func("/colo/core/early-lost", test_early_lost);
    g_test_add_func("/colo/core/fragments-in-any-order", test_fragments);
    g_test_add_func("/colo/core/idle", test_idle);
    return g_test_run();
}
