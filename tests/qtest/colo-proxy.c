/*
 * Between the two sides of a pair: the network that fails
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/bswap.h"
#include "colo-proxy.h"

/* Magic and type: enough to know a message */
#define MARK 6

struct ColoProxy {
    GThread *thread;
    int front;                  /* listens */
    char *back;
    int fd[2];                  /* fd[way]: where bytes on that way come from */
    int stop[2];                /* a pipe: written to end the thread */

    GMutex lock;                /* for what follows */
    bool armed, hit;
    ColoProxyWay way;
    ColoProxyFault fault;
    uint8_t mark[MARK];         /* what is looked for */
    size_t bytes;               /* to pass on from there */
    bool found;
};

static int unix_socket(const char *path, struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_assert_cmpint(fd, >=, 0);
    memset(addr, 0, sizeof(*addr));
    addr->sun_family = AF_UNIX;
    g_assert_cmpuint(strlen(path), <, sizeof(addr->sun_path));
    strcpy(addr->sun_path, path);
    return fd;
}

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

/* False: the connection has ended */
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

/* One read from @way; false: the proxy's work is done */
static bool forward(ColoProxy *p, ColoProxyWay way)
{
    uint8_t data[65536 + MARK];
    ssize_t n = recv(p->fd[way], data, sizeof(data) - MARK, 0);
    bool hit = false;
    size_t size;

    if (n <= 0) {
        return false;
    }
    size = n;
    g_mutex_lock(&p->lock);
    if (p->armed && p->way == way) {
        size = complete_mark(p, p->fd[way], data, size);
        size = may_pass(p, data, size);
        hit = p->hit;
    }
    g_mutex_unlock(&p->lock);

    if (!pass(p->fd[!way], data, size)) {
        return false;
    }
    if (hit && p->fault == COLO_GARBAGE) {
        memset(data, 0, sizeof(data));
        for (size = 0; size < COLO_GARBAGE_SIZE; size += sizeof(data)) {
            if (!pass(p->fd[!way], data, sizeof(data))) {
                break;
            }
        }
    }
    return !hit;
}

static void *proxy_thread(void *opaque)
{
    ColoProxy *p = opaque;
    struct sockaddr_un addr;
    struct pollfd pfd[] = {
        { .events = POLLIN }, { .events = POLLIN },
        { .fd = p->stop[0], .events = POLLIN },
    };
    bool go_on = true;

    pfd[0].fd = p->front;
    pfd[1].fd = -1;
    poll(pfd, 3, -1);
    if (pfd[2].revents) {
        return NULL;
    }
    p->fd[COLO_TO_SECONDARY] = accept(p->front, NULL, NULL);
    p->fd[COLO_TO_PRIMARY] = unix_socket(p->back, &addr);
    g_assert(!connect(p->fd[COLO_TO_PRIMARY], (void *)&addr, sizeof(addr)));

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
    if (!p->hit || p->fault == COLO_CUT) {
        shutdown(p->fd[0], SHUT_RDWR);
        shutdown(p->fd[1], SHUT_RDWR);
    }
    return NULL;
}

ColoProxy *colo_proxy_new(const char *front, const char *back)
{
    ColoProxy *p = g_new0(ColoProxy, 1);
    struct sockaddr_un addr;

    g_mutex_init(&p->lock);
    p->fd[0] = p->fd[1] = -1;
    p->back = g_strdup(back);
    p->front = unix_socket(front, &addr);
    g_assert(!bind(p->front, (void *)&addr, sizeof(addr)));
    g_assert(!listen(p->front, 1));
    g_assert(!pipe(p->stop));
    p->thread = g_thread_new("proxy", proxy_thread, p);
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
