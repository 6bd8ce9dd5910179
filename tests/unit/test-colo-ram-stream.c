/*
 * The format of guest memory: what is written is read again, nothing else is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "colo-ram-stream.h"

#define BLOCK_PAGES 5000

static const uint8_t *encode(const ColoRamBatch *batch, const char *name,
                             size_t *size)
{
    static uint8_t bytes[COLO_RAM_BATCH_MAX];

    *size = colo_ram_batch_encode(batch, name, bytes);
    g_assert_cmpuint(*size, <=, sizeof(bytes));
    return bytes;
}

/* Read what was written; returns the runs */
static ColoRamBatch decode(const uint8_t *bytes, size_t size, const char *name)
{
    ColoRamBatch batch;
    ColoRamHead head;

    g_assert_true(colo_ram_head_decode(bytes, &head, &error_abort));
    g_assert_cmpuint(head.name_length, ==, strlen(name));
    g_assert_cmpuint(size, ==, COLO_RAM_HEAD + head.name_length +
                               head.runs * COLO_RAM_RUN);
    g_assert_cmpmem(bytes + COLO_RAM_HEAD, head.name_length, name, strlen(name));
    g_assert_true(colo_ram_runs_decode(bytes + COLO_RAM_HEAD + head.name_length,
                                       head.runs, BLOCK_PAGES, &batch,
                                       &error_abort));
    return batch;
}

static void test_end(void)
{
    static const uint8_t end[COLO_RAM_HEAD];
    ColoRamBatch batch = { .count = 0 };
    ColoRamHead head;
    size_t size;
    const uint8_t *bytes = encode(&batch, NULL, &size);

    g_assert_cmpmem(bytes, size, end, sizeof(end));
    g_assert_true(colo_ram_head_decode(bytes, &head, &error_abort));
    g_assert_cmpuint(head.runs, ==, 0);
}

/* Neighbours of one kind are one run, and all others are not. */
static void test_runs(void)
{
    ColoRamBatch batch = { .count = 0 }, got;
    const uint8_t *bytes;
    size_t size;

    g_assert_true(colo_ram_batch_add(&batch, 7, false));
    g_assert_true(colo_ram_batch_add(&batch, 8, false));
    g_assert_true(colo_ram_batch_add(&batch, 9, true));
    g_assert_true(colo_ram_batch_add(&batch, 10, true));
    g_assert_true(colo_ram_batch_add(&batch, 11, false));
    g_assert_true(colo_ram_batch_add(&batch, 13, false));
    g_assert_true(colo_ram_batch_add(&batch, BLOCK_PAGES - 1, false));
    bytes = encode(&batch, "pc.ram", &size);
    got = decode(bytes, size, "pc.ram");
    g_assert_cmpuint(got.count, ==, 5);
    g_assert_cmpuint(got.runs[0].first, ==, 7);
    g_assert_cmpuint(got.runs[0].pages, ==, 2);
    g_assert_false(got.runs[0].zero);
    g_assert_cmpuint(got.runs[1].first, ==, 9);
    g_assert_cmpuint(got.runs[1].pages, ==, 2);
    g_assert_true(got.runs[1].zero);
    g_assert_cmpuint(got.runs[2].first, ==, 11);
    g_assert_cmpuint(got.runs[2].pages, ==, 1);
    g_assert_cmpuint(got.runs[3].first, ==, 13);
    g_assert_cmpuint(got.runs[4].first, ==, BLOCK_PAGES - 1);
}

/* As many as there is room for, with the longest name */
static void test_full(void)
{
    g_autofree char *name = g_strnfill(COLO_RAM_NAME_MAX, 'x');
    ColoRamBatch batch = { .count = 0 }, got;
    const uint8_t *bytes;
    uint64_t page = 0;
    size_t size;

    while (colo_ram_batch_add(&batch, page, false)) {
        page += 2;
    }
    g_assert_cmpuint(batch.count, ==, COLO_RAM_RUNS_MAX);
    g_assert_cmpuint(page, ==, 2 * COLO_RAM_RUNS_MAX);
    /* One more page of the last run needs no room */
    g_assert_true(colo_ram_batch_add(&batch, page - 1, false));
    g_assert_false(colo_ram_batch_add(&batch, page, true));
    bytes = encode(&batch, name, &size);
    g_assert_cmpuint(size, ==, COLO_RAM_BATCH_MAX);
    got = decode(bytes, size, name);
    g_assert_cmpuint(got.count, ==, COLO_RAM_RUNS_MAX);
    g_assert_cmpuint(got.runs[COLO_RAM_RUNS_MAX - 1].pages, ==, 2);
}

static void test_bad_head(void)
{
    static const uint8_t heads[][COLO_RAM_HEAD] = {
        { 0, COLO_RAM_RUNS_MAX + 1, 0, 6 }, { 0xff, 0xff, 0, 6 },
        { 0, 1, 1, 0 }, { 0, 1, 0xff, 0xff },
        { 0, 0, 0, 6 },                 /* an end with a name */
        { 0, 1, 0, 0 },                 /* runs of no block */
    };

    for (int i = 0; i < ARRAY_SIZE(heads); i++) {
        Error *err = NULL;
        ColoRamHead head;

        g_assert_false(colo_ram_head_decode(heads[i], &head, &err));
        g_assert_nonnull(err);
        error_free(err);
    }
}

typedef struct {
    uint64_t first;
    uint32_t pages, flags;
    bool good;
} RunCase;

/* The second of two runs; the first is of the pages 10 to 19. */
static const RunCase run_cases[] = {
    { 20, 1, 0, true },
    { 20, COLO_RAM_BATCH_PAGES - 10, 0, true },
    { 20, COLO_RAM_BATCH_PAGES - 10, 1, true },
    { 20, COLO_RAM_BATCH_PAGES - 9, 0, false }, /* too many together */
    { 20, COLO_RAM_BATCH_PAGES - 9, 1, false },
    { 20, BLOCK_PAGES - 20, 1, false },
    { BLOCK_PAGES - 1, 1, 0, true },
    { 19, 1, 0, false },                        /* overlap */
    { 10, 10, 0, false },                       /* twice */
    { 0, 1, 0, false },                         /* backwards */
    { 20, 0, 0, false },                        /* none */
    { 20, BLOCK_PAGES - 19, 0, false },         /* across the end */
    { BLOCK_PAGES, 1, 0, false },
    { BLOCK_PAGES, 0, 0, false },
    { BLOCK_PAGES + 1, UINT32_MAX, 0, false },
    { UINT64_MAX, 1, 0, false },                /* the sum would be 0 */
    { UINT64_MAX, UINT32_MAX, 0, false },
    { 1ULL << 52, 1, 0, false },                /* in bytes it would be 0 */
    { 20, UINT32_MAX, 0, false },
    { 20, 1, 2, false },                        /* no such flag */
    { 20, 1, 1U << 31, false },
};

static void test_bad_runs(void)
{
    for (int i = 0; i < ARRAY_SIZE(run_cases); i++) {
        const RunCase *c = &run_cases[i];
        uint8_t bytes[2 * COLO_RAM_RUN] = { 0 };
        ColoRamBatch batch;
        Error *err = NULL;

        stq_be_p(bytes, 10);
        stl_be_p(bytes + 8, 10);
        stq_be_p(bytes + COLO_RAM_RUN, c->first);
        stl_be_p(bytes + COLO_RAM_RUN + 8, c->pages);
        stl_be_p(bytes + COLO_RAM_RUN + 12, c->flags);
        g_assert_cmpint(colo_ram_runs_decode(bytes, 2, BLOCK_PAGES, &batch,
                                             &err), ==, c->good);
        g_assert_cmpint(!err, ==, c->good);
        error_free(err);
    }
}

/* Any pages, in as many batches as they need, come out as they went in. */
static void test_random(void)
{
    for (int round = 0; round < 2000; round++) {
        ColoRamBatch batch = { .count = 0 }, got;
        uint64_t pages[200], page = 0;
        const uint8_t *bytes;
        bool zero[200];
        unsigned added, n = 0;
        size_t size;

        for (added = 0; added < 200; added++) {
            page += g_test_rand_int_range(1, 4) / 2 + 1;
            pages[added] = page;
            zero[added] = g_test_rand_int_range(0, 4) == 0;
            if (!colo_ram_batch_add(&batch, page, zero[added])) {
                break;
            }
        }
        bytes = encode(&batch, "a", &size);
        got = decode(bytes, size, "a");
        for (unsigned i = 0; i < got.count; i++) {
            for (uint32_t k = 0; k < got.runs[i].pages; k++, n++) {
                g_assert_cmpuint(n, <, added);
                g_assert_cmpuint(got.runs[i].first + k, ==, pages[n]);
                g_assert_cmpint(got.runs[i].zero, ==, zero[n]);
            }
        }
        g_assert_cmpuint(n, ==, added);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/ram-stream/end", test_end);
    g_test_add_func("/colo/ram-stream/runs", test_runs);
    g_test_add_func("/colo/ram-stream/full", test_full);
    g_test_add_func("/colo/ram-stream/bad-head", test_bad_head);
    g_test_add_func("/colo/ram-stream/bad-runs", test_bad_runs);
    g_test_add_func("/colo/ram-stream/random", test_random);
    return g_test_run();
}
