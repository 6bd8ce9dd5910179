/*
 * COLO and what people command meanwhile
 *
 * Two QEMUs without an operating system.  What does not go together with replication
 * is refused with the reason, on either side, or waited for; whatever else is
 * commanded leaves the pair as it was.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/qmp/qlist.h"
#include "colo-guest.h"
#include "colo-query.h"

/* The command must fail, with a text that has @part in it. */
static void G_GNUC_PRINTF(3, 4)
expect_error(ColoSide *side, const char *part, const char *fmt, ...)
{
    QDict *answer, *error;
    va_list ap;

    va_start(ap, fmt);
    answer = colo_side_vtry(side, COLO_ANSWER_MS, fmt, ap);
    va_end(ap);
    error = answer ? qdict_get_qdict(answer, "error") : NULL;
    if (!error || !strcasestr(qdict_get_str(error, "desc"), part)) {
        colo_fail("no error about \"%s\", but \"%s\"", part,
                  error ? qdict_get_str(error, "desc") : "none");
    }
    qobject_unref(answer);
}

/* A dump of S's memory, in a thread that starts its guest at the end: that is awaited. */
static void test_dump(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    g_autofree char *file = g_strdup_printf("file:%s", pair->scratch);
    char buffer[4096];
    int fd;

    g_assert_cmpint(mkfifo(pair->scratch, 0600), ==, 0);
    fd = open(pair->scratch, O_RDONLY | O_NONBLOCK);
    g_assert_cmpint(fd, >=, 0);
    colo_side_ok(pair->s, "{'execute': 'dump-guest-memory', 'arguments': {'paging': "
                 "false, 'detach': true, 'protocol': %s}}", file);
    colo_side_until(pair->s, "query-status", "status", "save-vm");
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    g_usleep(500 * 1000);
    colo_side_until(pair->s, "query-status", "status", "save-vm");
    g_assert_cmpint(colo_query_epoch(pair->s), ==, 0);
    while (read(fd, buffer, sizeof(buffer)) != 0) {
        /* Until the other end is closed */
    }
    close(fd);
    unlink(pair->scratch);
    colo_query_await_epoch(pair->s, 1);
    colo_side_until(pair->s, "query-status", "status", "running");
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* The only job has ended, or is about to; returns its error, to be freed. */
static char *job_error(ColoSide *side)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    g_autofree char *error = NULL;
    bool concluded = false;

    while (!concluded) {
        QDict *answer = colo_side_try(side, COLO_ANSWER_MS,
                                      "{'execute': 'query-jobs'}");
        QList *jobs = answer ? qdict_get_qlist(answer, "return") : NULL;
        QDict *job = jobs ? qobject_to(QDict, qlist_peek(jobs)) : NULL;

        if (!job || g_get_monotonic_time() > end) {
            colo_fail("the job is not there, or does not end");
        }
        concluded = g_str_equal(qdict_get_str(job, "status"), "concluded");
        g_free(error);
        error = g_strdup(qdict_get_try_str(job, "error") ?: "");
        qobject_unref(answer);
    }
    return g_steal_pointer(&error);
}

static void expect_active(char *said)
{
    if (!strstr(said, "COLO is active")) {
        colo_fail("it says: %s", said);
    }
    g_free(said);
}

/* No snapshot is loaded, by either command, and no guest is stopped for that. */
static void test_loadvm(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    ColoSide *sides[] = { pair->s, pair->p };

    for (int i = 0; i < ARRAY_SIZE(sides); i++) {
        unsigned stops = colo_side_count(sides[i], "STOP");

        expect_active(colo_side_hmp_says(sides[i], "loadvm a"));
        colo_side_ok(sides[i], "{'execute': 'snapshot-load', 'arguments': {'job-id': "
                     "'load', 'tag': 'a', 'vmstate': 'a', 'devices': []}}");
        expect_active(job_error(sides[i]));
        colo_side_ok(sides[i], "{'execute': 'job-dismiss', 'arguments': {'id': 'load'}}");
        colo_side_until(sides[i], "query-status", "status", "running");
        g_assert_cmpuint(colo_side_count(sides[i], "STOP"), ==, stops);
    }
    colo_query_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* A second migration and a snapshot are refused, on both sides. */
static void test_refused(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    g_autofree char *uri = g_strdup_printf("unix:%s/nobody", pair->dir);
    ColoSide *sides[] = { pair->p, pair->s };

    for (int i = 0; i < ARRAY_SIZE(sides); i++) {
        expect_error(sides[i], "COLO is active",
                     "{'execute': 'migrate', 'arguments': {'uri': %s}}", uri);
    }
    expect_error(pair->s, "not a primary",
                 "{'execute': 'x-colo-checkpoint-now'}");
    colo_query_checkpoint(pair);
    colo_side_ok(pair->p, "{'execute': 'migrate_cancel'}");
    colo_query_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/*
 * Capabilities stay as they are until the failover, which relies on them; then the
 * survivor may have others.
 */
static void test_change_capabilities(bool survivor_is_primary)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    ColoSide *sides[] = { pair->p, pair->s };

    for (int i = 0; i < ARRAY_SIZE(sides); i++) {
        expect_error(sides[i], "COLO is active",
                     "{'execute': 'migrate-set-capabilities', 'arguments': "
                     "{'capabilities': ["
                     "{'capability': 'x-colo', 'state': false},"
                     "{'capability': 'multifd', 'state': true}]}}");
    }
    if (survivor_is_primary) {
        colo_pair_fail_over_to_primary(pair);
    } else {
        colo_pair_fail_over_to_secondary(pair);
    }
    colo_side_ok(pair->p, "{'execute': 'migrate-set-capabilities', 'arguments': "
                 "{'capabilities': [{'capability': 'x-colo', 'state': false},"
                 "{'capability': 'multifd', 'state': true}]}}");
    colo_pair_free(pair);
}

static void test_change_capabilities_p(void)
{
    test_change_capabilities(true);
}

static void test_change_capabilities_s(void)
{
    test_change_capabilities(false);
}

/* How far the only job has come, and that it is there */
static int64_t job_offset(ColoSide *side)
{
    QDict *answer = colo_side_try(side, COLO_ANSWER_MS,
                                  "{'execute': 'query-block-jobs'}");
    QList *jobs = answer ? qdict_get_qlist(answer, "return") : NULL;
    int64_t offset;

    if (!jobs || qlist_size(jobs) != 1) {
        colo_fail("the job has gone");
    }
    offset = qdict_get_int(qobject_to(QDict, qlist_peek(jobs)), "offset");
    qobject_unref(answer);
    return offset;
}

/*
 * A job on the primary that has requests in flight all the time, and never ends:
 * pauses stay short, the pair stays, and the job gets on.
 */
static void run_job(const char *command)
{
    ColoPair *pair = colo_pair_start(COLO_DISK, 100);
    int64_t epoch, offset;
    QDict *info;

    for (int i = 0; i < 2; i++) {
        colo_side_ok(pair->p, "{'execute': 'blockdev-add', 'arguments': "
                     "{'driver': 'null-co', 'node-name': %s, 'read-zeroes': true, "
                     "'size': 1099511627776, 'latency-ns': 100000000}}",
                     i ? "to" : "from");
    }
    colo_side_ok(pair->p, "{'execute': %s, 'arguments': {'job-id': 'job', "
                 "'device': 'from', 'target': 'to', 'sync': 'full'}}", command);
    epoch = colo_query_epoch(pair->p);
    offset = job_offset(pair->p);
    colo_query_await_epoch(pair->p, epoch + 20);
    g_assert_cmpint(job_offset(pair->p), >, offset);
    info = colo_side_get(pair->p, "{'execute': 'query-colo'}");
    g_assert_cmpint(qdict_get_int(colo_query_phase(info, "pause"), "max"), <,
                    1000000000);
    qobject_unref(info);
    colo_side_until(pair->p, "query-colo", "state", "protected");
    colo_side_ok(pair->p, "{'execute': 'block-job-cancel', 'arguments': "
                 "{'device': 'job', 'force': true}}");
    colo_side_await(pair->p, "BLOCK_JOB_CANCELLED", 1, COLO_WAIT_MS);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

static void test_job_mirror(void)
{
    run_job("blockdev-mirror");
}

static void test_job_backup(void)
{
    run_job("blockdev-backup");
}

/* Together with x-colo, or before it; it can't be set where x-colo is, either. */
static void expect_capability(ColoSide *side, const char *cap)
{
    expect_error(side, cap, "{'execute': 'migrate-set-capabilities', "
                 "'arguments': {'capabilities': ["
                 "{'capability': 'x-colo', 'state': true},"
                 "{'capability': %s, 'state': true}]}}", cap);
    colo_side_ok(side, "{'execute': 'migrate-set-capabilities', 'arguments': "
                 "{'capabilities': [{'capability': 'x-colo', 'state': true}]}}");
    expect_error(side, cap, "{'execute': 'migrate-set-capabilities', 'arguments': "
                 "{'capabilities': [{'capability': %s, 'state': true}]}}", cap);
    colo_side_ok(side, "{'execute': 'migrate-set-capabilities', 'arguments': "
                 "{'capabilities': [{'capability': 'x-colo', 'state': false}]}}");
}

/* savevm, on either side */
static void test_savevm(void)
{
    ColoPair *pair = colo_pair_start(COLO_DISK, COLO_NO_TIMER);
    ColoSide *sides[] = { pair->p, pair->s };

    for (int i = 0; i < ARRAY_SIZE(sides); i++) {
        expect_active(colo_side_hmp_says(sides[i], "savevm a"));
    }
    colo_query_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* What bypasses COLO is refused, what does not is taken. */
static void test_capabilities(void)
{
    static const char *const refused[] = {
        "multifd", "compress", "xbzrle", "postcopy-ram", "x-ignore-shared",
        "background-snapshot", "rdma-pin-all", "block", "dirty-bitmaps",
        "pause-before-switchover",
    };
    ColoPair *pair = colo_pair_new("pc", COLO_NO_DISK, COLO_NO_TIMER);

    for (int i = 0; i < ARRAY_SIZE(refused); i++) {
        expect_capability(pair->p, refused[i]);
    }
    colo_side_ok(pair->p, "{'execute': 'migrate-set-capabilities', "
                 "'arguments': {'capabilities': ["
                 "{'capability': 'return-path', 'state': true},"
                 "{'capability': 'auto-converge', 'state': true},"
                 "{'capability': 'events', 'state': true}]}}");
    colo_pair_add_secondary(pair, "");
    /* Newer managers set them here too */
    colo_side_ok(pair->s, "{'execute': 'migrate-set-capabilities', "
                 "'arguments': {'capabilities': ["
                 "{'capability': 'x-colo', 'state': true},"
                 "{'capability': 'return-path', 'state': true}]}}");
    colo_pair_replicate(pair);
    colo_query_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_rejoin(pair);
    colo_query_checkpoint(pair);
    colo_pair_fail_over_to_primary(pair);
    colo_pair_free(pair);
}

/* virtio-mem can't do without discarding pages. */
static void plug_virtio_mem(ColoSide *side)
{
    colo_side_ok(side, "{'execute': 'object-add', 'arguments': {'qom-type': "
                 "'memory-backend-ram', 'id': 'mem1', 'size': 67108864}}");
    colo_side_ok(side, "{'execute': 'device_add', 'arguments': {'driver': "
                 "'virtio-mem-pci', 'memdev': 'mem1'}}");
}

/* RAM may be discarded after COLO, and then there can't be COLO. */
#define ROOM_FOR_MORE "pc -m 16,slots=1,maxmem=256M"

static void test_discard_s(void)
{
    ColoPair *pair = colo_pair_start_on(ROOM_FOR_MORE, COLO_NO_DISK,
                                        COLO_NO_TIMER);

    colo_pair_fail_over_to_secondary(pair);
    plug_virtio_mem(pair->p);
    colo_pair_free(pair);
}

static void test_discard_p(void)
{
    ColoPair *pair = colo_pair_start_on(ROOM_FOR_MORE, COLO_NO_DISK,
                                        COLO_NO_TIMER);

    /* A former secondary is a primary as any other */
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_rejoin(pair);
    colo_query_checkpoint(pair);
    colo_pair_fail_over_to_primary(pair);
    plug_virtio_mem(pair->p);
    expect_error(pair->p, "discards RAM", "{'execute': 'migrate', "
                 "'arguments': {'uri': 'unix:/nowhere'}}");
    colo_pair_free(pair);
}

static const ColoTestCase cases[] = {
    { "refused", test_refused },
    { "savevm", test_savevm },
    { "dump", test_dump },
    { "loadvm", test_loadvm },
    { "capabilities", test_capabilities },
    { "change-capabilities/p", test_change_capabilities_p },
    { "change-capabilities/s", test_change_capabilities_s },
    { "job/mirror", test_job_mirror },
    { "job/backup", test_job_backup },
    { "discard/p", test_discard_p },
    { "discard/s", test_discard_s },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-command", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
