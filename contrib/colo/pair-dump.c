/*
 * What somebody needs to see when a pair hangs
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qjson.h"
#include "pair-run.h"

#define DUMP_TIMEOUT_MS 2000
#define DUMP_TAIL_BYTES 4000

static void dump_query(GString *out, VM *vm, const char *command)
{
    g_autofree char *json = g_strdup_printf("{'execute': '%s'}", command);
    Error *err = NULL;
    QObject *ret = qmp_client_call(vm_qmp(vm), json, DUMP_TIMEOUT_MS, &err);

    if (ret) {
        g_autoptr(GString) text = qobject_to_json(ret);

        g_string_append_printf(out, "  %s: %s\n", command, text->str);
        qobject_unref(ret);
    } else {
        g_string_append_printf(out, "  %s: %s\n", command,
                               error_get_pretty(err));
        error_free(err);
    }
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
        "query-status", "query-migrate", "query-colo-status",
    };
    VM *vm = pair_run_vm(run, node);

    if (!vm || !vm_is_alive(vm)) {
        g_string_append_printf(out, "node %d: no QEMU runs\n", node);
        return;
    }
    g_string_append_printf(out, "node %d: process %d\n", node,
                           (int)vm_pid(vm));
    for (int i = 0; i < ARRAY_SIZE(queries) && vm_is_alive(vm); i++) {
        dump_query(out, vm, queries[i]);
    }
    if (vm_is_alive(vm)) {
        g_autofree char *threads = vm_describe_threads(vm);

        g_string_append(out, threads);
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
