/*
 * The primary's queue: what starts when, and what becomes of flushes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/replication-queue.h"

typedef struct Fixture {
    ReplQueue queue;
    bool owed;
} Fixture;

static char data[1];

/*
 * Add requests, one letter each: w and W write at a place of their own, o at
 * the first one's, u with FUA, f flushes.
 */
static void add(Fixture *f, const char *letters)
{
    for (; *letters; letters++) {
        ReplRequest *r = g_new0(ReplRequest, 1);

        r->type = *letters == 'f' ? REPL_FLUSH : REPL_WRITE;
        r->opaque = GINT_TO_POINTER(*letters);
        if (*letters != 'f') {
            r->data = data;
            r->bytes = 4096;
            r->offset = *letters == 'o' ? 0 : f->queue.count * 4096;
            r->flags = *letters == 'u' ? BDRV_REQ_FUA : 0;
        }
        repl_queue_add(&f->queue, r);
    }
}

static Fixture *fixture(bool ordered, const char *letters)
{
    Fixture *f = g_new0(Fixture, 1);

    repl_queue_init(&f->queue, ordered);
    add(f, letters);
    return f;
}

static void finish(Fixture *f)
{
    ReplRequest *r;

    while ((r = QTAILQ_FIRST(&f->queue.requests))) {
        repl_queue_remove(&f->queue, r);
        g_free(r);
    }
    g_assert_cmpuint(f->queue.count, ==, 0);
    g_assert_cmpuint(f->queue.started, ==, 0);
    g_assert_cmpuint(f->queue.started_flushes, ==, 0);
    g_assert_cmpuint(f->queue.bytes, ==, 0);
    g_free(f);
}

/* All that may start, which must be @letters */
static void expect_start(Fixture *f, const char *letters)
{
    g_autoptr(GString) got = g_string_new("");
    ReplRequest *r;

    while ((r = repl_queue_next(&f->queue))) {
        g_assert(r->started);
        g_string_append_c(got, GPOINTER_TO_INT(r->opaque));
    }
    g_assert_cmpstr(got->str, ==, letters);
}

/* The oldest one has been answered. */
static void end_oldest(Fixture *f)
{
    ReplRequest *r = QTAILQ_FIRST(&f->queue.requests);

    g_assert(r->started);
    repl_queue_remove(&f->queue, r);
    g_free(r);
}

static unsigned defer(Fixture *f)
{
    ReplRequest *r;
    unsigned n = 0;

    while ((r = repl_queue_defer(&f->queue, &f->owed))) {
        g_assert(!r->started);
        g_assert_cmpint(r->type, ==, REPL_FLUSH);
        repl_queue_remove(&f->queue, r);
        g_free(r);
        n++;
    }
    return n;
}

static void test_overlap(void)
{
    Fixture *f = fixture(true, "wWow");

    /* In the order of submission: what is behind one that waits, waits */
    expect_start(f, "wW");
    end_oldest(f);
    expect_start(f, "ow");
    finish(f);
}

static void test_ordered(void)
{
    Fixture *f = fixture(true, "wWfwfw");

    expect_start(f, "wW");
    end_oldest(f);
    expect_start(f, "");
    end_oldest(f);
    expect_start(f, "f");
    g_assert(!repl_queue_is_short(&f->queue));
    end_oldest(f);
    expect_start(f, "w");
    g_assert(repl_queue_is_short(&f->queue));
    end_oldest(f);
    expect_start(f, "f");
    end_oldest(f);
    expect_start(f, "w");
    finish(f);
}

static void test_background(void)
{
    Fixture *f = fixture(false, "wfww");

    expect_start(f, "w");
    end_oldest(f);
    expect_start(f, "fww");
    finish(f);
}

static void test_many(void)
{
    Fixture *f = fixture(true, "wwwwwwwwwwwwwwwwwwww");

    expect_start(f, "wwwwwwwwwwwwwwww");
    end_oldest(f);
    end_oldest(f);
    expect_start(f, "ww");
    finish(f);
}

/* The writes need not wait for flushes any more, which become one. */
static void test_defer(void)
{
    Fixture *f = fixture(true, "wfWfwf");

    expect_start(f, "w");
    g_assert_cmpuint(defer(f), ==, 3);
    g_assert(f->owed);
    expect_start(f, "Ww");
    g_assert(repl_queue_is_short(&f->queue));
    finish(f);
}

/* One that has started is waited for, but not by the writes behind it. */
static void test_defer_started(void)
{
    Fixture *f = fixture(true, "fwfW");

    expect_start(f, "f");
    g_assert_cmpuint(defer(f), ==, 1);
    g_assert(f->owed);
    expect_start(f, "wW");
    g_assert(!repl_queue_is_short(&f->queue));
    end_oldest(f);
    g_assert(repl_queue_is_short(&f->queue));
    /* Afterwards all is as before */
    repl_queue_resume(&f->queue);
    add(f, "fw");
    expect_start(f, "");
    end_oldest(f);
    end_oldest(f);
    expect_start(f, "f");
    finish(f);
}

static void test_defer_fua(void)
{
    Fixture *f = fixture(true, "uw");

    expect_start(f, "uw");
    add(f, "ou");
    g_assert_cmpuint(defer(f), ==, 0);
    g_assert(f->owed);
    g_assert(QTAILQ_FIRST(&f->queue.requests)->flags & BDRV_REQ_FUA);
    g_assert(!(QTAILQ_LAST(&f->queue.requests)->flags & BDRV_REQ_FUA));
    g_assert(!repl_queue_is_short(&f->queue));
    end_oldest(f);
    g_assert(repl_queue_is_short(&f->queue));
    finish(f);
}

/* A flush for one write alone goes with that, and is in its place like one. */
static void test_with_write(void)
{
    Fixture *f = fixture(true, "f");

    expect_start(f, "f");
    add(f, "w");
    g_assert(repl_queue_flush_with_write(&f->queue));
    g_assert(QTAILQ_LAST(&f->queue.requests)->flags & BDRV_REQ_FUA);
    add(f, "W");
    g_assert(repl_queue_flush_with_write(&f->queue));
    expect_start(f, "");
    end_oldest(f);
    expect_start(f, "w");
    g_assert(!repl_queue_is_short(&f->queue));
    end_oldest(f);
    expect_start(f, "W");
    finish(f);
}

/* There are others, of the queue or before; it has started; in vain: no */
static void test_with_write_not(void)
{
    Fixture *f = fixture(true, "w");

    g_assert(!repl_queue_flush_with_write(&f->queue));
    add(f, "fwW");
    g_assert(!repl_queue_flush_with_write(&f->queue));
    finish(f);

    f = fixture(true, "f");
    expect_start(f, "f");
    end_oldest(f);
    g_assert(!repl_queue_flush_with_write(&f->queue));
    add(f, "w");
    expect_start(f, "w");
    g_assert(!repl_queue_flush_with_write(&f->queue));
    end_oldest(f);
    add(f, "W");
    g_assert(!repl_queue_flush_with_write(&f->queue));
    finish(f);

    f = fixture(false, "fw");
    g_assert(!repl_queue_flush_with_write(&f->queue));
    finish(f);
}

/* Deferred it is owed as any other, and what it was for is flushed by that. */
static void test_with_write_defer(void)
{
    Fixture *f = fixture(true, "fw");

    expect_start(f, "f");
    g_assert(repl_queue_flush_with_write(&f->queue));
    g_assert_cmpuint(defer(f), ==, 0);
    g_assert(f->owed);
    expect_start(f, "w");
    g_assert(!(QTAILQ_LAST(&f->queue.requests)->flags & BDRV_REQ_FUA));
    add(f, "W");
    g_assert(!repl_queue_flush_with_write(&f->queue));
    repl_queue_resume(&f->queue);
    g_assert(!repl_queue_flush_with_write(&f->queue));
    finish(f);
}

static void test_nothing_owed(void)
{
    Fixture *f = fixture(true, "fw");

    expect_start(f, "f");
    g_assert_cmpuint(defer(f), ==, 0);
    g_assert(!f->owed);
    finish(f);
}

/* Less room, but room for one of any size */
static void test_room(void)
{
    Fixture *f = fixture(true, "");
    int i;

    g_assert(repl_queue_has_room(&f->queue, 100 * MiB));
    for (i = 0; i < REPL_QUEUE_REQUESTS; i++) {
        g_assert(repl_queue_has_room(&f->queue, 4096));
        add(f, "w");
    }
    g_assert(!repl_queue_has_room(&f->queue, 0));
    finish(f);

    f = fixture(true, "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww"
                      "wwwwwww");
    g_assert_cmpuint(f->queue.bytes, ==, REPL_QUEUE_BYTES_DEFERRED);
    g_assert(repl_queue_has_room(&f->queue, 4096));
    g_assert_cmpuint(defer(f), ==, 0);
    g_assert(!repl_queue_has_room(&f->queue, 4096));
    g_assert(repl_queue_is_short(&f->queue));
    add(f, "w");
    g_assert(!repl_queue_is_short(&f->queue));
    repl_queue_resume(&f->queue);
    g_assert(repl_queue_has_room(&f->queue, 4096));
    g_assert_cmpuint(f->queue.bytes_peak, ==, 65 * 4096);
    finish(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/disk/queue/overlap", test_overlap);
    g_test_add_func("/colo/disk/queue/ordered", test_ordered);
    g_test_add_func("/colo/disk/queue/background", test_background);
    g_test_add_func("/colo/disk/queue/many", test_many);
    g_test_add_func("/colo/disk/queue/defer", test_defer);
    g_test_add_func("/colo/disk/queue/defer/started", test_defer_started);
    g_test_add_func("/colo/disk/queue/defer/fua", test_defer_fua);
    g_test_add_func("/colo/disk/queue/defer/nothing", test_nothing_owed);
    g_test_add_func("/colo/disk/queue/with-write/do", test_with_write);
    g_test_add_func("/colo/disk/queue/with-write/not", test_with_write_not);
    g_test_add_func("/colo/disk/queue/with-write/defer",
                    test_with_write_defer);
    g_test_add_func("/colo/disk/queue/room", test_room);
    return g_test_run();
}
