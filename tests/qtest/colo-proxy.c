/*
 * Between the two sides of a pair: the network that fails
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/bswap.h"
#include "colo-proxy.h"
#include "colo-relay.h"

/* Magic and type: enough to know a message */
#define MARK 6

struct ColoProxy {
    ColoRelay *relay;

    GMutex lock;                /* for what follows */
    bool armed, hit;
    ColoProxyWay way;
    ColoProxyFault fault;
    uint8_t mark[MARK];         /* what is looked for */
    size_t bytes;               /* to pass on from there */
    bool found;
};

/*
 * A mark may lie across the end of what was read; it is not to pass in part.
 * If the end looks like the beginning of one, the rest comes at once or never.
 */
static size_t complete_mark(ColoProxy *p, int fd, uint8_t *data, size_t size)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    for (size_t k = MIN(size, MARK - 1); k > 0; k--) {
        if (!memcmp(data + size - k, p->mark, k) && poll(&pfd, 1, 100) > 0) {
            ssize_t n = recv(fd, data + size, MARK - k, 0);

            return size + MAX(n, 0);
        }
    }
    return size;
}

/* How many of the @size bytes at @data may pass */
static size_t may_pass(ColoProxy *p, const uint8_t *data, size_t size)
{
    if (!p->found) {
        const uint8_t *at = memmem(data, size, p->mark, MARK);

        if (!at) {
            return size;
        }
        p->found = true;
        p->bytes += at - data;
    }
    if (p->bytes >= size) {
        p->bytes -= size;
        return size;
    }
    size = p->bytes;
    p->bytes = 0;
    p->hit = true;
    return size;
}

/* ColoRelayForward */
static bool forward(void *opaque, int way)
{
    ColoProxy *p = opaque;
    int fd = colo_relay_fd(p->relay, way);
    uint8_t data[65536 + MARK];
    ssize_t n = recv(fd, data, sizeof(data) - MARK, 0);
    bool hit = false;
    size_t size;

    if (n <= 0) {
        return false;
    }
    size = n;
    g_mutex_lock(&p->lock);
    if (p->armed && p->way == way) {
        size = complete_mark(p, fd, data, size);
        size = may_pass(p, data, size);
        hit = p->hit;
    }
    g_mutex_unlock(&p->lock);

    if (!colo_relay_pass(p->relay, way, data, size)) {
        return false;
    }
    if (hit && p->fault == COLO_GARBAGE) {
        memset(data, 0, sizeof(data));
        for (size = 0; size < COLO_GARBAGE_SIZE; size += sizeof(data)) {
            if (!colo_relay_pass(p->relay, way, data, sizeof(data))) {
                break;
            }
        }
    }
    return !hit;
}

/* ColoRelayCuts */
static bool cuts(void *opaque)
{
    ColoProxy *p = opaque;

    return !p->hit || p->fault == COLO_CUT;
}

ColoProxy *colo_proxy_new(const char *front, const char *back)
{
    ColoProxy *p = g_new0(ColoProxy, 1);

    g_mutex_init(&p->lock);
    p->relay = colo_relay_new(front, back, forward, cuts, p);
    return p;
}

void colo_proxy_arm(ColoProxy *p, ColoProxyWay way, ColoMsgType type,
                    size_t bytes, ColoProxyFault fault)
{
    g_mutex_lock(&p->lock);
    g_assert(!p->armed);
    p->armed = true;
    p->way = way;
    p->fault = fault;
    p->bytes = bytes;
    stl_be_p(p->mark, COLO_MSG_MAGIC);
    stw_be_p(p->mark + 4, type);
    g_mutex_unlock(&p->lock);
}

bool colo_proxy_hit(ColoProxy *p)
{
    bool hit;

    g_mutex_lock(&p->lock);
    hit = p->hit;
    g_mutex_unlock(&p->lock);
    return hit;
}

void colo_proxy_free(ColoProxy *p)
{
    colo_relay_free(p->relay);
    g_mutex_clear(&p->lock);
    g_free(p);
}

ColoPair *colo_proxy_pair(const char *machine, ColoProxy **proxy)
{
    ColoPair *pair = colo_pair_new(machine, COLO_NO_DISK, COLO_NO_TIMER);
    g_autofree char *front = g_strdup_printf("%s/s1.migrate", pair->dir);
    g_autofree char *back = g_strdup_printf("%s/s1.behind", pair->dir);

    colo_pair_add_secondary(pair, "");
    g_assert(!rename(front, back));
    *proxy = colo_proxy_new(front, back);
    return pair;
}
