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
    bool ending;
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

static bool is_ending(ColoProxy *p)
{
    bool ending;

    g_mutex_lock(&p->lock);
    ending = p->ending;
    g_mutex_unlock(&p->lock);
    return ending;
}

static void pass_garbage(ColoProxy *p, uint8_t byte, size_t size)
{
    uint8_t data[65536];

    memset(data, byte, sizeof(data));
    for (size_t sent = 0; sent < size; sent += sizeof(data)) {
        if (!colo_relay_pass(p->relay, p->way, data, sizeof(data))) {
            break;
        }
    }
}

static void put_mark(uint8_t *at, ColoMsgType type)
{
    stl_be_p(at, COLO_MSG_MAGIC);
    stw_be_p(at + 4, type);
}

static bool pass_header(ColoProxy *p, ColoMsgType type, uint32_t length)
{
    uint8_t header[COLO_MSG_HEADER] = { };

    put_mark(header, type);
    stl_be_p(header + 16, length);
    return colo_relay_pass(p->relay, p->way, header, sizeof(header));
}

/* Nothing moves the other way meanwhile. */
static void drip(ColoProxy *p, const uint8_t *rest, size_t size)
{
    for (size_t i = 0; i < size && !is_ending(p); i++) {
        g_usleep(COLO_DRIP_MS * 1000);
        if (!colo_relay_pass(p->relay, p->way, rest + i, 1)) {
            break;
        }
    }
}

/* What comes instead of the @size bytes at @rest, and all after them */
static void do_fault(ColoProxy *p, const uint8_t *rest, size_t size)
{
    switch (p->fault) {
    case COLO_GARBAGE:
        pass_garbage(p, 0, COLO_GARBAGE_SIZE);
        break;
    case COLO_LONG:
        if (pass_header(p, COLO_MSG_DEVICES, COLO_GARBAGE_SIZE)) {
            pass_garbage(p, 0xcc, COLO_GARBAGE_SIZE);
        }
        break;
    case COLO_FLOOD:
        while (!is_ending(p) && pass_header(p, COLO_MSG_ALIVE, 0)) {
            /* and another one */
        }
        break;
    case COLO_DRIP:
        drip(p, rest, size);
        break;
    case COLO_SLOW:
        g_usleep(COLO_DRIP_MS * 1000);
        colo_relay_pass(p->relay, p->way, rest, size);
        break;
    default:
        break;
    }
}

/* ColoRelayForward */
static bool forward(void *opaque, int way)
{
    ColoProxy *p = opaque;
    int fd = colo_relay_fd(p->relay, way);
    uint8_t data[65536 + MARK];
    ssize_t n = recv(fd, data, sizeof(data) - MARK, 0);
    bool hit = false;
    size_t size, all;

    if (n <= 0) {
        return false;
    }
    size = all = n;
    g_mutex_lock(&p->lock);
    if (p->armed && p->way == way) {
        all = complete_mark(p, fd, data, size);
        size = may_pass(p, data, all);
        hit = p->hit;
    }
    g_mutex_unlock(&p->lock);

    if (!colo_relay_pass(p->relay, way, data, size)) {
        return false;
    }
    if (hit) {
        do_fault(p, data + size, all - size);
    }
    return !hit || p->fault == COLO_SLOW;
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
    put_mark(p->mark, type);
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
    g_mutex_lock(&p->lock);
    p->ending = true;
    g_mutex_unlock(&p->lock);
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
