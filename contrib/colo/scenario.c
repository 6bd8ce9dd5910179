/*
 * The life of a pair through several deaths
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "console.h"
#include "ledger.h"
#include "pair-run.h"
#include "procedure-text.h"
#include "sandbox.h"
#include "scenario.h"
#include "stream.h"

#define GUEST SANDBOX_GUEST_IP4
#define COUNTER_PORT 1001

/* Bounds for a machine much slower than ours; they only end what hangs. */
#define BOOT_MS (180 * 1000)
#define PROTECT_MS (300 * 1000)
#define FAILOVER_MS (120 * 1000)
#define ANSWER_MS (60 * 1000)
#define STATUS_MS 100

typedef struct Scenario {
    const ScenarioConfig *config;
    Timeline *timeline;
    ScenarioReport *report;
    const char *dir;
    char *node_dir[PAIR_NODES];
    Procedure *procedure;
    GHashTable *vars;
    char *local;
    PairRun *run;
    Stream *stream;
    Ledger *ledger;
    uint64_t resync_done, resync_total;   /* bytes */
    double resync_start;                  /* timeline's seconds */
    guint status_timer;
} Scenario;

static const char *const addresses[PAIR_NODES] = { "127.0.0.1", "127.0.0.2" };

void scenario_defaults(ScenarioConfig *config)
{
    *config = (ScenarioConfig) {
        .machine = "pc", .nic = "rtl8139", .disk = "ide", .accel = "tcg",
        .smp = 1, .memory_mib = 256, .disk_mib = 256, .interval_ms = 500,
        .cycles = 1, .record_us = 20 * 1000, .dwell_ms = 4000,
    };
}

static void scenario_state(void *opaque, PairState state, const char *reason)
{
    Scenario *s = opaque;
    g_autofree char *text = g_ascii_strup(pair_state_text(state), -1);

    if (state == PAIR_SEEDING && s->resync_total) {
        timeline_event(s->timeline, "resynced", "   %" PRIu64 " MiB of disk "
                       "made equal in %.2f s, the guest ran meanwhile",
                       s->resync_total >> 20,
                       timeline_seconds(s->timeline) - s->resync_start);
        s->resync_total = 0;
    } else if (state == PAIR_RESYNCING) {
        s->resync_start = timeline_seconds(s->timeline);
    }

    timeline_event(s->timeline, pair_state_text(state), "%-12s %s", text,
                   reason);
}

static void scenario_step(void *opaque, int node, const char *step)
{
    Scenario *s = opaque;

    timeline_event(s->timeline, "step", "   %s: %s", addresses[node], step);
}

static void scenario_resync(void *opaque, uint64_t done, uint64_t total)
{
    Scenario *s = opaque;

    s->resync_done = done;
    s->resync_total = total;
}

static gboolean scenario_show_status(gpointer opaque)
{
    Scenario *s = opaque;
    const Pair *pair = pair_run_pair(s->run);
    PairState state = pair_state(pair);
    g_autoptr(GString) line = g_string_new(NULL);
    StreamStats stats;

    g_string_append_printf(line, "[%s] primary %s, checkpoints %" PRIu64,
                           pair_state_text(state),
                           addresses[pair_primary(pair)],
                           pair_checkpoints(pair));
    if (state == PAIR_RESYNCING && s->resync_total) {
        g_string_append_printf(line, ", disk %.0f %%", 100.0 *
                               s->resync_done / s->resync_total);
    }
    if (s->stream) {
        stream_stats(s->stream, &stats);
        g_string_append_printf(line, ", records %" PRIu64
                               ", gap %.1f s (longest %.1f s)",
                               stats.records, stats.current_gap_us / 1e6,
                               MAX(stats.gap_us, stats.current_gap_us) / 1e6);
    }
    timeline_status(s->timeline, "%s", line->str);
    return G_SOURCE_CONTINUE;
}

static void scenario_stream_broken(void *opaque, const char *why)
{
    Scenario *s = opaque;

    timeline_event(s->timeline, "broken", "the client's connection broke: %s",
                   why);
}

static bool choose_devices(const Procedure *procedure,
                           const ScenarioConfig *c, GHashTable *vars,
                           Error **errp)
{
    return procedure_choose(procedure, "machine", c->machine, vars, errp) &&
           procedure_choose(procedure, "nic", c->nic, vars, errp) &&
           procedure_choose(procedure, "disk", c->disk, vars, errp);
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

static char *scenario_local(const ScenarioConfig *config)
{
    g_autofree char *kernel = g_shell_quote(config->kernel);
    g_autofree char *initrd = g_shell_quote(config->initrd);

    return g_strdup_printf(
        "-display none -vga none -kernel %s -initrd %s -append "
        "'console=ttyS0 quiet panic=0 nokaslr random.trust_cpu=on "
        "colo.ip=" SANDBOX_GUEST_IP4 "/24 colo.ip6=" SANDBOX_GUEST_IP6 "/64'",
        kernel, initrd);
}

static bool scenario_make_disks(Scenario *s, Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    int status = 0;

    for (int i = 0; i < PAIR_NODES; i++) {
        g_autofree char *image = NULL;
        g_autofree char *size = g_strdup_printf("%dM", s->config->disk_mib);

        s->node_dir[i] = g_strdup_printf("%s/host%d", s->dir, i);
        if (g_mkdir(s->node_dir[i], 0700)) {
            error_setg_errno(errp, errno, "cannot make %s", s->node_dir[i]);
            return false;
        }
        image = g_strdup_printf("%s/primary.qcow2", s->node_dir[i]);
        const char *argv[] = {
            s->config->qemu_img, "create", "-q", "-f", "qcow2", image, size,
            NULL,
        };
        if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH,
                          NULL, NULL, NULL, NULL, &status, &gerr) ||
            !g_spawn_check_exit_status(status, &gerr)) {
            error_setg(errp, "%s: %s", s->config->qemu_img, gerr->message);
            return false;
        }
    }
    return true;
}

static bool scenario_prepare(Scenario *s, Error **errp)
{
    static const PairRunOps ops = {
        .state = scenario_state, .step = scenario_step,
        .resync = scenario_resync,
    };
    PairRunConfig config;

    s->procedure = procedure_parse(colo_procedure_text, errp);
    if (!s->procedure || !scenario_set_vars(s, errp) ||
        !scenario_make_disks(s, errp)) {
        return false;
    }
    s->local = scenario_local(s->config);
    config = (PairRunConfig) {
        .procedure = s->procedure, .vars = s->vars, .local = s->local,
        .qemu = s->config->qemu, .qemu_img = s->config->qemu_img,
        .node = {
            { addresses[0], s->node_dir[0],
              "ifname=tap0,script=no,downscript=no" },
            { addresses[1], s->node_dir[1],
              "ifname=tap1,script=no,downscript=no" },
        },
    };
    s->run = pair_run_new(&config, &ops, s);
    s->status_timer = g_timeout_add(STATUS_MS, scenario_show_status, s);
    return true;
}

/* No guest may have complained on its console, the dead ones included. */
static bool scenario_check_consoles(Scenario *s, Error **errp)
{
    char *const *consoles = pair_run_consoles(s->run);

    for (int i = 0; consoles[i]; i++) {
        g_autofree char *text = NULL;
        g_autofree char *trouble = NULL;

        if (!g_file_get_contents(consoles[i], &text, NULL, NULL)) {
            continue; /* that QEMU never came as far */
        }
        trouble = console_find_trouble(text);
        if (trouble) {
            error_setg(errp, "%s: %s", consoles[i], trouble);
            return false;
        }
    }
    return true;
}

static bool scenario_check_stream(Scenario *s, Error **errp)
{
    StreamStats stats;

    if (stream_error(s->stream)) {
        error_setg(errp, "the client's connection broke: %s",
                   stream_error(s->stream));
        return false;
    }
    stream_stats(s->stream, &stats);
    s->report->records = stats.records;
    s->report->gap_ms = MAX(s->report->gap_ms, stats.gap_us / 1e3);
    return true;
}

/* Waits until the client has had @count more records. */
static bool scenario_await_records(Scenario *s, unsigned count, Error **errp)
{
    int64_t end = g_get_monotonic_time() + ANSWER_MS * 1000LL;
    StreamStats stats;
    uint64_t wanted;

    stream_stats(s->stream, &stats);
    wanted = stats.records + count;
    while (stats.records < wanted) {
        if (!scenario_check_stream(s, errp)) {
            return false;
        }
        if (g_get_monotonic_time() > end) {
            error_setg(errp, "no record came for %d s", ANSWER_MS / 1000);
            return false;
        }
        g_main_context_iteration(NULL, true);
        stream_stats(s->stream, &stats);
    }
    return scenario_check_stream(s, errp);
}

static bool scenario_command(Scenario *s, const char *command, Error **errp)
{
    g_autofree char *answer = guest_command(GUEST, command, ANSWER_MS, errp);

    return answer != NULL;
}

static bool scenario_protect(Scenario *s, Error **errp)
{
    if (!pair_run_command(s->run, PAIR_CMD_JOIN, 0, errp) ||
        !pair_run_wait(s->run, PAIR_PROTECTED, PROTECT_MS, errp)) {
        return false;
    }
    s->report->joins++;
    s->report->protected_once = true;
    return true;
}

static bool scenario_boot(Scenario *s, Error **errp)
{
    g_autofree char *answer = NULL;

    if (!pair_run_command(s->run, PAIR_CMD_START, 0, errp) ||
        !scenario_protect(s, errp)) {
        return false;
    }
    answer = guest_command(GUEST, "ping", BOOT_MS, errp);
    if (!answer) {
        error_prepend(errp, "the guest does not answer: ");
        return false;
    }
    timeline_event(s->timeline, "guest", "the guest is up and answers at "
                   GUEST);
    if (s->config->busy &&
        (!scenario_command(s, "load 8 16", errp) ||
         !scenario_command(s, "disk-load 128 8192 196608", errp))) {
        return false;
    }
    s->ledger = ledger_new(GUEST, s->config->disk_mib);
    s->stream = stream_open(GUEST, COUNTER_PORT, 0, s->config->record_us,
                            ANSWER_MS, scenario_stream_broken, s, errp);
    if (!s->stream) {
        return false;
    }
    timeline_event(s->timeline, "client", "a client reads numbered records "
                   "over one TCP connection");
    return scenario_await_records(s, 2, errp);
}

/* Protected and at work for a while, with a disk write acknowledged. */
static bool scenario_dwell(Scenario *s, Error **errp)
{
    pair_run_sleep(s->run, s->config->dwell_ms);
    if (pair_state(pair_run_pair(s->run)) != PAIR_PROTECTED) {
        error_setg(errp, "the pair is %s without anybody having killed a "
                   "host: %s", pair_state_text(pair_state(
                   pair_run_pair(s->run))), pair_reason(
                   pair_run_pair(s->run)));
        return false;
    }
    return scenario_check_stream(s, errp) && ledger_write(s->ledger, errp) &&
           ledger_write(s->ledger, errp);
}

/* @victim dies; the other one has to go on as if nothing had been. */
static bool scenario_fail_over(Scenario *s, int victim, Error **errp)
{
    bool primary = victim == pair_primary(pair_run_pair(s->run));
    int64_t killed;
    double ms;

    timeline_event(s->timeline, "kill", "%s the %s at %s is killed "
                   "(SIGKILL)", primary ? "****" : "----",
                   primary ? "primary" : "secondary", addresses[victim]);
    killed = g_get_monotonic_time();
    vm_signal(pair_run_vm(s->run, victim), SIGKILL);
    if (!pair_run_wait(s->run, PAIR_LOST, FAILOVER_MS, errp) ||
        !pair_run_command(s->run, PAIR_CMD_FAILOVER, !victim, errp) ||
        !pair_run_wait(s->run, PAIR_FAILED_OVER, FAILOVER_MS, errp) ||
        !scenario_await_records(s, 1, errp)) {
        return false;
    }
    ms = (g_get_monotonic_time() - killed) / 1e3;
    s->report->failovers++;
    s->report->failover_ms = MAX(s->report->failover_ms, ms);
    timeline_event(s->timeline, "alive", "records go on, %.0f ms after the "
                   "kill (%" PRIu64 " so far, longest gap %.0f ms, %" PRIu64
                   " checkpoints)", ms, s->report->records,
                   s->report->gap_ms,
                   pair_checkpoints(pair_run_pair(s->run)));
    return ledger_verify(s->ledger, errp) &&
           scenario_check_consoles(s, errp);
}

static bool scenario_cycle(Scenario *s, Error **errp)
{
    int primary = pair_primary(pair_run_pair(s->run));

    return scenario_dwell(s, errp) &&
           scenario_fail_over(s, primary, errp) &&
           scenario_protect(s, errp) &&
           scenario_dwell(s, errp) &&
           /* the roles have swapped: @primary is the secondary now */
           scenario_fail_over(s, primary, errp) &&
           scenario_protect(s, errp) &&
           scenario_dwell(s, errp);
}

static bool scenario_compare_disks(Scenario *s, Error **errp)
{
    g_autofree char *a = g_strdup_printf("%s/primary.qcow2", s->node_dir[0]);
    g_autofree char *b = g_strdup_printf("%s/primary.qcow2", s->node_dir[1]);
    const char *argv[] = {
        s->config->qemu_img, "compare", "-f", "qcow2", "-F", "qcow2", a, b,
        NULL,
    };
    g_autofree char *out = NULL;
    g_autofree char *errors = NULL;
    g_autoptr(GError) gerr = NULL;
    int status = 0;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL,
                      NULL, &out, &errors, &status, &gerr) ||
        !g_spawn_check_exit_status(status, &gerr)) {
        error_setg(errp, "the hosts' disks differ: %s %s (%s)",
                   out ? g_strchomp(out) : "",
                   errors ? g_strchomp(errors) : "", gerr->message);
        return false;
    }
    s->report->disks_equal = true;
    return true;
}

/* All is written, read back, and equal on both hosts. */
static bool scenario_verify(Scenario *s, Error **errp)
{
    if (s->config->busy &&
        (!scenario_command(s, "load 0 0", errp) ||
         !scenario_command(s, "disk-load 0 0 0", errp) ||
         !scenario_command(s, "disk-verify 196608 8192", errp))) {
        return false;
    }
    if (!ledger_write(s->ledger, errp) || !ledger_verify(s->ledger, errp) ||
        !scenario_await_records(s, 1, errp)) {
        return false;
    }
    s->report->blocks = ledger_blocks(s->ledger);
    stream_close(s->stream);
    s->stream = NULL;
    if (!scenario_check_consoles(s, errp)) {
        return false;
    }
    /* What was acknowledged must be there even if both hosts die now. */
    for (int i = 0; i < PAIR_NODES; i++) {
        vm_signal(pair_run_vm(s->run, i), SIGKILL);
    }
    if (!pair_run_wait(s->run, PAIR_ENDED, FAILOVER_MS, errp)) {
        return false;
    }
    return scenario_compare_disks(s, errp);
}

static bool scenario_play(Scenario *s, Error **errp)
{
    if (!scenario_prepare(s, errp) || !scenario_boot(s, errp)) {
        return false;
    }
    for (int i = 0; i < s->config->cycles; i++) {
        if (!scenario_cycle(s, errp)) {
            return false;
        }
    }
    return scenario_verify(s, errp);
}

static void scenario_dump(Scenario *s)
{
    g_autofree char *path = g_strdup_printf("%s/dump.txt", s->dir);
    g_autofree char *text = s->run ? pair_run_dump(s->run) : NULL;

    if (text) {
        g_file_set_contents(path, text, -1, NULL);
    }
}

bool scenario_run(const ScenarioConfig *config, Timeline *timeline,
                  const char *dir, ScenarioReport *report, Error **errp)
{
    Scenario s = {
        .config = config, .timeline = timeline, .report = report, .dir = dir,
    };
    bool ok;

    *report = (ScenarioReport) { 0 };
    ok = scenario_play(&s, errp);
    if (s.status_timer) {
        g_source_remove(s.status_timer);
    }
    if (!ok) {
        scenario_dump(&s);
    }
    if (s.run) {
        report->checkpoints = pair_checkpoints(pair_run_pair(s.run));
    }
    stream_close(s.stream);
    ledger_free(s.ledger);
    pair_run_free(s.run);
    g_clear_pointer(&s.vars, g_hash_table_unref);
    procedure_free(s.procedure);
    g_free(s.local);
    for (int i = 0; i < PAIR_NODES; i++) {
        g_free(s.node_dir[i]);
    }
    return ok;
}
