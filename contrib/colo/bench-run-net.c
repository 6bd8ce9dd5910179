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
#define CONNECTIONS 8
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
    if (echo.lost) {
        timeline_event(run->timeline, "lost", "   %s: %u of %u datagrams were "
                       "not answered within a second", metric, echo.lost,
                       echo.lost + ms->len);
    }
    if (!ms->len) {
        error_setg(errp, "no answer to any request");
        return false;
    }
    bench_run_add_all(run, metric, ms);
    return true;
}

static bool run_connect(BenchRun *run, Error **errp)
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
    bench_run_add_all(run, "connect.request", ms);
    return true;
}

static bool run_requests(BenchRun *run, Error **errp)
{
    BenchRequests requests = {
        .address = GUEST, .connections = CONNECTIONS,
        .seconds = run->effort->net_s,
    };

    if (!bench_guest_work(run->guest, bench_client_requests, &requests,
                          bound_ms(run), errp)) {
        return false;
    }
    bench_run_add(run, "requests.rate", requests.per_second);
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
    return run_echo(run, false, "echo.rtt", errp) &&
           run_echo(run, true, "udp.rtt", errp) &&
           run_connect(run, errp) &&
           run_requests(run, errp) &&
           run_transfer(run, false, "tcp.guest-to-client", errp) &&
           run_transfer(run, true, "tcp.client-to-guest", errp);
}
