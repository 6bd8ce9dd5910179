/*
 * Tests of connecting to the guest, and of commands to it
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include "guest-proto.h"
#include "stream.h"
#include "wire.h"
#include "colo-fake-guest.h"

static int connect_to(const char *address, uint16_t port, int timeout_ms,
                      Error **errp)
{
    return wire_connect(address, port,
                        g_get_monotonic_time() + timeout_ms * 1000LL, errp);
}

static void check_no_connection(Guest *guest, int timeout_ms,
                                const char *why)
{
    int64_t start = g_get_monotonic_time(), took;
    Error *err = NULL;

    g_assert_cmpint(connect_to(guest->address, guest->port, timeout_ms,
                               &err), ==, -1);
    took = g_get_monotonic_time() - start;
    g_assert_nonnull(strstr(error_get_pretty(err), why));
    g_test_message("%s", error_get_pretty(err));
    error_free(err);
    g_assert_cmpint(took, >=, timeout_ms * 1000LL);
    g_assert_cmpint(took, <, PATIENCE_MS * 1000LL);
}

static void test_refused(void)
{
    Guest guest = { };

    guest_bind(&guest);
    check_no_connection(&guest, 250, "Connection refused");
    check_no_connection(&guest, 0, "Connection refused");
    guest_end(&guest);
}

static gboolean on_accept(gpointer opaque)
{
    Guest *guest = opaque;

    close(accept(guest->listener, NULL, NULL));
    guest_listen(guest);
    return G_SOURCE_REMOVE;
}

/* A listener whose queue is full drops SYNs: just what is needed here. */
static int guest_bind_full(Guest *guest)
{
    int fd;

    guest_bind(guest);
    g_assert_cmpint(listen(guest->listener, 0), ==, 0);
    fd = connect_to(guest->address, guest->port, PATIENCE_MS, &error_abort);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void test_lost(void)
{
    Guest guest = { };
    int fd = guest_bind_full(&guest);

    check_no_connection(&guest, 1300, "timed out");
    close(fd);
    guest_end(&guest);
}

static void test_lost_then_answered(void)
{
    Guest guest = { .serve = serve_and_close, .request = "" };
    int full = guest_bind_full(&guest), fd;

    g_timeout_add(1200, on_accept, &guest);
    fd = connect_to(guest.address, guest.port, PATIENCE_MS, &error_abort);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    close(full);
    guest_end(&guest);
}

static void test_bad_address(void)
{
    static const char *const bad[] = { "", "localhost", "1.2.3.4.5", "::g" };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        Error *err = NULL;

        g_assert_cmpint(connect_to(bad[i], 1, PATIENCE_MS, &err), ==, -1);
        g_assert_nonnull(strstr(error_get_pretty(err),
                                "is not a numeric IP address"));
        error_free(err);
    }
}

static int get_option(int fd, int level, int option)
{
    int value = 0;
    socklen_t len = sizeof(value);

    g_assert_cmpint(getsockopt(fd, level, option, &value, &len), ==, 0);
    return value;
}

/* Silence for a minute must not end a connection, nor last for ever. */
static void test_patience(void)
{
    Guest guest = { .serve = serve_and_close, .request = "" };
    int fd;

    guest_start(&guest);
    fd = connect_to(guest.address, guest.port, PATIENCE_MS, &error_abort);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(get_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), >=,
                    60000);
    g_assert_cmpint(get_option(fd, SOL_SOCKET, SO_KEEPALIVE), ==, 1);
    g_assert_cmpint(get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), <=, 30);
    g_assert_cmpint(get_option(fd, IPPROTO_TCP, TCP_NODELAY), !=, 0);
    g_assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    guest_end(&guest);
}

/* Commands */

typedef void ServeFunc(Guest *guest, int fd);

/* @result is "ok:" and the answer, or a part of the error. */
static void check_command(ServeFunc *serve, const char *answer, size_t len,
                          const char *result)
{
    Guest guest = {
        .serve = serve, .request = "load 5\n", .answer = answer,
        .answer_len = len,
    };
    g_autofree char *got = NULL;
    Error *err = NULL;

    guest_start(&guest);
    got = guest_command_port(guest.address, guest.port, "load 5",
                             PATIENCE_MS, &err);
    if (g_str_has_prefix(result, "ok:")) {
        g_assert_null(err);
        g_assert_cmpstr(got, ==, result + strlen("ok:"));
    } else {
        g_assert_null(got);
        g_test_message("%s", error_get_pretty(err));
        if (!strstr(error_get_pretty(err), result) ||
            !strstr(error_get_pretty(err), "'load 5'")) {
            g_error("'%s' expected in: %s", result, error_get_pretty(err));
        }
        error_free(err);
    }
    guest_end(&guest);
}

static void test_command_ok(void)
{
    check_command(serve_answer, "ok 12 34\n", 9, "ok:12 34");
    check_command(serve_bytewise, "ok 12 34\n", 9, "ok:12 34");
    check_command(serve_and_close, "ok x\n", 5, "ok:x");
    check_command(serve_answer, "ok\n", 3, "ok:");
    check_command(serve_answer, "ok\x20\n", 4, "ok:");
}

static void test_command_error(void)
{
    check_command(serve_answer, "error no such disk\n", 19,
                  ": no such disk");
}

static void test_command_garbage(void)
{
    check_command(serve_answer, "\n", 1, "neither");
    check_command(serve_answer, "okay\n", 5, "\"okay\" came");
    check_command(serve_answer, "error\n", 6, "\"error\" came");
    check_command(serve_answer, "ok a\0b\n", 7, "not text; \"ok a\\x00b\\n\"");
    check_command(serve_answer, "ok \x1b[2J\n", 8, "not text");
    check_command(serve_answer, "\xff\xff", 2, "not text");
    check_command(serve_answer, "ok 1\nok 2\n", 10, "more than one line");
    check_command(serve_and_close, NULL, 0, "closed the connection; nothing");
    check_command(serve_and_close, "ok 1", 4,
                  "closed the connection; \"ok 1\" came");
}

static void test_command_overlong(void)
{
    g_autofree char *line = g_malloc(8 * GUEST_LINE_MAX);

    memset(line, 'a', 8 * GUEST_LINE_MAX);
    memcpy(line, "ok ", 3);
    check_command(serve_answer, line, 8 * GUEST_LINE_MAX, "too long");
    line[GUEST_LINE_MAX] = '\n';
    check_command(serve_answer, line, GUEST_LINE_MAX + 1, "too long");
}

static void test_command_timeout(void)
{
    Guest guest = {
        .serve = serve_answer, .request = "load 5\n", .answer = "ok 1",
        .answer_len = 4,
    };
    int64_t start = g_get_monotonic_time();
    Error *err = NULL;

    guest_start(&guest);
    g_assert_null(guest_command_port(guest.address, guest.port, "load 5",
                                     300, &err));
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 300 * 1000);
    g_assert_nonnull(strstr(error_get_pretty(err), "no answer in time"));
    error_free(err);
    guest_end(&guest);
}

static void test_command_bad(void)
{
    g_autofree char *line = g_strnfill(GUEST_LINE_MAX, 'a');
    Error *err = NULL;

    g_assert_null(guest_command_port("127.0.0.1", 1, "a\nb", PATIENCE_MS,
                                     &err));
    error_free_or_abort(&err);
    g_assert_null(guest_command_port("127.0.0.1", 1, line, PATIENCE_MS,
                                     &err));
    error_free_or_abort(&err);
}

static void test_command_refused_then_listening(void)
{
    Guest guest = {
        .serve = serve_answer, .request = "load 5\n", .answer = "ok 1\n",
        .answer_len = 5,
    };
    g_autofree char *got = NULL;

    guest_bind(&guest);
    g_timeout_add(250, guest_on_listen, &guest);
    got = guest_command_port(guest.address, guest.port, "load 5",
                             PATIENCE_MS, &error_abort);
    g_assert_cmpstr(got, ==, "1");
    guest_end(&guest);
}

/* The port is the right one: any address in 127.0.0.0/8 is this host's. */
static void test_command_port(void)
{
    g_autofree char *address =
        g_strdup_printf("127.%d.%d.%d", g_test_rand_int_range(1, 255),
                        (getpid() >> 8) & 255, 1 + getpid() % 254);
    Guest guest = {
        .serve = serve_answer, .request = "load 5\n", .answer = "ok 1\n",
        .answer_len = 5, .address = address, .port = GUEST_CONTROL_PORT,
    };
    uint16_t port = GUEST_CONTROL_PORT;
    int fd = make_socket(address, &port);
    g_autofree char *got = NULL;

    if (fd < 0) {
        g_test_skip("port 1000 cannot be bound (not root?)");
        return;
    }
    close(fd);
    guest_start(&guest);
    got = guest_command(address, "load 5", PATIENCE_MS, &error_abort);
    g_assert_cmpstr(got, ==, "1");
    guest_end(&guest);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*fn)(void);
    } tests[] = {
        { "/colo/wire/refused", test_refused },
        { "/colo/wire/lost", test_lost },
        { "/colo/wire/lost-then-answered", test_lost_then_answered },
        { "/colo/wire/bad-address", test_bad_address },
        { "/colo/wire/patience", test_patience },
        { "/colo/command/ok", test_command_ok },
        { "/colo/command/error", test_command_error },
        { "/colo/command/garbage", test_command_garbage },
        { "/colo/command/overlong", test_command_overlong },
        { "/colo/command/timeout", test_command_timeout },
        { "/colo/command/bad", test_command_bad },
        { "/colo/command/refused-then-listening",
          test_command_refused_then_listening },
        { "/colo/command/port", test_command_port },
    };
    size_t i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(tests); i++) {
        g_test_add_func(tests[i].path, tests[i].fn);
    }
    return g_test_run();
}
