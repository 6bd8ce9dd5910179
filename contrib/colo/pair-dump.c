/*
 * What somebody needs to see when a pair hangs
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qstring.h"
#include "pair-run.h"

#define DUMP_TIMEOUT_MS 2000
#define DUMP_TAIL_BYTES 4000

static VM *living_vm(PairRun *run, int node)
{
    VM *vm = pair_run_vm(run, node);

    return vm && vm_is_alive(vm) ? vm : NULL;
}

/* The answer as text; asking iterates the main loop, so @vm may go. */
static void dump_query(GString *out, PairRun *run, int node,
                       const char *command)
{
    VM *vm = living_vm(run, node);
    Error *err = NULL;
    QObject *ret;

    if (!vm) {
        return;
    }
    ret = qmp_client_call(vm_qmp(vm), command, DUMP_TIMEOUT_MS, &err);
    if (!ret) {
        g_string_append_printf(out, "  %s\n", error_get_pretty(err));
        error_free(err);
    } else if (qobject_type(ret) == QTYPE_QSTRING) {
        g_string_append(out, qstring_get_str(qobject_to(QString, ret)));
    } else {
        g_autoptr(GString) text = qobject_to_json(ret);

        g_string_append_printf(out, "  %s\n", text->str);
    }
    qobject_unref(ret);
}

static void dump_tail(GString *out, const char *path)
{
    g_autofree char *text = NULL;
    gsize length;

    if (!g_file_get_contents(path, &text, &length, NULL) || !length) {
        return;
    }
    g_string_append_printf(out, "  the end of %s:\n%s\n", path,
                           text + length - MIN(length, DUMP_TAIL_BYTES));
}

static void dump_node(GString *out, PairRun *run, int node)
{
    static const char *const queries[] = {
        "{'execute': 'query-status'}",
        "{'execute': 'query-migrate'}",
        "{'execute': 'query-colo-status'}",
        "{'execute': 'query-block-jobs'}",
        "{'execute': 'human-monitor-command',"
        " 'arguments': {'command-line': 'info registers -a'}}",
        "{'execute': 'human-monitor-command',"
        " 'arguments': {'command-line': 'info network'}}",
    };
    VM *vm = living_vm(run, node);

    if (!vm) {
        g_string_append_printf(out, "node %d: no QEMU runs\n", node);
        return;
    }
    g_string_append_printf(out, "node %d: process %d\n", node,
                           (int)vm_pid(vm));
    for (int i = 0; i < ARRAY_SIZE(queries); i++) {
        dump_query(out, run, node, queries[i]);
    }
    vm = living_vm(run, node);
    if (vm) {
        g_autofree char *threads = vm_describe_threads(vm);

        g_string_append(out, threads);
    }
}

/* Bytes that nobody reads show which channel stands still. */
static void dump_sockets(GString *out)
{
    static const char *const argv[] = { "ss", "-tan", NULL };
    g_autofree char *text = NULL;

    if (g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL,
                     NULL, &text, NULL, NULL, NULL)) {
        g_string_append(out, text);
    }
}

char *pair_run_dump(PairRun *run)
{
    GString *out = g_string_new(NULL);
    const Pair *pair = pair_run_pair(run);
    char *const *consoles = pair_run_consoles(run);

    g_string_append_printf(out, "pair: %s (%s), primary is node %d, "
                           "%" PRIu64 " checkpoints\n",
                           pair_state_text(pair_state(pair)),
                           pair_reason(pair), pair_primary(pair),
                           pair_checkpoints(pair));
    for (int i = 0; i < PAIR_NODES; i++) {
        dump_node(out, run, i);
    }
    dump_sockets(out);
    for (int i = 0; consoles[i]; i++) {
        g_autofree char *log = g_strdup(consoles[i]);
        char *name = strrchr(log, '/') + 1;

        dump_tail(out, consoles[i]);
        /* console-N.log stands beside qemu-N.log */
        memmove(name + strlen("qemu"), name + strlen("console"),
                strlen(name + strlen("console")) + 1);
        memcpy(name, "qemu", strlen("qemu"));
        dump_tail(out, log);
    }
    return g_string_free(out, false);
}
