/*
 * A guest to be measured
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <ftw.h>
#include <glib/gstdio.h>
#include "bench-alone.h"
#include "bench-guest.h"
#include "bench-proc.h"
#include "scenario-priv.h"
#include "step.h"

#define NBD_PORT 9999
#define CONSOLE_MS 1000
#define SAMPLE_MS 20
#define SETTLE_S 1.0
#define QMP_MS (30 * 1000)

struct BenchGuest {
    Scenario s;
    ScenarioConfig config;
    ScenarioReport report;
    char *dir;
    bool pair;
    int victim;              /* node that was killed last */
    VM *vm;                  /* alone: its QEMU */
    bool vm_ready;
    BenchPauses pauses;      /* of the present primary */
    void (*resumed)(void *opaque);
    void *resumed_opaque;
    BenchWork *work;         /* in the foreground, or NULL */
    BenchJoin join;
    int64_t resync_us;       /* when the resync began, 0: none goes on */
    guint console_timer, sample_timer;
};

static void guest_trouble(BenchGuest *g, const char *why)
{
    scenario_trouble(&g->s, "%s", why);
    if (g->work) {
        bench_work_stop(g->work);
    }
}

static void guest_event(BenchGuest *g, const char *name, int64_t time_us)
{
    bench_pauses_event(&g->pauses, name, time_us);
    if (g->resumed && g_str_equal(name, "RESUME")) {
        g->resumed(g->resumed_opaque);
    }
}

static void pair_event(void *opaque, int node, const char *name,
                       int64_t time_us)
{
    BenchGuest *g = opaque;

    if (node == pair_primary(pair_run_pair(g->s.run))) {
        guest_event(g, name, time_us);
    }
}

/* The connection is gone when the resync has ended, so look in time. */
static void sample_resync(BenchGuest *g)
{
    BenchBytes bytes;

    if (g->resync_us && bench_socket_bytes(NBD_PORT, &bytes, NULL) &&
        bytes.sockets) {
        g->join.resync_mib = bytes.sent / (double)(1 << 20);
    }
}

static gboolean sample_timer(gpointer opaque)
{
    sample_resync(opaque);
    return G_SOURCE_CONTINUE;
}

static void end_resync(BenchGuest *g)
{
    if (g->resync_us) {
        sample_resync(g);
        g->join.resync_ms = (g_get_monotonic_time() - g->resync_us) / 1e3;
        g->resync_us = 0;
    }
}

static void pair_entered(void *opaque, PairState state, const char *reason)
{
    BenchGuest *g = opaque;

    if (state == PAIR_RESYNCING) {
        g->resync_us = g_get_monotonic_time();
    } else {
        end_resync(g);
    }
    if (!g->s.killing && (state == PAIR_LOST || state == PAIR_ENDED ||
                          state == PAIR_ABANDONING)) {
        g_autofree char *why = g_strdup_printf("the pair is %s: %s",
                                               pair_state_text(state), reason);

        guest_trouble(g, why);
    }
}

static void vm_is_ready(void *opaque)
{
    BenchGuest *g = opaque;

    g->vm_ready = true;
}

static void vm_event(void *opaque, const char *name, QDict *data,
                     int64_t time_us)
{
    guest_event(opaque, name, time_us);
}

static void vm_is_gone(void *opaque, const char *why)
{
    guest_trouble(opaque, why);
}

static gboolean watch_consoles(gpointer opaque)
{
    BenchGuest *g = opaque;
    Error *err = NULL;

    if (!g->s.trouble && !scenario_check_consoles(&g->s, false, &err)) {
        guest_trouble(g, error_get_pretty(err));
        error_free(err);
    }
    return G_SOURCE_CONTINUE;
}

static bool start_alone(BenchGuest *g, Error **errp)
{
    static const VMOps ops = {
        .ready = vm_is_ready, .event = vm_event, .gone = vm_is_gone,
    };
    g_autofree char *log = g_strdup_printf("%s/qemu.log", g->s.node_dir[0]);
    g_autofree char *console = g_strdup_printf("%s/console.log",
                                               g->s.node_dir[0]);
    g_auto(GStrv) argv = bench_alone_argv(&g->s, console, "tap0", errp);

    if (!argv) {
        return false;
    }
    g->vm = vm_start("QEMU alone", argv, log, &ops, g, errp);
    return g->vm != NULL;
}

static bool boot(BenchGuest *g, Error **errp)
{
    g_autofree char *answer = NULL;

    if (g->pair) {
        if (!pair_run_command(g->s.run, PAIR_CMD_START, 0, errp) ||
            !bench_guest_join(g, errp)) {
            return false;
        }
    } else if (!start_alone(g, errp)) {
        return false;
    }
    answer = guest_command(GUEST, "ping", BOOT_MS, errp);
    return answer && bench_guest_sleep(g, SETTLE_S, errp);
}

BenchGuest *bench_guest_start(const ScenarioConfig *config, bool pair,
                              Timeline *timeline, const char *dir,
                              Error **errp)
{
    static const PairRunOps ops = {
        .state = pair_entered, .event = pair_event,
    };
    BenchGuest *g = g_new0(BenchGuest, 1);
    Error *err = NULL;
    bool ok;

    g->config = *config;
    g->dir = g_strdup(dir);
    g->pair = pair;
    bench_pauses_init(&g->pauses);
    g->s = (Scenario) {
        .config = &g->config, .timeline = timeline, .report = &g->report,
        .dir = g->dir,
    };
    if (g_mkdir(dir, 0700)) {
        error_setg_errno(&err, errno, "cannot make %s", dir);
        ok = false;
    } else {
        g->console_timer = g_timeout_add(CONSOLE_MS, watch_consoles, g);
        g->sample_timer = g_timeout_add(SAMPLE_MS, sample_timer, g);
        ok = scenario_prepare(&g->s, &ops, g, &err) && boot(g, &err);
    }
    if (!ok) {
        if (g->s.trouble) {
            error_setg(errp, "%s", g->s.trouble);
            error_free(err);
        } else {
            error_propagate(errp, err);
        }
        bench_guest_free(g);
        return NULL;
    }
    return g;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

void bench_guest_free(BenchGuest *g)
{
    if (!g) {
        return;
    }
    if (g->console_timer) {
        g_source_remove(g->console_timer);
        g_source_remove(g->sample_timer);
    }
    g->s.killing = true;
    vm_free(g->vm);
    scenario_clean_up(&g->s);
    bench_pauses_clear(&g->pauses);
    nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    g_free(g->dir);
    g_free(g);
}

void bench_guest_dump(BenchGuest *g)
{
    scenario_dump(&g->s);
}

bool bench_guest_is_pair(const BenchGuest *g)
{
    return g->pair;
}

bool bench_guest_check(BenchGuest *g, Error **errp)
{
    const Pair *pair = pair_run_pair(g->s.run);

    if (!scenario_check_trouble(&g->s, errp)) {
        return false;
    }
    if (g->pair && !g->s.killing && pair_state(pair) != PAIR_PROTECTED) {
        error_setg(errp, "the pair is %s: %s",
                   pair_state_text(pair_state(pair)), pair_reason(pair));
        return false;
    }
    return true;
}

static gboolean sleep_over(gpointer opaque)
{
    *(bool *)opaque = true;
    return G_SOURCE_REMOVE;
}

bool bench_guest_sleep(BenchGuest *g, double seconds, Error **errp)
{
    bool over = false;
    guint timer = g_timeout_add(seconds * 1000, sleep_over, &over);

    while (!over && !g->s.trouble) {
        g_main_context_iteration(NULL, true);
    }
    if (!over) {
        g_source_remove(timer);
    }
    return bench_guest_check(g, errp);
}

char *bench_guest_ask(BenchGuest *g, const char *command, Error **errp)
{
    return guest_command(GUEST, command, BENCH_ANSWER_MS, errp);
}

bool bench_guest_command(BenchGuest *g, const char *command, Error **errp)
{
    g_autofree char *answer = bench_guest_ask(g, command, errp);

    return answer != NULL;
}

bool bench_guest_work(BenchGuest *g, BenchWorkFunc *func, void *opaque,
                      int timeout_ms, Error **errp)
{
    Error *err = NULL;
    bool ok;

    g->work = bench_work_start(func, opaque, timeout_ms);
    ok = bench_work_finish(g->work, &err);
    g->work = NULL;
    if (!bench_guest_check(g, errp)) {
        error_free(err); /* a consequence of that */
        return false;
    }
    if (!ok) {
        error_propagate(errp, err);
    }
    return ok;
}

static VM *guest_vm(BenchGuest *g, BenchSide side)
{
    int primary = pair_primary(pair_run_pair(g->s.run));

    return !g->pair ? g->vm
                    : pair_run_vm(g->s.run, side == BENCH_PRIMARY ? primary
                                                              : !primary);
}

QObject *bench_guest_qmp_ask(BenchGuest *g, BenchSide side,
                             const char *command, Error **errp)
{
    QMPClient *qmp = vm_qmp(guest_vm(g, side));

    if (!qmp) {
        error_setg(errp, "QEMU is gone");
        return NULL;
    }
    return qmp_client_call(qmp, command, QMP_MS, errp);
}

bool bench_guest_qmp(BenchGuest *g, BenchSide side, const char *command,
                     Error **errp)
{
    QObject *ret = bench_guest_qmp_ask(g, side, command, errp);

    qobject_unref(ret);
    return ret != NULL;
}

bool bench_guest_load_devices(BenchGuest *g, const char *file, double *ms,
                              Error **errp)
{
    return bench_alone_load(&g->s, vm_pid(g->vm), file, ms, errp);
}

pid_t bench_guest_pid(BenchGuest *g, BenchSide side)
{
    return vm_pid(guest_vm(g, side));
}

const BenchPauses *bench_guest_pauses(BenchGuest *g)
{
    return &g->pauses;
}

void bench_guest_on_resume(BenchGuest *g, void (*resumed)(void *opaque),
                           void *opaque)
{
    g->resumed = resumed;
    g->resumed_opaque = opaque;
}

int bench_guest_step_commands(BenchGuest *g, const char *step, Error **errp)
{
    char *const *lines = procedure_step_chosen(g->s.procedure, step, g->s.vars,
                                               errp);
    int count = 0;

    for (int i = 0; lines && lines[i]; i++) {
        count += procedure_is_qmp(lines[i]);
    }
    return lines ? count : -1;
}

void bench_guest_kill(BenchGuest *g, BenchSide side)
{
    int primary = pair_primary(pair_run_pair(g->s.run));

    g->victim = side == BENCH_PRIMARY ? primary : !primary;
    g->s.killing = true;
    if (side == BENCH_PRIMARY) {
        g->pauses.stopped_us = 0; /* it will not resume */
    }
    vm_signal(pair_run_vm(g->s.run, g->victim), SIGKILL);
}

bool bench_guest_fail_over(BenchGuest *g, Error **errp)
{
    bool ok = pair_run_wait(g->s.run, PAIR_LOST, BENCH_FAILOVER_MS, errp) &&
              pair_run_command(g->s.run, PAIR_CMD_FAILOVER, !g->victim,
                               errp) &&
              pair_run_wait(g->s.run, PAIR_FAILED_OVER, BENCH_FAILOVER_MS,
                            errp);

    if (!ok) {
        scenario_dump(&g->s);
    }
    return ok;
}

/* Sum of the pauses since @from */
static double stopped_ms(BenchGuest *g, guint from)
{
    double sum = 0;

    for (guint i = from; i < g->pauses.spans->len; i++) {
        sum += bench_span_ms(&g_array_index(g->pauses.spans, BenchSpan, i));
    }
    return sum;
}

bool bench_guest_join(BenchGuest *g, Error **errp)
{
    guint pauses = g->pauses.spans->len;
    bool ok;

    g->join = (BenchJoin) { .resync_mib = -1 };
    ok = pair_run_command(g->s.run, PAIR_CMD_JOIN, 0, errp) &&
         pair_run_wait(g->s.run, PAIR_PROTECTED, BENCH_PROTECT_MS, errp);
    g->s.killing = false;
    g->join.stopped_ms = stopped_ms(g, pauses);
    if (!ok) {
        scenario_dump(&g->s);
    }
    return ok;
}

const BenchJoin *bench_guest_joined(const BenchGuest *g)
{
    return &g->join;
}
