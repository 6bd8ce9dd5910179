/*
 * TCP comparison, driven by text: see colo-tcp-run.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-tcp.h"
#include "colo-tcp-run.h"

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

void tcp_run_add(const TcpCase *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        g_autofree char *path = g_strdup_printf("/colo/tcp/%s", cases[i].name);

        g_test_add_data_func(path, cases[i].text, run_case);
    }
}
