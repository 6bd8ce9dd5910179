/*
 * Runners: a host dies, and a new one joins
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-client.h"
#include "bench-probe.h"
#include "bench-run.h"
#include "guest-proto.h"
#include "sandbox.h"

#define GUEST SANDBOX_GUEST_IP4
#define ECHO_PAUSE_NS (2 * 1000 * 1000)
#define PROBE_PACE_NS (2 * 1000 * 1000)
#define BEFORE_S 2.0
#define AFTER_S 2.0
#define PIECE_MIB 128
/* Of the guest's sequential writes */
#define BLOCK_KIB 256
#define CLIENT_MS (150 * 1000)
/* What comes within that time of the kill, P may have sent before it died. */
#define LAST_WORDS_MS 1.0

static bool add_failover(BenchRun *run, const GArray *answers, int64_t killed,
                         Error **errp)
{
    double gap = 0, first = -1, last = 0;

    for (guint i = 0; i < answers->len; i++) {
        double at = (g_array_index(answers, int64_t, i) - killed) / 1e6;

        bench_run_add(run, "failover.answers", at);
        if (i) {
            gap = MAX(gap, at - last);
        }
        if (first < 0 && at > LAST_WORDS_MS) {
            first = at;
        }
        last = at;
    }
    if (first < 0) {
        error_setg(errp, "the client got no answer after the failover");
        return false;
    }
    bench_run_add(run, "failover.first-answer", first);
    bench_run_add(run, "failover.gap", gap);
    return true;
}

/* What a client hears that does not wait for its own TCP */
static bool add_datagrams(BenchRun *run, const GArray *answers,
                          int64_t killed, Error **errp)
{
    for (guint i = 0; i < answers->len; i++) {
        double at = (g_array_index(answers, int64_t, i) - killed) / 1e6;

        if (at > LAST_WORDS_MS) {
            bench_run_add(run, "failover.first-datagram", at);
            return true;
        }
    }
    error_setg(errp, "no datagram was answered after the failover");
    return false;
}

/* Ends it; the error, where there is another already, is of no use. */
static bool end_work(BenchWork *work, bool ok, Error **errp)
{
    Error *err = NULL;

    bench_work_stop(work);
    if (bench_work_finish(work, &err)) {
        return ok;
    }
    if (ok) {
        error_propagate(errp, err);
    } else {
        error_free(err);
    }
    return false;
}

/*
 * A client asks and waits for the answer, again and again, on one connection,
 * another sends datagrams; in between the primary is killed.  All commands
 * that a person would type are typed by the pair controller as soon as it sees
 * the loss.
 */
bool bench_run_failover(BenchRun *run, Error **errp)
{
    g_autoptr(GArray) answers = g_array_new(false, false, sizeof(int64_t));
    BenchEcho echo = {
        .address = GUEST, .port = GUEST_ECHO_PORT, .size = 64,
        .pause_ns = ECHO_PAUSE_NS, .answers = answers,
    };
    g_autoptr(GArray) datagrams = g_array_new(false, false, sizeof(int64_t));
    BenchProbe probe = {
        .address = GUEST, .port = GUEST_ECHO_PORT, .pace_ns = PROBE_PACE_NS,
        .answers = datagrams,
    };
    BenchWork *client = bench_work_start(bench_client_echo, &echo, CLIENT_MS);
    BenchWork *prober = bench_work_start(bench_probe_work, &probe, CLIENT_MS);
    bool ok = bench_guest_sleep(run->guest, BEFORE_S, errp);
    int64_t killed = bench_now_ns();

    if (ok) {
        bench_guest_kill(run->guest, BENCH_PRIMARY);
        ok = bench_guest_fail_over(run->guest, errp);
    }
    if (ok) {
        bench_run_add(run, "failover.commands",
                      (bench_now_ns() - killed) / 1e6);
        ok = bench_guest_sleep(run->guest, AFTER_S, errp);
    }
    ok = end_work(client, ok, errp);
    ok = end_work(prober, ok, errp);
    return ok && add_failover(run, answers, killed, errp) &&
           add_datagrams(run, datagrams, killed, errp);
}

/*
 * Changes the first @mib of the guest's disk, in pieces that do not take
 * long.  The guest has no time to make up so much data of which each piece
 * is different; the benchmark of its disk writes what it has.
 */
static bool change(BenchRun *run, int mib, Error **errp)
{
    for (int at = 0; at < mib; at += PIECE_MIB) {
        int piece = MIN(PIECE_MIB, mib - at);
        g_autofree char *write = g_strdup_printf(
            "disk-bench seq-write %d %d %d", at * 1024, piece * 1024,
            piece * (1024 / BLOCK_KIB));

        if (!bench_guest_command(run->guest, write, errp)) {
            return false;
        }
    }
    return true;
}

static int changed_mib(const BenchRun *run)
{
    const BenchEffort *e = run->effort;

    return g_str_equal(run->part, "1m") ? e->resync_1m :
           g_str_equal(run->part, "100m") ? e->resync_100m : e->resync_all;
}

/*
 * The secondary dies, the primary's guest changes some of its disk, a new
 * secondary joins.
 */
bool bench_run_resync(BenchRun *run, Error **errp)
{
    g_autofree char *time = g_strdup_printf("resync.%s.time", run->part);
    g_autofree char *bytes = g_strdup_printf("resync.%s.bytes", run->part);
    g_autofree char *stopped = g_strdup_printf("resync.%s.stopped",
                                               run->part);
    const BenchJoin *join = bench_guest_joined(run->guest);

    bench_guest_kill(run->guest, BENCH_SECONDARY);
    if (!bench_guest_fail_over(run->guest, errp) ||
        !change(run, changed_mib(run), errp) ||
        !bench_guest_join(run->guest, errp)) {
        return false;
    }
    if (join->resync_mib < 0) {
        error_setg(errp, "the resync was over before its bytes were counted");
        return false;
    }
    bench_run_add(run, time, join->resync_ms);
    bench_run_add(run, bytes, join->resync_mib);
    bench_run_add(run, stopped, join->stopped_ms);
    return true;
}
