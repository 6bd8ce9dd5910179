/*
 * Runner: what the guest's network does for its clients
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-client.h"
#include "bench-run.h"
#include "guest-proto.h"
#include "sandbox.h"

#define GUEST SANDBOX_GUEST_IP4
#define ECHO_BYTES 64
#define GRACE_MS (30 * 1000)
/* A transfer slower than 0.5 MB/s is no transfer. */
#define BYTES_PER_MS 500

static int bound_ms(const BenchRun *run)
{
    return run->effort->net_s * 1000 + GRACE_MS;
}

static bool run_echo(BenchRun *run, bool udp, const char *metric,
                     Error **errp)
{
    g_autoptr(GArray) ms = g_array_new(false, false, sizeof(double));
    BenchEcho echo = {
        .address = GUEST, .port = GUEST_ECHO_PORT, .udp = udp,
        .size = ECHO_BYTES, .seconds = run->effort->net_s, .ms = ms,
    };

    if (!bench_guest_work(run->guest, bench_client_echo, &echo,
                          bound_ms(run), errp)) {
        return false;
    }
    if (udp && echo.lost + ms->len) {
        bench_run_add(run, "udp.lost",
                      100.0 * echo.lost / (echo.lost + ms->len));
    }
    if (!ms->len) {
        error_setg(errp, "no answer to any request");
        return false;
    }
    bench_run_add_all(run, metric, ms);
    return true;
}

static bool run_connect(BenchRun *run, bool unused, const char *metric,
                        Error **errp)
{
    g_autoptr(GArray) ms = g_array_new(false, false, sizeof(double));
    BenchConnect connect = {
        .address = GUEST, .command = "ping", .seconds = run->effort->net_s,
        .ms = ms,
    };

    if (!bench_guest_work(run->guest, bench_client_connect, &connect,
                          bound_ms(run), errp)) {
        return false;
    }
    bench_run_add_all(run, metric, ms);
    return true;
}

static bool run_requests(BenchRun *run, bool unused, const char *metric,
                         Error **errp)
{
    BenchRequests requests = {
        .address = GUEST, .port = GUEST_COUNTER_PORT,
        .connections = BENCH_REQUESTS_CONNECTIONS,
        .seconds = run->effort->net_s,
    };

    if (!bench_guest_work(run->guest, bench_client_requests, &requests,
                          bound_ms(run), errp)) {
        return false;
    }
    bench_run_add(run, metric, requests.per_second);
    return true;
}

static bool run_transfer(BenchRun *run, bool upload, const char *metric,
                         Error **errp)
{
    BenchTransfer transfer = {
        .address = GUEST, .bytes = run->effort->transfer_bytes,
        .upload = upload,
    };

    if (!bench_guest_work(run->guest, bench_client_transfer, &transfer,
                          transfer.bytes / BYTES_PER_MS + GRACE_MS, errp)) {
        return false;
    }
    bench_run_add(run, metric, transfer.mb_per_s);
    return true;
}

bool bench_run_net(BenchRun *run, Error **errp)
{
    static const struct {
        const char *metric;
        bool (*run)(BenchRun *run, bool second, const char *metric,
                    Error **errp);
        bool second;
    } parts[] = {
        { "echo.rtt", run_echo, false },
        { "udp.rtt", run_echo, true },
        { "connect.request", run_connect },
        { "requests.rate", run_requests },
        { "tcp.guest-to-client", run_transfer, false },
        { "tcp.client-to-guest", run_transfer, true },
    };

    for (int i = 0; i < ARRAY_SIZE(parts); i++) {
        if (g_str_equal(parts[i].metric, run->part)) {
            return parts[i].run(run, parts[i].second, run->part, errp);
        }
    }
    g_assert_not_reached();
}
