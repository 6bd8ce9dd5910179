/*
 * A client with much under way while hosts die, on a good and on a bad wire
 *
 * TCP and UDP by IPv4 and IPv6, in a VLAN, opened by either side, 64 connections
 * in parallel (net-flows.h), through the life of one pair: the primary dies, the
 * new secondary dies, the primary dies while 1 % of all frames are lost, 1 % come
 * twice and 1 % are overtaken (net-wire.h).  Each of them must go on, with the
 * right bytes; the longest gaps are printed.
 *
 * The programs and the guest come from the environment, as for test-cycle.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-client.h"
#include "bench-guest.h"
#include "net-flows.h"
#include "net-wire.h"
#include "sandbox.h"
#include "system.h"

#define STR_(x) #x
#define STR(x) STR_(x)

#define PER_MILLE 10
#define BULK_PER_MILLE 1
#define BULK_BYTES (32 * 1024 * 1024)
#define BULK_MS (60 * 1000)
#define DWELL_S 3.0
/* Items of each flow that show that it lives: a second's worth */
#define ALIVE 20
/* A client that was not answered for long tries again ever more rarely. */
#define ALIVE_MS (60 * 1000)

static ScenarioConfig config;

typedef struct Life {
    Timeline *timeline;
    NetWire *wire;
    BenchGuest *guest;
    NetFlows *flows;
} Life;

static bool alive(Life *life, const char *when, Error **errp)
{
    ERRP_GUARD();

    if (!net_flows_await(life->flows, ALIVE, ALIVE_MS, errp) ||
        !bench_guest_check(life->guest, errp)) {
        error_prepend(errp, "%s: ", when);
        return false;
    }
    net_flows_report(life->flows, when);
    return true;
}

static bool dwell(Life *life, const char *when, Error **errp)
{
    return bench_guest_sleep(life->guest, DWELL_S, errp) &&
           alive(life, when, errp);
}

static bool die(Life *life, BenchSide side, const char *when, Error **errp)
{
    bench_guest_kill(life->guest, side);
    return bench_guest_fail_over(life->guest, errp) &&
           alive(life, when, errp);
}

static bool join(Life *life, Error **errp)
{
    return bench_guest_join(life->guest, errp) && alive(life, "join", errp) &&
           dwell(life, "protected", errp);
}

static bool bulk(Life *life, bool upload, Error **errp)
{
    BenchTransfer transfer = {
        .address = SANDBOX_GUEST_IP4, .bytes = BULK_BYTES, .upload = upload,
    };

    if (!bench_guest_work(life->guest, bench_client_transfer, &transfer, BULK_MS,
                          errp)) {
        return false;
    }
    printf("# %s %d MiB: %.1f MB/s\n", upload ? "to the guest" : "from the guest",
           BULK_BYTES >> 20, transfer.mb_per_s);
    return true;
}

static bool disturb(Life *life, Error **errp)
{
    NetWireStats stats;

    net_wire_disturb(life->wire, BULK_PER_MILLE);
    if (!bulk(life, false, errp) || !bulk(life, true, errp) ||
        !alive(life, "much on a bad wire", errp)) {
        return false;
    }
    net_wire_disturb(life->wire, PER_MILLE);
    if (!dwell(life, "bad wire", errp) ||
        !die(life, BENCH_PRIMARY, "bad wire, primary killed", errp)) {
        return false;
    }
    net_wire_stats(life->wire, &stats);
    printf("# wire: %" PRIu64 " frames, lost %" PRIu64 ", doubled %" PRIu64
           ", delayed %" PRIu64 ", overflowed %" PRIu64 "\n", stats.frames,
           stats.lost, stats.doubled, stats.delayed, stats.overflowed);
    if (!stats.lost || !stats.doubled || !stats.delayed) {
        error_setg(errp, "the wire was not as bad as it should have been");
        return false;
    }
    return true;
}

static bool play(Life *life, Error **errp)
{
    g_autofree char *dir = g_strdup_printf("%s/pair", system_dir());

    life->wire = net_wire_new(errp);
    if (!life->wire) {
        return false;
    }
    life->guest = bench_guest_start(&config, true, life->timeline, dir, errp);
    if (!life->guest) {
        return false;
    }
    life->flows = net_flows_new(errp);
    return life->flows && dwell(life, "protected", errp) &&
           die(life, BENCH_PRIMARY, "primary killed", errp) &&
           join(life, errp) &&
           die(life, BENCH_SECONDARY, "secondary killed", errp) &&
           join(life, errp) &&
           disturb(life, errp);
}

static void test_net(void)
{
    Life life = { .timeline = timeline_new(TIMELINE_TAP) };
    Error *err = NULL;

    if (!play(&life, &err)) {
        if (life.guest) {
            bench_guest_dump(life.guest);
        }
        system_print_dump("pair/dump.txt");
        printf("# FAILED: %s\n", error_get_pretty(err));
        error_free(err);
        g_test_fail();
    } else if (!net_flows_from_guest(life.flows)) {
        printf("# FAILED: no connection of the guest's was used to its end\n");
        g_test_fail();
    }
    net_flows_free(life.flows);
    bench_guest_free(life.guest);
    net_wire_free(life.wire);
    timeline_free(life.timeline);
}

int main(int argc, char **argv)
{
    g_autofree char *path = NULL;

    g_test_init(&argc, &argv, NULL);
    scenario_defaults(&config);
    config.append = "colo.vlan=" STR(NET_WIRE_VLAN)
                    " colo.vlan_ip=" NET_WIRE_VLAN_PEER "/24";
    system_options(&config, NULL, &argc, &argv);
    path = g_strdup_printf("/colo/net/%s/%s/%s", config.machine, config.nic,
                           config.compare);
    g_test_add_func(path, test_net);
    return system_run("colo-net");
}
