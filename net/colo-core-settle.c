/*
 * The compare engine: which of P's frames may leave now
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-cut.h"
#include "net/colo-same.h"
#include "colo-core-int.h"

/* How far apart two guests may be in the order of equal frames */
#define REORDER_MAX 32

enum { TCP_HEADER_LEN = 20, TCP_OFF_SEQ = 4 };

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

/* Windows that were cut down */

void core_forget_headers(ColoCore *core, CoreFlow *f)
{
    if (f->headers) {
        colo_held_free(&core->pool, f->headers);
        f->headers = NULL;
    }
}

/* What follows @held begins where that ends. */
static void keep_headers(ColoCore *core, CoreFlow *f, const ColoHeld *held,
                         uint16_t window)
{
    const ColoPacket *p = &held->packet;
    struct iovec iov = {
        .iov_base = (void *)held->data, .iov_len = p->payload_off,
    };

    core_forget_headers(core, f);
    f->headers = colo_held_new(&core->pool, &iov, 1, iov.iov_len,
                               held->vnet_hdr_len);
    f->headers->epoch = held->epoch;
    f->headers->packet = *p;
    f->headers_window = window;
    stl_be_p(f->headers->data + p->l4_off + TCP_OFF_SEQ,
             p->tcp.seq + p->payload_len + !!(p->tcp.flags & COLO_TCP_FIN));
}

void core_update_window(ColoCore *core, CoreFlow *f)
{
    uint8_t frame[COLO_LOWER_SIZE];
    struct iovec iov = { .iov_base = frame };
    ColoHeld *update;

    if (!f->headers || f->primary_count) {
        return;
    }
    iov.iov_len = colo_lower_update(&f->lower, &f->headers->packet,
                                    f->headers->data, frame);
    if (iov.iov_len) {
        update = colo_held_new(&core->pool, &iov, 1, iov.iov_len,
                               f->headers->vnet_hdr_len);
        update->epoch = f->headers->epoch;
        core_release_unheld(core, update, &core->stats.lowered);
    }
}

/*
 * No client is to believe that S has, or has room for, what only P has.  True: the
 * checksum has to be put right.
 */
static bool lower_segment(ColoCore *core, CoreFlow *f, ColoHeld *held)
{
    bool sack = colo_lower_sack(&f->lower, &held->packet, held->data);
    uint16_t window = held->packet.tcp.window;

    if (colo_lower_window(&f->lower, &held->packet, held->data)) {
        keep_headers(core, f, held, window);
        return true;
    }
    core_forget_headers(core, f);
    return sack;
}

/* An ACK that does no more than open the window further than @before */
static bool opens_window(const CoreFlow *f, const ColoPacket *p,
                         uint16_t before)
{
    return !p->payload_len && !p->tcp.n_sack &&
           !(p->tcp.flags & (COLO_TCP_FIN | COLO_TCP_URG)) &&
           f->lower.has_left && p->tcp.ack == f->lower.left_ack &&
           p->tcp.window > before;
}

/* How wide P's last segment has left the window, as P sees it */
static uint16_t window_of_primary(const CoreFlow *f)
{
    return f->headers ? f->headers_window : f->lower.left_window;
}

static void release_same(ColoCore *core, CoreFlow *f, ColoHeld *held)
{
    const ColoPacket *p = &held->packet;
    bool opens;

    if (p->kind != COLO_KIND_TCP) {
        core_release(core, held, &core->stats.matches);
        return;
    }
    opens = opens_window(f, p, window_of_primary(f));
    if (lower_segment(core, f, held)) {
        colo_cut_finish(p, held->data, p->l4_len, p->payload_len);
    }
    /*
     * Cut down to what was told before, it would count as a duplicate.  One that
     * P itself has repeated is one: an answer to a probe, or something is missing.
     */
    if (opens && f->headers && p->tcp.window <= f->lower.left_window) {
        core_unhold(core, held);
        core->stats.put_off++;
        if (core->ops.put_off) {
            core->ops.put_off(core->opaque, held);
        }
        colo_held_free(&core->pool, held);
        return;
    }
    core_release(core, held, &core->stats.matches);
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
    part->packet = held->packet;
    part->packet.payload_len = len;
    lower_segment(core, f, part);
    part->len = colo_cut(&held->packet, part->data, len);
    colo_lower_left(&f->lower, &part->packet);
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

void core_settle(ColoCore *core, CoreFlow *f)
{
    ColoHeld *held;

    while ((held = QTAILQ_FIRST(&f->primary)) &&
           !core_is_of_new_epoch(core, held)) {
        ColoReason reason = COLO_REASON_NONE;
        ColoVerdict verdict = compare(core, f, held, &reason);

        if (verdict == COLO_MATCH) {
            release_same(core, f, held);
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
    core_update_window(core, f);
}
