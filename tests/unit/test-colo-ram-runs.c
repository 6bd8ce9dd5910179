/*
 * Runs of pages in bitmaps, hashes, shared-out loops
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitmap.h"
#include "colo-ram-runs.h"
#include "colo-ram-workers.h"

#define PAGES (5 * BITS_PER_LONG)

/* What was called, as "first+pages ..." */
static void note_run(void *opaque, size_t first, size_t pages)
{
    g_string_append_printf(opaque, "%zu+%zu ", first, pages);
}

/* The same, bit by bit */
static char *expect_runs(const unsigned long *map, size_t begin, size_t end)
{
    GString *s = g_string_new("");
    size_t i, first = 0, pages = 0;

    for (i = begin * BITS_PER_LONG; i <= end * BITS_PER_LONG; i++) {
        if (i < end * BITS_PER_LONG && test_bit(i, map)) {
            first = pages ? first : i;
            pages++;
        } else if (pages) {
            note_run(s, first, pages);
            pages = 0;
        }
    }
    return g_string_free(s, false);
}

static void check_take(const unsigned long *map, size_t begin, size_t end)
{
    DECLARE_BITMAP(copy, PAGES);
    g_autofree char *expected = expect_runs(map, begin, end);
    g_autoptr(GString) got = g_string_new("");
    size_t w, count = 0;

    bitmap_copy(copy, map, PAGES);
    for (w = begin; w < end; w++) {
        count += ctpopl(map[w]);
    }
    g_assert_cmpuint(colo_runs_take(copy, begin, end, note_run, got), ==,
                     count);
    g_assert_cmpstr(got->str, ==, expected);
    for (w = 0; w < BITS_TO_LONGS(PAGES); w++) {
        g_assert_cmphex(copy[w], ==, w >= begin && w < end ? 0 : map[w]);
    }
}

static void test_take_cases(void)
{
    static const struct { size_t first, pages; } cases[] = {
        { 0, 0 }, { 0, 1 }, { BITS_PER_LONG - 1, 1 }, { BITS_PER_LONG - 1, 2 },
        { BITS_PER_LONG, BITS_PER_LONG }, { 1, BITS_PER_LONG },
        { 0, PAGES }, { 1, PAGES - 2 }, { PAGES - 1, 1 },
        { 2 * BITS_PER_LONG - 3, 2 * BITS_PER_LONG + 6 },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        DECLARE_BITMAP(map, PAGES) = { 0 };

        bitmap_set(map, cases[i].first, cases[i].pages);
        check_take(map, 0, BITS_TO_LONGS(PAGES));
        check_take(map, 1, 3);
        check_take(map, 2, 2);
    }
}

static void test_take_random(void)
{
    int round, i, bits;

    for (round = 0; round < 5000; round++) {
        DECLARE_BITMAP(map, PAGES) = { 0 };

        bits = g_test_rand_int_range(0, 40);
        for (i = 0; i < bits; i++) {
            int first = g_test_rand_int_range(0, PAGES);

            bitmap_set(map, first, g_test_rand_int_range(1, MIN(PAGES - first,
                                                                70) + 1));
            bitmap_clear(map, g_test_rand_int_range(0, PAGES), 1);
        }
        check_take(map, 0, BITS_TO_LONGS(PAGES));
        check_take(map, 1, 4);
    }
}

static void test_hash(void)
{
    g_autofree uint8_t *page = g_malloc0(4096);
    uint64_t zero = colo_ram_hash(page, 4096), other;
    int i;

    g_assert_cmphex(zero, ==, colo_ram_hash(page, 4096));
    g_assert_cmphex(zero, !=, colo_ram_hash(page, 2048));
    for (i = 0; i < 4096; i++) {
        page[i] = 0x80;
        other = colo_ram_hash(page, 4096);
        g_assert_cmphex(other, !=, zero);
        page[i] = 0;
    }
    /* Where things are matters, too */
    page[0] = 1;
    other = colo_ram_hash(page, 4096);
    page[0] = 0;
    page[8] = 1;
    g_assert_cmphex(other, !=, colo_ram_hash(page, 4096));
}

typedef struct Job {
    unsigned next;
    unsigned done[1000];
} Job;

static void job_share(void *opaque)
{
    Job *job = opaque;
    unsigned i;

    while ((i = qatomic_fetch_inc(&job->next)) < ARRAY_SIZE(job->done)) {
        qatomic_inc(&job->done[i]);
    }
}

/* Each piece is done, once, and before the call returns. */
static void test_workers(void)
{
    static const unsigned counts[] = { 0, 1, 3, 100 };
    int c, round, i;

    for (c = 0; c < ARRAY_SIZE(counts); c++) {
        ColoWorkers *w = colo_workers_new(counts[c]);

        for (round = 0; round < 200; round++) {
            Job job = { 0 };

            colo_workers_run(w, job_share, &job);
            for (i = 0; i < ARRAY_SIZE(job.done); i++) {
                g_assert_cmpuint(job.done[i], ==, 1);
            }
        }
        colo_workers_free(w);
    }
    colo_workers_free(NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/ram-runs/take/cases", test_take_cases);
    g_test_add_func("/colo/ram-runs/take/random", test_take_random);
    g_test_add_func("/colo/ram-runs/hash", test_hash);
    g_test_add_func("/colo/ram-workers", test_workers);
    return g_test_run();
}
