/*
 * TCP comparison: long streams, gaps and repeats, and how much is kept of them
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-tcp.h"

#define BUDGET (16 * 1024 * 1024)

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
    g_test_add_func("/colo/tcp/long-stream", test_long_stream);
    g_test_add_func("/colo/tcp/full", test_full);
    g_test_add_func("/colo/tcp/gaps", test_gaps);
    g_test_add_func("/colo/tcp/long-flight", test_long_flight);
    g_test_add_func("/colo/tcp/repeats", test_repeats);
    g_test_add_func("/colo/tcp/forget-history", test_forget_history);
    return g_test_run();
}
