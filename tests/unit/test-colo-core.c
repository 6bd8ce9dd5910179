/*
 * The compare engine on whole frames, its time-outs and epochs: the cases of
 * colo-core-run.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-core-run.h"

static const CoreCase cases[] = {
    { "udp/same",
      "P ${U} len=10\n"
      "S ${U} len=10 => 1\n"
      "S ${U} len=20\n"
      "P ${U} len=20 => 2" },
    { "udp/other-data",
      "P ${U} len=10\n"
      "S ${U} len=10 set=42:ff => want-data\n"
      "checkpoint 0 => 1\n"
      "P ${U} len=10\n"
      "S ${U} len=10 => 2" },
    { "udp/other-length",
      "S ${U} len=11\n"
      "P ${U} len=10 => want-length" },
    { "udp/other-checksum-although-the-data-are-the-same",
      "S ${U} len=10\n"
      "P ${U} len=10 set=40:1234 => want-header" },
    { "udp/checksum-left-to-the-device-by-both",
      "S csum vnet ${U} len=10\n"
      "P ${U} len=10 => want-header" },
    { "udp/ip-identification-and-its-checksum-may-differ",
      "S ${U} len=10 set=18:1234 set=24:5678\n"
      "P ${U} len=10 => 1" },
    { "udp/ttl-may-not",
      "S ${U} len=10 set=22:11\n"
      "P ${U} len=10 => want-header" },
    { "udp/tos-may-not",
      "S ${U} len=10 set=15:04\n"
      "P ${U} len=10 => want-header" },
    { "udp/flow-label-may-differ",
      "S ${U6} len=10 set=15:054321\n"
      "P ${U6} len=10 => 1\n"
      "# traffic class may not\n"
      "S ${U6} len=10 set=15:10\n"
      "P ${U6} len=10 => want-header" },
    { "udp/hop-limit-may-not",
      "S ${U6} len=10 set=21:11\n"
      "P ${U6} len=10 => want-header" },
    { "udp/other-order",
      "S ${U} len=10\n"
      "S ${U} len=20\n"
      "P ${U} len=20 => 1\n"
      "P ${U} len=10 => 2" },
    { "udp/other-order-primary-first",
      "P ${U} len=10\n"
      "P ${U} len=20\n"
      "S ${U} len=20\n"
      "S ${U} len=10 => 1 2" },
    { "udp/order-of-release-is-that-of-arrival",
      "P ${U} len=10\n"
      "P ${U} len=20\n"
      "P ${U} len=30\n"
      "S ${U} len=30\n"
      "S ${U} len=20\n"
      "S ${U} len=10 => 1 2 3" },
    { "udp/vlans-are-apart",
      "P vlan=5 ${U} len=10\n"
      "S ${U} len=10\n"
      "S vlan=6 ${U} len=10\n"
      "S vlan=5 ${U} len=10 => 1" },
    { "udp/vlan-priority-has-to-be-equal",
      "P vlan=5 ${U} len=10\n"
      "S vlan=5 ${U} len=10 set=14:20 => want-header" },
    { "udp/qinq",
      "P qinq=2 vlan=5 ${U} len=10\n"
      "S qinq=2 vlan=5 ${U} len=10 => 1" },
    { "udp/padding-counts",
      "P ${U} len=1 pad=17\n"
      "S ${U} len=1 pad=17 => 1\n"
      "P ${U} len=1 pad=17\n"
      "S ${U} len=1 pad=17 set=50:ee => want-data" },
    { "icmp/both-versions",
      "P ${I} len=10\n"
      "P ${I6} len=10\n"
      "S ${I6} len=10 => 2\n"
      "S ${I} len=10 => 1" },
    { "arp/same-and-other",
      "P arp\n"
      "S arp => 1\n"
      "P arp\n"
      "S arp set=28:99 => want-data" },
    { "other/unknown-type",
      "P type=88cc len=30\n"
      "S type=88cc len=30 => 1" },
    { "other/runt",
      "P type=88cc cut=5\n"
      "S type=88cc cut=5 => 1" },
    { "other/truncated-header",
      "P ${T} . cut=40\n"
      "S ${T} . cut=40 => 1" },
    { "other/lying-header",
      "P ${T} A len=10 set=46:f0\n"
      "S ${T} A len=10 set=46:f0 => 1" },
    { "fragments/identification-differs",
      "P ip4 10.0.0.1 > 10.0.0.2 frag=0+ udp 53 > 999 len=32\n"
      "P ip4 10.0.0.1 > 10.0.0.2 frag=40 proto=17 len=32\n"
      "S ip4 10.0.0.1 > 10.0.0.2 frag=40 proto=17 len=32 set=18:7777\n"
      "S ip4 10.0.0.1 > 10.0.0.2 frag=0+ udp 53 > 999 len=32 set=18:7777"
      " => 1 2" },
    { "fragments/ip6",
      "P ip6 fe80::1 > fe80::2 frag=0+ udp 53 > 999 len=32\n"
      "S ip6 fe80::1 > fe80::2 frag=0+ udp 53 > 999 len=32 set=58:77777777"
      " => 1\n"
      "P ip6 fe80::1 > fe80::2 frag=40 proto=17 len=32\n"
      "S ip6 fe80::1 > fe80::2 frag=40 proto=17 len=32 set=56:0001"
      " => want-header" },
    { "timeout/primary",
      "P ${T} A seq=1 ack=1 len=10\n"
      "wait 3000\n"
      "wait 1 => want-timeout\n"
      "checkpoint 0 => 1\n"
      "wait 9999" },
    { "timeout/secondary",
      "S ${U} len=10\n"
      "wait 3000\n"
      "wait 1 => want-timeout\n"
      "checkpoint 0\n"
      "wait 9999" },
    { "timeout/secondary-stream",
      "S ${T} A seq=1 ack=1 len=10\n"
      "wait 1\n"
      "P ${T} A seq=1 ack=1 len=10 => 1\n"
      "wait 3001\n"
      "S ${T} A seq=11 ack=1 len=10\n"
      "wait 1\n"
      "wait 3001 => want-timeout" },
    { "timeout/secondary-is-ahead-but-primary-follows",
      "S ${T} A seq=1 ack=1 len=10\n"
      "S ${T} A seq=11 ack=1 len=10\n"
      "wait 1000\n"
      "P ${T} A seq=1 ack=1 len=10 => 1\n"
      "S ${T} A seq=21 ack=1 len=10\n"
      "wait 1000\n"
      "P ${T} A seq=11 ack=1 len=10 => 2\n"
      "S ${T} A seq=31 ack=1 len=10\n"
      "wait 1000\n"
      "P ${T} A seq=21 ack=1 len=10 => 3\n"
      "S ${T} A seq=41 ack=1 len=10\n"
      "wait 1000\n"
      "P ${T} A seq=31 ack=1 len=10 => 4\n"
      "S ${T} A seq=51 ack=1 len=10\n"
      "wait 1000\n"
      "wait 3001 => want-timeout" },
    { "full/asks-and-keeps",
      "P ${U} len=1\nP ${U} len=2\nP ${U} len=3\nP ${U} len=4\n"
      "P ${U} len=5 => want-full\n"
      "P ${U} len=6\n"
      "S ${U} len=1 => 1\n"
      "checkpoint 0 => 2 3 4 5 6" },
    { "checkpoint/in-order-of-arrival",
      "P ${U} len=1\n"
      "P ${T} A seq=1 ack=1 len=10\n"
      "P ${U} len=2\n"
      "P arp\n"
      "checkpoint 0 => 1 2 3 4" },
    { "checkpoint/drops-the-secondary",
      "S ${U} len=1\n"
      "S ${T} A seq=1 ack=1 len=10\n"
      "checkpoint 0\n"
      "P ${U} len=1\n"
      "P ${T} A seq=1 ack=1 len=10" },
    { "checkpoint/what-the-secondary-had-acknowledged-is-gone",
      "S ${T} A seq=1 ack=10\n"
      "P ${T} A seq=1 ack=4 => 1\n"
      "checkpoint 0\n"
      "P ${T} A seq=1 ack=10\n"
      "S ${T} A seq=1 ack=4 => 2^4\n"
      "S ${T} A seq=1 ack=10 => 2" },
    { "epoch/late-secondary-is-not-compared",
      "checkpoint 1\n"
      "marker 1\n"
      "P@1 ${U} len=1\n"
      "checkpoint 2 => 1\n"
      "S ${U} len=1\n"
      "marker 2\n"
      "P@2 ${U} len=2\n"
      "S ${U} len=2 => 2" },
    { "epoch/early-secondary-is-kept",
      "checkpoint 1\n"
      "marker 1\n"
      "P@1 ${U} len=1\n"
      "marker 2\n"
      "S ${U} len=1\n"
      "S ${U} len=2\n"
      "checkpoint 2 => 1\n"
      "P@2 ${U} len=1 => 2\n"
      "P@2 ${U} len=2 => 3" },
    { "epoch/first-of-all-is-kept-too",
      "marker 1\n"
      "S ${U} len=1\n"
      "checkpoint 1\n"
      "P@1 ${U} len=1 => 1" },
    { "epoch/late-primary-is-committed",
      "checkpoint 1\n"
      "marker 1\n"
      "checkpoint 2\n"
      "marker 2\n"
      "P@1 ${U} len=1 => 1\n"
      "P@2 ${U} len=2" },
    { "epoch/early-primary-is-held",
      "checkpoint 1\n"
      "marker 1\n"
      "P@1 ${U} len=1\n"
      "P@2 ${U} len=2\n"
      "S ${U} len=2\n"
      "checkpoint 2 => 1\n"
      "marker 2\n"
      "S ${U} len=2 => 2" },
    { "epoch/both-are-early",
      "checkpoint 1\n"
      "marker 2\n"
      "P@2 ${U} len=2\n"
      "S ${U} len=2\n"
      "checkpoint 2 => 1" },
    { "epoch/early-primary-waits-for-its-turn-in-the-flow",
      "checkpoint 1\n"
      "marker 1\n"
      "P@2 ${T} A seq=1 ack=1 len=10\n"
      "S ${T} A seq=1 ack=1 len=10\n"
      "wait 1\n"
      "checkpoint 2\n"
      "marker 2\n"
      "S ${T} A seq=1 ack=1 len=10 => 1" },
    { "epoch/numbers-begin-anew",
      "checkpoint 7\n"
      "marker 7\n"
      "P@7 ${U} len=1\n"
      "marker 0\n"
      "checkpoint 1 => 1\n"
      "marker 1\n"
      "P@7 ${U} len=2\n"
      "S ${U} len=2 => 2" },
    { "epoch/peer-without-markers",
      "checkpoint 1\n"
      "P@1 ${U} len=1\n"
      "S ${U} len=1 => 1\n"
      "checkpoint 2\n"
      "S ${U} len=1\n"
      "P@2 ${U} len=1 => 2" },
    { "epoch/engine-without-numbers",
      "P ${U} len=1\n"
      "checkpoint 0 => 1\n"
      "S ${U} len=1\n"
      "P ${U} len=1 => 2" },
    { "failover/releases-and-lets-through",
      "P ${U} len=1\n"
      "P ${T} A seq=1 ack=1 len=10\n"
      "S ${U6} len=9\n"
      "failover => 1 2\n"
      "P ${U} len=2 => 3\n"
      "S ${U} len=2\n"
      "wait 9999" },
    { "failover/then-a-new-secondary",
      "failover\n"
      "P ${U} len=1 => 1\n"
      "checkpoint 1\n"
      "P ${U} len=2\n"
      "S ${U} len=2 => 2" },
};

/* Fragments of one datagram: P's in one order, S's in any */
static void test_fragments(void)
{
    static const char *const fragments[2][3] = {
        { "ip4 10.0.0.1 > 10.0.0.2 frag=0+ udp 53 > 999 len=32",
          "ip4 10.0.0.1 > 10.0.0.2 frag=40+ proto=17 len=32",
          "ip4 10.0.0.1 > 10.0.0.2 frag=72 proto=17 len=9" },
        { "ip6 fe80::1 > fe80::2 frag=0+ udp 53 > 999 len=32",
          "ip6 fe80::1 > fe80::2 frag=40+ proto=17 len=32",
          "ip6 fe80::1 > fe80::2 frag=72 proto=17 len=9" },
    };
    static const uint8_t orders[6][3] = {
        { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
    };

    for (int i = 0; i < 2 * 6 * 6; i++) {
        const char *const *fragment = fragments[i % 2];
        const uint8_t *p = orders[i / 2 % 6], *s = orders[i / 12];
        CoreRun *run = core_run_new();

        for (int k = 0; k < 3; k++) {
            g_autofree char *text = g_strdup_printf("P %s", fragment[p[k]]);

            core_run_event(run, text);
        }
        g_assert_cmpstr(run->effects->str, ==, "");
        for (int k = 0; k < 3; k++) {
            g_autofree char *text = g_strdup_printf("S %s", fragment[s[k]]);

            core_run_event(run, text);
        }
        g_assert_cmpstr(run->effects->str, ==, " 1 2 3");
        core_run_free(run);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    core_run_add(cases, ARRAY_SIZE(cases));
    g_test_add_func("/colo/core/fragments-in-any-order", test_fragments);
    return g_test_run();
}
