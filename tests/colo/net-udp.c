/*
 * Datagrams to the guest's echo service
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib-unix.h>
#include <netdb.h>
#include <sys/socket.h>
#include "guest-proto.h"
#include "net-udp.h"

#define INTERVAL_MS 50
#define SIZE 200

struct NetUdp {
    int fd;
    uint64_t sent;         /* datagrams; number n has n in its first word */
    GArray *answered;      /* of uint8_t, by number */
    guint timer, watch;
    NetBeat beat;
};

static void fill(uint8_t *bytes, uint64_t number)
{
    guest_put64(bytes, number);
    guest_fill(bytes + 8, SIZE - 8, number, 0);
}

static gboolean udp_send(gpointer opaque)
{
    NetUdp *udp = opaque;
    uint8_t bytes[SIZE], no = 0;

    fill(bytes, udp->sent);
    /* What does not leave is lost, as datagrams are. */
    if (send(udp->fd, bytes, SIZE, 0) == SIZE) {
        udp->sent++;
        g_array_append_val(udp->answered, no);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean udp_readable(gint fd, GIOCondition cond, gpointer opaque)
{
    NetUdp *udp = opaque;
    uint8_t bytes[2048], wanted[SIZE], *answered;
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
    uint64_t number;

    if (n < 0) {
        return G_SOURCE_CONTINUE; /* nobody at home, for a moment */
    }
    number = n == SIZE ? guest_get64(bytes) : UINT64_MAX;
    if (number < udp->sent) {
        fill(wanted, number);
    }
    if (number >= udp->sent || memcmp(bytes, wanted, SIZE)) {
        udp->beat.error = g_strdup_printf("an answer of %zd bytes which is "
                                          "none of the %" PRIu64 " sent", n,
                                          udp->sent);
        udp->watch = 0;
        return G_SOURCE_REMOVE;
    }
    answered = &g_array_index(udp->answered, uint8_t, number);
    if (!*answered) {
        *answered = 1;
        net_beat(&udp->beat);
    }
    return G_SOURCE_CONTINUE;
}

NetUdp *net_udp_new(const char *address, uint16_t port, Error **errp)
{
    struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM,
    }, *ai;
    g_autofree char *service = g_strdup_printf("%u", port);
    NetUdp *udp;
    int fd;

    if (getaddrinfo(address, service, &hints, &ai)) {
        error_setg(errp, "'%s' is not a numeric IP address", address);
        return NULL;
    }
    fd = socket(ai->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
        error_setg_errno(errp, errno, "no socket to %s", address);
        if (fd >= 0) {
            close(fd);
        }
        freeaddrinfo(ai);
        return NULL;
    }
    freeaddrinfo(ai);
    udp = g_new0(NetUdp, 1);
    udp->fd = fd;
    udp->answered = g_array_new(false, false, 1);
    udp->timer = g_timeout_add(INTERVAL_MS, udp_send, udp);
    udp->watch = g_unix_fd_add(fd, G_IO_IN, udp_readable, udp);
    return udp;
}

void net_udp_free(NetUdp *udp)
{
    if (!udp) {
        return;
    }
    g_source_remove(udp->timer);
    if (udp->watch) {
        g_source_remove(udp->watch);
    }
    close(udp->fd);
    g_array_free(udp->answered, true);
    g_free(udp->beat.error);
    g_free(udp);
}

NetBeat *net_udp_beat(NetUdp *udp)
{
    return &udp->beat;
}
