/*
 * Running a pair on real QEMUs
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qobject.h"
#include "pair-run.h"
#include "step.h"

#define POLL_MS 50
#define QUERY_TIMEOUT_MS 5000
#define FIRST_TIMEOUT_MS 30000

typedef struct RunNode {
    PairRun *run;
    int index;
    VM *vm;
    unsigned kill_id;      /* action to be ended when it is gone */
    bool polling;          /* a query is on its way */
} RunNode;

struct PairRun {
    PairRunConfig config;
    const PairRunOps *ops;
    void *opaque;
    Pair *pair;
    PairState seen;        /* last state given to ops->state */
    RunNode node[PAIR_NODES];
    Step *step;            /* being carried out, or NULL */
    unsigned step_id;
    int step_node;
    GPtrArray *consoles;
    uint64_t copied;       /* bytes of disk or RAM, when last asked */
    guint timer;
    bool driving;
};

static void run_drive(PairRun *run);

static int64_t run_now(void)
{
    return g_get_monotonic_time() / 1000;
}

static void run_report_state(PairRun *run)
{
    PairState state = pair_state(run->pair);

    if (state != run->seen) {
        run->seen = state;
        if (run->ops->state) {
            run->ops->state(run->opaque, state, pair_reason(run->pair));
        }
    }
}

/*
 * The variables of @node's host, as its role is at this moment; @console is
 * the file for the serial console where a QEMU is to be started.
 */
static GHashTable *run_vars(PairRun *run, int node, const char *console)
{
    const PairRunConfig *config = &run->config;
    GHashTable *vars = g_hash_table_new_full(g_str_hash, g_str_equal,
                                             g_free, g_free);
    int primary = pair_primary(run->pair);
    GHashTableIter iter;
    gpointer name, value;

    g_hash_table_iter_init(&iter, config->vars);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        g_hash_table_insert(vars, g_strdup(name), g_strdup(value));
    }
#define SET(name, value) g_hash_table_insert(vars, g_strdup(name), value)
    SET("images", g_strdup(config->node[node].dir));
    SET("tap", g_strdup(config->node[node].tap));
    SET("primary_ip", g_strdup(config->node[primary].address));
    SET("secondary_ip", g_strdup(config->node[!primary].address));
    if (console) {
        SET("local", g_strdup_printf("%s -serial file:%s", config->local,
                                     console));
    }
#undef SET
    return vars;
}

/*
 * Builds of QEMU's own COLO lose what a guest writes to its disk before
 * replication begins; ours, which have this command, do not.
 */
static bool knows_query_colo(const QObject *commands)
{
    QList *list = qobject_to(QList, commands);
    const QListEntry *entry;

    if (list) {
        QLIST_FOREACH_ENTRY(list, entry) {
            QDict *command = qobject_to(QDict, qlist_entry_obj(entry));
            const char *name = command ? qdict_get_try_str(command, "name")
                                       : NULL;

            if (!g_strcmp0(name, "query-colo")) {
                return true;
            }
        }
    }
    return false;
}

static void commands_answered(void *opaque, QObject *ret, const Error *err)
{
    RunNode *node = opaque;
    PairRun *run = node->run;

    /* An answer of a process that is gone ends in an error. */
    if (!err) {
        pair_node_up(run->pair, node->index, !run->config.seed_stopped &&
                     knows_query_colo(ret), run_now());
        run_drive(run);
    }
}

static void vm_is_ready(void *opaque)
{
    RunNode *node = opaque;

    qmp_client_send(vm_qmp(node->vm), "{'execute': 'query-commands'}",
                    FIRST_TIMEOUT_MS, commands_answered, node, NULL);
}

static void vm_event(void *opaque, const char *name, QDict *data,
                     int64_t time_us)
{
    RunNode *node = opaque;
    PairRun *run = node->run;

    if (run->ops->event) {
        run->ops->event(run->opaque, node->index, name, time_us);
    }
    if (g_str_equal(name, "STOP")) {
        pair_stopped(run->pair, node->index);
    } else if (g_str_equal(name, "RESUME")) {
        pair_resumed(run->pair, node->index, run_now());
    } else if (g_str_equal(name, "COLO_LOST") ||
               g_str_equal(name, "COLO_EXIT")) {
        /* QEMU's own has only the second, which knows less */
        const char *reason = data ? qdict_get_try_str(data, "reason") : NULL;

        pair_colo_exit(run->pair, node->index, reason ?: "no reason given",
                       run_now());
    }
    if (run->step && run->step_node == node->index) {
        step_event(run->step, name, data);
    }
    run_drive(run);
}

static void vm_is_gone(void *opaque, const char *why)
{
    RunNode *node = opaque;
    PairRun *run = node->run;
    unsigned kill_id = node->kill_id;
    unsigned step_id = 0;

    node->kill_id = 0;
    node->polling = false;
    if (run->step && run->step_node == node->index) {
        g_clear_pointer(&run->step, step_free);
        step_id = run->step_id;
    }
    pair_node_gone(run->pair, node->index, why, run_now());
    /* Where that has changed the state, these are no longer awaited. */
    pair_step_done(run->pair, step_id, why, run_now());
    pair_step_done(run->pair, kill_id, NULL, run_now());
    run_drive(run);
}

static void step_ended(void *opaque, const char *error)
{
    PairRun *run = opaque;

    pair_step_done(run->pair, run->step_id, error, run_now());
    g_clear_pointer(&run->step, step_free);
    run_drive(run);
}

static void run_kill(PairRun *run, const PairAction *action)
{
    RunNode *node = &run->node[action->node];

    if (node->vm && vm_is_alive(node->vm)) {
        node->kill_id = action->id;
        vm_signal(node->vm, SIGKILL);
    } else {
        pair_step_done(run->pair, action->id, NULL, run_now());
    }
}

static bool run_launch(PairRun *run, const PairAction *action, Error **errp)
{
    static const VMOps ops = {
        .ready = vm_is_ready, .event = vm_event, .gone = vm_is_gone,
    };
    RunNode *node = &run->node[action->node];
    const PairRunNode *host = &run->config.node[action->node];
    unsigned life = run->consoles->len;
    char *console = g_strdup_printf("%s/console-%u.log", host->dir, life);
    g_autoptr(GHashTable) vars = run_vars(run, action->node, console);
    g_autofree char *name = NULL, *log = NULL;
    g_auto(GStrv) argv = NULL;
    char *const *lines;

    /* The array ends in NULL. */
    g_ptr_array_insert(run->consoles, life - 1, console);
    lines = procedure_step_chosen(run->config.procedure, action->step, vars,
                                  errp);
    argv = lines ? step_argv(lines[0], vars, run->config.qemu,
                             run->config.qemu_img, errp) : NULL;
    if (!argv) {
        return false;
    }
    vm_free(node->vm);
    name = g_strdup_printf("QEMU on %s", host->address);
    log = g_strdup_printf("%s/qemu-%u.log", host->dir, life);
    node->polling = false;
    node->vm = vm_start(name, argv, log, &ops, node, errp);
    return node->vm != NULL;
}

static bool run_step(PairRun *run, const PairAction *action, Error **errp)
{
    g_autoptr(GHashTable) vars = run_vars(run, action->node, NULL);
    char *const *lines = procedure_step_chosen(run->config.procedure,
                                               action->step, vars, errp);
    VM *vm = run->node[action->node].vm;
    StepTarget target = {
        .qmp = action->type == PAIR_ACT_QMP ? vm_qmp(vm) : NULL,
        .dir = run->config.node[action->node].dir,
        .qemu = run->config.qemu,
        .qemu_img = run->config.qemu_img,
    };

    if (!lines) {
        return false;
    }
    run->step_id = action->id;
    run->step_node = action->node;
    run->step = step_new(lines, vars, &target, action->lenient,
                         step_ended, run);
    return true;
}

static void run_action(PairRun *run, const PairAction *action)
{
    Error *err = NULL;
    bool ok = true;

    /* A step of a state that was left meanwhile must not go on. */
    g_clear_pointer(&run->step, step_free);
    if (run->ops->step) {
        run->ops->step(run->opaque, action->node, action->step ?: "kill");
    }
    switch (action->type) {
    case PAIR_ACT_KILL:
        run_kill(run, action);
        return;
    case PAIR_ACT_LAUNCH:
        ok = run_launch(run, action, &err);
        if (ok) {
            pair_step_done(run->pair, action->id, NULL, run_now());
        }
        break;
    case PAIR_ACT_SHELL:
    case PAIR_ACT_QMP:
        ok = run_step(run, action, &err);
        break;
    }
    if (!ok) {
        pair_step_done(run->pair, action->id, error_get_pretty(err),
                       run_now());
        error_free(err);
    }
}

/* Carries out what there is to do.  Callbacks may come here again. */
static void run_drive(PairRun *run)
{
    PairAction action;

    if (run->driving) {
        return;
    }
    run->driving = true;
    do {
        run_report_state(run);
        while (pair_next_action(run->pair, &action)) {
            run_action(run, &action);
            run_report_state(run);
        }
    } while (pair_state(run->pair) != run->seen);
    run->driving = false;
}

static void run_copied(PairRun *run, uint64_t bytes)
{
    if (bytes != run->copied) {
        run->copied = bytes;
        pair_progress(run->pair, run_now());
    }
}

static void migration_answered(void *opaque, QObject *ret, const Error *err)
{
    RunNode *node = opaque;
    PairRun *run = node->run;
    QDict *dict = qobject_to(QDict, ret);
    const char *status = dict ? qdict_get_try_str(dict, "status") : NULL;

    node->polling = false;
    if (status) {
        QDict *ram = qdict_get_qdict(dict, "ram");

        if (ram) {
            run_copied(run, qdict_get_try_int(ram, "transferred", 0));
        }
        pair_migration(run->pair, node->index, status, ram ?
                       qdict_get_try_int(ram, "dirty-sync-count", 0) : 0,
                       run_now());
        run_drive(run);
    }
}

static void jobs_answered(void *opaque, QObject *ret, const Error *err)
{
    RunNode *node = opaque;
    PairRun *run = node->run;
    QList *jobs = qobject_to(QList, ret);
    QDict *job = jobs && !qlist_empty(jobs) ?
        qobject_to(QDict, qlist_peek(jobs)) : NULL;

    node->polling = false;
    if (job) {
        uint64_t done = qdict_get_try_int(job, "offset", 0);

        run_copied(run, done);
        if (run->ops->resync) {
            run->ops->resync(run->opaque, done,
                             qdict_get_try_int(job, "len", 0));
        }
    }
}

static void run_poll(RunNode *node, const char *command, QMPReplyFunc *reply)
{
    QMPClient *qmp = node->vm && vm_is_alive(node->vm) ? vm_qmp(node->vm)
                                                       : NULL;

    if (qmp && !node->polling) {
        node->polling = qmp_client_send(qmp, command, QUERY_TIMEOUT_MS,
                                        reply, node, NULL);
    }
}

static gboolean run_timer(gpointer opaque)
{
    PairRun *run = opaque;
    RunNode *primary = &run->node[pair_primary(run->pair)];

    pair_tick(run->pair, run_now());
    if (pair_wants_migration(run->pair)) {
        run_poll(primary, "{'execute': 'query-migrate'}",
                 migration_answered);
    } else if (pair_state(run->pair) == PAIR_RESYNCING) {
        run_poll(primary, "{'execute': 'query-block-jobs'}", jobs_answered);
    }
    run_drive(run);
    return G_SOURCE_CONTINUE;
}

PairRun *pair_run_new(const PairRunConfig *config, const PairRunOps *ops,
                      void *opaque)
{
    PairRun *run = g_new0(PairRun, 1);

    run->config = *config;
    run->ops = ops;
    run->opaque = opaque;
    run->pair = pair_new(config->interval_ms);
    run->consoles = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(run->consoles, NULL);
    for (int i = 0; i < PAIR_NODES; i++) {
        run->node[i] = (RunNode) { .run = run, .index = i };
    }
    run->timer = g_timeout_add(POLL_MS, run_timer, run);
    return run;
}

void pair_run_free(PairRun *run)
{
    if (!run) {
        return;
    }
    g_source_remove(run->timer);
    g_clear_pointer(&run->step, step_free);
    for (int i = 0; i < PAIR_NODES; i++) {
        vm_free(run->node[i].vm);
    }
    g_ptr_array_unref(run->consoles);
    pair_free(run->pair);
    g_free(run);
}

bool pair_run_command(PairRun *run, PairCommand cmd, int node, Error **errp)
{
    bool ok = pair_command(run->pair, cmd, node, run_now(), errp);

    run_drive(run);
    return ok;
}

/* Can only a command lead from @state to @wanted? */
static bool run_is_stuck(PairState state, PairState wanted)
{
    switch (state) {
    case PAIR_LOST:
        return wanted != PAIR_ENDED; /* the other node may die as well */
    case PAIR_FAILED_OVER:
    case PAIR_ABANDONING:
    case PAIR_ENDED:
        return true;
    default:
        return false;
    }
}

bool pair_run_wait(PairRun *run, PairState wanted, int timeout_ms,
                   Error **errp)
{
    int64_t end = run_now() + timeout_ms;

    while (pair_state(run->pair) != wanted) {
        PairState state = pair_state(run->pair);

        if (run_is_stuck(state, wanted)) {
            error_setg(errp, "the pair is %s instead of %s: %s",
                       pair_state_text(state), pair_state_text(wanted),
                       pair_reason(run->pair));
            return false;
        }
        if (run_now() >= end) {
            error_setg(errp, "the pair is still %s and not %s after %d ms",
                       pair_state_text(state), pair_state_text(wanted),
                       timeout_ms);
            return false;
        }
        g_main_context_iteration(NULL, true);
    }
    return true;
}

void pair_run_sleep(PairRun *run, int ms)
{
    int64_t end = run_now() + ms;

    while (run_now() < end) {
        g_main_context_iteration(NULL, true);
    }
}

const Pair *pair_run_pair(PairRun *run)
{
    return run->pair;
}

VM *pair_run_vm(PairRun *run, int node)
{
    return run->node[node].vm;
}

char *const *pair_run_consoles(PairRun *run)
{
    return (char *const *)run->consoles->pdata;
}
