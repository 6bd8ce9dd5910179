/*
 * Frames that are held for comparison, and the pool they come from
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "net/colo-held.h"

/* Room for data, and how many free ones are kept: some MiB of each */
static const struct {
    uint32_t room;
    unsigned keep;
} classes[COLO_HELD_CLASSES] = {
    { COLO_HELD_SMALL, 4096 },
    { COLO_HELD_MEDIUM, 256 },
    { COLO_HELD_LARGE, 128 },
};

void colo_pool_init(ColoPool *pool)
{
    for (int i = 0; i < COLO_HELD_CLASSES; i++) {
        QTAILQ_INIT(&pool->free[i]);
        pool->count[i] = 0;
    }
}

void colo_pool_destroy(ColoPool *pool)
{
    ColoHeld *held, *next;

    for (int i = 0; i < COLO_HELD_CLASSES; i++) {
        QTAILQ_FOREACH_SAFE(held, &pool->free[i], in_flow, next) {
            g_free(held);
        }
    }
    colo_pool_init(pool);
}

static ColoHeld *take(ColoPool *pool, uint8_t class)
{
    ColoHeld *held = QTAILQ_FIRST(&pool->free[class]);

    if (held) {
        QTAILQ_REMOVE(&pool->free[class], held, in_flow);
        pool->count[class]--;
    } else {
        held = g_malloc(sizeof(*held) + classes[class].room);
    }
    return held;
}

ColoHeld *colo_held_new(ColoPool *pool, const struct iovec *iov, int iovcnt,
                        uint32_t len, uint32_t vnet_hdr_len)
{
    ColoHeld *held;
    uint8_t class = 0;

    while (classes[class].room < len) {
        if (++class == COLO_HELD_CLASSES) {
            return NULL;
        }
    }
    held = take(pool, class);
    held->flow = NULL;
    held->arrived = 0;
    held->epoch = 0;
    held->blamed = false;
    held->class = class;
    held->vnet_hdr_len = vnet_hdr_len;
    held->len = len;
    iov_to_buf(iov, iovcnt, 0, held->data, len);
    colo_packet_parse(&held->packet, held->data, len, vnet_hdr_len);
    return held;
}

void colo_held_free(ColoPool *pool, ColoHeld *held)
{
    uint8_t class = held->class;

    if (pool->count[class] >= classes[class].keep) {
        g_free(held);
        return;
    }
    QTAILQ_INSERT_HEAD(&pool->free[class], held, in_flow);
    pool->count[class]++;
}

void colo_held_list_move(ColoHeldList *to, ColoHeldList *from)
{
    ColoHeld *held;

    while ((held = QTAILQ_FIRST(from))) {
        QTAILQ_REMOVE(from, held, in_order);
        QTAILQ_INSERT_TAIL(to, held, in_order);
    }
}

size_t colo_held_footprint(const ColoHeld *held)
{
    return sizeof(*held) + classes[held->class].room;
}
