/*
 * Scenario: directories, disks and variables, up to a pair that can start
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "procedure-text.h"
#include "scenario-priv.h"
#include "step.h"

const char *const scenario_addresses[PAIR_NODES] = {
    "127.0.0.1", "127.0.0.2",
};

void scenario_defaults(ScenarioConfig *config)
{
    *config = (ScenarioConfig) {
        .machine = "pc", .nic = "rtl8139", .disk = "ide",
        .compare = "colo-compare", .accel = "tcg", .smp = 1,
        .memory_mib = 256, .disk_mib = 256, .interval_ms = 500,
        .cycles = 1, .record_us = 20 * 1000, .dwell_ms = 4000,
    };
}

static bool choose_devices(const Procedure *procedure,
                           const ScenarioConfig *c, GHashTable *vars,
                           Error **errp)
{
    return procedure_choose(procedure, "machine", c->machine, vars, errp) &&
           procedure_choose(procedure, "nic", c->nic, vars, errp) &&
           procedure_choose(procedure, "disk", c->disk, vars, errp) &&
           procedure_choose(procedure, "compare", c->compare, vars, errp);
}

static GHashTable *new_vars(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

bool scenario_check_config(const ScenarioConfig *config, Error **errp)
{
    Procedure *procedure = procedure_parse(colo_procedure_text, errp);
    g_autoptr(GHashTable) vars = new_vars();
    bool ok = procedure && choose_devices(procedure, config, vars, errp);

    procedure_free(procedure);
    return ok;
}

static bool scenario_set_vars(Scenario *s, Error **errp)
{
    const ScenarioConfig *c = s->config;

    s->vars = new_vars();
#define SET(name, ...) g_hash_table_insert(s->vars, g_strdup(name), \
                                           g_strdup_printf(__VA_ARGS__))
    SET("size", "%dM", c->disk_mib);
    SET("accel", "%s", c->accel);
    SET("cpu", g_str_equal(c->accel, "kvm") ? "qemu64,kvmclock=on"
                                            : "qemu64");
    SET("memory", "%d", c->memory_mib);
    SET("smp", "%d", c->smp);
    SET("interval", "%d", c->interval_ms);
#undef SET
    return choose_devices(s->procedure, c, s->vars, errp);
}

/* The guest's RAM where it is not simply QEMU's; files go to @dir. */
static char *scenario_ram(const ScenarioConfig *config, const char *dir,
                          Error **errp)
{
    g_autofree char *backend = NULL;

    if (!config->ram) {
        return g_strdup("");
    }
    if (g_str_equal(config->ram, "memfd")) {
        backend = g_strdup("memory-backend-memfd");
    } else if (g_str_equal(config->ram, "hugepages")) {
        backend = g_strdup("memory-backend-memfd,hugetlb=on");
    } else if (g_str_equal(config->ram, "file")) {
        /* A directory: each QEMU makes a file of its own, which nobody sees */
        backend = g_strdup_printf("memory-backend-file,mem-path=%s", dir);
    } else {
        error_setg(errp, "RAM may be memfd, file or hugepages, not '%s'",
                   config->ram);
        return NULL;
    }
    return g_strdup_printf("-object %s,id=ram0,size=%dM,share=on "
                           "-machine memory-backend=ram0 ", backend,
                           config->memory_mib);
}

static char *scenario_local(const ScenarioConfig *config, const char *ram)
{
    g_autofree char *kernel = g_shell_quote(config->kernel);
    g_autofree char *initrd = g_shell_quote(config->initrd);
    g_autofree char *seed = config->seed_mib ? g_strdup_printf(
        "-global migration.x-max-bandwidth=%d ", config->seed_mib << 20) :
        g_strdup("");

    return g_strdup_printf(
        "%s%s-display none -vga none -kernel %s -initrd %s -append "
        "'console=ttyS0 loglevel=5 panic=0 nokaslr random.trust_cpu=on "
        "colo.ip=" SANDBOX_GUEST_IP4 "/24 colo.ip6=" SANDBOX_GUEST_IP6 "/64 "
        "%s'", ram, seed, kernel, initrd, config->append ?: "");
}

typedef struct ShellRun {
    bool ended;
    char *error;
} ShellRun;

static void shell_ended(void *opaque, const char *error)
{
    ShellRun *run = opaque;

    run->ended = true;
    run->error = g_strdup(error);
}

static gboolean shell_tick(gpointer opaque)
{
    return G_SOURCE_CONTINUE;
}

bool scenario_shell(Scenario *s, const char *dir, char *const *lines,
                    GHashTable *vars, Error **errp)
{
    int64_t end = g_get_monotonic_time() + TOOL_MS * 1000LL;
    StepTarget target = {
        .dir = dir, .qemu = s->config->qemu, .qemu_img = s->config->qemu_img,
    };
    ShellRun run = { };
    Step *step = step_new(lines, vars, &target, false, shell_ended, &run);
    guint timer = g_timeout_add(1000, shell_tick, NULL);
    bool ok;

    while (!run.ended && g_get_monotonic_time() < end) {
        g_main_context_iteration(NULL, true);
    }
    g_source_remove(timer);
    step_free(step);
    ok = run.ended && !run.error;
    if (!run.ended) {
        error_setg(errp, "'%s' did not end within %d s", lines[0],
                   TOOL_MS / 1000);
    } else if (run.error) {
        error_setg(errp, "%s", run.error);
    }
    g_free(run.error);
    return ok;
}

/* What the disk is full of is the same file for both, and never written. */
static bool make_disk_on_base(Scenario *s, const char *dir, Error **errp)
{
    g_autofree char *line = g_strdup_printf(
        "qemu-img create -f qcow2 -F raw -b %s %s/primary.qcow2",
        s->config->disk_base, dir);
    char *const lines[] = { line, NULL };

    return scenario_shell(s, dir, lines, s->vars, errp);
}

/* Both hosts begin with the same disk. */
static bool make_disks(Scenario *s, Error **errp)
{
    char *const *lines = procedure_step(s->procedure, "secondary-disk", errp);

    for (int i = 0; lines && i < PAIR_NODES; i++) {
        s->node_dir[i] = g_strdup_printf("%s/host%d", s->dir, i);
        if (g_mkdir(s->node_dir[i], 0700)) {
            error_setg_errno(errp, errno, "cannot make %s", s->node_dir[i]);
            return false;
        }
        g_hash_table_insert(s->vars, g_strdup("images"),
                            g_strdup(s->node_dir[i]));
        if (!(s->config->disk_base ?
              make_disk_on_base(s, s->node_dir[i], errp) :
              scenario_shell(s, s->node_dir[i], lines, s->vars, errp))) {
            return false;
        }
    }
    return lines != NULL;
}

bool scenario_prepare(Scenario *s, const PairRunOps *ops, void *opaque,
                      Error **errp)
{
    PairRunConfig config;
    g_autofree char *ram = NULL;

    if (strpbrk(s->dir, " ,\"'\\$")) {
        error_setg(errp, "the directory '%s' has a character with a meaning "
                   "for QEMU or the shell: set TMPDIR to a plain one",
                   s->dir);
        return false;
    }
    s->procedure = procedure_parse(colo_procedure_text, errp);
    if (!s->procedure || !scenario_set_vars(s, errp) ||
        !make_disks(s, errp)) {
        return false;
    }
    ram = scenario_ram(s->config, s->dir, errp);
    if (!ram) {
        return false;
    }
    s->local = scenario_local(s->config, ram);
    config = (PairRunConfig) {
        .procedure = s->procedure, .vars = s->vars, .local = s->local,
        .qemu = s->config->qemu, .qemu_img = s->config->qemu_img,
        .interval_ms = s->config->interval_ms,
        .seed_stopped = s->config->seed_stopped,
        .node = {
            { scenario_addresses[0], s->node_dir[0],
              "ifname=tap0,script=no,downscript=no" },
            { scenario_addresses[1], s->node_dir[1],
              "ifname=tap1,script=no,downscript=no" },
        },
    };
    s->run = pair_run_new(&config, ops, opaque);
    return true;
}

void scenario_clean_up(Scenario *s)
{
    guest_give_up(NULL);
    if (s->status_timer) {
        g_source_remove(s->status_timer);
        g_source_remove(s->console_timer);
    }
    stream_close(s->stream);
    ledger_free(s->ledger);
    pair_run_free(s->run);
    g_clear_pointer(&s->vars, g_hash_table_unref);
    procedure_free(s->procedure);
    g_free(s->local);
    g_free(s->trouble);
    if (s->rand) {
        g_rand_free(s->rand);
    }
    for (int i = 0; i < PAIR_NODES; i++) {
        g_free(s->node_dir[i]);
    }
}
