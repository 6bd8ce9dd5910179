/*
 * A unix socket in front of another one, with somebody who looks at the bytes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qapi/error.h"
#include "qemu/sockets.h"
#include "colo-relay.h"

struct ColoRelay {
    GThread *thread;
    int front;                  /* listens */
    char *back;
    int fd[2];                  /* fd[way]: where bytes on that way come from */
    int stop[2];                /* a pipe: written to end the thread */
    ColoRelayForward *forward;
    ColoRelayCuts *cuts;
    void *opaque;
};

int colo_relay_fd(const ColoRelay *r, int way)
{
    return r->fd[way];
}

bool colo_relay_pass(ColoRelay *r, int way, const void *data, size_t size)
{
    const uint8_t *at = data;

    while (size) {
        ssize_t n = send(r->fd[!way], at, size, MSG_NOSIGNAL);

        if (n <= 0) {
            return false;
        }
        at += n;
        size -= n;
    }
    return true;
}

static void *relay_thread(void *opaque)
{
    ColoRelay *r = opaque;
    struct pollfd pfd[] = {
        { .fd = r->front, .events = POLLIN }, { .fd = -1, .events = POLLIN },
        { .fd = r->stop[0], .events = POLLIN },
    };
    bool go_on = true;

    poll(pfd, 3, -1);
    if (pfd[2].revents) {
        return NULL;
    }
    r->fd[0] = accept(r->front, NULL, NULL);
    r->fd[1] = unix_connect(r->back, &error_abort);
    while (go_on) {
        for (int i = 0; i < 2; i++) {
            pfd[i].fd = r->fd[i];
        }
        poll(pfd, 3, -1);
        for (int i = 0; i < 2 && go_on; i++) {
            go_on = !pfd[i].revents || r->forward(r->opaque, i);
        }
        if (pfd[2].revents) {
            return NULL;
        }
    }
    if (r->cuts(r->opaque)) {
        shutdown(r->fd[0], SHUT_RDWR);
        shutdown(r->fd[1], SHUT_RDWR);
    }
    return NULL;
}

ColoRelay *colo_relay_new(const char *front, const char *back,
                          ColoRelayForward *forward, ColoRelayCuts *cuts,
                          void *opaque)
{
    ColoRelay *r = g_new0(ColoRelay, 1);

    r->fd[0] = r->fd[1] = -1;
    r->back = g_strdup(back);
    r->forward = forward;
    r->cuts = cuts;
    r->opaque = opaque;
    r->front = unix_listen(front, &error_abort);
    g_assert(!pipe(r->stop));
    r->thread = g_thread_new("relay", relay_thread, r);
    return r;
}

void colo_relay_free(ColoRelay *r)
{
    g_assert(write(r->stop[1], "", 1) == 1);
    g_thread_join(r->thread);
    for (int i = 0; i < 2; i++) {
        if (r->fd[i] >= 0) {
            close(r->fd[i]);
        }
        close(r->stop[i]);
    }
    close(r->front);
    g_free(r->back);
    g_free(r);
}
