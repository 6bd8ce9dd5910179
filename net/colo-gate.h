/*
 * Which frames of a stream belong to the epoch that this side is in?
 *
 * The sender puts a marker into the stream when an epoch begins for it, the
 * engine tells the receiver when it begins here.  The two come in any order:
 *
 *   stream behind us    the frame is of an epoch whose outcome the checkpoint
 *                       has already brought: drop it
 *   stream with us      let it pass
 *   stream ahead of us  the checkpoint is on its way and would undo the frame:
 *                       hold it, and all that follow, until it has come
 *
 * A stream which has never carried a marker passes, as without numbers.  One
 * which has, and which begins again after its connection was lost, begins with
 * a marker, too; what comes before that is dropped.
 *
 * Pure: no I/O, no locks.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_GATE_H
#define NET_COLO_GATE_H

typedef enum ColoGateVerdict {
    COLO_GATE_PASS,
    COLO_GATE_DROP,
    COLO_GATE_HOLD,
} ColoGateVerdict;

/* All zero is a stream that has not begun. */
typedef struct ColoGate {
    uint64_t here;      /* the epoch this side is in; 0: none has begun */
    uint64_t stream;    /* the epoch of what comes next; 0: not known */
    bool marked;        /* the sender is one that sends markers */
} ColoGate;

/* A marker of @epoch, not 0, was next in the stream. */
void colo_gate_marker(ColoGate *gate, uint64_t epoch);

/*
 * A checkpoint is complete here, and @epoch begins.  With 0, the engine does
 * not number its epochs (any more): the stream passes until the next marker.
 */
void colo_gate_checkpoint(ColoGate *gate, uint64_t epoch);

/* The connection is a new one. */
void colo_gate_reconnect(ColoGate *gate);

/* What to do with the frame that is next in the stream. */
ColoGateVerdict colo_gate_verdict(const ColoGate *gate);

#endif
