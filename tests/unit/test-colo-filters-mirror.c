/*
 * filter-mirror through checkpoints and failovers
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/colo.h"
#include "colo-filter-world.h"

static void mirror_new(void)
{
    fw_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    fw_connect_peer("out-connections");
}

/* In the first epoch */
static void mirror_begin(void)
{
    mirror_new();
    fw_checkpoint(1);
}

static void test_mirror_epochs(void)
{
    mirror_new();
    fw_receive("a");
    fw_checkpoint(0);
    fw_receive("b");
    fw_expect_written("a b ");
    fw_checkpoint(1);
    fw_receive("c");
    fw_receive("d");
    fw_expect_written("[1] c d ");
    fw_connect_peer("out-connections");
    fw_receive("e");
    fw_expect_written("[1] e ");
    fw_checkpoint(2);
    fw_expect_written("[2] ");
    fw_end();
}

/* What the old epoch did not get rid of is of no use any more */
static void test_mirror_discard(void)
{
    g_autofree char *big = g_strnfill(60000, 'x');

    mirror_new();
    for (int i = 0; i < 100; i++) {
        fw_receive(big);
    }
    fw_settle();
    g_assert_cmpuint(fw_stat("out-queue"), >, 50 * 60000);
    fw_checkpoint(1);
    fw_receive("new");
    g_assert_cmpuint(fw_stat("out-queue"), <, 2 * 60000);
    g_assert_cmpuint(fw_stat("out-dropped"), >, 50);
    fw_wait_for((fw_peer_read(), g_str_has_suffix(fw.written->str, " [1] new ")),
                "new");
    g_assert_cmpuint(fw_stat("out-frames") + fw_stat("out-dropped"), ==, 101);
    fw_end();
}

/* A full queue: asks for a checkpoint before it drops anything */
static void test_mirror_full(void)
{
    g_autofree char *big = g_strnfill(60000, 'x');

    mirror_new();
    while (!fw.requests) {
        fw_receive(big);
        fw_settle();
        g_assert_cmpuint(fw_stat("out-dropped"), ==, 0);
    }
    g_assert_cmpuint(fw_stat("out-queue"), >, 8 * 1024 * 1024);
    while (!fw_stat("out-dropped")) {
        fw_receive(big);
    }
    g_assert_cmpuint(fw_stat("out-queue"), >, 15 * 1024 * 1024);
    /* With the next connection it asks again, if the last time is long ago */
    g_usleep(G_USEC_PER_SEC);
    fw.requests = 0;
    fw_connect_peer("out-connections");
    g_assert_cmpint(fw.requests, ==, 1);
    fw_end();
}

/* Of a guest that stands still, or whose NIC is full */
static void test_mirror_waits(void)
{
    mirror_begin();
    fw_receive("a");
    fw.nic_full = true;
    fw_receive("b");
    fw_receive("c");
    fw_expect_written("[1] a ");
    fw_expect_passed("guest:a ");
    fw_go_on();
    fw_expect_written("b c ");
    fw_expect_passed("guest:b guest:c ");
    /* Whatever is the run state while the vCPUs come to a stop */
    fw.running = false;
    fw_receive("d");
    fw_expect_written("");
    fw_checkpoint(2);
    fw_receive("e");
    fw_expect_written("[2] ");
    fw.running = true;
    /* One that comes now does not overtake them */
    fw_receive("f");
    fw_expect_written("d e f ");
    fw_expect_passed("guest:d guest:e guest:f ");
    fw_receive("g");
    fw_expect_passed("guest:g ");
    g_assert_cmpuint(fw_stat("waited"), ==, 5);
    g_assert_cmpuint(fw_stat("wait-dropped"), ==, 0);
    fw_end();
}

/* What a full NIC has not taken is of the next epoch. */
static void test_mirror_refused(void)
{
    mirror_begin();
    fw.nic_refuses = "b";
    fw_expect_received("a", 1);
    fw_expect_received("b", 1);
    fw_expect_received("c", 1);
    fw_expect_passed("guest:a guest:b ");
    fw_expect_written("[1] a b ");
    fw_stop();
    fw_checkpoint(2);
    fw_go_on();
    fw_expect_passed("guest:b guest:c ");
    fw_expect_written("[2] b c ");
    /* The NIC may have taken it meanwhile */
    fw.nic_refuses = "d";
    fw_expect_received("d", 1);
    fw.nic.receive_disabled = fw.nic_full = false;
    fw_stop();
    fw_checkpoint(3);
    fw_go_on();
    fw_expect_passed("guest:d ");
    fw_expect_written("d [3] ");
    fw_end();
}

/* Switched off, the filter has no more to do with it. */
static void test_mirror_refused_off(void)
{
    mirror_begin();
    fw.nic_refuses = "a";
    fw_expect_received("a", 1);
    object_property_set_str(OBJECT(fw.nf), "status", "off", &error_abort);
    fw_stop();
    fw_go_on();
    fw_expect_passed("guest:a ");
    g_assert_cmpint(fw.purges, ==, 0);
    fw_end();
}

/* What was on its way when the connection broke is lost: S may lack it. */
static void test_mirror_reconnect(void)
{
    mirror_new();
    g_assert_cmpint(fw.requests, ==, 0);
    fw_receive("a");
    fw_expect_written("a ");
    fw_connect_peer("out-connections");
    g_assert_cmpint(fw.requests, ==, 1);
    fw_end();
}

/* Before COLO begins, a guest that runs has the net layer's queue */
static void test_mirror_waits_before(void)
{
    mirror_new();
    fw.nic_full = true;
    fw_expect_received("a", 0);
    fw.running = false;
    fw_expect_received("b", 1);
    fw_expect_written("a ");
    fw_checkpoint(1);
    fw_go_on();
    fw_expect_written("[1] b ");
    fw_expect_passed("guest:b ");
    fw_end();
}

static void test_mirror_waits_too_many(void)
{
    g_autofree char *big = g_strnfill(60000, 'x');

    fw_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    fw.running = false;
    for (int i = 0; i < 16 * 1024 * 1024 / 60000; i++) {
        fw_expect_received(big, 1);
    }
    g_assert_cmpuint(fw_stat("wait-dropped"), ==, 0);
    fw_expect_received(big, 1);
    g_assert_cmpuint(fw_stat("wait-dropped"), ==, 1);
    fw_end();
}

/* The survivor's guest gets what waited, and nobody else does */
static void test_mirror_waits_at_failover(void)
{
    mirror_begin();
    fw.running = false;
    fw_expect_received("a", 1);
    fw_event(COLO_EVENT_FAILOVER);
    fw_expect_passed("guest:a ");
    fw_expect_written("[1] ");
    fw_end();
}

static void test_mirror_failover(void)
{
    mirror_new();
    fw_event(COLO_EVENT_FAILOVER);
    g_assert(!fw.nf->on);
    fw_end();
}

int main(int argc, char **argv)
{
    fw_init(&argc, &argv);
    g_test_add_func("/colo/filters/mirror/epochs", test_mirror_epochs);
    g_test_add_func("/colo/filters/mirror/discard", test_mirror_discard);
    g_test_add_func("/colo/filters/mirror/full", test_mirror_full);
    g_test_add_func("/colo/filters/mirror/waits", test_mirror_waits);
    g_test_add_func("/colo/filters/mirror/refused", test_mirror_refused);
    g_test_add_func("/colo/filters/mirror/waits-before",
                    test_mirror_waits_before);
    g_test_add_func("/colo/filters/mirror/waits-too-many",
                    test_mirror_waits_too_many);
    g_test_add_func("/colo/filters/mirror/waits-at-failover",
                    test_mirror_waits_at_failover);
    g_test_add_func("/colo/filters/mirror/failover", test_mirror_failover);
    g_test_add_func("/colo/filters/mirror/refused-off",
                    test_mirror_refused_off);
    g_test_add_func("/colo/filters/mirror/reconnect", test_mirror_reconnect);
    return fw_run();
}
