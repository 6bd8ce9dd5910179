/*
 * Tests of the packet bench without QEMU: frames, pump, counted system calls
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "qemu/bswap.h"
#include "bench-packet.h"
#include "bench-packet-pump.h"
#include "bench-stats.h"
#include "bench-syscalls.h"

static const PacketPort no_port = { .fd = -1 };

/* The sum of an IPv4 header with its checksum in it is all ones. */
static void check_ip(const uint8_t *frame, size_t len)
{
    uint32_t sum = 0;

    for (int i = 14; i < 34; i += 2) {
        sum += lduw_be_p(frame + i);
    }
    g_assert_cmphex((sum & 0xffff) + (sum >> 16), ==, 0xffff);
    g_assert_cmpint(14 + lduw_be_p(frame + 16), <=, len);
    g_assert_cmpint(MAX(14 + lduw_be_p(frame + 16), 60), ==, len);
}

static void test_mixed(void)
{
    g_autofree uint8_t *frame = g_malloc(PACKET_MAX);
    int small = 0, middle = 0, full = 0, udp = 0, arp = 0;
    PacketStream stream;
    size_t all = 0;

    packet_stream_init(&stream, PACKET_MIXED);
    for (int i = 0; i < 32; i++) {
        size_t len = packet_stream_next(&stream, frame);

        all += len;
        if (lduw_be_p(frame + 12) == 0x0806) {
            arp++;
            continue;
        }
        check_ip(frame, len);
        udp += frame[23] == 17;
        small += frame[23] == 6 && len < 200;
        middle += frame[23] == 6 && len > 200 && len < 1000;
        full += frame[23] == 6 && len == 1514;
    }
    g_assert_cmpint(small, ==, 14);
    g_assert_cmpint(middle, ==, 8);
    g_assert_cmpint(full, ==, 2);
    g_assert_cmpint(udp, ==, 7);
    g_assert_cmpint(arp, ==, 1);
    g_assert_cmpint(all / 32, ==, 383);
}

/* Begun alike, equal for ever; and each flow's numbers follow each other. */
static void test_equal(void)
{
    const PacketMix mixes[] = { PACKET_MIXED, PACKET_TSO, PACKET_SMALL };
    g_autofree uint8_t *a = g_malloc(PACKET_MAX), *b = g_malloc(PACKET_MAX);

    for (int i = 0; i < ARRAY_SIZE(mixes); i++) {
        uint32_t next[PACKET_FLOWS] = { };
        PacketStream p, s;

        packet_stream_init(&p, mixes[i]);
        packet_stream_init(&s, mixes[i]);
        for (int j = 0; j < 2000; j++) {
            size_t len = packet_stream_next(&p, a);
            unsigned flow = lduw_be_p(a + 36) - 40000;

            g_assert_cmpint(packet_stream_next(&s, b), ==, len);
            g_assert_cmpmem(a, len, b, len);
            if (lduw_be_p(a + 12) == 0x0800 && a[23] == 6) {
                g_assert_cmpint(flow, <, PACKET_FLOWS);
                g_assert_true(!next[flow] || next[flow] == ldl_be_p(a + 38));
                next[flow] = ldl_be_p(a + 38) + lduw_be_p(a + 16) - 40;
            }
        }
    }
}

/* Passes on whatever comes on @fds[0] to @fds[1], late by @delay_us. */
typedef struct Relay {
    int fds[2];
    unsigned delay_us;
} Relay;

static gpointer relay(gpointer opaque)
{
    Relay *relay = opaque;
    g_autofree char *buf = g_malloc(1 << 20);
    ssize_t n;

    while ((n = recv(relay->fds[0], buf, 1 << 20, 0)) > 0) {
        g_usleep(relay->delay_us);
        for (ssize_t done = 0, sent; done < n; done += sent) {
            sent = send(relay->fds[1], buf + done, n - done, MSG_NOSIGNAL);
            g_assert_cmpint(sent, >, 0);
        }
    }
    return NULL;
}

typedef struct Setup {
    int ours[2];           /* into the relay, and out of it */
    Relay relay;
    GThread *thread;
    PacketPump *pump;
} Setup;

static void setup_begin(Setup *setup, unsigned delay_us, PacketMix mix)
{
    PacketPort in[2] = { no_port, no_port }, out = no_port;
    int a[2], b[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, a), ==, 0);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, b), ==, 0);
    *setup = (Setup) {
        .ours = { a[0], b[0] },
        .relay = { { a[1], b[1] }, delay_us },
    };
    setup->thread = g_thread_new("relay", relay, &setup->relay);
    in[0].fd = a[0];
    out.fd = b[0];
    setup->pump = packet_pump_new(in, &out, -1, mix);
}

static void setup_end(Setup *setup)
{
    packet_pump_free(setup->pump);
    close(setup->ours[0]);
    g_thread_join(setup->thread);
    close(setup->ours[1]);
    close(setup->relay.fds[0]);
    close(setup->relay.fds[1]);
}

static void test_pump(void)
{
    const PacketMix mixes[] = { PACKET_MIXED, PACKET_TSO, PACKET_SMALL };

    for (int i = 0; i < ARRAY_SIZE(mixes); i++) {
        uint64_t frames = 0;
        Setup setup;

        setup_begin(&setup, 0, mixes[i]);
        packet_pump_burst(setup.pump, 20, &error_abort);
        packet_pump_run(setup.pump, 64, 0.1, &frames, &error_abort);
        g_assert_cmpint(frames, >=, 64);
        setup_end(&setup);
    }
}

/* A known delay must be found. */
static void test_delay(void)
{
    const int delay_us = 20000;
    double ms[15];
    Setup setup;

    setup_begin(&setup, delay_us, PACKET_SMALL);
    packet_pump_burst(setup.pump, 1, &error_abort);
    for (int i = 0; i < ARRAY_SIZE(ms); i++) {
        int64_t begin = g_get_monotonic_time();

        packet_pump_burst(setup.pump, 1, &error_abort);
        ms[i] = (g_get_monotonic_time() - begin) / 1e3;
        g_assert_cmpfloat(ms[i], >=, delay_us / 1e3);
    }
    setup_end(&setup);
    for (int i = 1; i < ARRAY_SIZE(ms); i++) {
        ms[0] = MIN(ms[0], ms[i]);
    }
    /* Of 15, one at least was not held up by others on this machine. */
    g_assert_cmpfloat(ms[0], <, delay_us / 1e3 + 10);
}

/* What comes out is not what was pushed in. */
static void test_pump_refuses(void)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *why;
    } cases[] = {
        { "\xff\xff\xff\xff", 4, "what comes out is no frame: its length is "
          "4294967295, of which 0 header" },
        { "\0\0\0\0", 4, "what comes out is no frame: its length is 0, of "
          "which 0 header" },
        { "\0\0\0\1x", 5, "1 frames of 154 bytes went in, 1 of 1 came out" },
        { "", 0, "no more frames come out: the connection was closed" },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        PacketPort in[2] = { no_port, no_port }, out = no_port;
        g_autoptr(PacketPump) pump = NULL;
        Error *err = NULL;
        int a[2], b[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, a), ==, 0);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, b), ==, 0);
        in[0].fd = a[0];
        out.fd = b[0];
        pump = packet_pump_new(in, &out, -1, PACKET_SMALL);
        g_assert_cmpint(send(b[1], cases[i].bytes, cases[i].len, 0), ==,
                        cases[i].len);
        g_assert_cmpint(shutdown(b[1], SHUT_WR), ==, 0);
        g_assert_false(packet_pump_burst(pump, 1, &err));
        g_assert_cmpstr(error_get_pretty(err), ==, cases[i].why);
        error_free(err);
        for (int j = 0; j < 2; j++) {
            close(a[j]);
            close(b[j]);
        }
    }
}

/* For each byte read: a thousand system calls, and an answer */
static void G_GNUC_NORETURN busy_child(int fd)
{
    char c;

    while (read(fd, &c, 1) == 1) {
        for (int i = 0; i < 1000; i++) {
            syscall(SYS_getppid);
        }
        if (write(fd, &c, 1) != 1) {
            break;
        }
    }
    _exit(0);
}

static void ask(int fd)
{
    char c = 'x';

    g_assert_cmpint(write(fd, &c, 1), ==, 1);
    g_assert_cmpint(read(fd, &c, 1), ==, 1);
}

static void test_syscalls(void)
{
    SyscallCounter *counter;
    Error *err = NULL;
    uint64_t before, count;
    int fds[2];
    pid_t pid;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    pid = fork();
    if (!pid) {
        close(fds[0]);
        busy_child(fds[1]);
    }
    close(fds[1]);
    counter = syscall_counter_new(pid, &err);
    if (!counter) {
        g_assert_cmpint(getuid(), !=, 0);
        g_test_skip(error_get_pretty(err));
        error_free(err);
    } else {
        ask(fds[0]);
        before = syscall_counter_read(counter);
        for (int i = 0; i < 10; i++) {
            ask(fds[0]);
        }
        count = syscall_counter_read(counter) - before;
        /* The last read() may not have begun, neither before nor after. */
        g_assert_cmpint(count, >=, 10 * 1002 - 1);
        g_assert_cmpint(count, <=, 10 * 1002 + 1);
        syscall_counter_free(counter);
        /* It runs on, uncounted. */
        ask(fds[0]);
    }
    close(fds[0]);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

/* Nothing to trace, and an error that says so */
static void test_syscalls_refuses(void)
{
    Error *err = NULL;
    pid_t pid = fork();

    if (!pid) {
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    g_assert_null(syscall_counter_new(pid, &err));
    g_assert_nonnull(err);
    error_free(err);
}

static void test_limit(void)
{
    static const char *const names[] = { "limit.packet.rate",
                                         "limit.packet.rate.tso",
                                         "limit.packet.syscalls",
                                         "limit.packet.latency" };
    const BenchPacketConfig config = { .seconds = 0.05, .latencies = 30 };
    g_autoptr(BenchResults) results = bench_results_new();
    size_t count;

    bench_packet_limit(0, &config, results, &error_abort);
    for (int i = 0; i < ARRAY_SIZE(names); i++) {
        const double *samples = bench_results_samples(results, names[i],
                                                      BENCH_LIMIT, 0, &count);

        g_assert_cmpint(count, ==, i == 3 ? 30 : 1);
        g_assert_cmpfloat(samples[0], >, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench-packet/stream/mixed", test_mixed);
    g_test_add_func("/bench-packet/stream/equal", test_equal);
    g_test_add_func("/bench-packet/pump/run", test_pump);
    g_test_add_func("/bench-packet/pump/delay", test_delay);
    g_test_add_func("/bench-packet/pump/refuses", test_pump_refuses);
    g_test_add_func("/bench-packet/syscalls/count", test_syscalls);
    g_test_add_func("/bench-packet/syscalls/refuses", test_syscalls_refuses);
    g_test_add_func("/bench-packet/limit", test_limit);
    return g_test_run();
}
