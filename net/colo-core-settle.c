/*
 * The compare engine: which of P's frames may leave now
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-cut.h"
#include "net/colo-same.h"
#include "colo-core-int.h"

/* How far apart two guests may be in the order of equal frames */
#define REORDER_MAX 32

#define TCP_HEADER_LEN 20

ColoTcpSegment core_segment_of(const ColoPacket *packet, const uint8_t *data)
{
    return (ColoTcpSegment) {
        .seq = packet->tcp.seq,
        .ack = packet->tcp.ack,
        .urgent = packet->tcp.urgent,
        .flags = packet->tcp.flags,
        .options = data + packet->l4_off + TCP_HEADER_LEN,
        .options_len = packet->l4_len - TCP_HEADER_LEN,
        .payload = data + packet->payload_off,
        .payload_len = packet->payload_len,
    };
}

static bool same(const ColoHeld *p, const ColoHeld *s, ColoReason *reason)
{
    *reason = colo_same_frame(&p->packet, p->data, &s->packet, s->data);
    return *reason == COLO_REASON_NONE;
}

/* Will the frame that S sent first be wanted by a frame of P's? */
static bool first_of_secondary_is_wanted(const CoreFlow *f)
{
    const ColoHeld *s = QTAILQ_FIRST(&f->secondary), *p;
    ColoReason reason;
    int tries = REORDER_MAX;

    QTAILQ_FOREACH(p, &f->primary, in_flow) {
        if (same(p, s, &reason)) {
            return true;
        }
        if (!--tries) {
            break;
        }
    }
    return false;
}

static ColoVerdict compare_frame(ColoCore *core, CoreFlow *f, ColoHeld *p,
                                 ColoReason *reason)
{
    ColoHeld *s;
    ColoReason first = COLO_REASON_NONE;
    int tries = REORDER_MAX;

    QTAILQ_FOREACH(s, &f->secondary, in_flow) {
        if (same(p, s, reason)) {
            QTAILQ_REMOVE(&f->secondary, s, in_flow);
            f->secondary_count--;
            core_forget_secondary_frame(core, s);
            return COLO_MATCH;
        }
        if (first == COLO_REASON_NONE) {
            first = *reason;
        }
        if (!--tries) {
            break;
        }
    }
    if (!f->secondary_count || first_of_secondary_is_wanted(f)) {
        return COLO_WAIT;
    }
    *reason = first;
    return COLO_MISMATCH;
}

static ColoVerdict compare(ColoCore *core, CoreFlow *f, ColoHeld *held,
                           ColoReason *reason)
{
    if (held->packet.kind == COLO_KIND_TCP) {
        ColoTcpSegment segment = core_segment_of(&held->packet, held->data);

        return colo_tcp_primary(&f->tcp, &segment, reason);
    }
    return compare_frame(core, f, held, reason);
}

bool core_is_of_new_epoch(const ColoCore *core, const ColoHeld *held)
{
    return held->epoch && held->epoch == core->epoch + 1;
}

/*
 * The first frame held waits for bytes of S, which may be waiting for an ACK of
 * those that it has sent.
 */
static void release_part(ColoCore *core, CoreFlow *f, ColoHeld *held)
{
    ColoTcpSegment segment;
    struct iovec iov = { .iov_base = held->data };
    ColoHeld *part;
    uint32_t len;

    if (core->now - held->arrived < PART_MS ||
        !colo_cut_possible(&held->packet)) {
        return;
    }
    segment = core_segment_of(&held->packet, held->data);
    len = colo_tcp_primary_part(&f->tcp, &segment);
    if (!len) {
        return;
    }
    iov.iov_len = held->packet.payload_off + len;
    part = colo_held_new(&core->pool, &iov, 1, iov.iov_len,
                         held->vnet_hdr_len);
    part->epoch = held->epoch;
    colo_lower_sack(&f->lower, &held->packet, part->data);
    part->len = colo_cut(&held->packet, part->data, len);
    colo_lower_left(&f->lower, &held->packet);
    core_release_unheld(core, part, &core->stats.parts);
}

/* The first frame held waits for S to acknowledge as much. */
static void release_lowered(ColoCore *core, CoreFlow *f, const ColoHeld *held)
{
    uint8_t frame[COLO_LOWER_SIZE];
    struct iovec iov = { .iov_base = frame };

    while ((iov.iov_len = colo_lower(&f->lower, &held->packet, held->data,
                                     frame))) {
        ColoHeld *lowered = colo_held_new(&core->pool, &iov, 1, iov.iov_len,
                                          held->vnet_hdr_len);

        lowered->epoch = held->epoch;
        core_release_unheld(core, lowered, &core->stats.lowered);
    }
}

/* No client is to believe that S has what only P has got. */
static void lower_sack(const CoreFlow *f, ColoHeld *held)
{
    const ColoPacket *p = &held->packet;

    if (p->kind == COLO_KIND_TCP &&
        colo_lower_sack(&f->lower, p, held->data)) {
        colo_cut_finish(p, held->data, p->l4_len, p->payload_len);
    }
}

void core_settle(ColoCore *core, CoreFlow *f)
{
    ColoHeld *held;

    while ((held = QTAILQ_FIRST(&f->primary)) &&
           !core_is_of_new_epoch(core, held)) {
        ColoReason reason = COLO_REASON_NONE;
        ColoVerdict verdict = compare(core, f, held, &reason);

        if (verdict == COLO_MATCH) {
            lower_sack(f, held);
            core_release(core, held, &core->stats.matches);
            continue;
        }
        if (verdict == COLO_MISMATCH && !held->blamed) {
            held->blamed = true;
            core_mismatch(core, f, reason);
        } else if (verdict == COLO_WAIT) {
            release_part(core, f, held);
            if (held->packet.kind == COLO_KIND_TCP) {
                release_lowered(core, f, held);
            }
        }
        return;
    }
}
