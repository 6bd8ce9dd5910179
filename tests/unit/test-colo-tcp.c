/*
 * TCP comparison: segments in, verdicts out
 *
 * Each case is a text.  A line is one segment, as tcpdump and packetdrill write
 * them, and what must come of it:
 *
 *   P SA 100:100(0) ack 1 opts 020405b4 -> wait
 *   |  | |   |   |  |     |                '-- match, wait, or a reason
 *   |  | |   |   |  '-----'-- optional, as is "urg N"
 *   |  | '---'---'-- first and end of the sequence numbers, length
 *   |  '-- flags, of S F R A U, or "." for none
 *   '-- who: P, S, or C for a segment of P's that a checkpoint has released
 *
 * The payload is a function of the sequence number; "bad N" changes the byte
 * at N.  "checkpoint" is one.  "#" begins a remark.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-tcp.h"

#define BUDGET (16 * 1024 * 1024)

typedef struct Line {
    char who;
    ColoTcpSegment seg;
    uint8_t options[COLO_TCP_OPTIONS_MAX];
    uint8_t *payload;
    char *verdict;
} Line;

static uint8_t flags_of(const char *text)
{
    static const struct {
        char letter;
        uint8_t flag;
    } letters[] = {
        { 'S', COLO_TCP_SYN }, { 'F', COLO_TCP_FIN }, { 'R', COLO_TCP_RST },
        { 'A', COLO_TCP_ACK }, { 'U', COLO_TCP_URG }, { '.', 0 },
    };
    uint8_t flags = 0;

    for (; *text; text++) {
        unsigned i = 0;

        while (letters[i].letter != *text) {
            g_assert_cmpuint(++i, <, ARRAY_SIZE(letters));
        }
        flags |= letters[i].flag;
    }
    return flags;
}

static uint32_t number(const char *text)
{
    char *end;
    unsigned long long value = g_ascii_strtoull(text, &end, 10);

    g_assert(end != text && !*end && value <= UINT32_MAX);
    return value;
}

static void set_options(Line *line, const char *hex)
{
    size_t len = strlen(hex) / 2;

    g_assert(len <= sizeof(line->options));
    for (size_t i = 0; i < len; i++) {
        line->options[i] = g_ascii_xdigit_value(hex[2 * i]) << 4 |
                           g_ascii_xdigit_value(hex[2 * i + 1]);
    }
    line->seg.options_len = len;
}

static void set_payload(Line *line, const char *range)
{
    uint32_t from, to, len;

    g_assert_cmpint(sscanf(range, "%u:%u(%u)", &from, &to, &len), ==, 3);
    g_assert_cmpuint(to - from, ==, len);
    line->seg.seq = from;
    line->seg.payload_len = len;
    line->payload = g_malloc(len + 1);
    for (uint32_t i = 0; i < len; i++) {
        uint32_t seq = from + i;

        line->payload[i] = seq * 7 + (seq >> 8);
    }
    line->seg.payload = line->payload;
}

static void parse(Line *line, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", 0);
    char **w = words;

    *line = (Line) { .who = w[0][0] };
    line->seg.flags = flags_of(w[1]);
    set_payload(line, w[2]);
    for (w += 3; *w; w += 2) {
        if (!strcmp(w[0], "ack")) {
            line->seg.ack = number(w[1]);
        } else if (!strcmp(w[0], "urg")) {
            line->seg.urgent = number(w[1]);
        } else if (!strcmp(w[0], "opts")) {
            set_options(line, w[1]);
        } else if (!strcmp(w[0], "bad")) {
            line->payload[number(w[1]) - line->seg.seq] ^= 0x55;
        } else {
            g_assert_cmpstr(w[0], ==, "->");
            line->verdict = g_strdup(w[1]);
        }
    }
    line->seg.options = line->options;
}

static const char *name_of(ColoVerdict verdict, ColoReason reason)
{
    return verdict == COLO_MATCH ? "match" : verdict == COLO_WAIT ? "wait"
                                 : colo_reason_name(reason);
}

static void run_line(ColoTcpCompare *t, const char *text)
{
    Line line;
    ColoReason reason = COLO_REASON_NONE;
    ColoVerdict verdict = COLO_MATCH;

    if (!strcmp(text, "checkpoint")) {
        colo_tcp_checkpoint(t);
        return;
    }
    parse(&line, text);
    switch (line.who) {
    case 'P':
        verdict = colo_tcp_primary(t, &line.seg, &reason);
        break;
    case 'S':
        verdict = colo_tcp_secondary(t, &line.seg, &reason);
        break;
    case 'C':
        colo_tcp_committed(t, &line.seg);
        break;
    default:
        g_assert_not_reached();
    }
    g_test_message("%s: %s", text, name_of(verdict, reason));
    g_assert_cmpstr(name_of(verdict, reason), ==,
                    line.verdict ? line.verdict : "match");
    g_free(line.payload);
    g_free(line.verdict);
}

static void run_case(gconstpointer text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    size_t budget = BUDGET;
    ColoTcpCompare t;

    colo_tcp_init(&t, &budget);
    for (char **line = lines; *line; line++) {
        g_strstrip(*line);
        if (**line && **line != '#') {
            run_line(&t, *line);
        }
    }
    colo_tcp_destroy(&t);
    g_assert_cmpuint(budget, ==, BUDGET);
}

static const struct {
    const char *name;
    const char *text;
} cases[] = {
    { "data/same-segments",
      "P A 1:101(100) ack 1 -> wait\n"
      "S A 1:101(100) ack 1\n"
      "P A 1:101(100) ack 1 -> match\n" },
    { "data/secondary-first",
      "S A 1:101(100) ack 1\n"
      "P A 1:101(100) ack 1 -> match\n" },
    { "data/differs",
      "S A 1:101(100) ack 1\n"
      "P A 1:101(100) ack 1 bad 50 -> data\n" },
    { "data/first-and-last-byte",
      "S A 1:101(100) ack 1\n"
      "P A 1:101(100) ack 1 bad 1 -> data\n"
      "P A 1:101(100) ack 1 bad 100 -> data\n"
      "P A 1:101(100) ack 1 -> match\n" },
    { "data/large-against-small",
      "S A 1:11(10) ack 1\n"
      "P A 1:31(30) ack 1 -> wait\n"
      "S A 11:21(10) ack 1\n"
      "P A 1:31(30) ack 1 -> wait\n"
      "S A 21:31(10) ack 1\n"
      "P A 1:31(30) ack 1 -> match\n" },
    { "data/small-against-large",
      "S A 1:31(30) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 11:21(10) ack 1 -> match\n"
      "P A 21:31(10) ack 1 -> match\n"
      "P A 31:41(10) ack 1 -> wait\n" },
    { "data/tso-against-mss",
      "S A 1:1461(1460) ack 1\n"
      "S A 1461:2921(1460) ack 1\n"
      "S A 2921:4381(1460) ack 1\n"
      "P A 1:4381(4380) ack 1 -> match\n" },
    { "data/tso-64k",
      "S A 1:65001(65000) ack 1\n"
      "P A 1:1461(1460) ack 1 -> match\n"
      "P A 1461:65001(63540) ack 1 -> match\n" },
    { "data/crossing-boundaries",
      "S A 1:16(15) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 11:21(10) ack 1 -> wait\n"
      "S A 16:31(15) ack 1\n"
      "P A 11:21(10) ack 1 -> match\n"
      "P A 21:31(10) ack 1 bad 30 -> data\n" },
    { "data/mismatch-shows-before-all-is-there",
      "S A 1:11(10) ack 1\n"
      "P A 1:31(30) ack 1 bad 5 -> data\n" },
    { "retransmission/of-the-secondary",
      "S A 1:11(10) ack 1\n"
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "S A 1:11(10) ack 1\n"
      "P A 11:21(10) ack 1 -> wait\n" },
    { "retransmission/of-the-primary",
      "S A 1:21(20) ack 1\n"
      "P A 1:21(20) ack 1 -> match\n"
      "P A 1:21(20) ack 1 -> match\n"
      "P A 5:15(10) ack 1 -> match\n"
      "# what has left must not change\n"
      "P A 5:15(10) ack 1 bad 7 -> data\n" },
    { "retransmission/with-new-data",
      "S A 1:21(20) ack 1\n"
      "P A 1:21(20) ack 1 -> match\n"
      "P A 11:31(20) ack 1 -> wait\n"
      "S A 11:31(20) ack 1\n"
      "P A 11:31(20) ack 1 -> match\n" },
    { "retransmission/secondary-contradicts-itself",
      "S A 1:21(20) ack 1\n"
      "S A 11:31(20) ack 1 bad 15 -> data\n" },
    { "overlap/secondary",
      "S A 1:21(20) ack 1\n"
      "S A 11:41(30) ack 1\n"
      "P A 1:41(40) ack 1 -> match\n" },
    { "overlap/primary",
      "S A 1:41(40) ack 1\n"
      "P A 1:21(20) ack 1 -> match\n"
      "P A 11:41(30) ack 1 -> match\n" },
    { "reordering/secondary",
      "S A 1:11(10) ack 1\n"
      "S A 21:31(10) ack 1\n"
      "P A 1:31(30) ack 1 -> wait\n"
      "S A 11:21(10) ack 1\n"
      "P A 1:31(30) ack 1 -> match\n" },
    { "reordering/primary",
      "S A 1:31(30) ack 1\n"
      "P A 11:31(20) ack 1 -> match\n"
      "P A 1:11(10) ack 1 -> match\n" },
    { "reordering/before-the-first-that-was-seen",
      "S A 1011:1021(10) ack 1\n"
      "P A 1001:1021(20) ack 1 -> wait\n"
      "S A 1001:1011(10) ack 1\n"
      "P A 1001:1021(20) ack 1 -> match\n" },
    { "wraparound/data",
      "S A 4294967290:4(10) ack 4294967290\n"
      "P A 4294967290:4(10) ack 4294967290 -> match\n"
      "S A 4:14(10) ack 4\n"
      "P A 4294967295:14(15) ack 4 -> match\n"
      "P A 14:24(10) ack 5 -> wait\n" },
    { "wraparound/ack",
      "S A 1:1(0) ack 4294967290\n"
      "P A 1:1(0) ack 4294967290 -> match\n"
      "P A 1:1(0) ack 3 -> wait\n"
      "S A 1:1(0) ack 10\n"
      "P A 1:1(0) ack 3 -> match\n" },
    { "ack/pure-waits-for-secondary",
      "P A 1:1(0) ack 100 -> wait\n"
      "S A 1:1(0) ack 99\n"
      "P A 1:1(0) ack 100 -> wait\n"
      "S A 1:1(0) ack 150\n"
      "P A 1:1(0) ack 100 -> match\n"
      "P A 1:1(0) ack 150 -> match\n"
      "P A 1:1(0) ack 151 -> wait\n" },
    { "ack/data-equal-but-not-acknowledged",
      "S A 1:11(10) ack 50\n"
      "P A 1:11(10) ack 51 -> wait\n"
      "S A 11:11(0) ack 51\n"
      "P A 1:11(10) ack 51 -> match\n" },
    { "ack/old-one-does-not-lower",
      "S A 1:1(0) ack 100\n"
      "S A 1:1(0) ack 50\n"
      "P A 1:1(0) ack 100 -> match\n" },
    { "ack/duplicates-with-sack",
      "# SACK, window and timestamps of the two may differ\n"
      "S A 1:1(0) ack 100 opts 0101050a0000000100000002\n"
      "P A 1:1(0) ack 100 opts 0101050a0000000300000004 -> match\n"
      "P A 1:1(0) ack 100 -> match\n" },
    { "ack/timestamps-differ",
      "S A 1:11(10) ack 1 opts 0101080a0000000100000002\n"
      "P A 1:11(10) ack 1 opts 0101080a0000000900000008 -> match\n" },
    { "flags/none-at-all",
      "S . 1:11(10)\n"
      "P . 1:11(10) -> flags\n" },
    { "syn/server-own-numbers",
      "# the client's number binds the two: ack 1001\n"
      "P SA 500:500(0) ack 1001 opts 020405b4 -> wait\n"
      "S SA 900:900(0) ack 1001 opts 020405b4\n"
      "P SA 500:500(0) ack 1001 opts 020405b4 -> match\n"
      "S A 501:511(10) ack 1001\n"
      "P A 501:511(10) ack 1001 -> match\n" },
    { "syn/retransmitted",
      "S SA 900:900(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "S SA 900:900(0) ack 1001\n"
      "P A 501:511(10) ack 1001 -> wait\n" },
    { "syn/data-of-an-old-epoch-is-not-enough",
      "S A 1:1(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> wait\n" },
    { "syn/other-client-number",
      "S SA 900:900(0) ack 1002\n"
      "P SA 500:500(0) ack 1001 -> wait\n" },
    { "syn/options-timestamps-differ",
      "S SA 900:900(0) ack 1001 opts 020405b40402080a000000010000000201030307\n"
      "P SA 500:500(0) ack 1001 opts 020405b40402080a000000030000000401030307"
      " -> match\n" },
    { "syn/options-window-scale-differs",
      "S SA 900:900(0) ack 1001 opts 020405b401030306\n"
      "P SA 500:500(0) ack 1001 opts 020405b401030307 -> options\n" },
    { "syn/options-truncated",
      "S SA 900:900(0) ack 1001 opts 0204\n"
      "P SA 500:500(0) ack 1001 opts 020405b4 -> options\n"
      "S SA 900:900(0) ack 1001 opts 020005b4\n"
      "P SA 500:500(0) ack 1001 opts 0200 -> options\n" },
    { "syn/client",
      "P S 500:500(0) -> wait\n"
      "S S 900:900(0)\n"
      "P S 500:500(0) -> match\n"
      "# the same again, one lost it on the way\n"
      "P S 500:500(0) -> match\n"
      "S A 501:501(0) ack 77\n"
      "P A 501:501(0) ack 77 -> match\n" },
    { "syn/client-then-server-is-another",
      "S S 900:900(0)\n"
      "P SA 500:500(0) ack 1 -> wait\n" },
    { "syn/simultaneous-open",
      "S S 900:900(0)\n"
      "P S 500:500(0) -> match\n"
      "P SA 500:500(0) ack 78 -> wait\n"
      "S SA 900:900(0) ack 78\n"
      "P SA 500:500(0) ack 78 -> match\n"
      "S A 501:511(10) ack 78\n"
      "P A 501:511(10) ack 78 -> match\n" },
    { "syn/with-data",
      "S S 900:910(10)\n"
      "P S 500:510(10) -> flags\n" },
    { "reuse/server",
      "S SA 900:900(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "S FA 501:501(0) ack 1002\n"
      "P FA 501:501(0) ack 1002 -> match\n"
      "# the same ports again\n"
      "P SA 70000:70000(0) ack 5001 -> wait\n"
      "S SA 90000:90000(0) ack 5001\n"
      "P SA 70000:70000(0) ack 5001 -> match\n"
      "P A 70001:70011(10) ack 5001 -> wait\n"
      "S A 70001:70011(10) ack 5001\n"
      "P A 70001:70011(10) ack 5001 -> match\n" },
    { "reuse/nothing-of-the-old-one-counts",
      "S A 501:601(100) ack 2000\n"
      "P A 501:601(100) ack 2000 -> match\n"
      "S SA 900:900(0) ack 1001\n"
      "P SA 400:400(0) ack 1001 -> match\n"
      "P A 501:511(10) ack 1001 -> wait\n"
      "P A 401:401(0) ack 1500 -> wait\n" },
    { "reuse/client",
      "S S 900:900(0)\n"
      "P S 500:500(0) -> match\n"
      "P S 5500:5500(0) -> wait\n"
      "# still the first one\n"
      "S S 900:900(0)\n"
      "P S 5500:5500(0) -> wait\n"
      "S S 9900:9900(0)\n"
      "P S 5500:5500(0) -> match\n" },
    { "fin/both",
      "P FA 1:1(0) ack 1 -> wait\n"
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "P A 2:2(0) ack 2 -> wait\n"
      "S A 2:2(0) ack 2\n"
      "P A 2:2(0) ack 2 -> match\n" },
    { "fin/with-data-or-after-it",
      "S A 1:11(10) ack 1\n"
      "P FA 1:11(10) ack 1 -> wait\n"
      "S FA 11:11(0) ack 1\n"
      "P FA 1:11(10) ack 1 -> match\n" },
    { "fin/primary-stops-earlier",
      "S A 1:21(20) ack 1\n"
      "P FA 1:11(10) ack 1 -> length\n" },
    { "fin/secondary-stops-earlier",
      "S FA 1:11(10) ack 1\n"
      "P A 1:21(20) ack 1 -> length\n" },
    { "fin/elsewhere",
      "S FA 1:11(10) ack 1\n"
      "P FA 1:9(8) ack 1 -> length\n" },
    { "fin/acknowledged-later",
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 2 -> wait\n"
      "S FA 1:1(0) ack 2\n"
      "P FA 1:1(0) ack 2 -> match\n" },
    { "fin/simultaneous-close",
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "S A 2:2(0) ack 2\n"
      "P A 2:2(0) ack 2 -> match\n"
      "P FA 1:1(0) ack 2 -> match\n" },
    { "fin/half-closed-keeps-acknowledging",
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "P A 2:2(0) ack 500 -> wait\n"
      "S A 2:2(0) ack 500\n"
      "P A 2:2(0) ack 500 -> match\n" },
    { "rst/same",
      "P R 100:100(0) -> wait\n"
      "S R 100:100(0)\n"
      "P R 100:100(0) -> match\n" },
    { "rst/closed-port",
      "S RA 0:0(0) ack 1001\n"
      "P RA 0:0(0) ack 1001 -> match\n" },
    { "rst/other-number",
      "S R 101:101(0)\n"
      "P R 100:100(0) -> seq\n" },
    { "rst/other-ack",
      "S RA 0:0(0) ack 1002\n"
      "P RA 0:0(0) ack 1001 -> seq\n" },
    { "rst/several",
      "S R 100:100(0)\n"
      "P R 100:100(0) -> match\n"
      "# the secondary's second one may still come\n"
      "P R 200:200(0) -> wait\n"
      "S R 200:200(0)\n"
      "P R 200:200(0) -> match\n" },
    { "rst/more-than-are-kept",
      "S R 1:1(0)\nS R 2:2(0)\nS R 3:3(0)\nS R 4:4(0)\nS R 5:5(0)\n"
      "S R 6:6(0)\nS R 7:7(0)\nS R 8:8(0)\nS R 9:9(0)\nS R 10:10(0)\n"
      "P R 10:10(0) -> match\n"
      "P R 3:3(0) -> match\n"
      "P R 2:2(0) -> seq\n" },
    { "rst/while-data-is-held",
      "P A 1:11(10) ack 1 -> wait\n"
      "S RA 1:1(0) ack 1\n"
      "P A 1:11(10) ack 1 -> wait\n" },
    { "rst/after-fin",
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "S R 2:2(0)\n"
      "P R 2:2(0) -> match\n" },
    { "rst/in-handshake",
      "S SA 900:900(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "S R 501:501(0)\n"
      "P R 501:501(0) -> match\n" },
    { "rst/with-data",
      "S R 1:11(10)\n"
      "P R 1:11(10) -> flags\n" },
    { "probe/keepalive-without-data",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 10:10(0) ack 1 -> match\n" },
    { "probe/keepalive-with-the-byte",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 10:11(1) ack 1 -> match\n" },
    { "probe/keepalive-with-garbage",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 10:11(1) ack 1 bad 10 -> wait\n"
      "S A 10:11(1) ack 1 bad 10\n"
      "P A 10:11(1) ack 1 bad 10 -> match\n"
      "P A 10:11(1) ack 1 -> match\n" },
    { "probe/zero-window-with-new-byte",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 11:12(1) ack 1 -> wait\n"
      "S A 11:12(1) ack 1\n"
      "P A 11:12(1) ack 1 -> match\n" },
    { "urgent/same",
      "S UA 1:11(10) ack 1 urg 5\n"
      "P UA 1:11(10) ack 1 urg 5 -> match\n" },
    { "urgent/only-the-primary",
      "S A 1:11(10) ack 1\n"
      "P UA 1:11(10) ack 1 urg 5 -> wait\n" },
    { "urgent/other-segments",
      "S UA 1:6(5) ack 1 urg 8\n"
      "S UA 6:11(5) ack 1 urg 3\n"
      "P UA 1:11(10) ack 1 urg 8 -> match\n" },
    { "far/secondary-untranslated",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "S A 1000000000:1000000010(10) ack 1 -> seq\n"
      "P A 11:21(10) ack 1 -> wait\n"
      "S A 11:21(10) ack 1\n"
      "P A 11:21(10) ack 1 -> match\n" },
    { "far/secondary-very-old",
      "S A 1000000001:1000000011(10) ack 1\n"
      "P A 1000000001:1000000011(10) ack 1 -> match\n"
      "S FA 1:11(10) ack 1\n"
      "P A 1000000011:1000000021(10) ack 1 -> wait\n" },
    { "far/primary-without-any-of-the-secondary",
      "S A 1:11(10) ack 1\n"
      "P A 100000000:100000010(10) ack 1 -> seq\n" },
    { "checkpoint/forgets-the-secondary",
      "S A 1:21(20) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "checkpoint\n"
      "P A 11:21(10) ack 1 -> wait\n"
      "S A 11:21(10) ack 1\n"
      "P A 11:21(10) ack 1 -> match\n" },
    { "checkpoint/what-only-the-secondary-had-sent-is-not-history",
      "S A 1:101(100) ack 1\n"
      "P A 51:61(10) ack 1 -> match\n"
      "checkpoint\n"
      "P A 51:61(10) ack 1 -> match\n"
      "P A 41:61(20) ack 1 -> wait\n"
      "S A 41:51(10) ack 1\n"
      "P A 41:61(20) ack 1 -> match\n" },
    { "checkpoint/what-was-released-may-be-repeated",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 11:21(10) ack 1 bad 15 -> wait\n"
      "checkpoint\n"
      "C A 11:21(10) ack 9 bad 15\n"
      "P A 1:21(20) ack 9 bad 15 -> match\n"
      "P A 1:21(20) ack 9 -> data\n"
      "P A 21:21(0) ack 9 -> match\n"
      "P A 21:31(10) ack 9 -> wait\n" },
    { "checkpoint/mismatch-goes-on-afterwards",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 bad 3 -> data\n"
      "checkpoint\n"
      "C A 1:11(10) ack 1 bad 3\n"
      "S A 11:21(10) ack 1\n"
      "P A 11:21(10) ack 1 -> match\n" },
    { "checkpoint/syn-released-by-it",
      "P SA 500:500(0) ack 1001 -> wait\n"
      "checkpoint\n"
      "C SA 500:500(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "S SA 500:500(0) ack 1001\n"
      "S A 501:511(10) ack 1001\n"
      "P A 501:511(10) ack 1001 -> match\n" },
    { "checkpoint/fin-released-by-it",
      "P FA 1:11(10) ack 1 -> wait\n"
      "checkpoint\n"
      "C FA 1:11(10) ack 1\n"
      "P FA 1:11(10) ack 1 -> match\n"
      "S FA 1:11(10) ack 1\n"
      "P FA 11:11(0) ack 1 -> match\n" },
    { "checkpoint/rst-of-the-old-epoch",
      "S R 100:100(0)\n"
      "checkpoint\n"
      "P R 100:100(0) -> wait\n" },
    { "checkpoint/acks-of-the-secondary-are-forgotten",
      "S A 1:1(0) ack 100\n"
      "P A 1:1(0) ack 40 -> match\n"
      "checkpoint\n"
      "P A 1:1(0) ack 40 -> match\n"
      "P A 1:1(0) ack 41 -> wait\n"
      "S A 1:1(0) ack 100\n"
      "P A 1:1(0) ack 100 -> match\n" },
    { "checkpoint/acks-that-it-released-count",
      "S A 1:1(0) ack 40\n"
      "P A 1:1(0) ack 60 -> wait\n"
      "checkpoint\n"
      "C A 1:1(0) ack 60\n"
      "P A 1:1(0) ack 60 -> match\n"
      "P A 1:1(0) ack 61 -> wait\n" },
    { "checkpoint/without-any-ack-of-the-primary",
      "S A 1:11(10) ack 100\n"
      "checkpoint\n"
      "P A 1:1(0) ack 50 -> wait\n" },
    { "checkpoint/nothing-sent-yet",
      "S A 1:11(10) ack 1\n"
      "checkpoint\n"
      "P A 1:11(10) ack 1 -> wait\n"
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n" },
};

/* A stream far longer than what is kept of it, in and out of step */
static void test_long_stream(void)
{
    static uint8_t payload[1448];
    size_t budget = BUDGET, lowest = BUDGET;
    ColoReason reason;
    uint32_t seq = -100000;
    ColoTcpCompare t;

    colo_tcp_init(&t, &budget);
    for (int i = 0; i < 50000; i++) {
        ColoTcpSegment seg = {
            .seq = seq, .ack = 1, .flags = COLO_TCP_ACK,
            .payload = payload, .payload_len = sizeof(payload),
        };

        memset(payload, i, sizeof(payload));
        if (i % 2) {
            g_assert(colo_tcp_primary(&t, &seg, &reason) == COLO_WAIT);
        }
        g_assert(colo_tcp_secondary(&t, &seg, &reason) == COLO_MATCH);
        g_assert(colo_tcp_primary(&t, &seg, &reason) == COLO_MATCH);
        g_assert(!colo_tcp_secondary_is_ahead(&t));
        lowest = MIN(lowest, budget);
        seq += sizeof(payload);
    }
    g_assert_cmpuint(BUDGET - lowest, <=, 2 * COLO_STREAM_HISTORY);
    colo_tcp_destroy(&t);
}

/* The secondary runs ahead until there is no room: a reason, no loss before */
static void test_full(void)
{
    static uint8_t payload[1024];
    size_t budget = 64 * 1024;
    ColoReason reason = COLO_REASON_NONE;
    ColoTcpSegment seg = {
        .ack = 1, .flags = COLO_TCP_ACK,
        .payload = payload, .payload_len = sizeof(payload),
    };
    ColoTcpCompare t;

    colo_tcp_init(&t, &budget);
    while (colo_tcp_secondary(&t, &seg, &reason) == COLO_MATCH) {
        g_assert_cmpuint(seg.seq, <, 64 * 1024);
        seg.seq += sizeof(payload);
    }
    g_assert_cmpint(reason, ==, COLO_REASON_FULL);
    g_assert_cmpuint(seg.seq, >=, 32 * 1024);
    g_assert(colo_tcp_secondary_is_ahead(&t));
    for (uint32_t end = seg.seq, seq = 0; seq < end; seq += sizeof(payload)) {
        seg.seq = seq;
        g_assert(colo_tcp_primary(&t, &seg, &reason) == COLO_MATCH);
    }
    g_assert(!colo_tcp_secondary_is_ahead(&t));
    colo_tcp_destroy(&t);
    g_assert_cmpuint(budget, ==, 64 * 1024);
}

/* More gaps than can be remembered */
static void test_gaps(void)
{
    static uint8_t payload[8];
    size_t budget = BUDGET;
    ColoReason reason = COLO_REASON_NONE;
    ColoVerdict verdict = COLO_MATCH;
    ColoTcpCompare t;
    unsigned n = 0;

    colo_tcp_init(&t, &budget);
    while (verdict == COLO_MATCH) {
        ColoTcpSegment seg = {
            .seq = 100 * n++, .ack = 1, .flags = COLO_TCP_ACK,
            .payload = payload, .payload_len = sizeof(payload),
        };

        verdict = colo_tcp_secondary(&t, &seg, &reason);
    }
    g_assert_cmpint(reason, ==, COLO_REASON_FULL);
    g_assert_cmpuint(n, ==, COLO_STREAM_RANGES + 1);
    colo_tcp_destroy(&t);
}

enum { FLIGHT_SEGMENT = 1448, FLIGHT = 350 * FLIGHT_SEGMENT };

/* @len bytes of a long flight from byte @from on; the numbers wrap */
static ColoTcpSegment flight_segment(uint32_t from, uint32_t len)
{
    static uint8_t data[FLIGHT];

    if (!data[1]) {
        for (int i = 0; i < FLIGHT; i++) {
            data[i] = i * 7 + (i >> 8) * 3;
        }
    }
    return (ColoTcpSegment) {
        .seq = 0xfffff000u + from, .ack = 1, .flags = COLO_TCP_ACK,
        .payload = data + from, .payload_len = len,
    };
}

static ColoVerdict flight_send(ColoTcpCompare *t, char who, uint32_t from,
                               uint32_t len)
{
    ColoTcpSegment seg = flight_segment(from, len);
    ColoReason reason;

    return who == 'S' ? colo_tcp_secondary(t, &seg, &reason)
                      : colo_tcp_primary(t, &seg, &reason);
}

/*
 * Far more is in flight than is kept of what has left, and the beginning is lost:
 * both repeat it, either first, and what is behind it goes on.
 */
static void test_long_flight(void)
{
    enum { SEG = FLIGHT_SEGMENT, HOLES = 8, HOLE = 20 * SEG };
    static uint8_t other[SEG];
    size_t budget = BUDGET;
    ColoTcpSegment seg;
    ColoReason reason;
    ColoTcpCompare t;

    QEMU_BUILD_BUG_ON(FLIGHT < 4 * COLO_STREAM_HISTORY);
    colo_tcp_init(&t, &budget);
    for (int i = 0; i < FLIGHT - 10 * SEG; i += SEG) {
        g_assert_cmpint(flight_send(&t, 'S', i, SEG), ==, COLO_MATCH);
        g_assert_cmpint(flight_send(&t, 'P', i, SEG), ==, COLO_MATCH);
    }
    /* P first, then S; then new data */
    g_assert_cmpint(flight_send(&t, 'P', 0, SEG), ==, COLO_WAIT);
    g_assert_cmpint(flight_send(&t, 'S', 0, SEG), ==, COLO_MATCH);
    g_assert_cmpint(flight_send(&t, 'P', 0, SEG), ==, COLO_MATCH);
    g_assert_cmpint(flight_send(&t, 'S', FLIGHT - 10 * SEG, SEG), ==,
                    COLO_MATCH);
    g_assert_cmpint(flight_send(&t, 'P', FLIGHT - 10 * SEG, SEG), ==,
                    COLO_MATCH);
    /* S first, all holes of a lossy wire, and cut otherwise */
    for (int i = 0; i < HOLES; i++) {
        g_assert_cmpint(flight_send(&t, 'S', i * HOLE, SEG), ==, COLO_MATCH);
    }
    for (int i = 0; i < HOLES; i++) {
        g_assert_cmpint(flight_send(&t, 'P', i * HOLE, 500), ==, COLO_MATCH);
        g_assert_cmpint(flight_send(&t, 'P', i * HOLE + 500, SEG - 500), ==,
                        COLO_MATCH);
        g_assert_cmpint(flight_send(&t, 'P', i * HOLE + 500, SEG), ==,
                        COLO_WAIT);
    }
    /* Something else than S has repeated */
    seg = flight_segment(0, SEG);
    seg.payload = other;
    g_assert_cmpint(colo_tcp_primary(&t, &seg, &reason), ==, COLO_MISMATCH);
    g_assert_cmpint(reason, ==, COLO_REASON_DATA);
    /* What S has repeated in an epoch counts in that only */
    colo_tcp_checkpoint(&t);
    g_assert_cmpint(flight_send(&t, 'P', 0, SEG), ==, COLO_WAIT);
    colo_tcp_destroy(&t);
    g_assert_cmpuint(budget, ==, BUDGET);
}

/* S may repeat what it likes: it takes no more than a window's memory */
static void test_repeats(void)
{
    size_t budget = BUDGET;
    ColoTcpCompare t;

    colo_tcp_init(&t, &budget);
    for (int i = 0; i < FLIGHT; i += FLIGHT_SEGMENT) {
        flight_send(&t, 'S', i, FLIGHT_SEGMENT);
        flight_send(&t, 'P', i, FLIGHT_SEGMENT);
    }
    for (int i = 0; i < 10000; i++) {
        flight_send(&t, 'S', i * 2741u % (FLIGHT - 100), 1 + i % 100);
        g_assert_cmpuint(t.repeated.ranges, <=, COLO_STREAM_RANGES);
    }
    g_assert_cmpuint(BUDGET - budget, <=, 2 * 512 * 1024);
    /* All has left */
    colo_tcp_forget_history(&t);
    g_assert_cmpuint(budget, ==, BUDGET);
    flight_send(&t, 'S', FLIGHT - 10, 10);
    g_assert_cmpint(flight_send(&t, 'P', FLIGHT - 10, 10), ==, COLO_MATCH);
    colo_tcp_destroy(&t);
}

/* What S has sent and P has not is not forgotten for want of memory */
static void test_forget_history(void)
{
    size_t budget = BUDGET;
    ColoTcpCompare t;

    colo_tcp_init(&t, &budget);
    flight_send(&t, 'S', 0, 100);
    flight_send(&t, 'P', 0, 50);
    colo_tcp_forget_history(&t);
    g_assert_cmpint(flight_send(&t, 'P', 50, 50), ==, COLO_MATCH);
    colo_tcp_forget_history(&t);
    g_assert_cmpuint(budget, ==, BUDGET);
    g_assert_cmpint(flight_send(&t, 'P', 0, 100), ==, COLO_WAIT);
    g_assert_cmpint(flight_send(&t, 'S', 0, 60), ==, COLO_MATCH);
    g_assert_cmpint(flight_send(&t, 'P', 0, 100), ==, COLO_WAIT);
    g_assert_cmpint(flight_send(&t, 'S', 60, 80), ==, COLO_MATCH);
    g_assert_cmpint(flight_send(&t, 'P', 0, 100), ==, COLO_MATCH);
    g_assert_cmpint(flight_send(&t, 'P', 50, 80), ==, COLO_MATCH);
    /* What S has repeated of it is not what P's has been, once S is gone */
    colo_tcp_checkpoint(&t);
    g_assert_cmpint(flight_send(&t, 'P', 0, 100), ==, COLO_WAIT);
    colo_tcp_destroy(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/colo/tcp/%s", cases[i].name);

        g_test_add_data_func(path, cases[i].text, run_case);
    }
    g_test_add_func("/colo/tcp/long-stream", test_long_stream);
    g_test_add_func("/colo/tcp/full", test_full);
    g_test_add_func("/colo/tcp/gaps", test_gaps);
    g_test_add_func("/colo/tcp/long-flight", test_long_flight);
    g_test_add_func("/colo/tcp/repeats", test_repeats);
    g_test_add_func("/colo/tcp/forget-history", test_forget_history);
    return g_test_run();
}
