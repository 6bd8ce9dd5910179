/*
 * The compare engine on byte streams: the cases of colo-core-run.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-core-run.h"

/* What the client sends begins at 1, and it may send 100 bytes */
#define OPEN \
    "S ${T} SA seq=500 ack=1 win=100 ws=0\n" \
    "P ${T} SA seq=0 ack=1 win=100 ws=0 => 1\n"

static const CoreCase cases[] = {
    { "tcp/segments-differ",
      "P ${T} A seq=1 ack=1 len=256\n"
      "P ${T} A seq=257 ack=1 len=256\n"
      "S ${T} A seq=1 ack=1 len=512 => 1 2" },
    { "tcp/ip6",
      "P ${T6} A seq=1 ack=1 len=10\n"
      "S ${T6} A seq=1 ack=1 len=10 => 1" },
    { "tcp/tso",
      "P ${T} A seq=1 ack=1 len=4096\n"
      "S ${T} A seq=1 ack=1 len=1024\n"
      "S ${T} A seq=1025 ack=1 len=1024\n"
      "S ${T} A seq=2049 ack=1 len=2048 => 1" },
    { "tcp/padding-is-not-payload",
      "P ${T} A seq=1 ack=1 pad=6\n"
      "S ${T} A seq=1 ack=1 => 1" },
    { "tcp/pure-ack-waits",
      "P ${T} A seq=1 ack=100\n"
      "S ${T} A seq=1 ack=99 => 1^99\n"
      "S ${T} A seq=1 ack=100 => 1" },
    { "tcp/what-secondary-has-lost-is-asked-for",
      "S ${T} A seq=1 ack=50\n"
      "P ${T} A seq=1 ack=50 => 1\n"
      "P ${T} A seq=1 ack=60\n"
      "P ${T} A seq=1 ack=70\n"
      "S ${T} A seq=1 ack=50 sack=60-70 => 2^50\n"
      "P ${T2} A seq=1 ack=99\n"
      "S ${T} A seq=1 ack=50 sack=60-80 => 2^50\n"
      "S ${T} A seq=1 ack=80 => 2 3\n"
      "P ${T} A seq=1 ack=90 => 5^80\n"
      "checkpoint 0 => 4 5\n"
      "P ${T} A seq=1 ack=95\n"
      "S ${T} A seq=1 ack=92 => 6^92" },
    { "tcp/no-more-window-than-both-have",
      OPEN
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 2~20@1\n"
      "P ${T} A seq=1 ack=150 win=95\n"
      "S ${T} A seq=1 ack=150 win=70 => 3~70@1\n"
      "S ${T} A seq=1 ack=150 win=99 => 3\n"
      "S ${T} A seq=1 ack=150 win=120\n"
      "P ${T} A seq=1 ack=150 win=110 => 4\n"
      "P ${T} A seq=1 ack=160 win=90\n"
      "S ${T} A seq=1 ack=170 win=10 => 5" },
    { "tcp/repeated-ack-with-a-cut-window",
      OPEN
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 2~20@1\n"
      "# answers to probes, or something is missing\n"
      "P ${T} A seq=1 ack=150 win=90 => 3~20@1\n"
      "P ${T} A seq=1 ack=150 win=80 => 4~20@1\n"
      "# an open window is told when S has it, too\n"
      "P ${T} A seq=1 ack=150 win=90\n"
      "P ${T} A seq=1 ack=150 win=90 => 6~20@1\n"
      "S ${T} A seq=1 ack=150 win=70 => 6~70@1\n"
      "P ${T} A seq=1 ack=150 win=90 => 7~70@1\n"
      "S ${T} A seq=1 ack=150 win=90 => 7\n"
      "P ${T} A seq=1 ack=150 win=90 => 8" },
    { "tcp/window-behind-data",
      OPEN
      "S ${T} A seq=1 ack=150 win=20 len=10\n"
      "P ${T} A seq=1 ack=150 win=90 len=10 => 2~20\n"
      "S ${T} A seq=11 ack=150 win=30 => 2/0~30@11\n"
      "S ${T} A seq=11 ack=150 win=95 => 2/0" },
    { "tcp/window-is-not-taken-back",
      OPEN
      "S ${T} A seq=1 ack=50 win=20\n"
      "P ${T} A seq=1 ack=50 win=90 => 2~51@1\n"
      "S ${T} A seq=1 ack=50 win=40\n"
      "S ${T} A seq=1 ack=50 win=60 => 2~60@1" },
    { "tcp/window-after-a-checkpoint",
      OPEN
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 2~20@1\n"
      "checkpoint 0 => 2\n"
      "P ${T} A seq=1 ack=150 win=95\n"
      "S ${T} A seq=1 ack=150 win=99 => 3" },
    { "tcp/window-after-a-failover",
      OPEN
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 2~20@1\n"
      "failover => 2" },
    { "tcp/window-of-unknown-scale",
      "S ${T} A seq=1 ack=150 win=20\n"
      "P ${T} A seq=1 ack=150 win=90 => 1" },
    { "tcp/no-lowered-ack-of-a-new-epoch",
      "checkpoint 1\n"
      "marker 1\n"
      "P@2 ${T} A seq=1 ack=60\n"
      "S ${T} A seq=1 ack=50\n"
      "checkpoint 2\n"
      "marker 2\n"
      "S ${T} A seq=1 ack=55 => 1^55" },
    { "tcp/flows-do-not-wait-for-each-other",
      "P ${T} A seq=1 ack=1 len=10\n"
      "P ${T2} A seq=1 ack=1 len=10\n"
      "S ${T2} A seq=1 ack=1 len=10 => 2\n"
      "S ${T} A seq=1 ack=1 len=10 => 1" },
    { "tcp/in-a-flow-they-do",
      "P ${T} A seq=1 ack=5\n"
      "P ${T} A seq=1 ack=1 len=10\n"
      "S ${T} A seq=1 ack=1 len=10 => 1^1\n"
      "S ${T} A seq=11 ack=5 => 1 2" },
    { "tcp/mismatch-asks-once",
      "S ${T} A seq=1 ack=1 len=10 set=54:ff\n"
      "P ${T} A seq=1 ack=1 len=10 => want-data\n"
      "P ${T} A seq=11 ack=1 len=10\n"
      "S ${T} A seq=11 ack=1 len=10\n"
      "# until the engine must have forgotten it\n"
      "wait 1000 => want-none\n"
      "checkpoint 0 => 1 2" },
    { "tcp/part-lets-secondary-go-on",
      "S ${T} A seq=1 ack=1 len=3\n"
      "P ${T} PA seq=1 ack=1 len=10\n"
      "wait 20\n"
      "P ${T} A seq=11 ack=1 len=10 => 1/3\n"
      "P ${T} A seq=21 ack=1 len=10\n"
      "S ${T} A seq=1 ack=1 len=7 => 1/7\n"
      "S ${T} A seq=1 ack=1 len=10 => 1\n"
      "S ${T} A seq=11 ack=1 len=10 => 2" },
    { "tcp/part-of-ip6-before-its-fin",
      "S ${T6} A seq=1 ack=1 len=7\n"
      "P ${T6} FPA seq=1 ack=1 len=10\n"
      "wait 20\n"
      "S ${T6} A seq=1 ack=1 => 1/7\n"
      "S ${T6} FA seq=1 ack=1 len=10 => 1" },
    { "tcp/no-part-with-another-ack",
      "S ${T} A seq=1 ack=1 len=3\n"
      "P ${T} A seq=1 ack=2 len=10 => 1^1\n"
      "wait 20\n"
      "P ${T} A seq=11 ack=2 len=10\n"
      "S ${T} A seq=1 ack=2 => 1/3" },
    { "tcp/no-part-that-differs",
      "S ${T} A seq=1 ack=1 len=3 set=54:ff\n"
      "P ${T} A seq=1 ack=1 len=10 => want-data\n"
      "wait 20 => want-none\n"
      "P ${T} A seq=11 ack=1 len=10" },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    core_run_add(cases, ARRAY_SIZE(cases));
    return g_test_run();
}
