/*
 * A guest alone: its command line, and what can only be done with such a one
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qobject.h"
#include "bench-alone.h"
#include "bench-work.h"
#include "step.h"

#define MEMFD "/memfd:memory-backend-memfd"
#define READY_MS (30 * 1000)
#define LOAD_MS (30 * 1000)

static bool replicates(const char *option, const char *value)
{
    return g_str_equal(option, "-chardev") ||
           (g_str_equal(option, "-object") &&
            (g_str_has_prefix(value, "filter-") ||
             g_str_has_prefix(value, "colo-") ||
             g_str_has_prefix(value, "iothread,")));
}

static GPtrArray *without_replication(char *const *argv)
{
    GPtrArray *out = g_ptr_array_new();

    for (int i = 0; argv[i]; i++) {
        if (argv[i + 1] && replicates(argv[i], argv[i + 1])) {
            i++;
        } else if (!g_str_equal(argv[i], "-S")) {
            g_ptr_array_add(out, g_strdup(argv[i]));
        }
    }
    return out;
}

/* @ram: the object with the RAM.  The rest makes files of device state whole. */
static void add_shared_ram(GPtrArray *out, const char *ram)
{
    const char *const args[] = {
        "-object", ram, "-machine", "memory-backend=ram0,suppress-vmdesc=on",
        "-global", "migration.send-configuration=off",
    };

    for (int i = 0; i < ARRAY_SIZE(args); i++) {
        g_ptr_array_add(out, g_strdup(args[i]));
    }
}

static GPtrArray *alone_args(Scenario *s, const char *console,
                             const char *tap, Error **errp)
{
    char *const *lines = procedure_step(s->procedure, "primary-start", errp);
    g_auto(GStrv) argv = NULL;

#define SET(name, ...) g_hash_table_insert(s->vars, g_strdup(name), \
                                           g_strdup_printf(__VA_ARGS__))
    SET("images", "%s", s->node_dir[0]);
    SET("tap", "ifname=%s,script=no,downscript=no", tap);
    SET("primary_ip", "%s", scenario_addresses[0]);
    SET("secondary_ip", "%s", scenario_addresses[1]);
    SET("local", "%s -serial file:%s", s->local, console);
#undef SET
    argv = lines ? step_argv(lines[0], s->vars, s->config->qemu,
                             s->config->qemu_img, errp) : NULL;
    return argv ? without_replication(argv) : NULL;
}

static char **args_end(GPtrArray *args)
{
    g_ptr_array_add(args, NULL);
    return (char **)g_ptr_array_free(args, false);
}

char **bench_alone_argv(Scenario *s, const char *console, const char *tap,
                        Error **errp)
{
    GPtrArray *args = alone_args(s, console, tap, errp);
    g_autofree char *ram = g_strdup_printf(
        "memory-backend-memfd,id=ram0,size=%dM,share=on",
        s->config->memory_mib);

    if (!args) {
        return NULL;
    }
    if (s->config->shared_ram) {
        add_shared_ram(args, ram);
    }
    return args_end(args);
}

/* Path of the memfd with the RAM of process @pid */
static char *find_ram(pid_t pid, Error **errp)
{
    g_autofree char *dir_path = g_strdup_printf("/proc/%d/fd", (int)pid);
    GDir *dir = g_dir_open(dir_path, 0, NULL);
    const char *fd;
    char *found = NULL;

    while (dir && !found && (fd = g_dir_read_name(dir))) {
        char *path = g_build_filename(dir_path, fd, NULL);
        g_autofree char *target = g_file_read_link(path, NULL);

        if (target && g_str_has_prefix(target, MEMFD)) {
            found = path;
        } else {
            g_free(path);
        }
    }
    if (dir) {
        g_dir_close(dir);
    }
    if (!found) {
        error_setg(errp, "process %d has no RAM in a memfd", (int)pid);
    }
    return found;
}

/* The second QEMU */
typedef struct Twin {
    bool ready;
    char *gone;        /* why it has ended, or NULL */
} Twin;

static void twin_ready(void *opaque)
{
    Twin *twin = opaque;

    twin->ready = true;
}

static void twin_event(void *opaque, const char *name, QDict *data,
                       int64_t time_us)
{
    /* Nothing that it does by itself matters. */
}

static void twin_gone(void *opaque, const char *why)
{
    Twin *twin = opaque;

    twin->gone = g_strdup(why);
}

static bool twin_call(VM *vm, const char *command, Error **errp)
{
    QObject *ret = qmp_client_call(vm_qmp(vm), command, LOAD_MS, errp);
    bool ok = ret != NULL;

    qobject_unref(ret);
    return ok;
}

static gboolean twin_tick(gpointer opaque)
{
    return G_SOURCE_CONTINUE;
}

static bool twin_wait(Twin *twin, Error **errp)
{
    int64_t end = bench_now_ns() + READY_MS * 1000000LL;
    guint timer = g_timeout_add(100, twin_tick, NULL);

    while (!twin->ready && !twin->gone && bench_now_ns() < end) {
        g_main_context_iteration(NULL, true);
    }
    g_source_remove(timer);
    if (!twin->ready) {
        error_setg(errp, "a second QEMU did not start: %s",
                   twin->gone ?: "its monitor is silent");
    }
    return twin->ready;
}

/*
 * The listener is for nobody: xen-load-devices-state in the end takes away what
 * only the begin of a migration has made.
 */
static bool twin_load(VM *vm, const char *dir, const char *file, double *ms,
                      Error **errp)
{
    g_autofree char *listen = g_strdup_printf(
        "{'execute': 'migrate-incoming', 'arguments': "
        "{'uri': 'unix:%s/nobody'}}", dir);
    g_autofree char *load = g_strdup_printf(
        "{'execute': 'xen-load-devices-state', 'arguments': "
        "{'filename': '%s'}}", file);
    int64_t start;
    bool ok;

    if (!twin_call(vm, listen, errp)) {
        return false;
    }
    start = bench_now_ns();
    ok = twin_call(vm, load, errp);
    *ms = (bench_now_ns() - start) / 1e6;
    return ok;
}

bool bench_alone_load(Scenario *s, pid_t pid, const char *file, double *ms,
                      Error **errp)
{
    static const VMOps ops = {
        .ready = twin_ready, .event = twin_event, .gone = twin_gone,
    };
    g_autofree char *dir = g_strdup(s->node_dir[1]);
    g_autofree char *console = g_strdup_printf("%s/twin-console.log", dir);
    g_autofree char *log = g_strdup_printf("%s/twin.log", dir);
    g_autofree char *path = find_ram(pid, errp);
    GPtrArray *args = path ? alone_args(s, console, "tap1", errp) : NULL;
    g_autofree char *ram = g_strdup_printf(
        "memory-backend-file,id=ram0,size=%dM,mem-path=%s,share=off",
        s->config->memory_mib, path);
    g_auto(GStrv) argv = NULL;
    Twin twin = { };
    VM *vm;
    bool ok;

    if (!args) {
        return false;
    }
    add_shared_ram(args, ram);
    g_ptr_array_add(args, g_strdup("-incoming"));
    g_ptr_array_add(args, g_strdup("defer"));
    argv = args_end(args);
    vm = vm_start("a second QEMU", argv, log, &ops, &twin, errp);
    ok = vm && twin_wait(&twin, errp) && twin_load(vm, dir, file, ms, errp);
    if (vm) {
        vm_free(vm);
    }
    g_free(twin.gone);
    return ok;
}
