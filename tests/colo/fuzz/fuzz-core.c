/*
 * Fuzz target: the whole compare engine
 *
 * Input: events, each an op byte and what belongs to it; frames are headers that
 * are sound, with bytes from the input over them.  No frame of P's may be lost,
 * leave twice, or stay after a checkpoint or failover, and all are counted.  An
 * ACK that the core makes is one that P or S has sent.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-core.h"
#include "fuzz.h"

#define FRAMES 4096

typedef struct Run {
    ColoCore *core;
    uint64_t in;                /* frames of P given to the core */
    uint64_t out;               /* and released again */
    uint64_t made;              /* by the core, of one of those it has */
    uint32_t ack[FRAMES];       /* of all that was sent, for one input */
    unsigned acks;
    int64_t now;
    ColoHeld *held[FRAMES];     /* those which the core has */
    unsigned count;
} Run;

enum {
    OP_PRIMARY, OP_SECONDARY, OP_BOTH, OP_CHECKPOINT, OP_MARKER, OP_FAILOVER,
    OP_TIME, OP_PRIMARY_EPOCH, OP__MAX
};

static const uint8_t templates[][64] = {
    /* TCP over IPv4, UDP over IPv4, TCP over IPv6, ARP */
    { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
      0x45, 0, 0, 50, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
      0, 80, 3, 0xe7, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0, 0, 0, 0, 0, 0 },
    { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
      0x45, 0, 0, 50, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
      0, 53, 3, 0xe7, 0, 30, 0, 0 },
    { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd,
      0x60, 0, 0, 0, 0, 24, 6, 64, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 1, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 80 },
    { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 6,
      0, 1, 8, 0, 6, 4, 0, 1 },
};

/* It is a segment with data, and no more than that, or an ACK that was sent */
static void check_made(const Run *run, const ColoHeld *held)
{
    ColoPacket p;
    unsigned i = 0;

    colo_packet_parse(&p, held->data, held->len, held->vnet_hdr_len);
    assert(p.kind == COLO_KIND_TCP);
    assert(p.payload_off + p.payload_len == held->len);
    assert(!(p.tcp.flags & (COLO_TCP_FIN | COLO_TCP_SYN | COLO_TCP_RST)));
    if (!p.payload_len && run->acks < FRAMES) {
        while (i < run->acks && run->ack[i] != p.tcp.ack) {
            i++;
        }
        assert(i < run->acks && p.tcp.flags & COLO_TCP_ACK);
    }
}

static void on_release(void *opaque, ColoHeld *held)
{
    Run *run = opaque;
    unsigned i = 0;

    while (i < run->count && run->held[i] != held) {
        i++;
    }
    if (i < run->count) {
        run->held[i] = run->held[--run->count];
        run->out++;
    } else {
        check_made(run, held);
        run->made++;
    }
    colo_core_recycle(run->core, held);
}

static void on_put_off(void *opaque, const ColoHeld *held)
{
    Run *run = opaque;
    unsigned i = 0;

    while (run->held[i] != held) {
        i++;
        assert(i < run->count);
    }
    run->held[i] = run->held[--run->count];
    run->out++;
}

static void on_want(void *opaque, ColoReason reason)
{
}

static const ColoCoreOps ops = { on_release, on_want, on_put_off };

typedef struct Input {
    const uint8_t *data;
    size_t size;
} Input;

static uint8_t next(Input *in)
{
    if (!in->size) {
        return 0;
    }
    in->size--;
    return *in->data++;
}

/* A template, how many changes, and these; how long it is */
static uint32_t next_frame(Input *in, uint8_t frame[64])
{
    uint8_t what = next(in);

    memcpy(frame, templates[what % ARRAY_SIZE(templates)], 64);
    for (int i = what >> 2 & 7; i > 0; i--) {
        uint8_t at = next(in) % 64;

        frame[at] = next(in);
    }
    return what & 0x80 ? next(in) % 64 + 1 : 64;
}

static void note_ack(Run *run, const ColoPacket *p)
{
    if (p->kind == COLO_KIND_TCP && run->acks < FRAMES) {
        run->ack[run->acks++] = p->tcp.ack;
    }
}

static void primary(Run *run, const uint8_t *frame, uint32_t len,
                    uint64_t epoch)
{
    struct iovec iov = { (void *)frame, len };
    ColoHeld *held;

    if (run->count == FRAMES) {
        return;
    }
    held = colo_core_new_held(run->core, &iov, 1, len, 0);
    held->epoch = epoch;
    run->held[run->count++] = held;
    run->in++;
    note_ack(run, &held->packet);
    colo_core_primary(run->core, held, run->now);
}

static void secondary(Run *run, const uint8_t *frame, uint32_t len,
                      uint32_t vnet_hdr_len)
{
    ColoPacket p;

    colo_packet_parse(&p, frame, len, MIN(len, vnet_hdr_len));
    note_ack(run, &p);
    colo_core_secondary(run->core, frame, len, vnet_hdr_len, run->now);
}

static void check(const Run *run)
{
    const ColoCoreStats *stats = colo_core_stats(run->core);

    assert(run->count == stats->queue_packets);
    assert(run->in == run->out + run->count);
    assert(run->in == stats->primary_packets);
    assert(run->made == stats->parts + stats->lowered);
    assert(run->out == stats->matches + stats->released_by_checkpoint +
           stats->released_committed + stats->released_uncompared +
           stats->put_off);
    assert(stats->queue_packets || !stats->queue_bytes);
}

static void event(Run *run, Input *in, uint64_t *epoch)
{
    uint8_t op = next(in), frame[64];
    uint32_t len;

    switch (op % OP__MAX) {
    case OP_PRIMARY:
    case OP_PRIMARY_EPOCH:
    case OP_BOTH:
        len = next_frame(in, frame);
        primary(run, frame, len,
                op % OP__MAX == OP_PRIMARY_EPOCH ? *epoch + (op >> 6) : 0);
        if (op % OP__MAX == OP_BOTH) {
            secondary(run, frame, len, 0);
        }
        break;
    case OP_SECONDARY:
        len = next_frame(in, frame);
        secondary(run, frame, len, op & 0x80 ? 12 : 0);
        break;
    case OP_CHECKPOINT:
        *epoch = op & 0x80 ? *epoch + 1 : op >> 6;
        colo_core_checkpoint(run->core, *epoch, run->now);
        break;
    case OP_MARKER:
        colo_core_secondary_epoch(run->core, *epoch + (op >> 6) - 1);
        break;
    case OP_FAILOVER:
        if (op & 0x80) {
            colo_core_failover(run->core);
            assert(!colo_core_stats(run->core)->queue_packets);
        }
        break;
    case OP_TIME:
        run->now += op << 6;
        colo_core_tick(run->core, run->now);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ColoCoreConfig config = {
        .compare_timeout = 3000, .max_queue_size = 16, .max_bytes = 65536,
        .max_stream_bytes = 65536,
    };
    static Run run;
    Input in = { data, size };
    uint64_t epoch = 0;

    run.acks = 0;
    if (!run.core) {
        run.core = colo_core_new(&config, &ops, 0, &run);
    }
    /* One for all inputs, as making one takes long */
    colo_core_secondary_epoch(run.core, 0);
    colo_core_checkpoint(run.core, 0, run.now);
    while (in.size) {
        event(&run, &in, &epoch);
        check(&run);
    }
    /* Two, for what may be of an epoch ahead */
    colo_core_checkpoint(run.core, epoch + 1, run.now);
    colo_core_checkpoint(run.core, epoch + 2, run.now);
    colo_core_failover(run.core);
    check(&run);
    assert(run.in == run.out);
    return 0;
}
