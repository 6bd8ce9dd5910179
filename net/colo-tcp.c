/*
 * Comparing one direction of a TCP connection as a byte stream
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-tcp-int.h"

void colo_tcp_init(ColoTcpCompare *t, size_t *budget)
{
    memset(t, 0, sizeof(*t));
    colo_stream_init(&t->stream, budget);
    colo_stream_init(&t->repeated, budget);
}

void colo_tcp_destroy(ColoTcpCompare *t)
{
    colo_stream_destroy(&t->stream);
    colo_stream_destroy(&t->repeated);
}

static uint32_t segment_end(const ColoTcpSegment *seg)
{
    return seg->seq + seg->payload_len;
}

/* All that a segment takes of the sequence space: FIN counts as one */
static uint32_t sequence_end(const ColoTcpSegment *seg)
{
    return segment_end(seg) + !!(seg->flags & COLO_TCP_FIN);
}

static uint32_t urgent_position(const ColoTcpSegment *seg)
{
    return seg->seq + seg->urgent;
}

/* Does it say anything about our direction of the stream? */
static bool carries(const ColoTcpSegment *seg)
{
    return seg->payload_len || seg->flags & (COLO_TCP_FIN | COLO_TCP_URG);
}

/* Below this, bytes are history; above it, they wait for their like */
static uint32_t stream_floor(const ColoTcpCompare *t)
{
    return t->sent.valid ? t->sent.seq : t->base.seq;
}

static bool is_far(const ColoTcpCompare *t, uint32_t seq)
{
    uint32_t distance = seq - stream_floor(t) + COLO_STREAM_MAX;

    return distance > 2 * COLO_STREAM_MAX;
}

/* A connection that was open before: the first segment says where we are */
static void set_base(ColoTcpCompare *t, uint32_t seq)
{
    if (!t->base.valid ||
        (!t->sent.valid && colo_seq_before(seq, t->base.seq) &&
         !is_far(t, seq))) {
        t->base = mark_at(seq);
    }
}

/* Data, FIN, ACK */

static bool is_probe(const ColoTcpCompare *t, const ColoTcpSegment *seg)
{
    return seg->payload_len == 1 && t->sent.valid &&
           !(seg->flags & COLO_TCP_FIN) && t->sent.seq - seg->seq == 1;
}

/*
 * S repeats @len bytes of what has left, or is said to.  Ranges that are lower are
 * those which P is least likely to need.
 */
static void keep_repeated(ColoTcpCompare *t, const ColoTcpSegment *seg,
                          uint32_t len)
{
    ColoStream *r = &t->repeated;

    while (colo_stream_put(r, seg->seq, seg->payload, len,
                           r->ranges ? r->range[0].from : seg->seq) !=
           COLO_STREAM_SAME && r->ranges) {
        colo_stream_forget_below(r, r->range[0].to);
    }
}

/*
 * What has left and is known must be the same.  If it is not known any more, or not
 * for long, the repetition is kept, but not as history: of that a checkpoint would
 * believe that it is P's.
 */
static bool secondary_repeats(ColoTcpCompare *t, const ColoTcpSegment *seg,
                              uint32_t len)
{
    uint32_t old = stream_floor(t) - COLO_STREAM_HISTORY / 2;
    ColoStreamResult result = colo_stream_compare(&t->stream, seg->seq,
                                                  seg->payload, len);

    if (result == COLO_STREAM_DIFFERS) {
        return false;
    }
    if (result == COLO_STREAM_UNKNOWN || colo_seq_before(seg->seq, old)) {
        keep_repeated(t, seg, len);
    }
    return true;
}

static ColoVerdict secondary_data(ColoTcpCompare *t, const ColoTcpSegment *seg,
                                  ColoReason *reason)
{
    uint32_t floor = stream_floor(t), skip = 0;
    ColoStreamResult result = COLO_STREAM_SAME;

    if (is_probe(t, seg)) {
        t->probe = mark_at(seg->seq);
        t->probe_byte = seg->payload[0];
        if (colo_stream_compare(&t->stream, seg->seq, seg->payload, 1) ==
            COLO_STREAM_DIFFERS) {
            return COLO_MATCH;
        }
    }
    if (colo_seq_before(seg->seq, floor)) {
        skip = MIN(floor - seg->seq, seg->payload_len);
        result = secondary_repeats(t, seg, skip) ? COLO_STREAM_SAME
                                                 : COLO_STREAM_DIFFERS;
    }
    if (result == COLO_STREAM_SAME) {
        result = colo_stream_put(&t->stream, seg->seq + skip,
                                 seg->payload + skip, seg->payload_len - skip,
                                 floor);
    }
    switch (result) {
    case COLO_STREAM_DIFFERS:
        *reason = COLO_REASON_DATA;
        return COLO_MISMATCH;
    case COLO_STREAM_FULL:
        *reason = is_far(t, seg->seq) ? COLO_REASON_SEQ : COLO_REASON_FULL;
        return COLO_MISMATCH;
    default:
        return COLO_MATCH;
    }
}

ColoVerdict colo_tcp_secondary(ColoTcpCompare *t, const ColoTcpSegment *seg,
                               ColoReason *reason)
{
    if (seg->flags & COLO_TCP_RST) {
        colo_tcp_secondary_rst(t, seg);
        return COLO_MATCH;
    }
    if (seg->flags & COLO_TCP_SYN) {
        colo_tcp_secondary_syn(t, seg);
        return COLO_MATCH;
    }
    if (seg->flags & COLO_TCP_ACK) {
        raise_mark(&t->acked, seg->ack);
    }
    if (!carries(seg)) {
        return COLO_MATCH;
    }
    set_base(t, seg->seq);
    if (is_far(t, seg->seq)) {
        if (colo_seq_before(seg->seq, stream_floor(t))) {
            return COLO_MATCH;
        }
        *reason = COLO_REASON_SEQ;
        return COLO_MISMATCH;
    }
    if (seg->flags & COLO_TCP_URG) {
        raise_mark(&t->urgent, urgent_position(seg));
    }
    if (seg->flags & COLO_TCP_FIN) {
        t->fin = mark_at(segment_end(seg));
    }
    return secondary_data(t, seg, reason);
}

static ColoVerdict primary_fin(const ColoTcpCompare *t,
                               const ColoTcpSegment *seg,
                               ColoReason *reason)
{
    uint32_t end = segment_end(seg);

    if (mark_is(&t->fin_sent, end) || mark_is(&t->fin, end)) {
        return COLO_MATCH;
    }
    if (t->fin.valid || colo_stream_reaches_beyond(&t->stream, end)) {
        *reason = COLO_REASON_LENGTH;
        return COLO_MISMATCH;
    }
    return COLO_WAIT;
}

static ColoVerdict primary_urgent(const ColoTcpCompare *t,
                                  const ColoTcpSegment *seg)
{
    uint32_t at = urgent_position(seg);

    /* The pointer moves on when more becomes urgent, sooner or later */
    return mark_reached(&t->urgent_sent, at) || mark_reached(&t->urgent, at) ?
           COLO_MATCH : COLO_WAIT;
}

/* As far as S has not repeated it, @seg must be in the window. */
static ColoStreamResult compare_repeated(const ColoTcpCompare *t,
                                         const ColoTcpSegment *seg)
{
    uint32_t n;

    for (uint32_t i = 0; i < seg->payload_len; i += n) {
        uint32_t rest = seg->payload_len - i;
        const ColoStream *s = &t->repeated;

        n = colo_stream_known(s, seg->seq + i, rest);
        if (!n) {
            s = &t->stream;
            n = colo_stream_known(s, seg->seq + i, rest);
        }
        if (!n) {
            return COLO_STREAM_UNKNOWN;
        }
        if (colo_stream_compare(s, seg->seq + i, seg->payload + i, n) !=
            COLO_STREAM_SAME) {
            return COLO_STREAM_DIFFERS;
        }
    }
    return COLO_STREAM_SAME;
}

static ColoStreamResult compare_data(const ColoTcpCompare *t,
                                     const ColoTcpSegment *seg)
{
    ColoStreamResult result = colo_stream_compare(&t->stream, seg->seq,
                                                  seg->payload,
                                                  seg->payload_len);

    return result == COLO_STREAM_UNKNOWN && t->repeated.ranges ?
           compare_repeated(t, seg) : result;
}

static ColoVerdict primary_data(const ColoTcpCompare *t,
                                const ColoTcpSegment *seg,
                                ColoReason *reason)
{
    uint32_t end = segment_end(seg);

    if (!seg->payload_len) {
        return COLO_MATCH;
    }
    if (t->fin.valid && colo_seq_before(t->fin.seq, end)) {
        *reason = COLO_REASON_LENGTH;
        return COLO_MISMATCH;
    }
    switch (compare_data(t, seg)) {
    case COLO_STREAM_SAME:
        return COLO_MATCH;
    case COLO_STREAM_UNKNOWN:
        return COLO_WAIT;
    default:
        break;
    }
    if (is_probe(t, seg)) {
        return mark_is(&t->probe, seg->seq) && t->probe_byte == *seg->payload ?
               COLO_MATCH : COLO_WAIT;
    }
    *reason = COLO_REASON_DATA;
    return COLO_MISMATCH;
}

/* The worst of two */
static ColoVerdict both(ColoVerdict a, ColoVerdict b)
{
    if (a == COLO_MISMATCH || b == COLO_MISMATCH) {
        return COLO_MISMATCH;
    }
    return a == COLO_WAIT || b == COLO_WAIT ? COLO_WAIT : COLO_MATCH;
}

static void sent(ColoTcpCompare *t, const ColoTcpSegment *seg)
{
    if (seg->payload_len || seg->flags & COLO_TCP_FIN) {
        if (!t->sent.valid || colo_seq_before(t->sent.seq, seg->seq) ||
            (colo_seq_before(seg->seq, t->left) &&
             !colo_seq_before(sequence_end(seg), t->left))) {
            t->left = seg->seq;
        }
        raise_mark(&t->sent, sequence_end(seg));
    }
    if (seg->flags & COLO_TCP_FIN) {
        t->fin_sent = mark_at(segment_end(seg));
    }
    if (seg->flags & COLO_TCP_URG) {
        raise_mark(&t->urgent_sent, urgent_position(seg));
    }
    if (seg->flags & COLO_TCP_ACK) {
        raise_mark(&t->ack_sent, seg->ack);
    }
}

ColoVerdict colo_tcp_primary(ColoTcpCompare *t, const ColoTcpSegment *seg,
                             ColoReason *reason)
{
    ColoVerdict verdict = COLO_MATCH;

    if (seg->flags & COLO_TCP_RST) {
        return colo_tcp_primary_rst(t, seg, reason);
    }
    if (seg->flags & COLO_TCP_SYN) {
        return colo_tcp_primary_syn(t, seg, reason);
    }
    if (!(seg->flags & COLO_TCP_ACK)) {
        *reason = COLO_REASON_FLAGS;
        return COLO_MISMATCH;
    }
    if (carries(seg)) {
        set_base(t, seg->seq);
        if (is_far(t, seg->seq) &&
            !colo_seq_before(seg->seq, stream_floor(t))) {
            *reason = COLO_REASON_SEQ;
            return COLO_MISMATCH;
        }
        verdict = primary_data(t, seg, reason);
    }
    if (seg->flags & COLO_TCP_FIN) {
        verdict = both(verdict, primary_fin(t, seg, reason));
    }
    if (seg->flags & COLO_TCP_URG) {
        verdict = both(verdict, primary_urgent(t, seg));
    }
    if (!mark_reached(&t->acked, seg->ack)) {
        verdict = both(verdict, COLO_WAIT);
    }
    if (verdict == COLO_MATCH) {
        sent(t, seg);
    }
    return verdict;
}

uint32_t colo_tcp_primary_part(ColoTcpCompare *t, const ColoTcpSegment *seg)
{
    ColoTcpSegment part = *seg;
    uint32_t len;

    if (seg->flags & (COLO_TCP_SYN | COLO_TCP_RST | COLO_TCP_URG) ||
        !mark_reached(&t->acked, seg->ack)) {
        return 0;
    }
    len = colo_stream_known(&t->stream, seg->seq, seg->payload_len);
    if (!len || mark_reached(&t->sent, seg->seq + len) ||
        (t->fin.valid && colo_seq_before(t->fin.seq, seg->seq + len))) {
        return 0;
    }
    part.payload_len = len;
    part.flags &= ~COLO_TCP_FIN;
    sent(t, &part);
    return len;
}

/* Checkpoint */

/* P has nothing more to say than what it has said */
static bool is_closed(const ColoTcpCompare *t)
{
    return t->fin_sent.valid && mark_is(&t->sent, t->fin_sent.seq + 1);
}

void colo_tcp_forget_history(ColoTcpCompare *t)
{
    if (!colo_stream_reaches_beyond(&t->stream, stream_floor(t))) {
        colo_stream_reset(&t->stream);
        colo_stream_reset(&t->repeated);
    }
}

void colo_tcp_checkpoint(ColoTcpCompare *t)
{
    colo_stream_reset(&t->repeated);
    if (is_closed(t)) {
        colo_stream_reset(&t->stream);
    } else if (t->sent.valid) {
        colo_stream_forget_from(&t->stream, t->sent.seq);
        colo_stream_forget_below(&t->stream, t->left);
        colo_stream_forget_below(&t->stream,
                                 t->sent.seq - COLO_STREAM_HISTORY);
    } else {
        colo_stream_reset(&t->stream);
        t->base.valid = false;
    }
    t->acked = t->ack_sent;
    t->fin.valid = t->urgent.valid = t->probe.valid = false;
    t->syn.valid = t->syn_used.valid = false;
    t->rsts = 0;
}

void colo_tcp_committed(ColoTcpCompare *t, const ColoTcpSegment *seg)
{
    if (seg->flags & COLO_TCP_RST) {
        return;
    }
    if (seg->flags & COLO_TCP_SYN) {
        if (!mark_is(&t->isn_sent, seg->seq)) {
            colo_tcp_open(t, seg);
        }
        return;
    }
    if (seg->flags & COLO_TCP_ACK) {
        raise_mark(&t->acked, seg->ack);
        raise_mark(&t->ack_sent, seg->ack);
    }
    if (!carries(seg)) {
        return;
    }
    set_base(t, seg->seq);
    if (is_far(t, seg->seq)) {
        colo_stream_reset(&t->stream);
    } else if (colo_stream_put(&t->stream, seg->seq, seg->payload,
                               seg->payload_len, stream_floor(t)) ==
               COLO_STREAM_DIFFERS) {
        /* What leaves is P's; S's bytes of the old epoch are no history */
        colo_stream_reset(&t->stream);
        colo_stream_put(&t->stream, seg->seq, seg->payload, seg->payload_len,
                        stream_floor(t));
    }
    sent(t, seg);
}

uint32_t colo_tcp_primary_end(const ColoTcpCompare *t)
{
    return stream_floor(t);
}

bool colo_tcp_secondary_is_ahead(const ColoTcpCompare *t)
{
    uint32_t floor = stream_floor(t);

    return colo_stream_reaches_beyond(&t->stream, floor) ||
           (t->fin.valid && !colo_seq_before(t->fin.seq, floor)) ||
           (t->syn.valid && !t->syn.has_ack &&
            colo_tcp_is_new_syn(t));
}
