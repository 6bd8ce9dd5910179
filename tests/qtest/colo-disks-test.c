/*
 * The disks of a COLO pair: of all kinds, several, and what they cost
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/qmp/qlist.h"
#include "colo-chunks.h"

/* What idle disks may have of a pause */
#define IDLE_NS (500 * 1000)

/* A life and a second one, on disks of this kind */
static void lives(ColoPair *pair)
{
    int count = colo_pair_disks(pair);

    colo_pair_protect(pair);
    for (pair->at = 0; pair->at < count; pair->at++) {
        colo_write_chunks(pair, 0x11 + pair->at, 0, 4);
    }
    colo_pair_request_checkpoint(pair);
    for (pair->at = 0; pair->at < count; pair->at++) {
        colo_write_chunks(pair, 0x21 + pair->at, 2, 6);      /* of no commit */
    }
    colo_pair_fail_over_to_secondary(pair);
    for (pair->at = 0; pair->at < count; pair->at++) {
        colo_expect_chunks(pair, 0x11 + pair->at, 0, 4);
        colo_expect_chunks(pair, 0, 4, 6);
    }
    colo_pair_rejoin(pair);
    for (pair->at = 0; pair->at < count; pair->at++) {
        colo_write_chunks(pair, 0x31 + pair->at, 3, 4);
    }
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    for (pair->at = 0; pair->at < count; pair->at++) {
        colo_expect_chunks(pair, 0x11 + pair->at, 0, 3);
        colo_expect_chunks(pair, 0x31 + pair->at, 3, 4);
    }
    colo_pair_free(pair);
}

static void test_raw(void)
{
    lives(colo_pair_new("pc", COLO_RAW_DISK, COLO_NO_TIMER));
}

static void test_three(void)
{
    lives(colo_pair_new("pc", COLO_THREE_DISKS, COLO_NO_TIMER));
}

/* One of three disks fails: none commits, all are whole */
static void test_three_fault(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_THREE_DISKS, COLO_NO_TIMER);

    colo_pair_protect(pair);
    for (pair->at = 0; pair->at < 3; pair->at++) {
        colo_write_chunks(pair, 0x11, 0, 2);
    }
    colo_pair_request_checkpoint(pair);
    for (pair->at = 0; pair->at < 3; pair->at++) {
        colo_write_chunks(pair, 0x22, 0, 2);
    }
    /* The second export goes away with the primary's connection to it */
    colo_side_ok(pair->s, "{'execute': 'nbd-server-remove', 'arguments': "
                 "{'name': 'parent1', 'mode': 'hard'}}");
    pair->at = 1;
    colo_write_chunks(pair, 0x33, 0, 2);
    colo_lose(pair);
    colo_pair_fail_over_to_secondary(pair);
    for (pair->at = 0; pair->at < 3; pair->at++) {
        colo_expect_chunks(pair, 0x11, 0, 2);
    }
    colo_pair_free(pair);
}

static ColoPair *new_iothread(const char *whose, ColoPairDisk disk)
{
    ColoPair *pair = colo_pair_plan("pc", disk, COLO_NO_TIMER);

    pair->iothread = whose;
    colo_pair_add_primary(pair);
    return pair;
}

/* The primary's disks in an iothread, with queue and NBD clients */
static void test_iothread_primary(void)
{
    lives(new_iothread("p", COLO_THREE_DISKS));
}

/* ... and that primary survives */
static void test_iothread_survivor(void)
{
    ColoPair *pair = new_iothread("p", COLO_DISK);

    colo_pair_protect(pair);
    colo_write_chunks(pair, 0x11, 0, 4);
    colo_pair_request_checkpoint(pair);
    colo_write_chunks(pair, 0x22, 2, 6);
    colo_pair_fail_over_to_primary(pair);
    colo_expect_chunks(pair, 0x11, 0, 2);
    colo_expect_chunks(pair, 0x22, 2, 6);
    colo_pair_rejoin(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_expect_chunks(pair, 0x22, 2, 6);
    colo_pair_free(pair);
}

static void refuses_to_move(ColoSide *side)
{
    QDict *answer;

    answer = colo_side_try(side, COLO_ANSWER_MS,
                           "{'execute': 'x-blockdev-set-iothread', 'arguments': "
                           "{'node-name': 'top0', 'iothread': 'io0', "
                           "'force': true}}");
    g_assert(answer && qdict_haskey(answer, "error"));
    qobject_unref(answer);
}

/*
 * The secondary's stays where QEMU's NBD server can serve it, and an incoming
 * migration bring it to life: from the start on
 */
static void test_iothread_secondary(void)
{
    ColoPair *pair = new_iothread("p", COLO_DISK);

    colo_pair_add_secondary(pair, "");
    refuses_to_move(pair->s);
    colo_pair_replicate(pair);
    refuses_to_move(pair->s);
    colo_write_chunks(pair, 0x11, 0, 4);
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_expect_chunks(pair, 0x11, 0, 4);
    colo_pair_free(pair);
}

/* Whether this QEMU, and the kernel below, can have a file used like that */
static bool aio_works(const char *aio)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "colo-aio-XXXXXX",
                                             NULL);
    int fd = g_mkstemp(path);
    g_autofree char *command = g_strdup_printf(
        "echo q | %s -M none -display none -monitor stdio -drive "
        "if=none,driver=raw,cache.direct=on,file.filename=%s,file.aio=%s "
        ">/dev/null 2>&1", getenv("QTEST_QEMU_BINARY"), path, aio);
    bool works;

    g_assert(fd >= 0 && ftruncate(fd, COLO_CHUNK) == 0);
    works = system(command) == 0;
    close(fd);
    unlink(path);
    return works;
}

static void run_aio(const char *aio)
{
    ColoPair *pair;

    if (!aio_works(aio)) {
        g_autofree char *why =
            g_strdup_printf("SKIPPED: this QEMU was built without aio=%s, or "
                            "the file system has no O_DIRECT", aio);

        g_test_skip(why);
        return;
    }
    pair = colo_pair_plan("pc", COLO_THREE_DISKS, COLO_NO_TIMER);
    pair->aio = aio;
    colo_pair_add_primary(pair);
    lives(pair);
}

static void test_aio_threads(void)
{
    run_aio("threads");
}

static void test_aio_native(void)
{
    run_aio("native");
}

static void test_aio_io_uring(void)
{
    run_aio("io_uring");
}

/* Nanoseconds of the last checkpoint */
static uint64_t last_phase(ColoSide *side, const char *name)
{
    QDict *colo = colo_side_get(side, "{'execute': 'query-colo'}");
    const QListEntry *entry;
    uint64_t ns = 0;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(colo, "phases"), entry) {
        QDict *phase = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(phase, "phase"), name)) {
            ns = qdict_get_int(phase, "last");
            found = true;
        }
    }
    qobject_unref(colo);
    if (!found) {
        colo_fail("query-colo has no phase '%s'", name);
    }
    return ns;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/*
 * What three idle disks have of the pause: draining on the primary, the new epoch
 * on the secondary.  The median counts: a machine may do other things besides.
 */
static void run_idle(const char *overlay)
{
    ColoPair *pair = colo_pair_new("pc", COLO_THREE_DISKS, COLO_NO_TIMER);
    uint64_t ns[21];
    int i;

    pair->overlay = overlay;
    colo_pair_protect(pair);
    for (i = 0; i < ARRAY_SIZE(ns); i++) {
        colo_pair_request_checkpoint(pair);
        ns[i] = last_phase(pair->p, "drain") +
                last_phase(pair->s, "disk-checkpoint");
    }
    qsort(ns, ARRAY_SIZE(ns), sizeof(ns[0]), by_value);
    g_test_message("three idle disks: %.3f ms of the pause at least, median "
                   "%.3f, at most %.3f", ns[0] / 1e6,
                   ns[ARRAY_SIZE(ns) / 2] / 1e6,
                   ns[ARRAY_SIZE(ns) - 1] / 1e6);
    g_assert_cmpuint(ns[ARRAY_SIZE(ns) / 2], <=, IDLE_NS);
    colo_pair_free(pair);
}

static void test_idle_images(void)
{
    run_idle(NULL);
}

static void test_idle_memory(void)
{
    run_idle("4M");
}

int main(int argc, char **argv)
{
    static const ColoTestCase cases[] = {
        { "raw", test_raw },
        { "three/lives", test_three },
        { "three/fault", test_three_fault },
        { "three/idle/images", test_idle_images },
        { "three/idle/memory", test_idle_memory },
        { "iothread/primary", test_iothread_primary },
        { "iothread/survivor", test_iothread_survivor },
        { "iothread/secondary", test_iothread_secondary },
        { "aio/threads", test_aio_threads },
        { "aio/native", test_aio_native },
        { "aio/io_uring", test_aio_io_uring },
    };

    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-disks", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
