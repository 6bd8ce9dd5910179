/*
 * Packets in flight at a checkpoint are no mismatch
 *
 * A pair makes a checkpoint every 100 ms while clients keep its network busy with
 * what both guests answer alike: echoes by TCP and by UDP, one new connection after
 * the other, and eight connections of small requests.  Each checkpoint catches
 * packets on every channel and in every queue.  Over 60 checkpoints, none may be made
 * because of the network: neither of a difference nor of a full queue, and no
 * difference may be counted.  Nor may a packet be lost between the client and the
 * guest: each datagram is answered, and no client has to send a SYN twice.
 *
 * The first round does not count: guests that have just booted report their IPv6
 * multicast groups, twice within a second or two, each after a delay of its own
 * choice (RFC 3810 6.1), and these reports do differ.
 *
 * The programs and the guest come from the environment, as for test-cycle.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qnum.h"
#include "qapi/qmp/qstring.h"
#include "bench-client.h"
#include "bench-guest.h"
#include "guest-proto.h"
#include "net/colo-verdict.h"
#include "sandbox.h"
#include "system.h"

#define INTERVAL_MS 100
#define CHECKPOINTS 60
#define ROUND_S 5.0
#define ROUNDS 12               /* at most, of so many seconds */
#define WORK_MS (ROUND_S * 1000 + 60000)
#define CONNECTIONS 8

static ScenarioConfig config;

typedef struct Counts {
    uint64_t timer, mismatch, queue;    /* checkpoints */
    int64_t differences[COLO_REASON__MAX];
    int64_t syns;                       /* that were sent again */
} Counts;

static unsigned datagrams_lost;

static QObject *property(BenchGuest *guest, const char *name, Error **errp)
{
    g_autofree char *command = g_strdup_printf(
        "{'execute': 'qom-get', 'arguments': {'path': '/objects/%s', "
        "'property': '%s'}}",
        g_str_equal(config.compare, "filter-compare") ? "fc0" : "comp0", name);

    return bench_guest_qmp_ask(guest, BENCH_PRIMARY, command, errp);
}

/* What the comparison has counted */
static bool statistic(BenchGuest *guest, const char *name, int64_t *value,
                      Error **errp)
{
    QObject *ret = property(guest, name, errp);
    QNum *num = qobject_to(QNum, ret);
    bool ok = num && qnum_get_try_int(num, value);

    if (ret && !ok) {
        error_setg(errp, "%s is not a number", name);
    }
    qobject_unref(ret);
    return ok;
}

static bool get_differences(BenchGuest *guest, Counts *counts, Error **errp)
{
    for (int i = COLO_REASON_NONE + 1; i < COLO_REASON__MAX; i++) {
        g_autofree char *name = g_strdup_printf("mismatches-%s",
                                                colo_reason_name(i));

        if (!statistic(guest, name, &counts->differences[i], errp)) {
            return false;
        }
    }
    return true;
}

/*
 * The kernel's count for the network namespace of this test.  /proc has a line of
 * names, and one of values.
 */
static bool syns_sent_again(int64_t *count, Error **errp)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL, names = NULL, values = NULL;
    GError *err = NULL;

    if (!g_file_get_contents("/proc/self/net/netstat", &text, NULL, &err)) {
        error_setg(errp, "%s", err->message);
        g_error_free(err);
        return false;
    }
    lines = g_strsplit(text, "\n", 3);
    if (g_strv_length(lines) == 3) {
        names = g_strsplit(lines[0], " ", 0);
        values = g_strsplit(lines[1], " ", 0);
        for (int i = 0; names[i] && values[i]; i++) {
            if (g_str_equal(names[i], "TCPSynRetrans")) {
                *count = g_ascii_strtoll(values[i], NULL, 10);
                return true;
            }
        }
    }
    error_setg(errp, "/proc/self/net/netstat has no TCPSynRetrans");
    return false;
}

static bool counts_get(BenchGuest *guest, Counts *counts, Error **errp)
{
    QObject *ret = bench_guest_qmp_ask(guest, BENCH_PRIMARY,
                                       "{'execute': 'query-colo'}", errp);
    QDict *info = qobject_to(QDict, ret);
    const QListEntry *entry;

    if (!info) {
        return false;
    }
    *counts = (Counts) { };
    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "triggers"), entry) {
        QDict *trigger = qobject_to(QDict, qlist_entry_obj(entry));
        const char *cause = qdict_get_str(trigger, "cause");
        uint64_t count = qdict_get_int(trigger, "count");

        if (g_str_equal(cause, "timer")) {
            counts->timer = count;
        } else if (g_str_equal(cause, "mismatch")) {
            counts->mismatch = count;
        } else if (g_str_equal(cause, "queue")) {
            counts->queue = count;
        }
    }
    qobject_unref(ret);
    return get_differences(guest, counts, errp) &&
           syns_sent_again(&counts->syns, errp);
}

static bool print_statistics(BenchGuest *guest, Error **errp)
{
    static const char *const names[] = {
        "checkpoints", "primary-packets", "secondary-packets", "matches",
        "released-by-checkpoint", "released-committed", "secondary-old-epoch",
        "secondary-new-epoch", "lowered-acks", "parts",
    };
    int64_t value;

    for (int i = 0; i < ARRAY_SIZE(names); i++) {
        if (!statistic(guest, names[i], &value, errp)) {
            return false;
        }
        printf("# %s: %" PRId64 "\n", names[i], value);
    }
    return true;
}

/* Differences that were found since; how many */
static int64_t print_differences(const Counts *now, const Counts *before)
{
    int64_t sum = 0;

    for (int i = 0; i < COLO_REASON__MAX; i++) {
        int64_t n = now->differences[i] - before->differences[i];

        if (n) {
            printf("# %s: %" PRId64 "\n", colo_reason_text(i), n);
        }
        sum += n;
    }
    return sum;
}

static void print_last_mismatch(BenchGuest *guest)
{
    QObject *ret = property(guest, "last-mismatch", NULL);
    QString *text = qobject_to(QString, ret);

    if (text) {
        printf("# last mismatch: %s\n", qstring_get_str(text));
    }
    qobject_unref(ret);
}

/* The clients of one round, at the same time */
static bool keep_busy(BenchGuest *guest, Error **errp)
{
    BenchEcho tcp = {
        .address = SANDBOX_GUEST_IP4, .port = GUEST_ECHO_PORT, .size = 1000,
        .seconds = ROUND_S,
    };
    BenchEcho udp = tcp;
    BenchConnect connect = {
        .address = SANDBOX_GUEST_IP4, .command = "ping", .seconds = ROUND_S,
    };
    BenchRequests requests = {
        .address = SANDBOX_GUEST_IP4, .port = GUEST_COUNTER_PORT,
        .connections = CONNECTIONS,
        .seconds = ROUND_S,
    };
    BenchWork *work[3];
    bool ok;

    udp.udp = true;
    work[0] = bench_work_start(bench_client_echo, &tcp, WORK_MS);
    work[1] = bench_work_start(bench_client_echo, &udp, WORK_MS);
    work[2] = bench_work_start(bench_client_connect, &connect, WORK_MS);
    ok = bench_guest_work(guest, bench_client_requests, &requests, WORK_MS,
                          errp);
    /* Each has to end; the first error is told */
    for (int i = 0; i < ARRAY_SIZE(work); i++) {
        Error *err = NULL;

        if (bench_work_finish(work[i], &err)) {
            continue;
        }
        if (ok) {
            error_propagate(errp, err);
            ok = false;
        } else {
            error_free(err);
        }
    }
    datagrams_lost += udp.lost;
    return ok && bench_guest_check(guest, errp);
}

static bool judge(BenchGuest *guest, const Counts *before, Error **errp)
{
    Counts now;
    int64_t differences;

    if (!counts_get(guest, &now, errp) || !print_statistics(guest, errp)) {
        return false;
    }
    printf("# checkpoints: timer %" PRIu64 ", mismatch %" PRIu64 ", queue %"
           PRIu64 "\n", now.timer - before->timer,
           now.mismatch - before->mismatch, now.queue - before->queue);
    differences = print_differences(&now, before);
    if (now.timer - before->timer < CHECKPOINTS) {
        error_setg(errp, "only %" PRIu64 " checkpoints of the timer in %d s",
                   now.timer - before->timer, (int)(ROUNDS * ROUND_S));
        return false;
    }
    if (now.mismatch != before->mismatch || now.queue != before->queue ||
        differences) {
        print_last_mismatch(guest);
        error_setg(errp, "checkpoints were made because of the network");
        return false;
    }
    if (datagrams_lost || now.syns != before->syns) {
        error_setg(errp, "%u datagrams were not answered within a second, %"
                   PRId64 " SYNs were sent again", datagrams_lost,
                   now.syns - before->syns);
        return false;
    }
    return true;
}

static bool play(BenchGuest *guest, Error **errp)
{
    Counts before, now;

    if (!keep_busy(guest, errp) || !counts_get(guest, &before, errp)) {
        return false;
    }
    datagrams_lost = 0;
    now = before;
    for (int i = 0; i < ROUNDS && now.timer - before.timer < CHECKPOINTS; i++) {
        if (!keep_busy(guest, errp) || !counts_get(guest, &now, errp)) {
            return false;
        }
    }
    return judge(guest, &before, errp);
}

static void test_epochs(void)
{
    g_autofree char *dir = g_strdup_printf("%s/pair", system_dir());
    Timeline *timeline = timeline_new(TIMELINE_TAP);
    Error *err = NULL;
    BenchGuest *guest = bench_guest_start(&config, true, timeline, dir, &err);

    if (!guest || !play(guest, &err)) {
        if (guest) {
            bench_guest_dump(guest);
        }
        system_print_dump("pair/dump.txt");
        printf("# FAILED: %s\n", error_get_pretty(err));
        error_free(err);
        g_test_fail();
    }
    bench_guest_free(guest);
    timeline_free(timeline);
}

int main(int argc, char **argv)
{
    g_autofree char *path = NULL;

    g_test_init(&argc, &argv, NULL);
    scenario_defaults(&config);
    config.interval_ms = INTERVAL_MS;
    system_options(&config, NULL, &argc, &argv);
    path = g_strdup_printf("/colo/epochs/%s/%s/%s", config.machine, config.nic,
                           config.compare);
    g_test_add_func(path, test_epochs);
    return system_run("colo-epochs");
}
