/*
 * How long a peer is waited for
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "migration/colo-patience.h"

#define MS 1000000LL
#define TIMEOUT (4000 * MS)

/* @bytes each @ns, until patience ends: after how long.  0: it doesn't */
static int64_t lasts(uint64_t bytes, int64_t ns)
{
    ColoPatience p = { };
    int64_t now = 0;

    for (int i = 0; i < 100000; i++) {
        int64_t left = colo_patience_left(&p, TIMEOUT);

        if (ns >= left) {
            return now + left;
        }
        now += ns;
        colo_patience_waited(&p, ns);
        colo_patience_moved(&p, bytes);
    }
    return 0;
}

static void test_rates(void)
{
    static const struct {
        uint64_t bytes;         /* that often */
        int64_t ns, min_ns, max_ns;     /* it ends between; 0: it goes on */
    } cases[] = {
        { 0, 100 * MS, TIMEOUT, TIMEOUT },              /* silence */
        { 1, 1 * MS, TIMEOUT, TIMEOUT + 5 * MS },       /* drops */
        { 1, 1000 * MS, TIMEOUT, TIMEOUT + 1 * MS },
        { 1, 3999 * MS, TIMEOUT, TIMEOUT + 1 * MS },
        { 65536, 1000 * MS, TIMEOUT, 4400 * MS },
        { 500000, 1000 * MS, TIMEOUT, 8001 * MS },      /* half of the rate */
        { 1000000, 1000 * MS, 0, 0 },                   /* the rate */
        { 3900000, 3900 * MS, 0, 0 },                   /* in pieces */
        { 100000000, 1000 * MS, 0, 0 },
        { 1, 500, 0, 0 },                               /* twice the rate */
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t ns = lasts(cases[i].bytes, cases[i].ns);

        g_assert_cmpint(ns, >=, cases[i].min_ns);
        g_assert_cmpint(ns, <=, cases[i].max_ns);
    }
}

/* A gigabyte at once buys no time. */
static void test_no_credit(void)
{
    ColoPatience p = { };

    colo_patience_waited(&p, 10 * MS);
    colo_patience_moved(&p, 1 << 30);
    g_assert_cmpint(colo_patience_left(&p, TIMEOUT), ==, TIMEOUT);
    colo_patience_moved(&p, UINT64_MAX);
    colo_patience_waited(&p, TIMEOUT);
    g_assert_cmpint(colo_patience_left(&p, TIMEOUT), ==, 0);
    colo_patience_waited(&p, TIMEOUT);
    g_assert_cmpint(colo_patience_left(&p, TIMEOUT), ==, 0);
    colo_patience_renew(&p);
    g_assert_cmpint(colo_patience_left(&p, TIMEOUT), ==, TIMEOUT);
}

static void test_unasked(void)
{
    ColoDebt d = { };

    g_assert_false(colo_debt_answer(&d, 0));
    g_assert_cmpint(colo_debt_left(&d, 1 << 30, TIMEOUT), ==, INT64_MAX);
    colo_debt_ask(&d, 5 * MS);
    g_assert_cmpuint(d.asked, ==, 1);
    g_assert_cmpint(colo_debt_left(&d, 6 * MS, TIMEOUT), ==, TIMEOUT - 1 * MS);
    g_assert_false(colo_debt_answered(&d, 1));
    g_assert_true(colo_debt_answer(&d, 7 * MS));
    g_assert_true(colo_debt_answered(&d, 1));
    g_assert_cmpint(colo_debt_left(&d, 1 << 30, TIMEOUT), ==, INT64_MAX);
    g_assert_false(colo_debt_answer(&d, 7 * MS));
}

/* Answers that come, but ever later: at most twice the time-out for each */
static void test_answers_in_drops(void)
{
    ColoDebt d = { };
    int64_t now = 0;
    unsigned asked;

    for (now = 0; now < TIMEOUT - 1 * MS; now += 250 * MS) {
        colo_debt_ask(&d, now);
    }
    now = TIMEOUT - 1 * MS;
    g_assert_cmpint(colo_debt_left(&d, now, TIMEOUT), ==, 1 * MS);
    asked = d.asked;
    g_assert_true(colo_debt_answer(&d, now));
    /* The next one is for all that have been asked until then ... */
    g_assert_cmpint(colo_debt_left(&d, now, TIMEOUT), ==, TIMEOUT);
    g_assert_true(colo_debt_answer(&d, now + 3000 * MS));
    /* ... and a single answer does not help */
    g_assert_cmpint(colo_debt_left(&d, now + TIMEOUT, TIMEOUT), ==, 0);
    while (!colo_debt_answered(&d, asked)) {
        g_assert_true(colo_debt_answer(&d, now + 3500 * MS));
    }
    g_assert_cmpint(colo_debt_left(&d, now + TIMEOUT, TIMEOUT), ==, INT64_MAX);
}

/* While a message is due, answers don't count. */
static void test_message(void)
{
    ColoDebt d = { };

    for (int i = 0; i < 10; i++) {
        colo_debt_ask(&d, i * MS);
    }
    colo_debt_expect(&d, 1000 * MS);
    for (int i = 0; i < 9; i++) {
        g_assert_true(colo_debt_answer(&d, 2000 * MS));
    }
    g_assert_cmpint(colo_debt_left(&d, 3000 * MS, TIMEOUT), ==, 2000 * MS);
    colo_debt_ask(&d, 3000 * MS);
    g_assert_cmpint(colo_debt_left(&d, 5000 * MS, TIMEOUT), ==, 0);
    /* The next message is due */
    colo_debt_expect(&d, 5000 * MS);
    g_assert_cmpint(colo_debt_left(&d, 6000 * MS, TIMEOUT), ==, 3000 * MS);
    /* None is, but two answers are */
    colo_debt_settle(&d, 6000 * MS);
    g_assert_cmpint(colo_debt_left(&d, 7000 * MS, TIMEOUT), ==, 3000 * MS);
    g_assert_true(colo_debt_answer(&d, 7000 * MS));
    g_assert_true(colo_debt_answer(&d, 7000 * MS));
    g_assert_cmpint(colo_debt_left(&d, 1 << 30, TIMEOUT), ==, INT64_MAX);
    colo_debt_expect(&d, 8000 * MS);
    colo_debt_settle(&d, 9000 * MS);
    g_assert_cmpint(colo_debt_left(&d, 1 << 30, TIMEOUT), ==, INT64_MAX);
}

static void test_wrap(void)
{
    ColoDebt d = { .asked = UINT_MAX - 1, .answered = UINT_MAX - 1 };

    for (int i = 0; i < 4; i++) {
        colo_debt_ask(&d, 0);
    }
    g_assert_cmpuint(d.asked, ==, 2);
    g_assert_false(colo_debt_answered(&d, UINT_MAX));
    for (int i = 0; i < 3; i++) {
        g_assert_true(colo_debt_answer(&d, 1));
    }
    g_assert_true(colo_debt_answered(&d, UINT_MAX));
    g_assert_true(colo_debt_answered(&d, 1));
    g_assert_false(colo_debt_answered(&d, 2));
    g_assert_true(colo_debt_answer(&d, 1));
    g_assert_false(colo_debt_answer(&d, 1));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/patience/rates", test_rates);
    g_test_add_func("/colo/patience/no-credit", test_no_credit);
    g_test_add_func("/colo/patience/unasked", test_unasked);
    g_test_add_func("/colo/patience/answers-in-drops", test_answers_in_drops);
    g_test_add_func("/colo/patience/message", test_message);
    g_test_add_func("/colo/patience/wrap", test_wrap);
    return g_test_run();
}
