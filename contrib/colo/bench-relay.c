/*
 * A relay that delays
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include "bench-client.h"
#include "bench-relay.h"

#define CHUNK 4096

/* What has been read and is not due yet */
typedef struct Piece {
    int64_t came_ns, due_ns;
    size_t len;
    char bytes[CHUNK];
} Piece;

/* One direction */
typedef struct Way {
    int from, to;
    GQueue pieces;
} Way;

bool bench_relay_open(BenchRelay *relay, Error **errp)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(in);

    relay->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (relay->listen_fd < 0 ||
        bind(relay->listen_fd, (struct sockaddr *)&in, len) < 0 ||
        listen(relay->listen_fd, 1) < 0 ||
        getsockname(relay->listen_fd, (struct sockaddr *)&in, &len) < 0) {
        error_setg_errno(errp, errno, "no socket for the relay");
        bench_relay_close(relay);
        return false;
    }
    relay->port = ntohs(in.sin_port);
    return true;
}

void bench_relay_close(BenchRelay *relay)
{
    if (relay->listen_fd >= 0) {
        close(relay->listen_fd);
        relay->listen_fd = -1;
    }
}

/* False where the connection has ended. */
static bool way_read(Way *way, int64_t delay_ns)
{
    Piece *piece = g_new(Piece, 1);
    ssize_t n = recv(way->from, piece->bytes, CHUNK, MSG_DONTWAIT);

    if (n <= 0) {
        g_free(piece);
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    }
    piece->len = n;
    piece->came_ns = bench_now_ns();
    piece->due_ns = piece->came_ns + delay_ns;
    g_queue_push_tail(&way->pieces, piece);
    return true;
}

/* Sends what is due; the next one's time, INT64_MAX if none, -1: broken. */
static int64_t way_write(Way *way, GArray *held_ms)
{
    Piece *piece;
    double held;

    while ((piece = g_queue_peek_head(&way->pieces)) != NULL) {
        ssize_t n;

        if (piece->due_ns > bench_now_ns()) {
            return piece->due_ns;
        }
        n = send(way->to, piece->bytes, piece->len, MSG_NOSIGNAL);
        if (n != (ssize_t)piece->len) {
            return -1; /* it only carries small requests: all fits */
        }
        held = (bench_now_ns() - piece->came_ns) / 1e6;
        g_array_append_val(held_ms, held);
        g_free(g_queue_pop_head(&way->pieces));
    }
    return INT64_MAX;
}

static void relay_loop(BenchWork *work, Way ways[2], BenchRelay *relay)
{
    int64_t delay_ns = relay->delay_ms * 1e6;
    struct pollfd pfd[2] = {
        { .fd = ways[0].from, .events = POLLIN },
        { .fd = ways[1].from, .events = POLLIN },
    };

    while (!bench_work_stopped(work)) {
        int64_t there = way_write(&ways[0], relay->held_ms);
        int64_t back = way_write(&ways[1], relay->held_ms);
        int64_t left = MIN(MIN(there, back) - bench_now_ns(), 50 * 1000000);
        struct timespec ts = { .tv_nsec = MAX(left, 0) };

        if (there < 0 || back < 0) {
            return;
        }
        if (ppoll(pfd, 2, &ts, NULL) <= 0) {
            continue;
        }
        for (int i = 0; i < 2; i++) {
            if (pfd[i].revents && !way_read(&ways[i], delay_ns)) {
                return;
            }
        }
    }
}

bool bench_relay_work(BenchWork *work, void *opaque, Error **errp)
{
    BenchRelay *relay = opaque;
    Way ways[2] = { { .pieces = G_QUEUE_INIT }, { .pieces = G_QUEUE_INIT } };
    int client, server, one = 1;

    if (!bench_work_wait(work, relay->listen_fd, POLLIN, errp)) {
        return false;
    }
    client = accept4(relay->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) {
        error_setg_errno(errp, errno, "accept");
        return false;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    server = bench_client_open(work, relay->address, relay->to_port,
                               SOCK_STREAM, errp);
    if (server >= 0) {
        ways[0].from = ways[1].to = client;
        ways[0].to = ways[1].from = server;
        relay_loop(work, ways, relay);
        close(server);
    }
    for (int i = 0; i < 2; i++) {
        while (!g_queue_is_empty(&ways[i].pieces)) {
            g_free(g_queue_pop_head(&ways[i].pieces));
        }
    }
    close(client);
    return server >= 0;
}
