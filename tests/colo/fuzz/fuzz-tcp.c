/*
 * Fuzz target: comparison of TCP streams
 *
 * Input: records of 8 bytes, each a segment or a checkpoint, with sequence
 * numbers in two regions of a few KiB, one of which has the wrap in it.  They are
 * farther apart than history reaches.  Whatever P may send must be made of bytes that
 * S has sent in this epoch, or that have left before; its ACK must not be above all
 * of S's in this epoch, and of those of P's that have left.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-tcp.h"
#include "fuzz.h"

#define SPACE 512               /* sequence numbers in a region, in steps of STEP */
#define STEP 16
#define REGION ((SPACE + 64) * STEP)
#define BASE (UINT32_MAX - SPACE * STEP / 2)
#define UPPER (BASE + COLO_STREAM_HISTORY + 8 * STEP * SPACE)
#define BUDGET (256 * 1024)
#define RECORD 8

/* For each number of both regions: which of two bytes S has sent, or has left */
static uint8_t produced[2 * REGION];
static uint8_t sent[2 * REGION];

/* The highest ACK that S has sent, or P was allowed to; those of P only */
static int32_t acked, ack_sent;

static uint8_t payload[64 * STEP];
static uint8_t options[40];

enum { OP_PRIMARY, OP_SECONDARY, OP_COMMITTED, OP_CHECKPOINT };

static uint8_t byte_at(uint32_t seq, bool other)
{
    return (seq * 7 + (seq >> 8)) ^ (other ? 0x55 : 0);
}

/*
 * who/other byte, flags, where (2 bytes), length, where it is other, ACK,
 * odd offset and urgent pointer
 */
static ColoTcpSegment segment_of(const uint8_t *record, bool *other)
{
    ColoTcpSegment seg = {
        .flags = record[1] & 0x37,
        .seq = (record[3] & 0x80 ? UPPER : BASE) + (record[7] & 15) +
               (record[2] | record[3] << 8) % SPACE * STEP,
        .payload_len = record[4] % 32 * STEP + record[4] / 32,
        .ack = record[6] - 128,
        .urgent = record[7],
        .options = options,
        .options_len = record[5] % 41,
        .payload = payload,
    };

    *other = record[0] & 4;
    for (uint32_t i = 0; i < seg.payload_len; i++) {
        payload[i] = byte_at(seg.seq + i, *other && i % 256 == record[5]);
    }
    memcpy(options, record, RECORD);
    return seg;
}

static uint32_t index_of(uint32_t seq)
{
    return seq - BASE < REGION ? seq - BASE : seq - UPPER + REGION;
}

static bool is_other(const ColoTcpSegment *seg, uint32_t i)
{
    return seg->payload[i] != byte_at(seg->seq + i, false);
}

static void note(uint8_t *where, const ColoTcpSegment *seg)
{
    for (uint32_t i = 0; i < seg->payload_len; i++) {
        where[index_of(seg->seq + i)] |= 1 << is_other(seg, i);
    }
}

static void check_payload(const ColoTcpSegment *seg)
{
    for (uint32_t i = 0; i < seg->payload_len; i++) {
        uint32_t at = index_of(seg->seq + i);

        assert((produced[at] | sent[at]) & 1 << is_other(seg, i));
    }
}

static void note_ack(int32_t *where, const ColoTcpSegment *seg)
{
    if (seg->flags & COLO_TCP_ACK && !(seg->flags & COLO_TCP_RST)) {
        *where = MAX(*where, (int32_t)seg->ack);
    }
}

static void check_ack(const ColoTcpSegment *seg)
{
    if (!(seg->flags & (COLO_TCP_SYN | COLO_TCP_RST))) {
        assert((int32_t)seg->ack <= MAX(acked, ack_sent));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t budget = BUDGET;
    ColoTcpCompare t;

    memset(produced, 0, sizeof(produced));
    memset(sent, 0, sizeof(sent));
    acked = ack_sent = INT32_MIN;
    colo_tcp_init(&t, &budget);
    for (; size >= RECORD; data += RECORD, size -= RECORD) {
        ColoReason reason = COLO_REASON_NONE;
        ColoVerdict verdict;
        bool other;
        ColoTcpSegment seg = segment_of(data, &other);

        switch (data[0] & 3) {
        case OP_PRIMARY:
            verdict = colo_tcp_primary(&t, &seg, &reason);
            assert((verdict == COLO_MISMATCH) == (reason != COLO_REASON_NONE));
            if (verdict == COLO_MATCH) {
                check_payload(&seg);
                check_ack(&seg);
                note(sent, &seg);
                note_ack(&ack_sent, &seg);
            }
            break;
        case OP_SECONDARY:
            verdict = colo_tcp_secondary(&t, &seg, &reason);
            assert((verdict == COLO_MISMATCH) == (reason != COLO_REASON_NONE));
            note(produced, &seg);
            note_ack(&acked, &seg);
            break;
        case OP_COMMITTED:
            colo_tcp_committed(&t, &seg);
            note(sent, &seg);
            note_ack(&ack_sent, &seg);
            break;
        case OP_CHECKPOINT:
            colo_tcp_checkpoint(&t);
            memset(produced, 0, sizeof(produced));
            acked = INT32_MIN;
            break;
        }
        if (data[0] & 8) {
            colo_tcp_forget_history(&t);
        }
        colo_tcp_secondary_is_ahead(&t);
        assert(budget <= BUDGET);
        assert(t.stream.ranges <= COLO_STREAM_RANGES);
        assert(t.stream.size <= COLO_STREAM_MAX);
        assert(t.repeated.ranges <= COLO_STREAM_RANGES);
    }
    colo_tcp_destroy(&t);
    assert(budget == BUDGET);
    return 0;
}
