/*
 * An ACK of P's, lowered to what S has acknowledged
 *
 * An ACK of P waits for S's (net/colo-tcp.h).  But what only S's guest has lost
 * no client sends again before it hears of it, or a time-out of its own: P's
 * ACKs are held, and S's own go nowhere.  So while a segment of P waits that
 * acknowledges more than S has, the client gets what both guests agree on, in a
 * segment without payload made of the headers of P's:
 *
 *   ACK         S's
 *   window      as S's, up to where P's right edge is; but what the client has
 *               been promised before is not taken back (RFC 9293 3.8.6)
 *   TSval       P's, of the segment that waits: so TSval never goes back
 *   TSecr       the older of the two: at worst the client believes that the way
 *               is longer than it is (RFC 7323 4.3)
 *   SACK        what both have above the ACK (RFC 2018), the latest of S first
 *
 * It leaves where it tells something new, a higher ACK or a larger window; and
 * once for each duplicate ACK of S's (RFC 5681), which is what makes a client
 * send again, so that none is made up.  P's segment itself waits on.
 *
 * For the same reason P's segments leave with SACK blocks for no more than S has:
 * what a client has once been told that it has arrived it sends again only after
 * a time-out.
 *
 * Nor is a client promised more room than both guests have: a window of P's leaves
 * only as large as S's, for what S has no room for it drops, and the client has to
 * send that again.  When S has made room, and P has nothing to say, the client is
 * told in a segment made of the headers of P's last one.
 *
 * A guest's window scale is known if its SYN was seen (both SYNs have the same:
 * net/colo-tcp.h).  Otherwise the bounds of RFC 7323 are taken, each so that less
 * is promised.
 *
 * S's frames are a peer's bytes: any values are survived, and no more than one
 * segment leaves for each of them.  Pure; one thread at a time.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_LOWER_H
#define NET_COLO_LOWER_H

#include "net/colo-stream.h"

/* Of ranges that do not touch, the latest first */
#define COLO_LOWER_RANGES 8

/* What a guest has told of what it has got */
typedef struct ColoAck {
    bool valid;
    uint32_t ack;
    uint16_t window;            /* not scaled */
    bool has_ts;
    uint32_t tsecr;
    unsigned ranges;            /* above ack */
    ColoRange range[COLO_LOWER_RANGES];
} ColoAck;

/* Of one flow */
typedef struct ColoLower {
    ColoAck primary;            /* P's latest, whether it has left or not */
    ColoAck secondary;          /* S's latest of this epoch, or P's before */
    bool told;                  /* it is S's */
    bool has_left;
    uint32_t left_ack;          /* what the client has had */
    uint16_t left_window;
    unsigned duplicates;        /* ACKs of S's that the client may still get */
    uint8_t scale_min;          /* the guest's window scale, as far as known */
    uint8_t scale_max;
} ColoLower;

/* More duplicates than are needed for a retransmission (RFC 5681) wait not. */
#define COLO_LOWER_DUPLICATES 3

/* Frames with longer headers in front of TCP's are not lowered, bytes. */
#define COLO_LOWER_HEADERS 256
#define COLO_LOWER_SIZE (COLO_LOWER_HEADERS + 60)

void colo_lower_init(ColoLower *l);

/* P or S, in this epoch, has sent @p, of kind TCP; @frame is what it is in. */
void colo_lower_primary(ColoLower *l, const ColoPacket *p,
                        const uint8_t *frame);
void colo_lower_secondary(ColoLower *l, const ColoPacket *p,
                          const uint8_t *frame);

/* @p, of kind TCP and of P's, leaves with the ACK and window that it has. */
void colo_lower_left(ColoLower *l, const ColoPacket *p);

/*
 * @p of P's has to wait.  Makes in @out, which has COLO_LOWER_SIZE bytes, the
 * frame that may leave in the meantime, and counts it as having left.  Returns
 * its length; 0: none may.  Ask again until then.
 */
uint32_t colo_lower(ColoLower *l, const ColoPacket *p, const uint8_t *frame,
                    uint8_t *out);

/*
 * @p of P's may leave.  Cuts the SACK blocks in @frame down to what S has, too;
 * the frame stays as long as it is.  True: it has changed, and colo_cut_finish()
 * has to put its checksum right.
 */
bool colo_lower_sack(const ColoLower *l, const ColoPacket *p, uint8_t *frame);

/*
 * @p of P's may leave.  Cuts the window in @frame, and in @p, down to what S has
 * promised as well, as far as the client has not been promised more.  True: it has
 * changed, and colo_cut_finish() has to put the checksum right; keep the headers.
 */
bool colo_lower_window(const ColoLower *l, ColoPacket *p, uint8_t *frame);

/*
 * @p of P's was the last one to leave, with a window cut down; @frame has its
 * headers.  As colo_lower(), for a client that may be promised more by now.
 */
uint32_t colo_lower_update(ColoLower *l, const ColoPacket *p,
                           const uint8_t *frame, uint8_t *out);

/* S is what P is: it has what P has told until now. */
void colo_lower_checkpoint(ColoLower *l);

#endif
