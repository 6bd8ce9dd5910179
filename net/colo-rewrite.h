/*
 * The rewriter: all TCP connections of a guest that are to be seen in other
 * sequence numbers than it uses, and the packets changed accordingly
 *
 *     rw = colo_rewrite_new(16384, COLO_REWRITE_SECONDARY);
 *     if (colo_rewrite_packet(rw, head, have, size, vnet_len, out, now)) {
 *         ... head has changed; what follows it stays as it was
 *
 * What one connection does stands in colo-seq.h.  Here are the roles:
 *
 * secondary: each connection that opens is learnt.  At a checkpoint S's
 *     guest becomes P's, its numbers too, so that all mappings go; but for
 *     those that P itself has, see below, which come with the checkpoint.
 * alone: P, or the survivor of a failover.  No connection is learnt any more,
 *     for what the guest says is what the client hears.  Mappings from before
 *     the failover stay until their connections end, whatever checkpoints
 *     there are: the client of an old connection knows the numbers of a P
 *     that died, through all generations of survivors.  A handshake under way
 *     at failover is still learnt: the client may have got P's SYN-ACK.
 *
 * A handshake under way at a checkpoint: S's guest has P's half of it then,
 * P's ISN included, and there is nothing to map.
 *
 * A connection that has ended stays for COLO_REWRITE_LINGER_MS, for late
 * packets; one half open, or ended, goes first when the table is full, and
 * otherwise the one unused for longest.
 *
 * Left alone: packets signed (RFC 2385, 5925) or authenticated (AH), which
 * any change would make invalid; and what is not TCP.
 *
 * Pure: no I/O, no locks, no clock.  One thread at a time.  Memory is
 * allocated for new connections only.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_REWRITE_H
#define NET_COLO_REWRITE_H

#include "net/colo-flow.h"
#include "net/colo-seq.h"

enum {
    /* Headers that do not end within so many bytes are left alone. */
    COLO_REWRITE_HEAD_MAX = 512,
    /* As long as Linux stays in TIME-WAIT */
    COLO_REWRITE_LINGER_MS = 60 * 1000,
};

typedef struct ColoRewrite ColoRewrite;

typedef enum ColoRewriteRole {
    COLO_REWRITE_SECONDARY,
    COLO_REWRITE_ALONE,
} ColoRewriteRole;

typedef struct ColoRewriteStats {
    uint64_t rewritten;         /* packets changed */
    uint64_t evicted;           /* connections dropped for lack of room */
} ColoRewriteStats;

/* A connection as P tells it to S; the guest's end is key.src */
typedef struct ColoRewriteEntry {
    ColoFlowKey key;
    ColoSeq seq;
} ColoRewriteEntry;

/* @max: connections */
ColoRewrite *colo_rewrite_new(unsigned max, ColoRewriteRole role);
void colo_rewrite_free(ColoRewrite *rw);

/*
 * The frame has @size bytes, of which the first @have (all, or at least
 * COLO_REWRITE_HEAD_MAX) are at @head, a vnet header of @vnet_len bytes
 * included.  @out: it comes from the guest.  @now_ms: any clock that does
 * not go back.  True where bytes at @head have changed.
 */
bool colo_rewrite_packet(ColoRewrite *rw, uint8_t *head, size_t have,
                         size_t size, size_t vnet_len, bool out,
                         int64_t now_ms);

/*
 * True where no packet needs to be looked at at all: alone, without any
 * connection from before.
 */
bool colo_rewrite_idle(const ColoRewrite *rw);

ColoRewriteRole colo_rewrite_role(const ColoRewrite *rw);

/*
 * S has become equal to P: @n @entries, maybe none, are what P maps itself.
 * Nothing happens to one which is alone.
 */
void colo_rewrite_checkpoint(ColoRewrite *rw, const ColoRewriteEntry *entries,
                             unsigned n, int64_t now_ms);

/*
 * The secondary goes on alone.  @margin: P may have been a little ahead of it
 * (COLO_SEQ_TS_MARGIN); false where it was no secondary really, but the
 * target of an ordinary migration.
 */
void colo_rewrite_alone(ColoRewrite *rw, bool margin);

/* Connections in the table, those that have ended lately included. */
unsigned colo_rewrite_count(const ColoRewrite *rw);

/*
 * What a new secondary has to know, an array of @n entries; NULL and 0: there
 * is nothing, as always for one that is not alone.  Free with g_free().
 */
ColoRewriteEntry *colo_rewrite_export(ColoRewrite *rw, unsigned *n);

const ColoRewriteStats *colo_rewrite_stats(const ColoRewrite *rw);

/*
 * Adds what @map says to the fields of @p at @frame, and corrects the checksum
 * (RFC 1624) unless it is left to the device.  False: nothing changes.
 */
bool colo_rewrite_apply(const ColoPacket *p, uint8_t *frame,
                        const ColoSeqMap *map);

#endif
