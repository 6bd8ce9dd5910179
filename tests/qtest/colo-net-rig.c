/*
 * A netdev with filters, between the host network and their peers: colo-net-rig.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "net/eth.h"
#include "colo-net-rig.h"

/* For whatever must happen; only a machine that is much too busy needs it */
#define TIMEOUT_MS 60000

static const char *const chardevs[] = { "mirror", "in", "sink", "guest", "out" };

void net_start(Net *net)
{
    g_autoptr(GString) args = g_string_new("");
    int wire[2];

    net->dir = g_dir_make_tmp("colo-net-XXXXXX", NULL);
    g_assert(net->dir);
    g_assert_cmpint(socketpair(PF_UNIX, SOCK_STREAM, 0, wire), ==, 0);
    for (int i = 0; i < ARRAY_SIZE(chardevs); i++) {
        g_string_append_printf(args, "-chardev socket,id=%s,path=%s/%s,"
                               "server=on,wait=off ",
                               chardevs[i], net->dir, chardevs[i]);
    }
    net->qts = qtest_initf(
        "-nic socket,id=wire,fd=%d %s"
        "-object filter-mirror,id=f-mirror,netdev=wire,queue=tx,outdev=mirror "
        "-object filter-redirector,id=f-in,netdev=wire,queue=tx,indev=in "
        "-object filter-redirector,id=f-sink,netdev=wire,queue=tx,outdev=sink "
        "-object filter-redirector,id=f-out,netdev=wire,queue=rx,outdev=out "
        "-object filter-redirector,id=f-guest,netdev=wire,queue=rx,indev=guest",
        wire[1], args->str);
    close(wire[1]);
    net->wire = wire[0];
}

void net_end(Net *net)
{
    qtest_quit(net->qts);
    close(net->wire);
    for (int i = 0; i < ARRAY_SIZE(chardevs); i++) {
        g_autofree char *path = g_build_filename(net->dir, chardevs[i], NULL);

        unlink(path);
    }
    g_assert_cmpint(rmdir(net->dir), ==, 0);
    g_free(net->dir);
}

uint64_t stat_get(Net *net, const char *filter, const char *name)
{
    g_autofree char *path = g_strdup_printf("/objects/%s", filter);
    QDict *answer = qtest_qmp(net->qts, "{'execute': 'qom-get', 'arguments': "
                              "{'path': %s, 'property': %s}}", path, name);
    uint64_t value;

    g_assert(qdict_haskey(answer, "return"));
    value = qdict_get_int(answer, "return");
    qobject_unref(answer);
    return value;
}

void stat_wait(Net *net, const char *filter, const char *name, uint64_t value)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_MS * 1000ll;

    while (stat_get(net, filter, name) != value) {
        if (g_get_monotonic_time() > end) {
            g_error("%s of %s did not get %" PRIu64 " but %" PRIu64, name,
                    filter, value, stat_get(net, filter, name));
        }
        g_usleep(1000);
    }
}

int net_connect(Net *net, const char *chardev)
{
    g_autofree char *path = g_build_filename(net->dir, chardev, NULL);
    g_autofree char *filter = g_strdup_printf("f-%s", chardev);
    const char *count = g_str_equal(chardev, "in") ||
                        g_str_equal(chardev, "guest") ? "in-connections"
                                                      : "out-connections";
    uint64_t before = stat_get(net, filter, count);
    int fd = unix_connect(path, &error_abort);

    stat_wait(net, filter, count, before + 1);
    return fd;
}

static void wait_for(int fd, short what, const char *why)
{
    struct pollfd p = { .fd = fd, .events = what };

    if (poll(&p, 1, TIMEOUT_MS) != 1) {
        g_error("waited in vain for %s", why);
    }
}

void send_bytes(int fd, const void *data, size_t size)
{
    while (size) {
        ssize_t n;

        wait_for(fd, POLLOUT, "QEMU to read");
        n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        g_assert(n > 0 || errno == EAGAIN);
        if (n > 0) {
            data = (const char *)data + n;
            size -= n;
        }
    }
}

size_t frame_size(const char *text)
{
    return MAX(strlen(text), ETH_HLEN);
}

void send_frame(int fd, const char *text)
{
    static const char zeros[ETH_HLEN];
    uint32_t len = cpu_to_be32(frame_size(text));

    send_bytes(fd, &len, sizeof(len));
    send_bytes(fd, text, strlen(text));
    send_bytes(fd, zeros, frame_size(text) - strlen(text));
}

void receive_bytes(int fd, void *data, size_t size, const char *why)
{
    while (size) {
        ssize_t n;

        wait_for(fd, POLLIN, why);
        n = recv(fd, data, size, 0);
        if (n <= 0) {
            g_error("connection closed instead of %s", why);
        }
        data = (char *)data + n;
        size -= n;
    }
}

void expect_frame(int fd, const char *text)
{
    char data[100] = "";
    uint32_t len;

    receive_bytes(fd, &len, sizeof(len), text);
    len = be32_to_cpu(len);
    g_assert_cmpuint(len, <, sizeof(data));
    receive_bytes(fd, data, len, text);
    g_assert_cmpstr(data, ==, text);
}

void expect_nothing(int fd)
{
    char byte;

    g_assert_cmpint(recv(fd, &byte, 1, MSG_DONTWAIT), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
}

void expect_closed(int fd)
{
    char byte;
    ssize_t n;

    wait_for(fd, POLLIN, "QEMU to close the connection");
    n = recv(fd, &byte, 1, 0);
    g_assert(n == 0 || (n == -1 && errno == ECONNRESET));
    close(fd);
}
