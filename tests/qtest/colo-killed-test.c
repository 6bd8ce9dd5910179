/*
 * A host that dies at each step of the disk's procedure
 *
 * s/STEP: the secondary dies behind that step, and the primary goes on, with its
 * guest's writes before and after it, and protects itself with another one.
 * p/STEP: the primary dies, and the secondary, which has no guest yet, ends when
 * it is told to.
 *
 *   export     the secondary's disk is offered
 *   add        the primary has connected to it (drive_add)
 *   attach     its writes go there (x-blockdev-change)
 *   mirror     the second secondary's disk is being made equal
 *   merge      the survivor of a failover still merges, another secondary runs
 *
 * What dies later, while both run, is in colo-peer-test and colo-hang-test.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-chunks.h"

#define DRIVE_ADD "drive_add -n buddy driver=replication,mode=primary," \
    "file.driver=nbd,file.server.type=unix,file.server.path=%s," \
    "file.export=parent0,node-name=replication0"

static ColoPair *start(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);

    colo_pair_write(pair, 0x11, 0);
    colo_pair_add_secondary(pair, "");
    return pair;
}

static void kill_secondary(ColoPair *pair)
{
    colo_side_kill(pair->s);
    pair->s = NULL;
}

static void add(ColoPair *pair)
{
    g_autofree char *path = colo_pair_nbd_socket(pair);

    colo_side_hmp(pair->p, DRIVE_ADD, path);
}

static void detach(ColoPair *pair)
{
    colo_side_ok(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                 "{'parent': 'colo-disk0', 'child': 'children.1'}}");
    colo_side_hmp(pair->p, "drive_del replication0");
}

/* Its disk is the one of its guest; a new secondary joins, and takes over. */
static void lives_on(ColoPair *pair)
{
    colo_pair_write(pair, 0x33, 2 * COLO_CHUNK);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, COLO_CHUNK);
    colo_pair_rejoin(pair);
    colo_pair_write(pair, 0x44, 3 * COLO_CHUNK);
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, COLO_CHUNK);
    colo_pair_expect(pair, 0x33, 2 * COLO_CHUNK);
    colo_pair_expect(pair, 0x44, 3 * COLO_CHUNK);
    colo_pair_free(pair);
}

/* There is nobody to connect to: it is told, and nothing has changed. */
static void test_s_export(void)
{
    ColoPair *pair = start();
    g_autofree char *path = colo_pair_nbd_socket(pair);
    g_autofree char *command = g_strdup_printf(DRIVE_ADD, path);
    QDict *answer;

    kill_secondary(pair);
    answer = colo_side_try(pair->p, COLO_ANSWER_MS,
                           "{'execute': 'human-monitor-command', 'arguments': "
                           "{'command-line': %s}}", command);
    g_assert(answer && qdict_haskey(answer, "return"));
    g_assert(strstr(qdict_get_str(answer, "return"), "connect"));
    qobject_unref(answer);
    colo_pair_write(pair, 0x22, COLO_CHUNK);
    lives_on(pair);
}

static void test_s_add(void)
{
    ColoPair *pair = start();

    add(pair);
    kill_secondary(pair);
    colo_pair_write(pair, 0x22, COLO_CHUNK);
    colo_side_ok(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                 "{'parent': 'colo-disk0', 'node': 'replication0'}}");
    detach(pair);
    lives_on(pair);
}

static void test_s_attach(void)
{
    ColoPair *pair = start();

    colo_pair_connect_disk(pair);
    kill_secondary(pair);
    colo_pair_write(pair, 0x22, COLO_CHUNK);
    colo_side_await(pair->p, "REPLICATION_BROKEN", 1, COLO_WAIT_MS);
    detach(pair);
    lives_on(pair);
}

/* Begins to copy the disk, slowly */
static void mirror(ColoPair *pair)
{
    g_autofree char *nbd = colo_pair_nbd_socket(pair);
    g_autofree char *target = g_strdup_printf("nbd+unix:///parent0?socket=%s",
                                              nbd);

    colo_side_ok(pair->p, "{'execute': 'drive-mirror', 'arguments': "
                 "{'device': 'colo-disk0', 'job-id': 'resync', 'target': %s, "
                 "'mode': 'existing', 'format': 'raw', 'sync': 'full', "
                 "'speed': 2097152}}", target);
}

static void test_s_mirror(void)
{
    ColoPair *pair = start();

    mirror(pair);
    kill_secondary(pair);
    colo_pair_write(pair, 0x22, COLO_CHUNK);
    colo_side_await(pair->p, "BLOCK_JOB_COMPLETED", 1, COLO_WAIT_MS);
    lives_on(pair);
}

/* The survivor of a failover, which merges slowly, loses the next one, too. */
static void test_s_merge(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);

    pair->merge_speed = "16K";
    colo_pair_protect(pair);
    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    colo_diverge(pair, 0x22, 1, 8);
    /* Without a "stop", which flushes, hence merges all */
    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'nbd-server-stop'}");
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_await(pair->p, "COLO_EXIT", 1, COLO_WAIT_MS);
    colo_side_until(pair->p, "query-status", "status", "running");
    g_assert_cmpuint(colo_side_count(pair->p, "REPLICATION_MERGE"), ==, 0);

    colo_pair_add_secondary(pair, "");
    mirror(pair);
    kill_secondary(pair);
    colo_pair_write(pair, 0x22, COLO_CHUNK);
    colo_side_await(pair->p, "BLOCK_JOB_COMPLETED", 1, COLO_WAIT_MS);
    colo_expect_chunks(pair, 0x22, 1, 8);
    lives_on(pair);
}

/* The primary has gone; the secondary has nothing to go on with, and ends. */
static void quits(ColoPair *pair)
{
    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'query-status'}");
    colo_pair_free(pair);
}

static void test_p_export(void)
{
    quits(start());
}

static void test_p_add(void)
{
    ColoPair *pair = start();

    add(pair);
    quits(pair);
}

static void test_p_attach(void)
{
    ColoPair *pair = start();

    colo_pair_connect_disk(pair);
    colo_pair_write(pair, 0x22, COLO_CHUNK);
    quits(pair);
}

static void test_p_mirror(void)
{
    ColoPair *pair = start();

    mirror(pair);
    quits(pair);
}

int main(int argc, char **argv)
{
    static const ColoTestCase cases[] = {
        { "s/export", test_s_export },
        { "s/add", test_s_add },
        { "s/attach", test_s_attach },
        { "s/mirror", test_s_mirror },
        { "s/merge", test_s_merge },
        { "p/export", test_p_export },
        { "p/add", test_p_add },
        { "p/attach", test_p_attach },
        { "p/mirror", test_p_mirror },
    };

    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-killed", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
