/*
 * filter-redirector through checkpoints and failovers
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/colo.h"
#include "net/colo-frame.h"
#include "colo-filter-world.h"

/* The redirector, outwards */

static void out_new(void)
{
    fw_new("filter-redirector", "outdev", NET_FILTER_DIRECTION_RX, &error_abort);
}

static void test_out_epochs(void)
{
    out_new();
    fw_receive("lost");
    fw_connect_peer("out-connections");
    fw_receive("a");
    fw_checkpoint(1);
    fw_receive("b");
    fw_expect_written("a [1] b ");
    fw_connect_peer("out-connections");
    fw_receive("c");
    fw_expect_written("[1] c ");
    g_assert_cmpuint(fw_stat("out-dropped"), ==, 1);
    fw_event(COLO_EVENT_FAILOVER);
    g_assert(!fw.nf->on);
    g_assert_cmpint(fw.purges, ==, 0);
    fw_end();
}

/* The redirector, inwards */

static void in_new(NetFilterDirection direction)
{
    fw_new("filter-redirector", "indev", direction, &error_abort);
    fw_connect_peer("in-connections");
}

/* To the guest, in the first epoch */
static void in_begin(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    fw_peer_send("[1]");
    fw_checkpoint(1);
}

static void test_in_marker_first(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    fw_peer_send("old");
    fw_expect_passed("guest:old ");
    fw_peer_send("[1]");
    fw_peer_send("new");
    fw_peer_send("newer");
    fw_expect_passed("");
    fw_checkpoint(1);
    g_assert_cmpint(fw.purges, ==, 1);
    fw_expect_passed("guest:new guest:newer ");
    fw_peer_send("newest");
    fw_expect_passed("guest:newest ");
    g_assert_cmpuint(fw_stat("in-dropped"), ==, 0);
    fw_end();
}

static void test_in_checkpoint_first(void)
{
    in_begin();
    fw_peer_send("a");
    fw_expect_passed("guest:a ");
    fw_checkpoint(2);
    fw_peer_send("old");
    fw_peer_send("[2]");
    fw_peer_send("new");
    fw_expect_passed("guest:new ");
    g_assert_cmpuint(fw_stat("in-dropped"), ==, 1);
    fw_end();
}

static void test_in_reconnect(void)
{
    in_begin();
    fw_connect_peer("in-connections");
    fw_peer_send("of whatever epoch");
    fw_peer_send("[1]");
    fw_peer_send("a");
    fw_expect_passed("guest:a ");
    fw_peer_send("[2]");
    fw_peer_send("held, and lost with its connection");
    fw_connect_peer("in-connections");
    fw_peer_send("[2]");
    fw_peer_send("b");
    fw_expect_passed("");
    fw_checkpoint(2);
    fw_expect_passed("guest:b ");
    g_assert_cmpuint(fw_stat("in-dropped"), ==, 1);
    fw_end();
}

/* The guest gets them as it can take them, and none is lost */
static void test_in_nic_full(void)
{
    in_begin();
    fw_peer_send("a");
    fw.nic_full = true;
    fw_peer_send("b");
    fw_peer_send("c");
    fw_expect_passed("guest:a ");
    fw_go_on();
    fw_expect_passed("guest:b guest:c ");
    fw.running = false;
    fw_peer_send("d");
    fw_peer_send("e");
    fw_go_on();
    fw_expect_passed("guest:d guest:e ");
    g_assert_cmpuint(fw_stat("in-dropped"), ==, 0);
    fw_end();
}

/*
 * What was held must not wait for more to come, although nobody has seen the NIC full
 * when it is asked again.
 */
static void test_in_nic_full_for_a_moment(void)
{
    in_begin();
    fw_settle();
    fw.nic_looks = " f";
    fw_peer_send("a");
    fw_expect_passed("guest:a ");
    fw_end();
}

/* Nor is more read than there is room for: that would look like the end. */
static void test_in_nic_full_now_and_then(void)
{
    enum { FRAMES = 40 };
    g_autofree char *big = g_strnfill(60000, 'x');
    g_autoptr(GString) looks = g_string_new("");
    ColoFrameWriter w;
    struct iovec iov = { .iov_base = big, .iov_len = 60000 }, out[2];

    in_begin();
    for (int i = 0; i < 1000; i++) {
        g_string_append(looks, " f ");
    }
    fw_settle();
    fw.nic_looks = looks->str;
    colo_frame_writer_init(&w, 4 * 1024 * 1024, false);
    for (int i = 0; i < FRAMES; i++) {
        colo_frame_writer_put(&w, &iov, 1, 0);
    }
    while (colo_frame_writer_peek(&w, out)) {
        ssize_t n = send(fw.peer, out[0].iov_base, out[0].iov_len, MSG_DONTWAIT);

        g_assert(n > 0 || errno == EAGAIN);
        colo_frame_writer_done(&w, MAX(n, 0));
        main_loop_wait(true);
    }
    fw_wait_for(fw_stat("in-frames") == FRAMES, "all frames");
    g_assert_cmpuint(fw_stat("in-connections"), ==, 1);
    colo_frame_writer_destroy(&w);
    fw_end();
}

/* What is of the old epoch does not wait for anybody */
static void test_in_nic_full_at_checkpoint(void)
{
    in_begin();
    fw.nic_full = true;
    fw_peer_send("a");
    fw_peer_send("b");
    fw_peer_send("[2]");
    fw_peer_send("c");
    fw_expect_passed("");
    fw_checkpoint(2);
    fw_wait_for(fw_stat("in-dropped") == 2, "two frames dropped");
    fw_expect_passed("");
    fw_go_on();
    fw_expect_passed("guest:c ");
    fw_end();
}

/* What comes for P's guest while its state is on its way is of no use here */
static void test_in_before_guest(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    fw.run_state = RUN_STATE_INMIGRATE;
    fw.running = false;
    fw_peer_send("a");
    fw_peer_send("b");
    fw_wait_for(fw_stat("in-dropped") == 2, "two frames dropped");
    fw_peer_send("[1]");
    fw_peer_send("c");
    fw_expect_passed("");
    fw_checkpoint(1);
    fw.run_state = RUN_STATE_RUNNING;
    fw_go_on();
    fw_expect_passed("guest:c ");
    fw_end();
}

/* No guest has run yet: the first checkpoint empties the NIC's queue */
static void test_in_before_colo(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    fw.running = false;
    fw_peer_send("a");
    fw_expect_passed("guest:a ");
    fw_checkpoint(1);
    g_assert_cmpint(fw.purges, ==, 1);
    fw_end();
}

static void test_in_unnumbered(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    fw_peer_send("a");
    fw_checkpoint(0);
    g_assert_cmpint(fw.purges, ==, 1);
    fw_peer_send("b");
    fw_connect_peer("in-connections");
    fw_peer_send("c");
    fw_expect_passed("guest:a guest:b guest:c ");
    fw_end();
}

/* P's output that was compared goes out, whatever the epoch */
static void test_in_netdev(void)
{
    in_new(NET_FILTER_DIRECTION_RX);
    fw_peer_send("a");
    fw_peer_send("[5]");
    fw_peer_send("b");
    fw_checkpoint(6);
    fw_peer_send("c");
    fw_event(COLO_EVENT_FAILOVER);
    fw_peer_send("d");
    fw_expect_passed("netdev:a netdev:b netdev:c netdev:d ");
    g_assert_cmpint(fw.purges, ==, 0);
    fw_end();
}

/*
 * What the primary may send waits where it is: of what the net layer keeps for a
 * netdev it drops whatever is too much.
 */
static void test_in_netdev_waits(void)
{
    in_new(NET_FILTER_DIRECTION_RX);
    fw.netdev_full = true;
    fw_peer_send("a");
    fw_expect_passed("netdev:a ");
    fw_checkpoint(1);
    fw_peer_send("b");
    fw_peer_send("c");
    fw_expect_passed("");
    fw_go_on();
    fw_expect_passed("netdev:b netdev:c ");
    /* While the guest is stopped, too */
    fw.running = false;
    fw_peer_send("d");
    fw_expect_passed("");
    fw_go_on();
    fw_expect_passed("netdev:d ");
    g_assert_cmpuint(fw_stat("in-dropped"), ==, 0);
    fw_end();
}

/* What the netdev has not taken when the guest stops comes again. */
static void test_in_netdev_refused(void)
{
    in_new(NET_FILTER_DIRECTION_RX);
    fw_checkpoint(1);
    fw.netdev_refuses = "b";
    fw_peer_send("a");
    fw_peer_send("b");
    fw_peer_send("c");
    fw_expect_passed("netdev:a netdev:b ");
    fw_stop();
    g_assert_cmpint(fw.netdev_purges, ==, 1);
    fw_checkpoint(2);
    fw_go_on();
    fw_expect_passed("netdev:b netdev:c ");
    /* The netdev may have taken it meanwhile */
    fw.netdev_refuses = "d";
    fw_peer_send("d");
    fw.netdev.receive_disabled = fw.netdev_full = false;
    fw_stop();
    fw_checkpoint(3);
    fw_go_on();
    fw_peer_send("e");
    fw_expect_passed("netdev:d netdev:e ");
    /* Deleted, it leaves nothing behind */
    fw.netdev_refuses = "f";
    fw_peer_send("f");
    fw_stop();
    fw_expect_left("netdev:f ");
    fw_end();
}

/* One that ends within its headers does not pass, one that ends with them does. */
static void expect_runts_dropped(NetFilterDirection direction, uint32_t vnet_hdr_len,
                                 const char *type, size_t least)
{
    uint8_t bytes[32];
    g_autofree char *expected = NULL;

    memset(bytes, 'x', sizeof(bytes));
    memcpy(bytes + vnet_hdr_len + 12, type, 2);
    in_new(direction);
    fw_peer_send("[1]");
    fw_checkpoint(1);
    fw.netdev.vnet_hdr_len = vnet_hdr_len;
    for (size_t len = 1; len < least; len++) {
        fw_peer_write_bytes(bytes, len);
    }
    fw_expect_passed("");
    g_assert_cmpuint(fw_stat("in-dropped"), ==, least - 1);
    fw_peer_write_bytes(bytes, least);
    expected = g_strdup_printf("%s:%.*s ", direction == NET_FILTER_DIRECTION_TX ?
                               "guest" : "netdev", (int)least, (char *)bytes);
    fw_expect_passed(expected);
    g_assert_cmpuint(fw_stat("in-frames"), ==, least);
    g_assert_cmpuint(fw_stat("in-dropped"), ==, least - 1);
    fw.netdev.vnet_hdr_len = 0;
    fw_end();
}

/* NICs and netdevs believe that frames have the headers that they should have. */
static void test_in_runt(void)
{
    static const NetFilterDirection directions[] = {
        NET_FILTER_DIRECTION_TX, NET_FILTER_DIRECTION_RX,
    };

    for (int i = 0; i < ARRAY_SIZE(directions); i++) {
        expect_runts_dropped(directions[i], 0, "xx", 14);
        expect_runts_dropped(directions[i], 0, "\x81\0", 18);
        expect_runts_dropped(directions[i], 12, "xx", 12 + 14);
        expect_runts_dropped(directions[i], 12, "\x81\0", 12 + 18);
    }
}

/* Outside of COLO they pass; what a NIC reads behind them is not of another frame. */
static void test_in_short(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    fw.looks_behind = 18;
    /* Each leaves its end behind the next */
    for (size_t len = fw.looks_behind - 1; len; len--) {
        fw_peer_write_bytes("xxxxxxxxxxxxxxxxxx", len);
    }
    fw_settle();
    g_assert_cmpuint(fw_stat("in-frames"), ==, fw.looks_behind - 1);
    g_assert_cmpuint(fw_stat("in-dropped"), ==, 0);
    fw.looks_behind = 0;
    fw_end();
}

static void test_in_failover(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    fw_peer_send("[1]");
    fw_peer_send("held");
    fw_event(COLO_EVENT_FAILOVER);
    fw_settle();
    fw_peer_send("more of a lost peer");
    fw_expect_passed("");
    g_assert_cmpuint(fw_stat("in-dropped"), ==, 2);
    g_assert(!fw.nf->on);
    /* On again, for a new peer that knows no epochs yet */
    object_property_set_str(OBJECT(fw.nf), "status", "on", &error_abort);
    fw_connect_peer("in-connections");
    fw_peer_send("a");
    fw_expect_passed("guest:a ");
    fw_end();
}

/*
 * A primary's output on its way to the comparison is its own to send.  A secondary's
 * has been said by its primary, or is said again.
 */
static void test_out_failover(void)
{
    enum { FRAMES = 100 };
    g_autofree char *big = g_strnfill(60000, 'x');

    for (int round = 0; round < 2; round++) {
        out_new();
        fw.primary = round;
        fw_connect_peer("out-connections");
        for (int i = 0; i < FRAMES; i++) {
            fw_receive(big);
        }
        fw_settle();
        fw_event(COLO_EVENT_FAILOVER);
        g_assert(!fw.nf->on);
        fw_wait_for((fw_peer_read(), fw_stat("out-queue") == 0), "the queue");
        if (fw.primary) {
            g_assert_cmpuint(fw_stat("out-frames"), ==, FRAMES);
        } else {
            g_assert_cmpuint(fw_stat("out-frames"), <, FRAMES / 2);
        }
        g_assert_cmpuint(fw_stat("out-frames") + fw_stat("out-dropped"), ==,
                         FRAMES);
        fw_end();
    }
}

/* QEMU's own packets are sent without the header that all others have. */
static void test_out_raw(void)
{
    static const uint8_t expected[] = {
        0, 0, 0, 15, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'r', 'a', 'w',
    };
    struct iovec iov = { .iov_base = (char *)"raw", .iov_len = 3 };
    uint8_t got[sizeof(expected)];

    out_new();
    NETFILTER_GET_CLASS(OBJECT(fw.nf))->cleanup(fw.nf);
    fw.netdev.vnet_hdr_len = 12;
    object_property_set_bool(OBJECT(fw.nf), "vnet_hdr_support", true,
                             &error_abort);
    NETFILTER_GET_CLASS(OBJECT(fw.nf))->setup(fw.nf, &error_abort);
    fw_connect_peer("out-connections");
    g_assert_cmpint(NETFILTER_GET_CLASS(OBJECT(fw.nf))->receive_iov(
                        fw.nf, &fw.nic, QEMU_NET_PACKET_FLAG_RAW, &iov, 1, NULL),
                    ==, 3);
    fw_settle();
    g_assert_cmpint(recv(fw.peer, got, sizeof(got), 0), ==, sizeof(got));
    g_assert_cmpmem(got, sizeof(got), expected, sizeof(expected));
    fw.netdev.vnet_hdr_len = 0;
    fw_end();
}

int main(int argc, char **argv)
{
    fw_init(&argc, &argv);
    g_test_add_func("/colo/filters/out/epochs", test_out_epochs);
    g_test_add_func("/colo/filters/in/marker-first", test_in_marker_first);
    g_test_add_func("/colo/filters/in/checkpoint-first",
                    test_in_checkpoint_first);
    g_test_add_func("/colo/filters/in/reconnect", test_in_reconnect);
    g_test_add_func("/colo/filters/in/nic-full", test_in_nic_full);
    g_test_add_func("/colo/filters/in/nic-full-for-a-moment",
                    test_in_nic_full_for_a_moment);
    g_test_add_func("/colo/filters/in/nic-full-now-and-then",
                    test_in_nic_full_now_and_then);
    g_test_add_func("/colo/filters/in/nic-full-at-checkpoint",
                    test_in_nic_full_at_checkpoint);
    g_test_add_func("/colo/filters/in/before-guest", test_in_before_guest);
    g_test_add_func("/colo/filters/in/before-colo", test_in_before_colo);
    g_test_add_func("/colo/filters/in/unnumbered", test_in_unnumbered);
    g_test_add_func("/colo/filters/in/netdev", test_in_netdev);
    g_test_add_func("/colo/filters/in/netdev-waits", test_in_netdev_waits);
    g_test_add_func("/colo/filters/in/netdev-refused", test_in_netdev_refused);
    g_test_add_func("/colo/filters/in/runt", test_in_runt);
    g_test_add_func("/colo/filters/in/short", test_in_short);
    g_test_add_func("/colo/filters/in/failover", test_in_failover);
    g_test_add_func("/colo/filters/out/failover", test_out_failover);
    g_test_add_func("/colo/filters/out/raw", test_out_raw);
    return fw_run();
}
