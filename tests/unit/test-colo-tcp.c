/*
 * TCP comparison: the cases of colo-tcp-run.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-tcp-run.h"

static const TcpCase cases[] = {
    { "data/same-segments",
      "P A 1:101(100) ack 1 -> wait\n"
      "S A 1:101(100) ack 1\n"
      "P A 1:101(100) ack 1 -> match\n" },
    { "data/secondary-first",
      "S A 1:101(100) ack 1\n"
      "P A 1:101(100) ack 1 -> match\n" },
    { "data/differs",
      "S A 1:101(100) ack 1\n"
      "P A 1:101(100) ack 1 bad 50 -> data\n" },
    { "data/first-and-last-byte",
      "S A 1:101(100) ack 1\n"
      "P A 1:101(100) ack 1 bad 1 -> data\n"
      "P A 1:101(100) ack 1 bad 100 -> data\n"
      "P A 1:101(100) ack 1 -> match\n" },
    { "data/large-against-small",
      "S A 1:11(10) ack 1\n"
      "P A 1:31(30) ack 1 -> wait\n"
      "S A 11:21(10) ack 1\n"
      "P A 1:31(30) ack 1 -> wait\n"
      "S A 21:31(10) ack 1\n"
      "P A 1:31(30) ack 1 -> match\n" },
    { "data/small-against-large",
      "S A 1:31(30) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 11:21(10) ack 1 -> match\n"
      "P A 21:31(10) ack 1 -> match\n"
      "P A 31:41(10) ack 1 -> wait\n" },
    { "data/tso-against-mss",
      "S A 1:1461(1460) ack 1\n"
      "S A 1461:2921(1460) ack 1\n"
      "S A 2921:4381(1460) ack 1\n"
      "P A 1:4381(4380) ack 1 -> match\n" },
    { "data/tso-64k",
      "S A 1:65001(65000) ack 1\n"
      "P A 1:1461(1460) ack 1 -> match\n"
      "P A 1461:65001(63540) ack 1 -> match\n" },
    { "data/crossing-boundaries",
      "S A 1:16(15) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 11:21(10) ack 1 -> wait\n"
      "S A 16:31(15) ack 1\n"
      "P A 11:21(10) ack 1 -> match\n"
      "P A 21:31(10) ack 1 bad 30 -> data\n" },
    { "data/mismatch-shows-before-all-is-there",
      "S A 1:11(10) ack 1\n"
      "P A 1:31(30) ack 1 bad 5 -> data\n" },
    { "retransmission/of-the-secondary",
      "S A 1:11(10) ack 1\n"
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "S A 1:11(10) ack 1\n"
      "P A 11:21(10) ack 1 -> wait\n" },
    { "retransmission/of-the-primary",
      "S A 1:21(20) ack 1\n"
      "P A 1:21(20) ack 1 -> match\n"
      "P A 1:21(20) ack 1 -> match\n"
      "P A 5:15(10) ack 1 -> match\n"
      "# what has left must not change\n"
      "P A 5:15(10) ack 1 bad 7 -> data\n" },
    { "retransmission/with-new-data",
      "S A 1:21(20) ack 1\n"
      "P A 1:21(20) ack 1 -> match\n"
      "P A 11:31(20) ack 1 -> wait\n"
      "S A 11:31(20) ack 1\n"
      "P A 11:31(20) ack 1 -> match\n" },
    { "retransmission/secondary-contradicts-itself",
      "S A 1:21(20) ack 1\n"
      "S A 11:31(20) ack 1 bad 15 -> data\n" },
    { "overlap/secondary",
      "S A 1:21(20) ack 1\n"
      "S A 11:41(30) ack 1\n"
      "P A 1:41(40) ack 1 -> match\n" },
    { "overlap/primary",
      "S A 1:41(40) ack 1\n"
      "P A 1:21(20) ack 1 -> match\n"
      "P A 11:41(30) ack 1 -> match\n" },
    { "reordering/secondary",
      "S A 1:11(10) ack 1\n"
      "S A 21:31(10) ack 1\n"
      "P A 1:31(30) ack 1 -> wait\n"
      "S A 11:21(10) ack 1\n"
      "P A 1:31(30) ack 1 -> match\n" },
    { "reordering/primary",
      "S A 1:31(30) ack 1\n"
      "P A 11:31(20) ack 1 -> match\n"
      "P A 1:11(10) ack 1 -> match\n" },
    { "reordering/before-the-first-that-was-seen",
      "S A 1011:1021(10) ack 1\n"
      "P A 1001:1021(20) ack 1 -> wait\n"
      "S A 1001:1011(10) ack 1\n"
      "P A 1001:1021(20) ack 1 -> match\n" },
    { "wraparound/data",
      "S A 4294967290:4(10) ack 4294967290\n"
      "P A 4294967290:4(10) ack 4294967290 -> match\n"
      "S A 4:14(10) ack 4\n"
      "P A 4294967295:14(15) ack 4 -> match\n"
      "P A 14:24(10) ack 5 -> wait\n" },
    { "wraparound/ack",
      "S A 1:1(0) ack 4294967290\n"
      "P A 1:1(0) ack 4294967290 -> match\n"
      "P A 1:1(0) ack 3 -> wait\n"
      "S A 1:1(0) ack 10\n"
      "P A 1:1(0) ack 3 -> match\n" },
    { "ack/pure-waits-for-secondary",
      "P A 1:1(0) ack 100 -> wait\n"
      "S A 1:1(0) ack 99\n"
      "P A 1:1(0) ack 100 -> wait\n"
      "S A 1:1(0) ack 150\n"
      "P A 1:1(0) ack 100 -> match\n"
      "P A 1:1(0) ack 150 -> match\n"
      "P A 1:1(0) ack 151 -> wait\n" },
    { "ack/data-equal-but-not-acknowledged",
      "S A 1:11(10) ack 50\n"
      "P A 1:11(10) ack 51 -> wait\n"
      "S A 11:11(0) ack 51\n"
      "P A 1:11(10) ack 51 -> match\n" },
    { "ack/old-one-does-not-lower",
      "S A 1:1(0) ack 100\n"
      "S A 1:1(0) ack 50\n"
      "P A 1:1(0) ack 100 -> match\n" },
    { "ack/duplicates-with-sack",
      "# SACK, window and timestamps of the two may differ\n"
      "S A 1:1(0) ack 100 opts 0101050a0000000100000002\n"
      "P A 1:1(0) ack 100 opts 0101050a0000000300000004 -> match\n"
      "P A 1:1(0) ack 100 -> match\n" },
    { "ack/timestamps-differ",
      "S A 1:11(10) ack 1 opts 0101080a0000000100000002\n"
      "P A 1:11(10) ack 1 opts 0101080a0000000900000008 -> match\n" },
    { "flags/none-at-all",
      "S . 1:11(10)\n"
      "P . 1:11(10) -> flags\n" },
    { "syn/server-own-numbers",
      "# the client's number binds the two: ack 1001\n"
      "P SA 500:500(0) ack 1001 opts 020405b4 -> wait\n"
      "S SA 900:900(0) ack 1001 opts 020405b4\n"
      "P SA 500:500(0) ack 1001 opts 020405b4 -> match\n"
      "S A 501:511(10) ack 1001\n"
      "P A 501:511(10) ack 1001 -> match\n" },
    { "syn/retransmitted",
      "S SA 900:900(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "S SA 900:900(0) ack 1001\n"
      "P A 501:511(10) ack 1001 -> wait\n" },
    { "syn/data-of-an-old-epoch-is-not-enough",
      "S A 1:1(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> wait\n" },
    { "syn/other-client-number",
      "S SA 900:900(0) ack 1002\n"
      "P SA 500:500(0) ack 1001 -> wait\n" },
    { "syn/options-timestamps-differ",
      "S SA 900:900(0) ack 1001 opts 020405b40402080a000000010000000201030307\n"
      "P SA 500:500(0) ack 1001 opts 020405b40402080a000000030000000401030307"
      " -> match\n" },
    { "syn/options-window-scale-differs",
      "S SA 900:900(0) ack 1001 opts 020405b401030306\n"
      "P SA 500:500(0) ack 1001 opts 020405b401030307 -> options\n" },
    { "syn/options-truncated",
      "S SA 900:900(0) ack 1001 opts 0204\n"
      "P SA 500:500(0) ack 1001 opts 020405b4 -> options\n"
      "S SA 900:900(0) ack 1001 opts 020005b4\n"
      "P SA 500:500(0) ack 1001 opts 0200 -> options\n" },
    { "syn/client",
      "P S 500:500(0) -> wait\n"
      "S S 900:900(0)\n"
      "P S 500:500(0) -> match\n"
      "# the same again, one lost it on the way\n"
      "P S 500:500(0) -> match\n"
      "S A 501:501(0) ack 77\n"
      "P A 501:501(0) ack 77 -> match\n" },
    { "syn/client-then-server-is-another",
      "S S 900:900(0)\n"
      "P SA 500:500(0) ack 1 -> wait\n" },
    { "syn/simultaneous-open",
      "S S 900:900(0)\n"
      "P S 500:500(0) -> match\n"
      "P SA 500:500(0) ack 78 -> wait\n"
      "S SA 900:900(0) ack 78\n"
      "P SA 500:500(0) ack 78 -> match\n"
      "S A 501:511(10) ack 78\n"
      "P A 501:511(10) ack 78 -> match\n" },
    { "syn/with-data",
      "S S 900:910(10)\n"
      "P S 500:510(10) -> flags\n" },
    { "reuse/server",
      "S SA 900:900(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "S FA 501:501(0) ack 1002\n"
      "P FA 501:501(0) ack 1002 -> match\n"
      "# the same ports again\n"
      "P SA 70000:70000(0) ack 5001 -> wait\n"
      "S SA 90000:90000(0) ack 5001\n"
      "P SA 70000:70000(0) ack 5001 -> match\n"
      "P A 70001:70011(10) ack 5001 -> wait\n"
      "S A 70001:70011(10) ack 5001\n"
      "P A 70001:70011(10) ack 5001 -> match\n" },
    { "reuse/nothing-of-the-old-one-counts",
      "S A 501:601(100) ack 2000\n"
      "P A 501:601(100) ack 2000 -> match\n"
      "S SA 900:900(0) ack 1001\n"
      "P SA 400:400(0) ack 1001 -> match\n"
      "P A 501:511(10) ack 1001 -> wait\n"
      "P A 401:401(0) ack 1500 -> wait\n" },
    { "reuse/client",
      "S S 900:900(0)\n"
      "P S 500:500(0) -> match\n"
      "P S 5500:5500(0) -> wait\n"
      "# still the first one\n"
      "S S 900:900(0)\n"
      "P S 5500:5500(0) -> wait\n"
      "S S 9900:9900(0)\n"
      "P S 5500:5500(0) -> match\n" },
    { "fin/both",
      "P FA 1:1(0) ack 1 -> wait\n"
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "P A 2:2(0) ack 2 -> wait\n"
      "S A 2:2(0) ack 2\n"
      "P A 2:2(0) ack 2 -> match\n" },
    { "fin/with-data-or-after-it",
      "S A 1:11(10) ack 1\n"
      "P FA 1:11(10) ack 1 -> wait\n"
      "S FA 11:11(0) ack 1\n"
      "P FA 1:11(10) ack 1 -> match\n" },
    { "fin/primary-stops-earlier",
      "S A 1:21(20) ack 1\n"
      "P FA 1:11(10) ack 1 -> length\n" },
    { "fin/secondary-stops-earlier",
      "S FA 1:11(10) ack 1\n"
      "P A 1:21(20) ack 1 -> length\n" },
    { "fin/elsewhere",
      "S FA 1:11(10) ack 1\n"
      "P FA 1:9(8) ack 1 -> length\n" },
    { "fin/acknowledged-later",
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 2 -> wait\n"
      "S FA 1:1(0) ack 2\n"
      "P FA 1:1(0) ack 2 -> match\n" },
    { "fin/simultaneous-close",
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "S A 2:2(0) ack 2\n"
      "P A 2:2(0) ack 2 -> match\n"
      "P FA 1:1(0) ack 2 -> match\n" },
    { "fin/half-closed-keeps-acknowledging",
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "P A 2:2(0) ack 500 -> wait\n"
      "S A 2:2(0) ack 500\n"
      "P A 2:2(0) ack 500 -> match\n" },
    { "rst/same",
      "P R 100:100(0) -> wait\n"
      "S R 100:100(0)\n"
      "P R 100:100(0) -> match\n" },
    { "rst/closed-port",
      "S RA 0:0(0) ack 1001\n"
      "P RA 0:0(0) ack 1001 -> match\n" },
    { "rst/other-number",
      "S R 101:101(0)\n"
      "P R 100:100(0) -> seq\n" },
    { "rst/other-ack",
      "S RA 0:0(0) ack 1002\n"
      "P RA 0:0(0) ack 1001 -> seq\n" },
    { "rst/several",
      "S R 100:100(0)\n"
      "P R 100:100(0) -> match\n"
      "# the secondary's second one may still come\n"
      "P R 200:200(0) -> wait\n"
      "S R 200:200(0)\n"
      "P R 200:200(0) -> match\n" },
    { "rst/more-than-are-kept",
      "S R 1:1(0)\nS R 2:2(0)\nS R 3:3(0)\nS R 4:4(0)\nS R 5:5(0)\n"
      "S R 6:6(0)\nS R 7:7(0)\nS R 8:8(0)\nS R 9:9(0)\nS R 10:10(0)\n"
      "P R 10:10(0) -> match\n"
      "P R 3:3(0) -> match\n"
      "P R 2:2(0) -> seq\n" },
    { "rst/while-data-is-held",
      "P A 1:11(10) ack 1 -> wait\n"
      "S RA 1:1(0) ack 1\n"
      "P A 1:11(10) ack 1 -> wait\n" },
    { "rst/after-fin",
      "S FA 1:1(0) ack 1\n"
      "P FA 1:1(0) ack 1 -> match\n"
      "S R 2:2(0)\n"
      "P R 2:2(0) -> match\n" },
    { "rst/in-handshake",
      "S SA 900:900(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "S R 501:501(0)\n"
      "P R 501:501(0) -> match\n" },
    { "rst/with-data",
      "S R 1:11(10)\n"
      "P R 1:11(10) -> flags\n" },
    { "probe/keepalive-without-data",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 10:10(0) ack 1 -> match\n" },
    { "probe/keepalive-with-the-byte",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 10:11(1) ack 1 -> match\n" },
    { "probe/keepalive-with-garbage",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 10:11(1) ack 1 bad 10 -> wait\n"
      "S A 10:11(1) ack 1 bad 10\n"
      "P A 10:11(1) ack 1 bad 10 -> match\n"
      "P A 10:11(1) ack 1 -> match\n" },
    { "probe/zero-window-with-new-byte",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 11:12(1) ack 1 -> wait\n"
      "S A 11:12(1) ack 1\n"
      "P A 11:12(1) ack 1 -> match\n" },
    { "urgent/same",
      "S UA 1:11(10) ack 1 urg 5\n"
      "P UA 1:11(10) ack 1 urg 5 -> match\n" },
    { "urgent/only-the-primary",
      "S A 1:11(10) ack 1\n"
      "P UA 1:11(10) ack 1 urg 5 -> wait\n" },
    { "urgent/other-segments",
      "S UA 1:6(5) ack 1 urg 8\n"
      "S UA 6:11(5) ack 1 urg 3\n"
      "P UA 1:11(10) ack 1 urg 8 -> match\n" },
    { "far/secondary-untranslated",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "S A 1000000000:1000000010(10) ack 1 -> seq\n"
      "P A 11:21(10) ack 1 -> wait\n"
      "S A 11:21(10) ack 1\n"
      "P A 11:21(10) ack 1 -> match\n" },
    { "far/secondary-very-old",
      "S A 1000000001:1000000011(10) ack 1\n"
      "P A 1000000001:1000000011(10) ack 1 -> match\n"
      "S FA 1:11(10) ack 1\n"
      "P A 1000000011:1000000021(10) ack 1 -> wait\n" },
    { "far/primary-without-any-of-the-secondary",
      "S A 1:11(10) ack 1\n"
      "P A 100000000:100000010(10) ack 1 -> seq\n" },
    { "checkpoint/forgets-the-secondary",
      "S A 1:21(20) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "checkpoint\n"
      "P A 11:21(10) ack 1 -> wait\n"
      "S A 11:21(10) ack 1\n"
      "P A 11:21(10) ack 1 -> match\n" },
    { "checkpoint/what-only-the-secondary-had-sent-is-not-history",
      "S A 1:101(100) ack 1\n"
      "P A 51:61(10) ack 1 -> match\n"
      "checkpoint\n"
      "P A 51:61(10) ack 1 -> match\n"
      "P A 41:61(20) ack 1 -> wait\n"
      "S A 41:51(10) ack 1\n"
      "P A 41:61(20) ack 1 -> match\n" },
    { "checkpoint/what-was-released-may-be-repeated",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n"
      "P A 11:21(10) ack 1 bad 15 -> wait\n"
      "checkpoint\n"
      "C A 11:21(10) ack 9 bad 15\n"
      "P A 1:21(20) ack 9 bad 15 -> match\n"
      "P A 1:21(20) ack 9 -> data\n"
      "P A 21:21(0) ack 9 -> match\n"
      "P A 21:31(10) ack 9 -> wait\n" },
    { "checkpoint/mismatch-goes-on-afterwards",
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 bad 3 -> data\n"
      "checkpoint\n"
      "C A 1:11(10) ack 1 bad 3\n"
      "S A 11:21(10) ack 1\n"
      "P A 11:21(10) ack 1 -> match\n" },
    { "checkpoint/syn-released-by-it",
      "P SA 500:500(0) ack 1001 -> wait\n"
      "checkpoint\n"
      "C SA 500:500(0) ack 1001\n"
      "P SA 500:500(0) ack 1001 -> match\n"
      "S SA 500:500(0) ack 1001\n"
      "S A 501:511(10) ack 1001\n"
      "P A 501:511(10) ack 1001 -> match\n" },
    { "checkpoint/fin-released-by-it",
      "P FA 1:11(10) ack 1 -> wait\n"
      "checkpoint\n"
      "C FA 1:11(10) ack 1\n"
      "P FA 1:11(10) ack 1 -> match\n"
      "S FA 1:11(10) ack 1\n"
      "P FA 11:11(0) ack 1 -> match\n" },
    { "checkpoint/rst-of-the-old-epoch",
      "S R 100:100(0)\n"
      "checkpoint\n"
      "P R 100:100(0) -> wait\n" },
    { "checkpoint/acks-of-the-secondary-are-forgotten",
      "S A 1:1(0) ack 100\n"
      "P A 1:1(0) ack 40 -> match\n"
      "checkpoint\n"
      "P A 1:1(0) ack 40 -> match\n"
      "P A 1:1(0) ack 41 -> wait\n"
      "S A 1:1(0) ack 100\n"
      "P A 1:1(0) ack 100 -> match\n" },
    { "checkpoint/acks-that-it-released-count",
      "S A 1:1(0) ack 40\n"
      "P A 1:1(0) ack 60 -> wait\n"
      "checkpoint\n"
      "C A 1:1(0) ack 60\n"
      "P A 1:1(0) ack 60 -> match\n"
      "P A 1:1(0) ack 61 -> wait\n" },
    { "checkpoint/without-any-ack-of-the-primary",
      "S A 1:11(10) ack 100\n"
      "checkpoint\n"
      "P A 1:1(0) ack 50 -> wait\n" },
    { "checkpoint/nothing-sent-yet",
      "S A 1:11(10) ack 1\n"
      "checkpoint\n"
      "P A 1:11(10) ack 1 -> wait\n"
      "S A 1:11(10) ack 1\n"
      "P A 1:11(10) ack 1 -> match\n" },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    tcp_run_add(cases, ARRAY_SIZE(cases));
    return g_test_run();
}
