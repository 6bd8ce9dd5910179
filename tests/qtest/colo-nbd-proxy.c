/*
 * Between a primary and the NBD server of its secondary: what goes wrong there
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "colo-nbd-proxy.h"

/* A request; the reply repeats its handle */
#define REQUEST_MAGIC 0x25609513
#define REQUEST_SIZE 28
#define HANDLE_AT 8
#define HANDLE_SIZE 8

struct ColoNbdProxy {
    GThread *thread;
    int front;                  /* listens */
    char *back;
    int fd[2];                  /* fd[way]: where bytes on that way come from */
    int stop[2];                /* a pipe: written to end the thread */
    uint8_t handle[HANDLE_SIZE];

    GMutex lock;                /* for what follows */
    bool armed, hit;
    ColoNbdForgery forgery;
};

static bool pass(int to, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = send(to, data, size, MSG_NOSIGNAL);

        if (n <= 0) {
            return false;
        }
        data += n;
        size -= n;
    }
    return true;
}

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
    pass(p->fd[!f->way], f->bytes, f->size);
}

/* One read from @way; false: the proxy's work is done */
static bool forward(ColoNbdProxy *p, ColoNbdWay way)
{
    uint8_t data[65536];
    ssize_t n = recv(p->fd[way], data, sizeof(data), 0);

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
    return pass(p->fd[!way], data, n);
}

static void *proxy_thread(void *opaque)
{
    ColoNbdProxy *p = opaque;
    struct pollfd pfd[] = {
        { .fd = p->front, .events = POLLIN }, { .fd = -1, .events = POLLIN },
        { .fd = p->stop[0], .events = POLLIN },
    };
    bool go_on = true;

    poll(pfd, 3, -1);
    if (pfd[2].revents) {
        return NULL;
    }
    p->fd[COLO_NBD_REQUEST] = accept(p->front, NULL, NULL);
    p->fd[COLO_NBD_REPLY] = unix_connect(p->back, &error_abort);
    while (go_on) {
        for (int i = 0; i < 2; i++) {
            pfd[i].fd = p->fd[i];
        }
        poll(pfd, 3, -1);
        for (int i = 0; i < 2 && go_on; i++) {
            go_on = !pfd[i].revents || forward(p, i);
        }
        if (pfd[2].revents) {
            return NULL;
        }
    }
    if (!p->hit || p->forgery.cut) {
        shutdown(p->fd[0], SHUT_RDWR);
        shutdown(p->fd[1], SHUT_RDWR);
    }
    return NULL;
}

ColoNbdProxy *colo_nbd_proxy_new(const char *front, const char *back)
{
    ColoNbdProxy *p = g_new0(ColoNbdProxy, 1);

    g_mutex_init(&p->lock);
    p->fd[0] = p->fd[1] = -1;
    p->back = g_strdup(back);
    p->front = unix_listen(front, &error_abort);
    g_assert(!pipe(p->stop));
    p->thread = g_thread_new("nbd-proxy", proxy_thread, p);
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
    g_assert(write(p->stop[1], "", 1) == 1);
    g_thread_join(p->thread);
    for (int i = 0; i < 2; i++) {
        if (p->fd[i] >= 0) {
            close(p->fd[i]);
        }
        close(p->stop[i]);
    }
    close(p->front);
    g_mutex_clear(&p->lock);
    g_free(p->back);
    g_free(p);
}
