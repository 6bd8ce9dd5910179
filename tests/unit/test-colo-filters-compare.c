/*
 * filter-compare: what leaves, when, and in which order
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/aio-wait.h"
#include "migration/colo.h"
#include "migration/migration.h"
#include "net/colo-compare.h"
#include "net/colo-comparer.h"
#include "net/colo-epoch.h"
#include "sysemu/cpu-throttle.h"
#include "sysemu/iothread.h"
#include "colo-filter-world.h"

/* QEMU's parts which are played here; none of the iothread's are used */

MigrationState *migrate_get_current(void)
{
    return NULL;
}

void cpu_throttle_set(int new_throttle_pct)
{
    g_assert_not_reached();
}

void cpu_throttle_stop(void)
{
    g_assert_not_reached();
}

AioContext *iothread_get_aio_context(IOThread *iothread)
{
    g_assert_not_reached();
}

GMainContext *iothread_get_g_main_context(IOThread *iothread)
{
    g_assert_not_reached();
}

static void compare_new(void)
{
    fw_new("filter-compare", "secondary_in", NET_FILTER_DIRECTION_RX,
           &error_abort);
}

static void compare_event(int event)
{
    colo_notify_compares_event(NULL, event, NULL);
}

static void compare_checkpoint(uint64_t epoch)
{
    colo_epoch_set(epoch);
    compare_event(COLO_EVENT_CHECKPOINT);
    fw_settle();
}

static void secondary_comes(const char *marker)
{
    fw_connect_peer(NULL);
    fw_peer_write(marker);
}

/* In the first epoch, and both know that */
static void compare_begin(void)
{
    compare_new();
    compare_checkpoint(1);
    secondary_comes("[1]");
}

static void both_send(const char *text)
{
    fw_expect_received(text, true);
    fw_peer_write(text);
}

/* Whatever becomes of the channel, it is held until S has sent it, or a checkpoint. */
static void test_away(void)
{
    compare_new();
    fw_expect_received("before COLO", true);
    fw_settle();
    fw_expect_passed("");
    compare_checkpoint(1);
    fw_expect_passed("netdev:before COLO ");
    fw_expect_received("a", true);
    fw_expect_passed("");
    secondary_comes("[1]");
    fw_peer_write("a");
    fw_expect_passed("netdev:a ");
    fw_peer_write("b");
    secondary_comes("[1]");
    fw_expect_received("b", true);
    fw_expect_passed("netdev:b ");
    close(fw.peer);
    fw.peer = -1;
    fw_expect_received("c", true);
    fw_settle();
    fw_expect_passed("");
    compare_checkpoint(2);
    fw_expect_passed("netdev:c ");
    fw_end();
}

/* Half a frame, and then the end: it is as if it had never been */
static void test_half(void)
{
    static const uint8_t half[] = { 0, 0, 0, 2, 'a' };

    compare_begin();
    fw_expect_received("a", true);
    g_assert_cmpint(send(fw.peer, half, sizeof(half), 0), ==, sizeof(half));
    secondary_comes("[1]");
    fw_expect_passed("");
    fw_peer_write("a");
    fw_expect_passed("netdev:a ");
    fw_end();
}

/* A netdev that is full, and a guest that is stopped, get nothing. */
static void test_netdev_waits(void)
{
    compare_begin();
    fw.netdev_full = true;
    both_send("a");
    both_send("b");
    fw_expect_passed("");
    fw_go_on();
    fw_expect_passed("netdev:a netdev:b ");
    fw.running = false;
    both_send("c");
    fw_expect_passed("");
    compare_checkpoint(2);
    fw_go_on();
    fw_expect_passed("netdev:c ");
    fw_end();
}

/* What the netdev has not taken when the guest stops comes again. */
static void test_netdev_refused(void)
{
    compare_begin();
    fw.netdev_refuses = "b";
    both_send("a");
    both_send("b");
    both_send("c");
    fw_expect_passed("netdev:a netdev:b ");
    fw_stop();
    g_assert_cmpint(fw.netdev_purges, ==, 1);
    compare_checkpoint(2);
    fw_go_on();
    fw_expect_passed("netdev:b netdev:c ");
    /* The netdev may have taken it meanwhile */
    fw_peer_write("[2]");
    fw.netdev_refuses = "d";
    both_send("d");
    fw.netdev_full = false;
    fw.netdev.receive_disabled = 0;
    fw_stop();
    fw_go_on();
    both_send("e");
    fw_expect_passed("netdev:d netdev:e ");
    /* Deleted, it leaves nothing behind */
    fw.netdev_refuses = "f";
    both_send("f");
    fw_stop();
    fw_expect_left("netdev:f ");
    fw_end();
}

static void test_failover(void)
{
    compare_begin();
    fw_expect_received("a", true);
    fw_expect_received("b", true);
    fw.netdev_full = true;
    compare_event(COLO_EVENT_FAILOVER);
    /* That must not come before them */
    fw_expect_received("c", true);
    fw_expect_passed("");
    fw_go_on();
    fw_expect_passed("netdev:a netdev:b netdev:c ");
    fw_expect_received("d", false);
    compare_checkpoint(1);
    fw_expect_received("e", true);
    fw_settle();
    fw_expect_passed("");
    fw_end();
}

/* QEMU ends, and S may go on: it has not said what is held. */
static void test_quit(void)
{
    compare_new();
    compare_checkpoint(1);
    fw_expect_received("a", true);
    colo_comparers_quit();
    fw_delete();
    g_assert_cmpstr(fw.passed->str, ==, "");
    fw_end();
}

/*
 * The engine of colo-compare, of which nobody takes what it releases.  A frame that
 * was let in before a checkpoint is of the epoch which that commits: it has to be
 * taken, though that epoch fills all there is for what was released.
 */

static void ignore(void *opaque)
{
}

static ColoTaken primary_sends(ColoComparer *c, char *big, uint64_t epoch)
{
    struct iovec iov = { .iov_base = big, .iov_len = 60000 };

    return colo_comparer_primary(c, &iov, 1, 0, epoch);
}

static void test_full_at_checkpoint(void)
{
    enum { FRAMES = 1000 };
    g_autofree char *big = g_strnfill(60000, 'x');
    Object *obj = object_new("container");
    ColoComparer c = { .deliver = ignore, .want = ignore };
    ColoHeldList released = QTAILQ_HEAD_INITIALIZER(released);
    ColoHeld *held;
    unsigned count = 0;

    colo_epoch_set(1);
    colo_comparer_init(&c, obj);
    colo_comparer_event(&c, COLO_EVENT_CHECKPOINT);
    for (int i = 0; i < FRAMES; i++) {
        g_assert_cmpint(primary_sends(&c, big, 1), ==, COLO_TAKEN);
    }
    g_assert_true(colo_comparer_has_room(&c));
    colo_epoch_set(2);
    colo_comparer_event(&c, COLO_EVENT_CHECKPOINT);
    g_assert_cmpint(primary_sends(&c, big, 1), ==, COLO_TAKEN_RELEASED);
    /* That one, and no more */
    g_assert_cmpint(primary_sends(&c, big, 2), ==, COLO_TAKEN_NOT);
    g_assert_false(colo_comparer_has_room(&c));
    g_assert_cmpint(primary_sends(&c, big, 2), ==, COLO_TAKEN_NOT);
    colo_comparer_take(&c, &released);
    QTAILQ_FOREACH(held, &released, in_order) {
        count++;
    }
    g_assert_cmpuint(count, ==, FRAMES + 1);
    colo_comparer_done(&c, &released);
    g_assert_true(colo_comparer_has_room(&c));
    object_unref(obj);
    colo_comparer_finalize(&c);
}

int main(int argc, char **argv)
{
    fw_init(&argc, &argv);
    g_test_add_func("/colo/filters/compare/away", test_away);
    g_test_add_func("/colo/filters/compare/half", test_half);
    g_test_add_func("/colo/filters/compare/netdev-waits", test_netdev_waits);
    g_test_add_func("/colo/filters/compare/netdev-refused",
                    test_netdev_refused);
    g_test_add_func("/colo/filters/compare/failover", test_failover);
    g_test_add_func("/colo/filters/compare/quit", test_quit);
    g_test_add_func("/colo/filters/compare/full-at-checkpoint",
                    test_full_at_checkpoint);
    return fw_run();
}
