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

/* What waits for a message on one way */
typedef struct Trap {
    bool armed, hit;
    ColoProxyFault fault;
    uint8_t mark[MARK];         /* what is looked for */
    size_t bytes;               /* to pass on from there */
    size_t from;                /* or, of the message, where the fault begins */
    bool found;
} Trap;

struct ColoProxy {
    ColoRelay *relay;

    GMutex lock;                /* for what follows */
    Trap traps[2];              /* by way */
    ColoProxyFault ended_by;    /* COLO_CUT, too, if a connection has ended */
    ColoProxyAtHit *at_hit;
    void *opaque;
    bool ending;
};

/* Those which are done to a whole message, and after which all goes on */
static bool is_about_message(ColoProxyFault fault)
{
    return fault == COLO_REPEAT || fault == COLO_GARBLE || fault == COLO_SECTION ||
           fault == COLO_VERSION || fault == COLO_STOCK;
}

/*
 * A mark may lie across the end of what was read; it is not to pass in part.
 * If the end looks like the beginning of one, the rest comes at once or never.
 */
static size_t complete_mark(const Trap *t, int fd, uint8_t *data, size_t size)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    for (size_t k = MIN(size, MARK - 1); k > 0; k--) {
        if (!memcmp(data + size - k, t->mark, k) && poll(&pfd, 1, 100) > 0) {
            ssize_t n = recv(fd, data + size, MARK - k, 0);

            return size + MAX(n, 0);
        }
    }
    return size;
}

/* How many of the @size bytes at @data may pass */
static size_t may_pass(Trap *t, const uint8_t *data, size_t size)
{
    if (!t->found) {
        const uint8_t *at = memmem(data, size, t->mark, MARK);

        if (!at) {
            return size;
        }
        t->found = true;
        t->bytes += at - data;
    }
    if (t->bytes > size) {
        t->bytes -= size;
        return size;
    }
    t->hit = true;
    return t->bytes;
}

static bool is_ending(ColoProxy *p)
{
    bool ending;

    g_mutex_lock(&p->lock);
    ending = p->ending;
    g_mutex_unlock(&p->lock);
    return ending;
}

static void pass_garbage(ColoProxy *p, int way, uint8_t byte, size_t size)
{
    uint8_t data[65536];

    memset(data, byte, sizeof(data));
    for (size_t sent = 0; sent < size; sent += sizeof(data)) {
        if (!colo_relay_pass(p->relay, way, data, sizeof(data))) {
            break;
        }
    }
}

static void put_mark(uint8_t *at, ColoMsgType type)
{
    stl_be_p(at, COLO_MSG_MAGIC);
    stw_be_p(at + 4, type);
}

static bool pass_header(ColoProxy *p, int way, ColoMsgType type,
                        uint32_t length)
{
    uint8_t header[COLO_MSG_HEADER] = { };

    put_mark(header, type);
    stl_be_p(header + 16, length);
    return colo_relay_pass(p->relay, way, header, sizeof(header));
}

/* Nothing moves the other way meanwhile. */
static void drip(ColoProxy *p, int way, const uint8_t *rest, size_t size)
{
    for (size_t i = 0; i < size && !is_ending(p); i++) {
        g_usleep(COLO_DRIP_MS * 1000);
        if (!colo_relay_pass(p->relay, way, rest + i, 1)) {
            break;
        }
    }
}

/* The message that begins with the @size bytes at @rest, and what came with it */
static GByteArray *whole_message(int fd, const uint8_t *rest, size_t size)
{
    GByteArray *bytes = g_byte_array_append(g_byte_array_new(), rest, size);
    uint8_t more[65536];

    while (bytes->len < COLO_MSG_HEADER ||
           bytes->len < COLO_MSG_HEADER + ldl_be_p(bytes->data + 16)) {
        ssize_t n = recv(fd, more, sizeof(more), 0);

        if (n <= 0) {
            g_byte_array_free(bytes, true);
            return NULL;
        }
        g_byte_array_append(bytes, more, n);
    }
    return bytes;
}

/*
 * As migration/block-dirty-bitmap.c has it: a whole section, of which a bitmap begins,
 * with the name "b", on the disk colo-disk0; its granularity is 3.
 */
static const uint8_t bitmap_section[] =
    "\x04" "\0\0\0\0" "\x0c" "dirty-bitmap" "\0\0\0\0" "\0\0\0\1"
    "\x1c" "\x0a" "colo-disk0" "\1" "b" "\0\0\0\3";

/* False: the connection has ended. */
static bool change_message(ColoProxy *p, int way, const Trap *t,
                           const uint8_t *rest, size_t size)
{
    GByteArray *bytes = whole_message(colo_relay_fd(p->relay, way), rest, size);
    size_t length;
    bool ok = true;

    if (!bytes) {
        return false;
    }
    length = COLO_MSG_HEADER + ldl_be_p(bytes->data + 16);
    switch (t->fault) {
    case COLO_REPEAT:
        ok = colo_relay_pass(p->relay, way, bytes->data, length);
        break;
    case COLO_GARBLE:
        g_assert_cmpuint(t->from, <, length);
        memset(bytes->data + t->from, 0, length - t->from);
        break;
    case COLO_SECTION:
        g_assert_cmpuint(sizeof(bitmap_section), <, length - COLO_MSG_HEADER);
        memcpy(bytes->data + COLO_MSG_HEADER, bitmap_section, sizeof(bitmap_section));
        break;
    case COLO_VERSION:
        stl_be_p(bytes->data + COLO_MSG_HEADER, COLO_PROTOCOL_VERSION + 1);
        break;
    default:
        stl_be_p(bytes->data, 0);
        break;
    }
    ok = ok && colo_relay_pass(p->relay, way, bytes->data, bytes->len);
    g_byte_array_free(bytes, true);
    return ok;
}

/* What comes instead of the @size bytes at @rest, and all after them */
static void do_fault(ColoProxy *p, int way, ColoProxyFault fault,
                     const uint8_t *rest, size_t size)
{
    switch (fault) {
    case COLO_GARBAGE:
        pass_garbage(p, way, 0, COLO_GARBAGE_SIZE);
        break;
    case COLO_LONG:
        if (pass_header(p, way, COLO_MSG_DEVICES, COLO_GARBAGE_SIZE)) {
            pass_garbage(p, way, 0xcc, COLO_GARBAGE_SIZE);
        }
        break;
    case COLO_FLOOD:
        while (!is_ending(p) && pass_header(p, way, COLO_MSG_ALIVE, 0)) {
            /* and another one */
        }
        break;
    case COLO_DRIP:
        drip(p, way, rest, size);
        break;
    case COLO_SLOW:
        g_usleep(COLO_DRIP_MS * 1000);
        colo_relay_pass(p->relay, way, rest, size);
        break;
    default:
        break;
    }
}

/*
 * *@all bytes at @data have come on @way, *@size of them may pass.  It may read MARK
 * more.  True: that was it, the fault happens now.
 */
static bool meets_fault(ColoProxy *p, int way, uint8_t *data, size_t *size,
                        size_t *all)
{
    Trap *t = &p->traps[way];
    bool hit = false;

    g_mutex_lock(&p->lock);
    if (t->armed && !t->hit) {
        *all = complete_mark(t, colo_relay_fd(p->relay, way), data, *all);
        *size = may_pass(t, data, *all);
        hit = t->hit;
        if (hit && p->at_hit) {
            p->at_hit(p->opaque, way);
        }
    } else if (t->hit && t->fault == COLO_SLOW) {
        *size = 0;
        hit = true;
    }
    g_mutex_unlock(&p->lock);
    return hit;
}

/* ColoRelayForward */
static bool forward(void *opaque, int way)
{
    ColoProxy *p = opaque;
    Trap *t = &p->traps[way];
    uint8_t data[65536 + MARK];
    ssize_t n = recv(colo_relay_fd(p->relay, way), data, sizeof(data) - MARK, 0);
    size_t size, all;

    if (n <= 0) {
        return false;
    }
    size = all = n;
    if (!meets_fault(p, way, data, &size, &all)) {
        /* Who does not read any more has said why: that, and the end, come next */
        colo_relay_pass(p->relay, way, data, size);
        return true;
    }
    if (!colo_relay_pass(p->relay, way, data, size)) {
        return false;
    }
    if (is_about_message(t->fault)) {
        return change_message(p, way, t, data + size, all - size);
    }
    do_fault(p, way, t->fault, data + size, all - size);
    p->ended_by = t->fault;
    return t->fault == COLO_SLOW;
}

/* P has ended, as the test wants it, or the test has. */
static void await_primary_end(ColoProxy *p)
{
    struct pollfd pfd = { .fd = colo_relay_fd(p->relay, COLO_TO_SECONDARY) };

    while (!is_ending(p) && poll(&pfd, 1, 10) == 0) {
        /* POLLHUP comes unasked */
    }
}

/* ColoRelayCuts */
static bool cuts(void *opaque)
{
    ColoProxy *p = opaque;

    if (p->ended_by == COLO_KILL) {
        await_primary_end(p);
    }
    return p->ended_by == COLO_CUT || p->ended_by == COLO_KILL;
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
    Trap *t = &p->traps[way];

    g_mutex_lock(&p->lock);
    g_assert(!t->armed);
    t->armed = true;
    t->fault = fault;
    t->bytes = is_about_message(fault) ? 0 : bytes;
    t->from = bytes;
    put_mark(t->mark, type);
    g_mutex_unlock(&p->lock);
}

void colo_proxy_at_hit(ColoProxy *p, ColoProxyAtHit *at_hit, void *opaque)
{
    g_mutex_lock(&p->lock);
    p->at_hit = at_hit;
    p->opaque = opaque;
    g_mutex_unlock(&p->lock);
}

bool colo_proxy_hit(ColoProxy *p)
{
    bool hit;

    g_mutex_lock(&p->lock);
    hit = p->traps[0].armed == p->traps[0].hit &&
          p->traps[1].armed == p->traps[1].hit;
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

ColoProxy *colo_proxy_add(ColoPair *pair, const char *args)
{
    g_autofree char *front = NULL, *back = NULL;

    colo_pair_add_secondary(pair, args);
    front = g_strdup_printf("%s/s%d.migrate", pair->dir, pair->lives);
    back = g_strdup_printf("%s/s%d.behind", pair->dir, pair->lives);
    g_assert(!rename(front, back));
    return colo_proxy_new(front, back);
}

ColoPair *colo_proxy_pair(const char *machine, ColoProxy **proxy)
{
    ColoPair *pair = colo_pair_new(machine, COLO_NO_DISK, COLO_NO_TIMER);

    *proxy = colo_proxy_add(pair, "");
    return pair;
}
