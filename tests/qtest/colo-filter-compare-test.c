/*
 * filter-compare, with this program as P, S and the host's network
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "colo-compare-rig.h"

/* What f0 reads counts as sent by the guest; c0 is next on its way out */
static Rig *filter_compare(const char *options)
{
    Rig *rig = rig_new();

    g_assert_cmpint(socketpair(PF_UNIX, SOCK_STREAM, 0, rig->backend), ==, 0);
    rig->qts = qtest_initf(
        "-object iothread,id=io -nic socket,id=n0,fd=%d "
        "-chardev socket,id=pri,path=%s/pri,server=on,wait=off "
        "-chardev socket,id=sec,path=%s/sec,server=on,wait=off "
        "-object filter-compare,id=c0,netdev=n0,secondary_in=sec" NO_TIMEOUT "%s "
        "-object filter-redirector,id=f0,netdev=n0,queue=rx,indev=pri",
        rig->backend[1], rig->dir, rig->dir, options);
    rig->out = rig->backend[0];
    rig->backend[0] = -1;
    rig->in = connect_to(rig, "pri");
    rig->secondary = connect_to(rig, "sec");
    return rig;
}

static void test_filter(gconstpointer options)
{
    Rig *rig = filter_compare(options);

    compare_some(rig);
    g_assert_cmpuint(statistic(rig, "queue-packets"), ==, 2);
    g_assert_cmpuint(statistic(rig, "mismatches-data"), ==, 1);
    /* Off: what is held leaves, and what comes passes */
    qtest_qmp_assert_success(rig->qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': '/objects/c0', 'property': 'status', "
                             "'value': 'off'}}");
    expect_frame(rig->out, 1, 'c');
    expect_frame(rig->out, 1, 'd');
    send_frame(rig->in, 1, 'z');
    expect_frame(rig->out, 1, 'z');
    rig_free(rig);
}

static void test_filter_secondary_down(void)
{
    Rig *rig = filter_compare(",iothread=io");

    secondary_down(rig);
    rig_free(rig);
}

static void test_filter_hostile(void)
{
    Rig *rig = filter_compare(",iothread=io");

    hostile_peer(rig, &rig->secondary, "sec");
    rig_free(rig);
}

/* Long before anything would have to be dropped the guest is slowed down. */
static void test_filter_slowed(void)
{
    Rig *rig = filter_compare("");
    QDict *answer;
    int sent = 0;

    while (!statistic(rig, "slowed")) {
        for (int i = 0; i < 1000; i++) {
            send_frame(rig->in, 1, 'a');
        }
        sent += 1000;
        wait_statistic(rig, "primary-packets", sent);
    }
    g_assert_cmpuint(statistic(rig, "queue-bytes"), >, 128 * 1024 * 1024);
    g_assert_cmpuint(statistic(rig, "queue-bytes"), <, 160 * 1024 * 1024);
    g_assert_cmpuint(statistic(rig, "queue-packets"), ==, sent);
    g_assert_cmpuint(statistic(rig, "primary-dropped"), ==, 0);
    answer = qtest_qmp(rig->qts, "{'execute': 'qom-set', 'arguments': {'path': "
                       "'/objects/c0', 'property': 'status', 'value': 'off'}}");
    g_assert(qdict_haskey(answer, "return"));
    qobject_unref(answer);
    g_assert_cmpuint(statistic(rig, "queue-packets"), ==, 0);
    g_assert_cmpuint(statistic(rig, "slowed"), ==, 1);
    rig_free(rig);
}

/* Deleted, it lets go of what it holds, and of the netdev */
static void test_filter_del(void)
{
    Rig *rig = filter_compare(",iothread=io");

    send_frame(rig->in, 1, 'a');
    send_frame(rig->in, 2, 'b');
    send_frame(rig->secondary, 2, 'b');
    expect_frame(rig->out, 2, 'b');
    qtest_qmp_assert_success(rig->qts, "{'execute': 'object-del', "
                             "'arguments': {'id': 'c0'}}");
    expect_frame(rig->out, 1, 'a');
    send_frame(rig->in, 1, 'c');
    expect_frame(rig->out, 1, 'c');
    rig_free(rig);
}

static void test_filter_object_add(void)
{
    static const char *const bad[] = {
        "'netdev': 'no', 'secondary_in': 'sec'",
        "'netdev': 'n0', 'secondary_in': 'no'",
        "'netdev': 'n0', 'secondary_in': 'nul'",
        "'netdev': 'n0', 'secondary_in': 'sec', 'queue': 'tx'",
        "'netdev': 'n0', 'secondary_in': 'sec', 'position': 'id=no'",
    };
    Rig *rig = rig_new();

    rig->qts = qtest_initf(
        "-M none -chardev null,id=nul -netdev hubport,id=n0,hubid=0 "
        "-chardev socket,id=sec,path=%s/sec,server=on,wait=off", rig->dir);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *command = g_strdup_printf(
            "{'execute': 'object-add', 'arguments': {'qom-type': "
            "'filter-compare', 'id': 'c0', %s}}", bad[i]);
        QDict *answer = qtest_qmp(rig->qts, "%p",
                                  qobject_from_json(command, &error_abort));

        g_test_message("%s", bad[i]);
        g_assert(qdict_haskey(answer, "error"));
        qobject_unref(answer);
    }
    qtest_qmp_assert_success(rig->qts,
        "{'execute': 'object-add', 'arguments': {'qom-type': "
        "'filter-compare', 'id': 'c0', 'netdev': 'n0', "
        "'secondary_in': 'sec'}}");
    rig_free(rig);
}

static void test_filter_quit(gconstpointer options)
{
    quit_primary(filter_compare(options));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("filter-compare/iothread", ",iothread=io", test_filter);
    qtest_add_data_func("filter-compare/main-loop", "", test_filter);
    qtest_add_func("filter-compare/secondary-down", test_filter_secondary_down);
    qtest_add_func("filter-compare/hostile", test_filter_hostile);
    qtest_add_func("filter-compare/slowed", test_filter_slowed);
    qtest_add_func("filter-compare/del", test_filter_del);
    qtest_add_func("filter-compare/object-add", test_filter_object_add);
    qtest_add_data_func("filter-compare/quit/iothread", ",iothread=io",
                        test_filter_quit);
    qtest_add_data_func("filter-compare/quit/main-loop", "", test_filter_quit);
    return g_test_run();
}
