/*
 * What is sent in the background, and when
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * Besides single rules, a simulated guest and channel: the guest dirties
 * pages at some rate, with a virtual clock, and what counts is the number of
 * pages that are left when it stops.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "colo-ram-code.h"
#include "colo-ram-heat.h"
#include "colo-ram-policy.h"

#define PAGE_SIZE 4096

/* --- heat --------------------------------------------------------------- */

#define PAGES (4 * BITS_PER_LONG)

static void heat_send_all(ColoHeat *h, unsigned long *dirty)
{
    size_t p = 0;

    while ((p = colo_heat_next(h, dirty, PAGES, p)) < PAGES) {
        clear_bit(p, dirty);
    }
    colo_heat_sent(h, dirty);
}

static void heat_final(ColoHeat *h, unsigned long *dirty, bool soon)
{
    size_t p = 0;

    while ((p = find_next_bit(dirty, PAGES, p)) < PAGES) {
        colo_heat_final(h, p);
        clear_bit(p, dirty);
    }
    colo_heat_epoch(h, soon);
}

/* What is dirty again is sent again, but not what was in vain. */
static void test_heat_again(void)
{
    DECLARE_BITMAP(dirty, PAGES) = { 0 };
    ColoHeat h;

    colo_heat_init(&h, PAGES);
    bitmap_set(dirty, 3, 100);
    g_assert_cmpuint(colo_heat_synced(&h, dirty, false), ==, 100);
    g_assert_cmpuint(colo_heat_next(&h, dirty, PAGES, 0), ==, 3);
    g_assert_cmpuint(colo_heat_next(&h, dirty, PAGES, 50), ==, 50);
    g_assert_cmpuint(colo_heat_next(&h, dirty, PAGES, 103), ==, PAGES);
    heat_send_all(&h, dirty);
    g_assert(bitmap_empty(dirty, PAGES));

    /* Late: sent once more */
    bitmap_set(dirty, 3, 100);
    g_assert_cmpuint(colo_heat_synced(&h, dirty, false), ==, 100);
    heat_send_all(&h, dirty);
    g_assert(bitmap_empty(dirty, PAGES));

    /* Soon, a few: no reason yet.  One that was not sent */
    set_bit(10, dirty);
    set_bit(11, dirty);
    set_bit(200, dirty);
    g_assert_cmpuint(colo_heat_synced(&h, dirty, true), ==, 3);
    heat_send_all(&h, dirty);
    /* Soon, and all of them: their chunk is hot. */
    set_bit(10, dirty);
    set_bit(11, dirty);
    g_assert_cmpuint(colo_heat_synced(&h, dirty, true), ==, 0);
    g_assert_cmpuint(colo_heat_next(&h, dirty, PAGES, 0), ==, PAGES);
    g_assert_false(colo_heat_final(&h, 10));
    g_assert_true(colo_heat_final(&h, 200));
    g_assert_false(colo_heat_final(&h, PAGES));
    colo_heat_destroy(&h);
}

/* A chunk that is always dirty is sent in vain in few epochs only. */
static void test_heat_hot(void)
{
    DECLARE_BITMAP(dirty, PAGES) = { 0 };
    unsigned epoch, hot_sent = 0, cold_sent = 0;
    ColoHeat h;

    colo_heat_init(&h, PAGES);
    for (epoch = 0; epoch < 70; epoch++) {
        bitmap_set(dirty, 0, BITS_PER_LONG);
        bitmap_set(dirty, 2 * BITS_PER_LONG, BITS_PER_LONG);
        colo_heat_synced(&h, dirty, false);
        heat_send_all(&h, dirty);
        hot_sent += !test_bit(0, dirty);
        cold_sent += !test_bit(2 * BITS_PER_LONG, dirty);
        bitmap_set(dirty, 0, BITS_PER_LONG);
        heat_final(&h, dirty, true);
    }
    g_assert_cmpuint(cold_sent, ==, 70);
    g_assert_cmpuint(hot_sent, >, 5);
    g_assert_cmpuint(hot_sent, <=, 12);
    colo_heat_destroy(&h);
}

/* --- simulation --------------------------------------------------------- */

typedef struct Sim {
    /* the guest */
    double rate;                /* fresh pages per us */
    bool same;                  /* dirties always the same pages, */
    size_t set;                 /* that many */
    double burst;               /* so many more pages per us between ... */
    int64_t burst_from, burst_to;       /* these us of each epoch */
    /* the channel */
    double page_us;
    int64_t sync_us;
    /* results of an epoch */
    size_t left;                /* when the guest stops */
    size_t sent;
    unsigned syncs;
    int64_t late;               /* us after the deadline */
} Sim;

static size_t sim_dirty(const Sim *sim, int64_t us)
{
    size_t pages = sim->rate * us;

    return sim->same ? MIN(pages, sim->set) : pages;
}

/* Between two moments of an epoch, in us since its begin */
static size_t sim_dirty_between(const Sim *sim, int64_t from, int64_t to)
{
    int64_t burst_us = MIN(to, sim->burst_to) - MAX(from, sim->burst_from);

    return sim_dirty(sim, to - from) + sim->burst * MAX(burst_us, 0);
}

/* One epoch of @us; @trigger: something wants a checkpoint then, INT64_MAX */
static void sim_epoch(Sim *sim, ColoPolicy *p, int64_t *now, int64_t us,
                      int64_t trigger)
{
    int64_t begin = *now, deadline = begin + us, last = begin;
    size_t unsent = 0;

    trigger += trigger < INT64_MAX ? *now : 0;
    sim->sent = sim->syncs = 0;
    colo_policy_epoch(p, *now, deadline);
    for (;;) {
        ColoPolicyStep step = colo_policy_next(p, *now);

        if (step.action == COLO_POLICY_DONE) {
            break;
        }
        if (step.action == COLO_POLICY_WAIT) {
            g_assert_cmpint(step.until, >, *now);
            g_assert_cmpint(step.until, <=, deadline);
            *now = MIN(step.until, MAX(*now, trigger));
        } else if (step.action == COLO_POLICY_SYNC) {
            *now += sim->sync_us;
            unsent += sim_dirty_between(sim, last - begin, *now - begin);
            last = *now;
            sim->syncs++;
            colo_policy_synced(p, *now, sim->sync_us, unsent);
        } else {
            size_t pages = MIN(step.pages, unsent);
            int64_t end = MIN(*now + 2000, deadline), cost;

            /* As colo-ram-send.c: looks at the clock every 16 pages */
            g_assert_cmpuint(step.pages, >, 0);
            pages = MIN(pages, ROUND_UP((size_t)((end - *now) / sim->page_us)
                                        + 1, 16));
            cost = pages * sim->page_us;
            *now += cost;
            unsent -= pages;
            sim->sent += pages;
            colo_policy_sent(p, *now, cost, pages, unsent == 0);
            colo_policy_taken(p, cost, pages);
        }
        if (*now >= trigger) {
            colo_policy_stop(p);
        }
    }
    sim->late = MAX(*now - deadline, 0);
    *now = MAX(*now, MIN(trigger, deadline));
    sim->left = unsent + sim_dirty_between(sim, last - begin, *now - begin);
    colo_policy_final(p, *now, sim->sync_us + sim->left * sim->page_us,
                      sim->left, sim->left);
}

/* @epochs of @us, the last one's results stay in @sim */
static void sim_run(Sim *sim, ColoPolicy *p, int epochs, int64_t us)
{
    int64_t now = 1000000;
    int i;

    for (i = 0; i < epochs; i++) {
        sim_epoch(sim, p, &now, us, INT64_MAX);
        g_assert_cmpint(sim->late, <=, 16 * sim->page_us);
        now += 2000;            /* the pause */
    }
}

static double mb_per_s(double mb)
{
    return mb * 1e6 / PAGE_SIZE / 1e6;
}

/* Few pages are left, at every rate that the channel can carry. */
static void test_policy_rates(void)
{
    static const struct { double mb; int64_t us; double part; } cases[] = {
        { 30, 500000, 0.1 }, { 30, 100000, 0.2 }, { 100, 500000, 0.1 },
        { 100, 100000, 0.2 }, { 200, 500000, 0.15 }, { 200, 100000, 0.3 },
        { 400, 500000, 0.3 },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        Sim sim = { .rate = mb_per_s(cases[i].mb), .page_us = 3,
                    .sync_us = 200 };
        ColoPolicy p;

        colo_policy_init(&p, PAGE_SIZE);
        sim_run(&sim, &p, 40, cases[i].us);
        g_test_message("%g MB/s, %" PRId64 " ms: %zu of %zu left, %u syncs",
                       cases[i].mb, cases[i].us / 1000, sim.left,
                       sim_dirty(&sim, cases[i].us), sim.syncs);
        g_assert_cmpuint(sim.syncs, >, 0);
        g_assert_cmpuint(sim.left, <,
                         cases[i].part * sim_dirty(&sim, cases[i].us));
        g_assert_cmpuint(sim.syncs * sim.sync_us, <, cases[i].us / 10);
    }
}

/* An idle guest is left in peace but for one look. */
static void test_policy_idle(void)
{
    Sim idle = { .rate = mb_per_s(0.2), .page_us = 3, .sync_us = 200 };
    ColoPolicy p;

    colo_policy_init(&p, PAGE_SIZE);
    sim_run(&idle, &p, 40, 500000);
    g_assert_cmpuint(idle.syncs, <=, 1);
}

/*
 * One that can't be kept up with is helped nevertheless: what has been sent
 * needn't be sent when it stands still.
 */
static void test_policy_overload(void)
{
    static const struct { double mb, page_us; int64_t us; } cases[] = {
        { 1400, 3, 100000 }, { 4000, 3, 100000 }, { 4000, 3, 500000 },
        { 100, 100, 200000 }, { 200, 30, 500000 },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        Sim sim = { .rate = mb_per_s(cases[i].mb), .sync_us = 200,
                    .page_us = cases[i].page_us };
        size_t dirty = sim_dirty(&sim, cases[i].us);
        ColoPolicy p;

        colo_policy_init(&p, PAGE_SIZE);
        sim_run(&sim, &p, 40, cases[i].us);
        g_test_message("%g MB/s, %" PRId64 " ms: %zu of %zu left, %u syncs",
                       cases[i].mb, cases[i].us / 1000, sim.left, dirty,
                       sim.syncs);
        g_assert_cmpuint(sim.sent, >, 0.5 * cases[i].us / cases[i].page_us);
        g_assert_cmpuint(sim.left, <, dirty - 0.9 * sim.sent);
        g_assert_cmpuint(sim.syncs * sim.sync_us, <, cases[i].us / 10);
    }
}

/* Load comes and goes: within some epochs the policy has followed. */
static void test_policy_change(void)
{
    Sim sim = { .rate = 0, .page_us = 3, .sync_us = 200 };
    ColoPolicy p;

    colo_policy_init(&p, PAGE_SIZE);
    sim_run(&sim, &p, 10, 200000);
    g_assert_cmpuint(sim.syncs, <=, 1);
    /* It is noticed in the very epoch in which it begins */
    sim.rate = mb_per_s(100);
    sim_run(&sim, &p, 1, 200000);
    g_assert_cmpuint(sim.left, <, 0.5 * sim_dirty(&sim, 200000));
    sim_run(&sim, &p, 10, 200000);
    g_assert_cmpuint(sim.left, <, 0.2 * sim_dirty(&sim, 200000));
    sim.rate = mb_per_s(6000);
    sim_run(&sim, &p, 20, 200000);
    sim.rate = mb_per_s(100);
    sim_run(&sim, &p, 5, 200000);
    g_assert_cmpuint(sim.left, <, 0.2 * sim_dirty(&sim, 200000));
}

/*
 * A load that becomes much heavier is noticed in the middle of the very epoch,
 * though by what is known of it the first pass would begin near the end.
 */
static void test_policy_jump(void)
{
    Sim sim = { .rate = mb_per_s(10), .page_us = 3, .sync_us = 200 };
    ColoPolicy p;

    colo_policy_init(&p, PAGE_SIZE);
    sim_run(&sim, &p, 20, 500000);
    sim.rate = mb_per_s(300);
    sim_run(&sim, &p, 1, 500000);
    g_assert_cmpuint(sim.left, <, 0.1 * sim_dirty(&sim, 500000));
}

/*
 * One that comes in bursts, as where a guest makes up for the time in which it had
 * no CPU, is found out in time too, when it begins behind the middle.
 */
static void test_policy_burst(void)
{
    for (int64_t from = 200000; from <= 320000; from += 20000) {
        Sim sim = { .rate = mb_per_s(90), .page_us = 3.3, .sync_us = 150,
                    .burst = mb_per_s(300), .burst_from = from,
                    .burst_to = from + 140000 };
        size_t dirty = sim_dirty_between(&sim, 0, 500000);
        ColoPolicy p;

        colo_policy_init(&p, PAGE_SIZE);
        sim.burst = 0;
        sim_run(&sim, &p, 20, 500000);
        sim.burst = mb_per_s(300);
        sim_run(&sim, &p, 1, 500000);
        g_test_message("burst at %" PRId64 " ms: %zu of %zu left, %u syncs",
                       from / 1000, sim.left, dirty, sim.syncs);
        g_assert_cmpuint(sim.left, <, 0.05 * dirty);
        g_assert_cmpuint(sim.syncs * sim.sync_us, <, 500000 / 100);
    }
}

/* So does the channel; a single delay changes nothing. */
static void test_policy_channel(void)
{
    Sim sim = { .rate = mb_per_s(100), .page_us = 3, .sync_us = 200 };
    ColoPolicy p;

    colo_policy_init(&p, PAGE_SIZE);
    sim_run(&sim, &p, 20, 200000);
    g_assert_cmpuint(sim.left, <, 0.2 * sim_dirty(&sim, 200000));
    colo_policy_taken(&p, 100000, 16);
    sim_run(&sim, &p, 2, 200000);
    g_assert_cmpuint(sim.left, <, 0.2 * sim_dirty(&sim, 200000));

    sim.page_us = 100;
    sim_run(&sim, &p, 20, 200000);
    g_assert_cmpuint(sim.sent, >, 1000);
    sim.page_us = 3;
    sim_run(&sim, &p, 20, 200000);
    g_assert_cmpuint(sim.left, <, 0.2 * sim_dirty(&sim, 200000));
}

/*
 * A thread that waits for a CPU makes each slice late by a while, however small
 * it is.  That must not pass for the cost of a page: the slices would become
 * smaller and worse.
 */
static void test_policy_late(void)
{
    ColoPolicy p;
    int i;

    colo_policy_init(&p, PAGE_SIZE);
    p.page_us = 40;
    for (i = 0; i < 200; i++) {
        size_t pages = CLAMP(1000 / p.page_us, 16, 4096);

        colo_policy_taken(&p, 300 + 2 * pages, pages);
    }
    g_assert_cmpfloat(p.page_us, <, 3.5);
}

static void test_policy_bandwidth(void)
{
    Sim sim = { .rate = mb_per_s(50), .page_us = 3, .sync_us = 200 };
    ColoPolicy p;

    colo_policy_init(&p, PAGE_SIZE);
    colo_policy_set_bandwidth(&p, 80 * 1000 * 1000);
    sim_run(&sim, &p, 20, 500000);
    g_assert_cmpuint(sim.sent, >, 0);
    g_assert_cmpuint(sim.sent * PAGE_SIZE, <=, p.bytes_per_s / 2);

    /* Less than the guest dirties: it is used, and no more than that */
    colo_policy_set_bandwidth(&p, 40 * 1000 * 1000);
    sim_run(&sim, &p, 20, 500000);
    g_assert_cmpuint(sim.sent * PAGE_SIZE, >, p.bytes_per_s / 4);
    g_assert_cmpuint(sim.sent * PAGE_SIZE, <=, p.bytes_per_s / 2);
}

/*
 * Little of it, over any time: what one epoch has used up the next one does not have.
 * Lifted, it is so at once.
 */
static void test_policy_bandwidth_low(void)
{
    static const struct { uint64_t bytes_per_s; int64_t us; } cases[] = {
        { 100000, 10000 }, { 100000, 500000 }, { 1000000, 10000 },
        { 1000000, 100000 }, { 5000000, 20000 },
    };
    const int64_t start = 1000000, seconds = 20;

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        Sim sim = { .rate = mb_per_s(50), .page_us = 3, .sync_us = 200 };
        uint64_t sent = 0, limit = cases[i].bytes_per_s * seconds;
        int64_t now = start;
        ColoPolicy p;

        colo_policy_init(&p, PAGE_SIZE);
        colo_policy_set_bandwidth(&p, cases[i].bytes_per_s);
        while (now < start + seconds * 1000000) {
            sim_epoch(&sim, &p, &now, cases[i].us, INT64_MAX);
            sent += sim.sent * PAGE_SIZE;
        }
        g_test_message("%" PRIu64 " bytes of %" PRIu64, sent, limit);
        g_assert_cmpuint(sent, >, limit / 4);
        /* An epoch more, and what was sent just at the end */
        g_assert_cmpuint(sent, <, limit + limit / 10);

        colo_policy_set_bandwidth(&p, 0);
        sim_epoch(&sim, &p, &now, 500000, INT64_MAX);
        g_assert_cmpuint(sim.left, <, 0.1 * sim_dirty(&sim, 500000));
    }
}

/* A trigger waits for one slice, or for one sync. */
static void test_policy_yield(void)
{
    Sim sim = { .rate = mb_per_s(200), .page_us = 3, .sync_us = 200 };
    int64_t now = 5000000, begin;
    ColoPolicy p;
    int i;

    colo_policy_init(&p, PAGE_SIZE);
    sim_run(&sim, &p, 20, 500000);
    for (i = 0; i < 500; i++) {
        begin = now;
        sim_epoch(&sim, &p, &now, 500000, 1000 * i);
        g_assert_cmpint(now - begin - 1000 * i, <=, 1500);
        g_assert_cmpint(colo_policy_next(&p, now).action, ==,
                        COLO_POLICY_DONE);
    }
}

/* Without a deadline there is nothing to work towards. */
static void test_policy_no_deadline(void)
{
    ColoPolicy p;

    colo_policy_init(&p, PAGE_SIZE);
    g_assert_cmpint(colo_policy_next(&p, 0).action, ==, COLO_POLICY_DONE);
    colo_policy_epoch(&p, 1000, INT64_MAX);
    g_assert_cmpint(colo_policy_next(&p, 2000).action, ==, COLO_POLICY_DONE);
    /* Nor with one that has passed */
    colo_policy_epoch(&p, 3000, 1000);
    g_assert_cmpint(colo_policy_next(&p, 3000).action, ==, COLO_POLICY_DONE);
}

/* Begun anew too often it costs time, too seldom memory */
static void test_code_stale(void)
{
    const uint64_t mib = 1024 * 1024;

    g_assert_false(colo_code_is_stale(0, 0, 0));
    g_assert_false(colo_code_is_stale(60 * mib, 100000, 50000));
    g_assert_true(colo_code_is_stale(66 * mib, 100000, 60000));
    g_assert_false(colo_code_is_stale(600 * mib, 1000000, 400000));
    g_assert_true(colo_code_is_stale(1024 * mib, 1000000, 600000));
    /* Whatever is lived with, it is no more than this */
    for (uint64_t bytes = mib; bytes <= 1024 * mib; bytes += mib) {
        uint64_t dropped = 0;

        while (!colo_code_is_stale(bytes, 1000, dropped) && dropped < 1000) {
            dropped++;
        }
        g_assert_cmpuint(bytes * dropped / 1000, <=,
                         MAX(bytes / 2, COLO_CODE_DROPPED_MAX) + 2 * mib);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/ram-heat/again", test_heat_again);
    g_test_add_func("/colo/ram-heat/hot", test_heat_hot);
    g_test_add_func("/colo/ram-policy/rates", test_policy_rates);
    g_test_add_func("/colo/ram-policy/idle", test_policy_idle);
    g_test_add_func("/colo/ram-policy/overload", test_policy_overload);
    g_test_add_func("/colo/ram-policy/change", test_policy_change);
    g_test_add_func("/colo/ram-policy/jump", test_policy_jump);
    g_test_add_func("/colo/ram-policy/burst", test_policy_burst);
    g_test_add_func("/colo/ram-policy/channel", test_policy_channel);
    g_test_add_func("/colo/ram-policy/late", test_policy_late);
    g_test_add_func("/colo/ram-policy/bandwidth", test_policy_bandwidth);
    g_test_add_func("/colo/ram-policy/bandwidth-low", test_policy_bandwidth_low);
    g_test_add_func("/colo/ram-policy/yield", test_policy_yield);
    g_test_add_func("/colo/ram-policy/no-deadline", test_policy_no_deadline);
    g_test_add_func("/colo/ram-code/stale", test_code_stale);
    return g_test_run();
}
