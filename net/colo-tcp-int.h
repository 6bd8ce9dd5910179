/*
 * Comparing one direction of a TCP connection: what its files share
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_TCP_INT_H
#define NET_COLO_TCP_INT_H

#include "net/colo-tcp.h"

static inline ColoTcpMark mark_at(uint32_t seq)
{
    return (ColoTcpMark) { true, seq };
}

/* Move @mark up to @seq, never down */
static inline void raise_mark(ColoTcpMark *mark, uint32_t seq)
{
    if (!mark->valid || colo_seq_before(mark->seq, seq)) {
        *mark = mark_at(seq);
    }
}

static inline bool mark_is(const ColoTcpMark *mark, uint32_t seq)
{
    return mark->valid && mark->seq == seq;
}

/* Has @mark got to @seq? */
static inline bool mark_reached(const ColoTcpMark *mark, uint32_t seq)
{
    return mark->valid && !colo_seq_before(mark->seq, seq);
}

/* colo-tcp-syn.c: where a connection begins, or breaks off */

ColoVerdict colo_tcp_primary_syn(ColoTcpCompare *t, const ColoTcpSegment *seg,
                                 ColoReason *reason);
ColoVerdict colo_tcp_primary_rst(ColoTcpCompare *t, const ColoTcpSegment *seg,
                                 ColoReason *reason);
void colo_tcp_secondary_syn(ColoTcpCompare *t, const ColoTcpSegment *seg);
void colo_tcp_secondary_rst(ColoTcpCompare *t, const ColoTcpSegment *seg);

/* Everything begins anew behind P's SYN. */
void colo_tcp_open(ColoTcpCompare *t, const ColoTcpSegment *seg);

/* Is S's SYN not one that has let P's go, nor P's own? */
bool colo_tcp_is_new_syn(const ColoTcpCompare *t);

#endif
