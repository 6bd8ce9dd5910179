/*
 * One TCP connection of the secondary's guest, in the primary's numbers:
 * see colo-seq.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-seq.h"

static bool has(const ColoSeq *c, uint32_t flag)
{
    return c->flags & flag;
}

static bool has_flag(const ColoPacket *p, uint8_t flag)
{
    return p->tcp.flags & flag;
}

static bool is_fragment(const ColoPacket *p)
{
    return p->frag != COLO_FRAG_NONE;
}

/* Retransmissions and reordered segments must not move @field back. */
static void advance(ColoSeq *c, uint32_t *field, uint32_t known, uint32_t to)
{
    if (!has(c, known) || colo_seq_after(to, *field)) {
        *field = to;
        c->flags |= known;
    }
}

bool colo_seq_restarts(const ColoSeq *c, const ColoPacket *p)
{
    return has_flag(p, COLO_TCP_SYN) &&
           !(has(c, COLO_SEQ_HAS_ISN) && c->isn == p->tcp.seq);
}

static void out_syn(ColoSeq *c, const ColoPacket *p)
{
    if (colo_seq_restarts(c, p)) {
        *c = (ColoSeq) { .isn = p->tcp.seq, .flags = COLO_SEQ_HAS_ISN };
    }
    /*
     * Again after having learnt: then the guest does not know that the
     * handshake is over, and what was learnt may be wrong.
     */
    c->state = has_flag(p, COLO_TCP_ACK) ? COLO_SEQ_ACCEPTING
                                         : COLO_SEQ_CONNECTING;
}

static void out_note(ColoSeq *c, const ColoPacket *p)
{
    uint32_t end = p->tcp.seq + colo_tcp_seq_len(p);

    if (has_flag(p, COLO_TCP_RST)) {
        c->flags |= COLO_SEQ_RESET;
        return;
    }
    c->flags &= ~COLO_SEQ_RESET;
    advance(c, &c->snd_max, COLO_SEQ_HAS_SENT, end);
    /*
     * Of several SYNs the first: the echo may be of any of P's, and ts_add
     * must not become too small.
     */
    if (p->tcp.ts_off &&
        !(has_flag(p, COLO_TCP_SYN) && has(c, COLO_SEQ_HAS_TS))) {
        advance(c, &c->ts_last, COLO_SEQ_HAS_TS, p->tcp.tsval);
    }
    if (has_flag(p, COLO_TCP_FIN) && !is_fragment(p)) {
        c->fin_out = end;
        c->flags |= COLO_SEQ_FIN_OUT;
    }
    if (has_flag(p, COLO_TCP_ACK)) {
        advance(c, &c->rcv_nxt, COLO_SEQ_HAS_RCV, p->tcp.ack);
        if (has(c, COLO_SEQ_FIN_IN) && c->rcv_nxt == c->fin_in) {
            c->flags |= COLO_SEQ_FIN_IN_ACKED;
        }
    }
}

void colo_seq_out(ColoSeq *c, const ColoPacket *p, ColoSeqMap *map)
{
    if (has_flag(p, COLO_TCP_SYN)) {
        out_syn(c, p);
    }
    out_note(c, p);
    *map = (ColoSeqMap) { .seq = -c->offset, .tsval = c->ts_add };
}

/* @p acknowledges the guest's SYN, if the connection is to open at all. */
static bool teaches(const ColoSeq *c, const ColoPacket *p)
{
    bool syn = has_flag(p, COLO_TCP_SYN), rst = has_flag(p, COLO_TCP_RST);

    if (!has_flag(p, COLO_TCP_ACK)) {
        return false;
    }
    switch (c->state) {
    case COLO_SEQ_CONNECTING:
        /* RFC 9293 3.10.7.3: any other ACK is of an old connection. */
        return syn || rst;
    case COLO_SEQ_ACCEPTING:
        /*
         * Within the window of a SYN-ACK, which is not scaled; anything else
         * is an old duplicate.  With SYN: both have opened at once.
         */
        return !rst && (syn || p->tcp.seq - c->rcv_nxt <= UINT16_MAX);
    default:
        return false;
    }
}

static void learn(ColoSeq *c, const ColoPacket *p)
{
    c->offset = c->isn + 1 - p->tcp.ack;
    if (has(c, COLO_SEQ_HAS_TS) && p->tcp.ts_off && p->tcp.tsecr) {
        c->ts_add = p->tcp.tsecr - c->ts_last;
    }
    if (!has_flag(p, COLO_TCP_RST)) {
        c->state = COLO_SEQ_OPEN;
    }
}

/* P's clock has been seen ahead of S's. */
static void catch_up(ColoSeq *c, const ColoPacket *p)
{
    uint32_t ahead = p->tcp.tsecr - (c->ts_last + c->ts_add);

    if (!p->tcp.ts_off || !p->tcp.tsecr || !has(c, COLO_SEQ_HAS_TS) ||
        !has(c, COLO_SEQ_HAS_SENT) ||
        colo_seq_after(p->tcp.ack + c->offset, c->snd_max)) {
        return;
    }
    if (ahead && ahead <= COLO_SEQ_TS_JUMP_MAX) {
        c->ts_add += ahead;
    }
}

static void in_note(ColoSeq *c, const ColoPacket *p)
{
    if (has_flag(p, COLO_TCP_RST)) {
        /* RFC 5961 3.2: any other is answered, not obeyed */
        if (has(c, COLO_SEQ_HAS_RCV) ? p->tcp.seq == c->rcv_nxt
                                     : c->state == COLO_SEQ_CONNECTING) {
            c->flags |= COLO_SEQ_RESET;
        }
        return;
    }
    if (has_flag(p, COLO_TCP_FIN) && !is_fragment(p)) {
        c->fin_in = p->tcp.seq + colo_tcp_seq_len(p);
        c->flags |= COLO_SEQ_FIN_IN;
    }
    if (has_flag(p, COLO_TCP_ACK) && has(c, COLO_SEQ_FIN_OUT) &&
        p->tcp.ack + c->offset == c->fin_out) {
        c->flags |= COLO_SEQ_FIN_OUT_ACKED;
    }
}

/* How far back TSecr is to go; see colo_seq_failover(). */
static uint32_t tsecr_add(ColoSeq *c, const ColoPacket *p)
{
    if (has(c, COLO_SEQ_TS_MOVED)) {
        if (!colo_seq_after(p->tcp.tsecr, c->ts_moved)) {
            return COLO_SEQ_TS_MARGIN - c->ts_add;
        }
        /* From now on all are; and ts_moved would grow too old to compare. */
        c->flags &= ~COLO_SEQ_TS_MOVED;
    }
    return -c->ts_add;
}

void colo_seq_in(ColoSeq *c, const ColoPacket *p, ColoSeqMap *map)
{
    *map = (ColoSeqMap) { };
    if (teaches(c, p)) {
        learn(c, p);
    } else if (c->state == COLO_SEQ_OPEN && has_flag(p, COLO_TCP_ACK)) {
        catch_up(c, p);
    }
    in_note(c, p);
    if (has_flag(p, COLO_TCP_ACK)) {
        *map = (ColoSeqMap) {
            .ack = c->offset,
            .sack = c->offset,
            /* 0: the client has nothing to echo */
            .tsecr = p->tcp.tsecr ? tsecr_add(c, p) : 0,
        };
    }
}

bool colo_seq_ended(const ColoSeq *c)
{
    uint32_t fins = COLO_SEQ_FIN_IN_ACKED | COLO_SEQ_FIN_OUT_ACKED;

    return has(c, COLO_SEQ_RESET) || (c->flags & fins) == fins;
}

bool colo_seq_matters(const ColoSeq *c)
{
    return c->state != COLO_SEQ_OPEN || c->offset || c->ts_add;
}

void colo_seq_failover(ColoSeq *c)
{
    if (c->state == COLO_SEQ_OPEN && has(c, COLO_SEQ_HAS_TS)) {
        /*
         * Echoes from before are older than what follows by the margin only
         * seemingly; the guest must not measure it as round-trip time.
         */
        c->ts_moved = c->ts_last + c->ts_add;
        c->ts_add += COLO_SEQ_TS_MARGIN;
        c->flags |= COLO_SEQ_TS_MOVED;
    }
}

bool colo_seq_valid(const ColoSeq *c)
{
    return c->state < COLO_SEQ_STATE__MAX &&
           !(c->flags & ~COLO_SEQ_FLAGS_ALL);
}
