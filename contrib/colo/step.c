/*
 * One step of the procedure, carried out line by line
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/wait.h>
#include "qapi/qmp/qstring.h"
#include "procedure.h"
#include "step.h"

#define COMMAND_TIMEOUT_MS 30000

struct Step {
    GPtrArray *lines;      /* expanded */
    guint next;            /* the line to carry out next */
    StepTarget target;
    bool lenient;
    void (*ended)(void *opaque, const char *error);
    void *opaque;
    GHashTable *events;    /* came during this step: name to error or "" */
    const char *awaited;   /* event, or NULL */
    bool failed;           /* the line before has failed (lenient) */
    bool *alive;           /* cleared by step_free(), for late replies */
    guint idle;
    guint watch;           /* of the child process */
    GPid child;
};

/*
 * A command's answer may come after the step was freed, so it goes through
 * this, which knows whether there is still somebody to tell.
 */
typedef struct StepCall {
    Step *step;
    bool alive;
} StepCall;

static void step_schedule(Step *step);

static void step_finish(Step *step, const char *error)
{
    step->ended(step->opaque, error);
    /* @step may be gone */
}

static void step_line_done(Step *step, const char *error)
{
    const char *line = g_ptr_array_index(step->lines, step->next);
    g_autofree char *what = NULL;

    step->failed = error != NULL;
    if (error && !step->lenient) {
        what = g_strdup_printf("'%.100s': %s", line, error);
        step_finish(step, what);
        return;
    }
    step->next++;
    step_schedule(step);
}

/* human-monitor-command succeeds with the error as text. */
static const char *hmp_complaint(QObject *ret)
{
    QString *string = qobject_to(QString, ret);
    const char *text = string ? qstring_get_str(string) : "";

    text += strspn(text, " \r\n");
    return *text && !g_str_has_prefix(text, "OK") ? text : NULL;
}

static void command_answered(void *opaque, QObject *ret, const Error *err)
{
    StepCall *call = opaque;

    if (call->alive) {
        Step *step = call->step;

        step->alive = NULL;
        step_line_done(step, err ? error_get_pretty(err)
                                 : hmp_complaint(ret));
    }
    g_free(call);
}

static void step_send(Step *step, const char *line)
{
    StepCall *call;
    Error *err = NULL;

    if (!step->target.qmp) {
        step_line_done(step, "there is no monitor to type this at");
        return;
    }
    call = g_new(StepCall, 1);
    *call = (StepCall) { .step = step, .alive = true };
    step->alive = &call->alive;
    if (!qmp_client_send(step->target.qmp, line, COMMAND_TIMEOUT_MS,
                         command_answered, call, &err)) {
        step->alive = NULL;
        g_free(call);
        step_line_done(step, error_get_pretty(err));
        error_free(err);
    }
}

static void step_check_awaited(Step *step)
{
    const char *error = NULL;

    if (!step->awaited) {
        return;
    }
    if (g_hash_table_contains(step->events, step->awaited)) {
        error = g_hash_table_lookup(step->events, step->awaited);
    } else if (g_hash_table_contains(step->events, "BLOCK_JOB_COMPLETED")) {
        /* The job that was to become ready has ended before. */
        error = g_hash_table_lookup(step->events, "BLOCK_JOB_COMPLETED");
        error = *error ? error : "the job ended too early";
    } else {
        return;
    }
    step->awaited = NULL;
    step_line_done(step, *error ? error : NULL);
}

static void step_wait(Step *step, const char *event)
{
    if (step->lenient && step->failed) {
        step_line_done(step, NULL);
        return;
    }
    step->awaited = event;
    step_check_awaited(step);
}

void step_event(Step *step, const char *name, QDict *data)
{
    const char *error = data ? qdict_get_try_str(data, "error") : NULL;

    g_hash_table_insert(step->events, g_strdup(name), g_strdup(error ?: ""));
    step_check_awaited(step);
}

/* The words of an expanded shell line, with the programs' own paths. */
static char **split_argv(const char *line, const char *qemu,
                         const char *qemu_img, Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    const char *program = NULL;
    char **argv;

    if (!g_shell_parse_argv(line, NULL, &argv, &gerr)) {
        error_setg(errp, "'%s': %s", line, gerr->message);
        return NULL;
    }
    if (g_str_equal(argv[0], "qemu-system-x86_64")) {
        program = qemu;
    } else if (g_str_equal(argv[0], "qemu-img")) {
        program = qemu_img;
    }
    if (program) {
        g_free(argv[0]);
        argv[0] = g_strdup(program);
    }
    return argv;
}

char **step_argv(const char *line, GHashTable *vars, const char *qemu,
                 const char *qemu_img, Error **errp)
{
    g_autofree char *expanded = procedure_expand(line, vars, errp);

    return expanded ? split_argv(expanded, qemu, qemu_img, errp) : NULL;
}

/* The last line that a command has written, "" if there is none. */
static char *last_line(const char *dir)
{
    g_autofree char *path = g_strdup_printf("%s/commands.log", dir);
    g_autofree char *text = NULL;
    char *start;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return g_strdup("");
    }
    g_strchomp(text);
    start = strrchr(text, '\n');
    return g_strdup(start ? start + 1 : text);
}

static void child_exited(GPid pid, gint status, gpointer opaque)
{
    Step *step = opaque;
    g_autoptr(GError) gerr = NULL;
    g_autofree char *what = NULL;

    step->child = 0;
    step->watch = 0;
    if (!g_spawn_check_exit_status(status, &gerr)) {
        g_autofree char *last = last_line(step->target.dir);

        what = g_strdup_printf("%s: %s", gerr->message, last);
    }
    step_line_done(step, what);
}

/* Runs between fork and exec.  A group of its own is killed as a whole. */
static void child_setup(gpointer opaque)
{
    setpgid(0, 0);
    dup2(GPOINTER_TO_INT(opaque), STDOUT_FILENO);
    dup2(GPOINTER_TO_INT(opaque), STDERR_FILENO);
}

static void step_shell(Step *step, const char *line)
{
    g_autofree char *log = g_strdup_printf("%s/commands.log",
                                           step->target.dir);
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) gerr = NULL;
    Error *err = NULL;
    int fd;

    argv = split_argv(line, step->target.qemu, step->target.qemu_img, &err);
    if (!argv) {
        step_line_done(step, error_get_pretty(err));
        error_free(err);
        return;
    }
    fd = qemu_create(log, O_WRONLY | O_APPEND, 0600, &err);
    if (fd < 0) {
        step_line_done(step, error_get_pretty(err));
        error_free(err);
        return;
    }
    if (!g_spawn_async(NULL, argv, NULL,
                       G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                       child_setup, GINT_TO_POINTER(fd), &step->child,
                       &gerr)) {
        step->child = 0;
        step_line_done(step, gerr->message);
    } else {
        step->watch = g_child_watch_add(step->child, child_exited, step);
    }
    close(fd);
}

static gboolean step_carry_on(gpointer opaque)
{
    Step *step = opaque;
    const char *line, *event;

    step->idle = 0;
    if (step->next == step->lines->len) {
        step_finish(step, NULL);
        return G_SOURCE_REMOVE;
    }
    line = g_ptr_array_index(step->lines, step->next);
    event = procedure_wait_event(line);
    if (event) {
        step_wait(step, event);
    } else if (procedure_is_qmp(line)) {
        step_send(step, line);
    } else {
        step_shell(step, line);
    }
    return G_SOURCE_REMOVE;
}

/* From the main loop, so that @ended never comes out of step_new(). */
static void step_schedule(Step *step)
{
    step->idle = g_idle_add_full(G_PRIORITY_DEFAULT, step_carry_on, step,
                                 NULL);
}

static gboolean step_expansion_failed(gpointer opaque)
{
    Step *step = opaque;

    step->idle = 0;
    step_finish(step, g_ptr_array_index(step->lines, 0));
    return G_SOURCE_REMOVE;
}

Step *step_new(char *const *lines, GHashTable *vars, const StepTarget *target,
               bool lenient, void (*ended)(void *opaque, const char *error),
               void *opaque)
{
    Step *step = g_new0(Step, 1);

    step->lines = g_ptr_array_new_with_free_func(g_free);
    step->target = *target;
    step->lenient = lenient;
    step->ended = ended;
    step->opaque = opaque;
    step->events = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                         g_free);
    for (int i = 0; lines[i]; i++) {
        Error *err = NULL;
        char *line = procedure_expand(lines[i], vars, &err);

        if (!line) {
            g_ptr_array_set_size(step->lines, 0);
            g_ptr_array_add(step->lines, g_strdup(error_get_pretty(err)));
            error_free(err);
            step->idle = g_idle_add(step_expansion_failed, step);
            return step;
        }
        g_ptr_array_add(step->lines, line);
    }
    step_schedule(step);
    return step;
}

void step_free(Step *step)
{
    if (!step) {
        return;
    }
    if (step->alive) {
        *step->alive = false;
    }
    if (step->idle) {
        g_source_remove(step->idle);
    }
    if (step->watch) {
        /* It must not go on with what the next step does anew. */
        g_source_remove(step->watch);
        kill(-step->child, SIGKILL);
        waitpid(step->child, NULL, 0);
    }
    g_hash_table_unref(step->events);
    g_ptr_array_unref(step->lines);
    g_free(step);
}
