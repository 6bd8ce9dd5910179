/*
 * Comparing one direction of a TCP connection: SYN and RST
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-tcp-int.h"

/* TCP options, RFC 9293 3.1 and RFC 7323 */
enum { OPT_END = 0, OPT_NOP = 1, OPT_TIMESTAMPS = 8 };

/* SYN */

static void keep_syn(ColoTcpSyn *syn, const ColoTcpSegment *seg)
{
    uint32_t i = 0;

    *syn = (ColoTcpSyn) {
        .valid = true,
        .has_ack = seg->flags & COLO_TCP_ACK,
        .isn = seg->seq,
        .ack = seg->ack,
    };
    while (i < seg->options_len && seg->options[i] != OPT_END) {
        uint32_t len = 1;

        if (seg->options[i] == OPT_NOP) {
            i++;
            continue;
        }
        if (i + 1 < seg->options_len) {
            len = MAX(seg->options[i + 1], 2);
        }
        len = MIN(len, seg->options_len - i);
        if (seg->options[i] != OPT_TIMESTAMPS &&
            syn->options_len + len <= sizeof(syn->options)) {
            memcpy(syn->options + syn->options_len, seg->options + i, len);
            syn->options_len += len;
        }
        i += len;
    }
}

void colo_tcp_secondary_syn(ColoTcpCompare *t, const ColoTcpSegment *seg)
{
    keep_syn(&t->syn, seg);
}

bool colo_tcp_is_new_syn(const ColoTcpCompare *t)
{
    return !mark_is(&t->syn_used, t->syn.isn) &&
           !mark_is(&t->isn_sent, t->syn.isn);
}

void colo_tcp_open(ColoTcpCompare *t, const ColoTcpSegment *seg)
{
    size_t *budget = t->stream.budget;
    ColoTcpSyn syn = t->syn;

    colo_tcp_destroy(t);
    colo_tcp_init(t, budget);
    t->syn = syn;
    t->isn_sent = mark_at(seg->seq);
    t->base = t->sent = mark_at(seg->seq + 1);
    t->left = t->sent.seq;
    if (seg->flags & COLO_TCP_ACK) {
        t->acked = t->ack_sent = mark_at(seg->ack);
    }
}

ColoVerdict colo_tcp_primary_syn(ColoTcpCompare *t, const ColoTcpSegment *seg,
                                 ColoReason *reason)
{
    bool has_ack = seg->flags & COLO_TCP_ACK;
    ColoTcpSyn syn;

    if (seg->payload_len || seg->flags & (COLO_TCP_FIN | COLO_TCP_URG)) {
        *reason = COLO_REASON_FLAGS;
        return COLO_MISMATCH;
    }
    if (mark_is(&t->isn_sent, seg->seq) &&
        (!has_ack || mark_reached(&t->acked, seg->ack))) {
        return COLO_MATCH;
    }
    if (!t->syn.valid || t->syn.has_ack != has_ack ||
        (has_ack ? t->syn.ack != seg->ack : !colo_tcp_is_new_syn(t))) {
        return COLO_WAIT;
    }
    keep_syn(&syn, seg);
    if (syn.options_len != t->syn.options_len ||
        memcmp(syn.options, t->syn.options, syn.options_len)) {
        *reason = COLO_REASON_OPTIONS;
        return COLO_MISMATCH;
    }
    colo_tcp_open(t, seg);
    t->syn_used = mark_at(t->syn.isn);
    return COLO_MATCH;
}

/* RST */

ColoVerdict colo_tcp_primary_rst(ColoTcpCompare *t, const ColoTcpSegment *seg,
                                 ColoReason *reason)
{
    unsigned unused = 0;
    bool has_ack = seg->flags & COLO_TCP_ACK;

    if (seg->payload_len) {
        *reason = COLO_REASON_FLAGS;
        return COLO_MISMATCH;
    }
    for (unsigned i = 0; i < t->rsts; i++) {
        ColoTcpRst *rst = &t->rst[i];

        if (rst->seq == seg->seq && rst->has_ack == has_ack &&
            (!has_ack || rst->ack == seg->ack)) {
            rst->used = true;
            return COLO_MATCH;
        }
        unused += !rst->used;
    }
    if (unused) {
        *reason = COLO_REASON_SEQ;
        return COLO_MISMATCH;
    }
    return COLO_WAIT;
}

void colo_tcp_secondary_rst(ColoTcpCompare *t, const ColoTcpSegment *seg)
{
    if (t->rsts == COLO_TCP_RSTS) {
        t->rsts--;
        memmove(&t->rst[0], &t->rst[1], t->rsts * sizeof(t->rst[0]));
    }
    t->rst[t->rsts++] = (ColoTcpRst) {
        .seq = seg->seq,
        .ack = seg->ack,
        .has_ack = seg->flags & COLO_TCP_ACK,
    };
}
