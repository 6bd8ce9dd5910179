/*
 * Which part of a cache gets its memory ahead of need, and that it does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/units.h"
#include "colo-ram-ahead.h"
#include "colo-ram-int.h"
#include "colo-ram-reserve.h"
#include <sys/mman.h>

#define CHUNKS 100

/* How long the thread may take for some memory; it is told if it's too long */
#define THREAD_S 30

static void assert_next(ColoReserve *r, size_t chunk)
{
    g_assert_cmpuint(colo_reserve_next(r), ==, chunk);
}

/* Around the last one used, to both sides, as far as it reaches */
static void test_around(void)
{
    ColoReserve r;

    colo_reserve_init(&r, CHUNKS, 2, 50);
    assert_next(&r, CHUNKS);
    g_assert_true(colo_reserve_use(&r, 50));
    g_assert_false(colo_reserve_use(&r, 50));
    assert_next(&r, 51);
    assert_next(&r, 49);
    assert_next(&r, 52);
    assert_next(&r, 48);
    assert_next(&r, CHUNKS);

    /* One from the reserve, one from elsewhere */
    g_assert_true(colo_reserve_use(&r, 51));
    g_assert_cmpuint(r.spare, ==, 3);
    assert_next(&r, 53);
    assert_next(&r, CHUNKS);
    g_assert_true(colo_reserve_use(&r, 80));
    assert_next(&r, 81);
    assert_next(&r, 79);
    colo_reserve_destroy(&r);
}

/* At both ends, and when there is nothing left */
static void test_ends(void)
{
    ColoReserve r;
    size_t chunk;

    colo_reserve_init(&r, 5, 10, 10);
    colo_reserve_use(&r, 0);
    assert_next(&r, 1);
    colo_reserve_use(&r, 4);
    assert_next(&r, 3);
    assert_next(&r, 2);
    assert_next(&r, 5);
    for (chunk = 0; chunk < 5; chunk++) {
        colo_reserve_use(&r, chunk);
    }
    g_assert_cmpuint(r.spare, ==, 0);
    assert_next(&r, 5);
    g_assert_false(colo_reserve_use(&r, 5));
    colo_reserve_destroy(&r);
}

/* Here and there: never more than so many */
static void test_bound(void)
{
    ColoReserve r;
    size_t chunk;

    colo_reserve_init(&r, CHUNKS, 3, 8);
    for (chunk = 10; chunk < CHUNKS; chunk += 10) {
        colo_reserve_use(&r, chunk);
        while (colo_reserve_next(&r) < CHUNKS) {
            g_assert_cmpuint(r.spare, <=, 8);
        }
    }
    g_assert_cmpuint(r.spare, ==, 8);
    /* What is used is in reserve no more, and makes room. */
    colo_reserve_use(&r, 11);
    g_assert_cmpuint(r.spare, ==, 7);
    assert_next(&r, 14);
    colo_reserve_destroy(&r);
}

/* A guest that takes memory in a row never finds any without, once it has begun */
static void test_in_a_row(void)
{
    ColoReserve r;
    size_t chunk;

    colo_reserve_init(&r, CHUNKS, 3, 6);
    colo_reserve_use(&r, 20);
    for (chunk = 21; chunk < CHUNKS; chunk++) {
        while (colo_reserve_next(&r) < CHUNKS) {
            g_assert_cmpuint(r.spare, <=, 6);
        }
        g_assert_true(test_bit(chunk, r.mapped));
        colo_reserve_use(&r, chunk);
    }
    colo_reserve_destroy(&r);
}

static size_t resident(const void *mem, size_t size)
{
    size_t page = qemu_real_host_page_size(), pages = size / page, count = 0, i;
    g_autofree unsigned char *vec = g_malloc(pages);

    g_assert_cmpint(mincore((void *)mem, size, vec), ==, 0);
    for (i = 0; i < pages; i++) {
        count += vec[i] & 1;
    }
    return count * page;
}

/* As the one in colo-ram-zero.c, which knows of no memory but a guest's */
bool colo_ram_is_used(const void *mem, size_t size)
{
    return resident(mem, size);
}

static void wait_for(const void *mem, size_t size)
{
    int64_t end = g_get_monotonic_time() + THREAD_S * G_USEC_PER_SEC;

    while (resident(mem, size) < size) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/* The thread provides memory around what is used, and changes none of it. */
static void test_thread(void)
{
    size_t size = 256 * MiB, at;
    uint8_t *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ColoAhead *a;

    g_assert(mem != MAP_FAILED);
    mem[20 * MiB] = 1;
    a = colo_ahead_new(mem, size);
    wait_for(mem + 22 * MiB, 30 * MiB);
    g_assert_cmpuint(resident(mem + 100 * MiB, 156 * MiB), ==, 0);

    mem[200 * MiB] = 2;
    colo_ahead_use(a, 200 * MiB);
    wait_for(mem + 202 * MiB, 30 * MiB);
    wait_for(mem + 170 * MiB, 30 * MiB);
    colo_ahead_free(a);
    g_assert_cmpuint(resident(mem, size), <=, 132 * MiB);
    for (at = 0; at < size; at += 512) {
        g_assert_cmpuint(mem[at], ==,
                         at == 20 * MiB ? 1 : at == 200 * MiB ? 2 : 0);
    }
    munmap(mem, size);

    /* So little that nobody cares */
    g_assert_null(colo_ahead_new(&size, sizeof(size)));
    colo_ahead_use(NULL, 0);
    colo_ahead_free(NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/ram-reserve/around", test_around);
    g_test_add_func("/colo/ram-reserve/ends", test_ends);
    g_test_add_func("/colo/ram-reserve/bound", test_bound);
    g_test_add_func("/colo/ram-reserve/in-a-row", test_in_a_row);
    g_test_add_func("/colo/ram-reserve/thread", test_thread);
    return g_test_run();
}
