/*
 * A guest that does not exist: a thread which plays it, well and badly
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
#include "guest-proto.h"
#include "colo-fake-guest.h"

int make_socket(const char *address, uint16_t *port)
{
    struct sockaddr_storage ss = { };
    struct sockaddr_in *in = (void *)&ss;
    struct sockaddr_in6 *in6 = (void *)&ss;
    socklen_t len = sizeof(*in);
    int one = 1, fd;

    if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
        ss.ss_family = AF_INET;
        in->sin_port = htons(*port);
    } else {
        len = sizeof(*in6);
        ss.ss_family = AF_INET6;
        in6->sin6_port = htons(*port);
        g_assert_cmpint(inet_pton(AF_INET6, address, &in6->sin6_addr), ==,
                        1);
    }
    fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (void *)&ss, len) < 0 ||
        getsockname(fd, (void *)&ss, &len) < 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(ss.ss_family == AF_INET ? in->sin_port : in6->sin6_port);
    return fd;
}

static void wait_readable(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    g_assert_cmpint(poll(&pfd, 1, PATIENCE_MS), ==, 1);
}

static void guest_expect_request(Guest *guest, int fd)
{
    g_autofree char *got = g_malloc0(strlen(guest->request) + 1);
    size_t i;

    for (i = 0; i < strlen(guest->request); i++) {
        wait_readable(fd);
        g_assert_cmpint(read(fd, got + i, 1), ==, 1);
    }
    g_assert_cmpstr(got, ==, guest->request);
}

static gpointer guest_thread(gpointer opaque)
{
    Guest *guest = opaque;
    int one = 1, fd;

    wait_readable(guest->listener);
    fd = accept(guest->listener, NULL, NULL);
    g_assert_cmpint(fd, >=, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    guest_expect_request(guest, fd);
    guest->serve(guest, fd);
    close(fd);
    return NULL;
}

void guest_bind(Guest *guest)
{
    int fds[2];

    if (!guest->address) {
        guest->address = "127.0.0.1";
    }
    if (!guest->request) {
        guest->request = "stream 5 1000\n";
    }
    guest->listener = make_socket(guest->address, &guest->port);
    g_assert_cmpint(guest->listener, >=, 0);
    g_assert_true(g_unix_open_pipe(fds, FD_CLOEXEC, NULL));
    guest->go_guest = fds[0];
    guest->go = fds[1];
}

void guest_listen(Guest *guest)
{
    g_assert_cmpint(listen(guest->listener, 5), ==, 0);
    guest->thread = g_thread_new("guest", guest_thread, guest);
}

gboolean guest_on_listen(gpointer guest)
{
    guest_listen(guest);
    return G_SOURCE_REMOVE;
}

void guest_start(Guest *guest)
{
    guest_bind(guest);
    guest_listen(guest);
}

void guest_end(Guest *guest)
{
    close(guest->go);
    if (guest->thread) {
        g_thread_join(guest->thread);
    }
    close(guest->go_guest);
    close(guest->listener);
}

void guest_go(Guest *guest)
{
    g_assert_cmpint(write(guest->go, "g", 1), ==, 1);
}

void guest_wait(Guest *guest)
{
    char c;

    wait_readable(guest->go_guest);
    if (read(guest->go_guest, &c, 1) < 0) {
        g_assert_not_reached();
    }
}

void send_bytes(int fd, const void *bytes, size_t len)
{
    g_assert_cmpint(send(fd, bytes, len, MSG_NOSIGNAL), ==, len);
}

void send_records(int fd, uint64_t from, uint64_t to)
{
    for (; from < to; from++) {
        char record[GUEST_RECORD_SIZE + 1];

        guest_record_format(record, from);
        send_bytes(fd, record, GUEST_RECORD_SIZE);
    }
}

void serve_answer(Guest *guest, int fd)
{
    /* In one go; the client may have heard enough before the end. */
    if (send(fd, guest->answer, guest->answer_len, MSG_NOSIGNAL) < 0) {
        g_assert_true(errno == ECONNRESET || errno == EPIPE);
    }
    guest_wait(guest);
}

void serve_bytewise(Guest *guest, int fd)
{
    size_t i;

    for (i = 0; i < guest->answer_len; i++) {
        send_bytes(fd, guest->answer + i, 1);
        g_usleep(200);
    }
    guest_wait(guest);
}

void serve_and_close(Guest *guest, int fd)
{
    if (guest->answer_len) {
        send_bytes(fd, guest->answer, guest->answer_len);
    }
}

void serve_cut(Guest *guest, int fd)
{
    send_records(fd, FIRST, FIRST + 3);
    send_bytes(fd, "0000000", 7);
}
