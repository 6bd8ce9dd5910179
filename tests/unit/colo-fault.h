/*
 * A filter for tests whose requests fail, or do not end, as told
 *
 * -o driver=colo-fault,node-name=NAME,file=...  It stands in for a disk that is
 * full or broken, and for a peer that is silent: it takes part in "yank" like an
 * NBD client, whose requests fail then.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_FAULT_H
#define COLO_FAULT_H

typedef enum FaultOp {
    FAULT_READ, FAULT_WRITE, FAULT_ZEROES, FAULT_DISCARD, FAULT_FLUSH,
    FAULT_OPS,
    FAULT_REOPEN = FAULT_OPS,       /* no request: not counted, does not hang */
    FAULT_KINDS,
} FaultOp;

typedef struct FaultLog {
    unsigned count[FAULT_OPS];      /* requests that came */
    unsigned fua;                   /* of these, with BDRV_REQ_FUA */
    char order[4096];               /* r, w, z, d, f as they came */
} FaultLog;

void fault_init(void);

/* From now on @op on node @name fails with -@error; 0: it does not. */
void fault_set(const char *name, FaultOp op, int error);

/*
 * While set, requests of all kinds do not end, but when the node is yanked.
 * Requests that are waiting when it is cleared go on.
 */
void fault_hang(const char *name, bool hang);

/* New requests pass those that are waiting, until fault_hang(name, false). */
void fault_overtake(const char *name);

/* From now on each request takes so long; 0: no longer than it has to. */
void fault_delay(const char *name, unsigned ms);

const FaultLog *fault_log(const char *name);

#endif
