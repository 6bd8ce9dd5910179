/*
 * Frames that are held for comparison, and the pool they come from
 *
 * Frames come and go for ever, a few at a time; so what is freed is kept and
 * used again, and in the steady state nothing is allocated.  Pure.  A pool and
 * its frames belong to one thread at a time.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_HELD_H
#define NET_COLO_HELD_H

#include "qemu/queue.h"
#include "net/colo-packet.h"

/* Room for data in a frame of each size class, bytes */
#define COLO_HELD_SMALL  1664
#define COLO_HELD_MEDIUM (16 * 1024)
#define COLO_HELD_LARGE  (68 * 1024)
#define COLO_HELD_CLASSES 3

typedef struct ColoHeld {
    QTAILQ_ENTRY(ColoHeld) in_flow;     /* of its flow, and free frames */
    QTAILQ_ENTRY(ColoHeld) in_order;    /* of all flows; and once released */
    void *flow;                 /* the owner's; NULL: belongs to none */
    int64_t arrived;            /* ms */
    uint64_t epoch;             /* in which it was sent; 0: not known */
    bool blamed;                /* a mismatch has been counted for it */
    uint8_t class;
    uint32_t vnet_hdr_len;      /* bytes */
    uint32_t len;               /* bytes, virtio-net header included */
    ColoPacket packet;          /* what data is */
    uint8_t data[];
} ColoHeld;

typedef QTAILQ_HEAD(ColoHeldList, ColoHeld) ColoHeldList;

typedef struct ColoPool {
    ColoHeldList free[COLO_HELD_CLASSES];
    unsigned count[COLO_HELD_CLASSES];
} ColoPool;

void colo_pool_init(ColoPool *pool);

/* Frames that are in use stay valid, and may only be freed by g_free(). */
void colo_pool_destroy(ColoPool *pool);

/*
 * A parsed copy of a frame of @len bytes, which are gathered from @iov; at most
 * COLO_HELD_LARGE, else NULL.  Everything else in it is 0.
 */
ColoHeld *colo_held_new(ColoPool *pool, const struct iovec *iov, int iovcnt,
                        uint32_t len, uint32_t vnet_hdr_len);
void colo_held_free(ColoPool *pool, ColoHeld *held);

/* All of @from, by in_order, to the end of @to */
void colo_held_list_move(ColoHeldList *to, ColoHeldList *from);

/* Memory that @held takes, bytes */
size_t colo_held_footprint(const ColoHeld *held);

#endif
