/*
 * Comparing one direction of a TCP connection as a byte stream
 *
 * Two guests, P and S, send the same connection, each cut into segments as it
 * likes, with retransmissions, overlaps and in any order.  A segment of P may
 * leave when S has produced, in this epoch, all that is in it:
 *
 *   payload     equal bytes at these sequence numbers (byte streams, RFC 9293
 *               3.4); or they have left before, and are the same again
 *   SYN         a SYN with the same ACK and the same options but timestamps;
 *               its sequence number may differ, for each guest picks its own
 *               and S's is only translated once P's is known
 *   FIN         a FIN at the same sequence number
 *   RST         an RST with the same sequence number and ACK
 *   ACK         S has acknowledged as much: else a client could forget what S
 *               still needs
 *   URG         S's urgent pointer has got as far (RFC 6093: it only moves on,
 *               and may skip positions when more becomes urgent)
 *
 * PSH, ECE, CWR, window and timestamps legitimately differ: they take nothing from
 * S that it could not do without.  SACK blocks do: net/colo-lower.h cuts them.
 *
 * What has left is kept for as far back as net/colo-stream.h says.  P's repetition of
 * something older waits until S has repeated it as well, or leaves if it has.
 *
 * A keepalive or probe of one byte below what has left (RFC 1122 4.2.3.6) may
 * carry garbage; it leaves when it is what has left, or what S has probed with.
 *
 * After a checkpoint S is what P is: what P has sent until then counts as sent
 * by S, and what S has sent besides is forgotten: its ACKs, too, for it has lost
 * what it had acknowledged if P had not got it.
 *
 * Segments of S are translated into P's numbers by the rewriter on S already.
 * The data come from a peer: any values are survived, memory is bounded by
 * net/colo-stream.h.  Pure; not thread-safe.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_TCP_H
#define NET_COLO_TCP_H

#include "net/colo-stream.h"
#include "net/colo-verdict.h"

#define COLO_TCP_OPTIONS_MAX 40     /* bytes */
#define COLO_TCP_RSTS 8             /* of S, remembered until the checkpoint */

typedef struct ColoTcpSegment {
    uint32_t seq;
    uint32_t ack;
    uint16_t urgent;
    uint8_t flags;              /* COLO_TCP_* of net/colo-packet.h */
    const uint8_t *options;     /* as in the header */
    uint32_t options_len;       /* bytes */
    const uint8_t *payload;
    uint32_t payload_len;       /* bytes */
} ColoTcpSegment;

/* What two SYNs have to have in common */
typedef struct ColoTcpSyn {
    bool valid;
    bool has_ack;
    uint32_t isn;
    uint32_t ack;
    uint8_t options[COLO_TCP_OPTIONS_MAX];  /* without timestamps, padding */
    uint8_t options_len;
} ColoTcpSyn;

typedef struct ColoTcpMark {
    bool valid;
    uint32_t seq;
} ColoTcpMark;

typedef struct ColoTcpRst {
    uint32_t seq;
    uint32_t ack;
    bool has_ack;
    bool used;
} ColoTcpRst;

typedef struct ColoTcpCompare {
    ColoStream stream;      /* S's bytes of this epoch; below sent, what left */
    ColoStream repeated;    /* S's, of this epoch, from below what is kept there */
    ColoTcpMark base;       /* where the stream was first seen */
    ColoTcpMark sent;       /* end of what P was allowed to send */
    uint32_t left;          /* from here on to sent, all has left */
    ColoTcpMark fin_sent;
    ColoTcpMark urgent_sent;
    ColoTcpMark ack_sent;   /* the highest ACK that P was allowed to send */
    ColoTcpMark fin;        /* of S, as are the rest */
    ColoTcpMark urgent;
    ColoTcpMark acked;      /* what P had told until the checkpoint, too */
    ColoTcpMark probe;
    uint8_t probe_byte;
    ColoTcpSyn syn;
    ColoTcpMark syn_used;   /* S's number in the SYN that let P's go */
    ColoTcpMark isn_sent;   /* P's number in the SYN that left last */
    ColoTcpRst rst[COLO_TCP_RSTS];
    unsigned rsts;
} ColoTcpCompare;

/* @budget: bytes that all connections may still allocate; outlives @t. */
void colo_tcp_init(ColoTcpCompare *t, size_t *budget);
void colo_tcp_destroy(ColoTcpCompare *t);

/*
 * S has sent @seg in this epoch.  COLO_MATCH, or COLO_MISMATCH with *@reason
 * where no segment of P's could match any more.
 */
ColoVerdict colo_tcp_secondary(ColoTcpCompare *t, const ColoTcpSegment *seg,
                               ColoReason *reason);

/*
 * May @seg, the oldest one held of P's, leave?  COLO_MATCH: it must leave now,
 * and counts as sent.  COLO_WAIT: ask again when S has sent something.
 * COLO_MISMATCH: only a checkpoint can release it; *@reason says why.
 */
ColoVerdict colo_tcp_primary(ColoTcpCompare *t, const ColoTcpSegment *seg,
                             ColoReason *reason);

/*
 * @seg has to wait, as colo_tcp_primary() has said.  How many bytes from its
 * beginning on, some of which have not left before, may leave as a segment of
 * their own, without FIN?  They count as sent then.  0: none.
 */
uint32_t colo_tcp_primary_part(ColoTcpCompare *t, const ColoTcpSegment *seg);

/*
 * A checkpoint is committed: forget what S has sent in the old epoch.  For
 * each segment of P's which the checkpoint releases, colo_tcp_committed()
 * follows, in the order in which they leave.
 */
void colo_tcp_checkpoint(ColoTcpCompare *t);
void colo_tcp_committed(ColoTcpCompare *t, const ColoTcpSegment *seg);

/*
 * Give back the memory of what has left, and of what S has repeated of it, if that is
 * all there is.  P's repetitions then wait for S's.
 */
void colo_tcp_forget_history(ColoTcpCompare *t);

/* Up to where P's bytes have left, in P's numbers */
uint32_t colo_tcp_primary_end(const ColoTcpCompare *t);

/* Has S sent something that P has not? */
bool colo_tcp_secondary_is_ahead(const ColoTcpCompare *t);

#endif
