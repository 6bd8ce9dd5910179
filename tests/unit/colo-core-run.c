/*
 * The compare engine, driven by text: see colo-core-run.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-core-run.h"
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

/* The number of a frame of P's stands in front of it, as a virtio-net header */
#define NUMBER_LEN 12

static void check_part(CoreRun *run, const ColoHeld *held)
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
    CoreRun *run = opaque;
    uint32_t number;
    ColoPacket p;

    colo_packet_parse(&p, held->data, held->len, NUMBER_LEN);
    memcpy(&number, held->data, sizeof(number));
    g_string_append_printf(run->effects, " %u", number);
    if (number <= CORE_RUN_LENGTHS && p.tcp.ack != run->ack[number - 1]) {
        g_assert_cmpuint(p.payload_len, ==, 0);
        g_string_append_printf(run->effects, "^%u", p.tcp.ack);
    } else if (number <= CORE_RUN_LENGTHS &&
               held->len != run->length[number - 1]) {
        check_part(run, held);
    }
    if (p.kind == COLO_KIND_TCP && number <= CORE_RUN_LENGTHS &&
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
    CoreRun *run = opaque;

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

static void primary(CoreRun *run, const char *text)
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
    if (run->sent <= CORE_RUN_LENGTHS) {
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

void core_run_event(CoreRun *run, const char *text)
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

void core_run_line(CoreRun *run, char *line)
{
    char *expected = strstr(line, "=>");

    if (expected) {
        *expected = 0;
        expected += 2;
    }
    g_strstrip(line);
    g_string_truncate(run->effects, 0);
    core_run_event(run, line);
    g_test_message("%s =>%s", line, run->effects->str);
    g_assert_cmpstr(run->effects->str, ==, expected ? expected : "");
}

CoreRun *core_run_new(void)
{
    ColoCoreConfig config = {
        .compare_timeout = TIMEOUT,
        .max_queue_size = QUEUE,
        .max_bytes = COLO_CORE_MAX_BYTES,
        .max_stream_bytes = COLO_CORE_MAX_STREAM_BYTES,
    };
    CoreRun *run = g_new0(CoreRun, 1);

    run->effects = g_string_new("");
    run->now = 1000;
    run->core = colo_core_new(&config, &ops, 0, run);
    return run;
}

void core_run_free(CoreRun *run)
{
    colo_core_free(run->core);
    g_string_free(run->effects, true);
    g_free(run);
}

static void run_case(gconstpointer text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    CoreRun *run = core_run_new();

    for (char **line = lines; *line; line++) {
        if (**line && **line != '#') {
            core_run_line(run, *line);
        }
    }
    core_run_free(run);
}

void core_run_add(const CoreCase *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        g_autofree char *path = g_strdup_printf("/colo/core/%s", cases[i].name);

        g_test_add_data_func(path, cases[i].text, run_case);
    }
}
