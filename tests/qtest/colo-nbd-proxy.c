/*
 * Between a primary and the NBD server of its secondary: what goes wrong there
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "colo-nbd-proxy.h"
#include "colo-relay.h"

/* A request; the reply repeats its handle */
#define REQUEST_MAGIC 0x25609513
#define REQUEST_SIZE 28
#define HANDLE_AT 8
#define HANDLE_SIZE 8

struct ColoNbdProxy {
    ColoRelay *relay;
    uint8_t handle[HANDLE_SIZE];

    GMutex lock;                /* for what follows */
    bool armed, hit;
    ColoNbdForgery forgery;
};

/* Whether what has just come on @way is to be replaced */
static bool strikes(ColoNbdProxy *p, ColoNbdWay way)
{
    bool hit;

    g_mutex_lock(&p->lock);
    hit = p->armed && p->forgery.way == way;
    p->hit |= hit;
    g_mutex_unlock(&p->lock);
    return hit;
}

static void forge(ColoNbdProxy *p)
{
    ColoNbdForgery *f = &p->forgery;

    if (f->handle) {
        memcpy(f->bytes + f->handle, p->handle, HANDLE_SIZE);
    }
    colo_relay_pass(p->relay, f->way, f->bytes, f->size);
}

/* ColoRelayForward */
static bool forward(void *opaque, int way)
{
    ColoNbdProxy *p = opaque;
    uint8_t data[65536];
    ssize_t n = recv(colo_relay_fd(p->relay, way), data, sizeof(data), 0);

    if (n <= 0) {
        return false;
    }
    /* Not the data of one, which the tests do not fill with that */
    if (way == COLO_NBD_REQUEST && n >= REQUEST_SIZE &&
        ldl_be_p(data) == REQUEST_MAGIC) {
        memcpy(p->handle, data + HANDLE_AT, HANDLE_SIZE);
    }
    if (strikes(p, way)) {
        forge(p);
        return false;
    }
    return colo_relay_pass(p->relay, way, data, n);
}

/* ColoRelayCuts */
static bool cuts(void *opaque)
{
    ColoNbdProxy *p = opaque;

    return !p->hit || p->forgery.cut;
}

ColoNbdProxy *colo_nbd_proxy_new(const char *front, const char *back)
{
    ColoNbdProxy *p = g_new0(ColoNbdProxy, 1);

    g_mutex_init(&p->lock);
    p->relay = colo_relay_new(front, back, forward, cuts, p);
    return p;
}

void colo_nbd_proxy_arm(ColoNbdProxy *p, const ColoNbdForgery *forgery)
{
    g_assert_cmpuint(forgery->size, <=, sizeof(forgery->bytes));
    g_mutex_lock(&p->lock);
    g_assert(!p->armed);
    p->armed = true;
    p->forgery = *forgery;
    g_mutex_unlock(&p->lock);
}

bool colo_nbd_proxy_hit(ColoNbdProxy *p)
{
    bool hit;

    g_mutex_lock(&p->lock);
    hit = p->hit;
    g_mutex_unlock(&p->lock);
    return hit;
}

void colo_nbd_proxy_free(ColoNbdProxy *p)
{
    colo_relay_free(p->relay);
    g_mutex_clear(&p->lock);
    g_free(p);
}
