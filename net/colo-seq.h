/*
 * One TCP connection of the secondary's guest, in the primary's numbers
 *
 * Both guests get each packet of the client, but each chooses its initial
 * sequence number (ISN) and its clock for timestamps (RFC 7323) by itself.
 * The client knows only P's.  So in what S's guest sends, sequence number and
 * TSval are mapped into P's space, and in what it gets, ACK, SACK blocks and
 * TSecr into its own:
 *
 *     S's number = P's number + offset         P's TSval = S's TSval + ts_add
 *
 * The client's own numbers are the same for both guests.
 *
 * How the mapping is learnt: P's ISN is what the client acknowledges when the
 * connection opens, by the third packet of the handshake where the client
 * opened it, by the SYN-ACK where the guest did.  P's TSval is what the client
 * echoes then; later, an echo from the future shows that S's clock has
 * fallen behind, and ts_add grows to make up for it.  It never shrinks, so
 * that TSval as the client sees it never goes back (RFC 7323 5.3, PAWS).
 *
 * While the handshake is under way nothing is known and nothing is mapped.
 * That is enough: S's SYN-ACK goes nowhere but to the comparison.
 *
 * Not possible: with TCP Fast Open (RFC 7413) and data of the guest in flight
 * before the handshake has ended, the client's first ACK may mean either the
 * SYN or the data; it is taken for the SYN, so that such a connection is good
 * for S only from the next checkpoint on.
 *
 * Pure: no I/O, no allocation, any thread.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_SEQ_H
#define NET_COLO_SEQ_H

#include "net/colo-packet.h"

enum {
    /* Ticks of the guest's clock.  An echo further ahead is not believed. */
    COLO_SEQ_TS_JUMP_MAX = 1 << 24,
    /*
     * P may have sent what the client has not echoed to S.  So at failover
     * ts_add grows by this much: one second where a tick is a millisecond,
     * as with Linux.
     */
    COLO_SEQ_TS_MARGIN = 1000,
};

typedef enum ColoSeqState {
    COLO_SEQ_OPEN,              /* mapping as it is; 0 if met midway */
    COLO_SEQ_CONNECTING,        /* guest has sent a SYN; learn from SYN-ACK */
    COLO_SEQ_ACCEPTING,         /* guest has sent SYN-ACK; learn from ACK */
    COLO_SEQ_STATE__MAX,
} ColoSeqState;

typedef enum ColoSeqFlags {
    COLO_SEQ_HAS_ISN = 1 << 0,
    COLO_SEQ_HAS_SENT = 1 << 1, /* snd_max is known */
    COLO_SEQ_HAS_RCV = 1 << 2,  /* rcv_nxt is known */
    COLO_SEQ_HAS_TS = 1 << 3,   /* ts_last is known */
    COLO_SEQ_FIN_OUT = 1 << 4,  /* guest has sent FIN */
    COLO_SEQ_FIN_IN = 1 << 5,
    COLO_SEQ_FIN_OUT_ACKED = 1 << 6,
    COLO_SEQ_FIN_IN_ACKED = 1 << 7,
    COLO_SEQ_RESET = 1 << 8,    /* RST, and nothing of the guest since */
    COLO_SEQ_TS_MOVED = 1 << 9, /* ts_moved is known */
    COLO_SEQ_FLAGS_ALL = (1 << 10) - 1,
} ColoSeqFlags;

/*
 * All zero: a connection met midway, S's numbers being P's, as all are after
 * a checkpoint.  Fields are part of the migration stream of filter-rewriter.
 */
typedef struct ColoSeq {
    uint32_t state;             /* ColoSeqState */
    uint32_t flags;             /* ColoSeqFlags */
    uint32_t offset;
    uint32_t ts_add;
    uint32_t isn;               /* S's */
    uint32_t snd_max;           /* S's: behind the last byte sent */
    uint32_t rcv_nxt;           /* client's: what the guest last acknowledged */
    uint32_t ts_last;           /* S's latest TSval */
    uint32_t ts_moved;          /* P's TSval at failover */
    uint32_t fin_out;           /* S's: behind its FIN */
    uint32_t fin_in;            /* client's: behind its FIN */
} ColoSeq;

/* What is to be added to the fields of a packet */
typedef struct ColoSeqMap {
    uint32_t seq, ack, sack, tsval, tsecr;
} ColoSeqMap;

/*
 * @p, of kind TCP or the first fragment of it, comes from the guest, with S's
 * numbers.  Takes note of it, and says how to map it.
 */
void colo_seq_out(ColoSeq *c, const ColoPacket *p, ColoSeqMap *map);

/* @p is on its way to the guest, with P's numbers. */
void colo_seq_in(ColoSeq *c, const ColoPacket *p, ColoSeqMap *map);

/*
 * @p, sent by the guest, begins a new connection, and what was known about an
 * old one between the same ends has no meaning any more.
 */
bool colo_seq_restarts(const ColoSeq *c, const ColoPacket *p);

/* It has ended: both FINs are acknowledged, or an RST was accepted. */
bool colo_seq_ended(const ColoSeq *c);

/* Packets have to be changed, or may have to later. */
bool colo_seq_matters(const ColoSeq *c);

/* P is gone: from now on the client hears S.  See COLO_SEQ_TS_MARGIN. */
void colo_seq_failover(ColoSeq *c);

/* The fields hold what they may hold: for one read from a stream. */
bool colo_seq_valid(const ColoSeq *c);

#endif
