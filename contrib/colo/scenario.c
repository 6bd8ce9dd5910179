/*
 * The life of a pair through several deaths
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "guest-proto.h"
#include "scenario-priv.h"

#define STATUS_MS 100
#define CONSOLE_MS 1000
#define POLL_MS 5

/* A loss that nobody has caused is no failover to be shown. */
static void scenario_watch_state(Scenario *s, PairState state,
                                 const char *reason)
{
    if (!s->killing && (state == PAIR_LOST || state == PAIR_ENDED ||
                        state == PAIR_ABANDONING)) {
        scenario_trouble(s, "the pair is %s, though nobody has killed a "
                         "host: %s", pair_state_text(state), reason);
    }
}

static void scenario_state(void *opaque, PairState state, const char *reason)
{
    Scenario *s = opaque;

    if (state == PAIR_SEEDING && s->resync_total) {
        timeline_event(s->timeline, "resynced", "   %" PRIu64 " MiB of disk "
                       "made equal in %.2f s",
                       s->resync_total >> 20,
                       timeline_seconds(s->timeline) - s->resync_start);
        s->resync_total = 0;
    } else if (state == PAIR_RESYNCING) {
        s->resync_start = timeline_seconds(s->timeline);
    }

    timeline_state(s->timeline, pair_state_text(state), reason);
    scenario_watch_state(s, state, reason);
}

static uint64_t scenario_records(const Scenario *s)
{
    StreamStats stats;

    stream_stats(s->stream, &stats);
    return stats.records;
}

/* The guest stops, with all but the rest of its RAM sent. */
static void scenario_seeded(Scenario *s)
{
    uint64_t records = scenario_records(s) - s->seed_records;
    double seconds = (g_get_monotonic_time() - s->seed_start) / 1e6;

    s->seed_start = 0;
    timeline_event(s->timeline, "seeded", "   %" PRIu64 " records came while "
                   "RAM was sent, for %.2f s", records, seconds);
    if (!records) {
        scenario_trouble(s, "the guest's client heard nothing while RAM was "
                         "sent");
    }
}

/* How long does the primary's guest stand still until it is protected? */
static void scenario_event(void *opaque, int node, const char *name,
                           int64_t time_us)
{
    Scenario *s = opaque;
    const Pair *pair = pair_run_pair(s->run);

    if (pair_state(pair) != PAIR_SEEDING || node != pair_primary(pair)) {
        return;
    }
    if (g_str_equal(name, "STOP")) {
        s->seed_stop = time_us;
        if (s->seed_start) {
            scenario_seeded(s);
        }
    } else if (g_str_equal(name, "RESUME") && s->seed_stop) {
        double ms = (time_us - s->seed_stop) / 1e3;

        s->seed_stop = 0;
        s->report->seed_stop_ms = MAX(s->report->seed_stop_ms, ms);
        timeline_event(s->timeline, "stood", "   the guest stood still for "
                       "%.0f ms", ms);
    }
}

static void scenario_step(void *opaque, int node, const char *step)
{
    Scenario *s = opaque;

    if (s->stream && !s->config->seed_stopped &&
        g_str_equal(step, "migrate")) {
        s->seed_start = g_get_monotonic_time();
        s->seed_records = scenario_records(s);
    }
    s->report->seed_ends += g_str_equal(step, "seed-end");
    timeline_event(s->timeline, "step", "   %s: %s",
                   scenario_addresses[node], step);
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
                           scenario_addresses[pair_primary(pair)],
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

/* A guest that has crashed would be waited for in vain. */
static gboolean scenario_watch_consoles(gpointer opaque)
{
    Scenario *s = opaque;
    Error *err = NULL;

    if (!s->trouble && !scenario_check_consoles(s, false, &err)) {
        scenario_trouble(s, "%s%s", error_get_pretty(err), s->stream ? "" :
                         " (are kernel and initrd those of build-guest?)");
        error_free(err);
    }
    return G_SOURCE_CONTINUE;
}

static void scenario_stream_broken(void *opaque, const char *why)
{
    Scenario *s = opaque;

    timeline_event(s->timeline, "broken", "the client's connection broke: %s",
                   why);
}

static bool scenario_protect(Scenario *s, Error **errp)
{
    int64_t start = g_get_monotonic_time();

    if (!pair_run_command(s->run, PAIR_CMD_JOIN, 0, errp) ||
        !pair_run_wait(s->run, PAIR_PROTECTED, PROTECT_MS, errp)) {
        return false;
    }
    s->report->joins++;
    s->join_ms = (g_get_monotonic_time() - start) / 1000;
    return true;
}

/* The pair is @a or @b; one that has ended never will be. */
static bool scenario_wait_either(Scenario *s, PairState a, PairState b,
                                 Error **errp)
{
    int64_t end = g_get_monotonic_time() + FAILOVER_MS * 1000LL;
    PairState state;

    while ((state = pair_state(pair_run_pair(s->run))) != a && state != b) {
        if (state == PAIR_ENDED || g_get_monotonic_time() >= end) {
            error_setg(errp, "the pair is %s, and should be %s or %s: %s",
                       pair_state_text(state), pair_state_text(a),
                       pair_state_text(b), pair_reason(pair_run_pair(s->run)));
            return false;
        }
        pair_run_sleep(s->run, POLL_MS);
    }
    return true;
}

/* Until the QEMU started last has begun, so that its console can be read */
static bool scenario_wait_console(Scenario *s, guint before, Error **errp)
{
    int64_t end = g_get_monotonic_time() + PROTECT_MS * 1000LL;
    char *const *consoles = pair_run_consoles(s->run);

    while (g_strv_length((char **)consoles) == before ||
           !g_file_test(consoles[before], G_FILE_TEST_EXISTS)) {
        if (g_get_monotonic_time() >= end) {
            error_setg(errp, "no secondary was started to join");
            return false;
        }
        pair_run_sleep(s->run, POLL_MS);
        consoles = pair_run_consoles(s->run);
    }
    return true;
}

/*
 * A secondary that dies at any moment while it joins, or at the latest when it
 * has.  The guest must not notice.
 */
static bool scenario_join_in_vain(Scenario *s, Error **errp)
{
    const Pair *pair = pair_run_pair(s->run);
    guint before = g_strv_length((char **)pair_run_consoles(s->run));
    int survivor = pair_primary(pair);
    int ms = g_rand_int_range(s->rand, 0, s->join_ms + 1);

    s->killing = true;
    if (!pair_run_command(s->run, PAIR_CMD_JOIN, 0, errp)) {
        return false;
    }
    pair_run_sleep(s->run, ms);
    if (!scenario_wait_console(s, before, errp)) {
        return false;
    }
    timeline_event(s->timeline, "unlucky", "---- %s is killed after %d ms, "
                   "while %s", scenario_addresses[!survivor], ms,
                   pair_state_text(pair_state(pair)));
    vm_signal(pair_run_vm(s->run, !survivor), SIGKILL);
    if (!scenario_wait_either(s, PAIR_FAILED_OVER, PAIR_LOST, errp)) {
        return false;
    }
    if (pair_state(pair) == PAIR_LOST &&
        (!pair_run_command(s->run, PAIR_CMD_FAILOVER, survivor, errp) ||
         !pair_run_wait(s->run, PAIR_FAILED_OVER, FAILOVER_MS, errp))) {
        return false;
    }
    s->killing = false;
    s->seed_start = s->seed_stop = 0;
    s->report->unlucky++;
    return scenario_await_records(s, 1, errp) &&
           ledger_write(s->ledger, errp) && ledger_verify(s->ledger, errp) &&
           scenario_check_consoles(s, true, errp);
}

static bool scenario_rejoin(Scenario *s, Error **errp)
{
    for (int i = 0; i < s->config->unlucky; i++) {
        if (!scenario_join_in_vain(s, errp)) {
            return false;
        }
    }
    return scenario_protect(s, errp);
}

static bool scenario_boot(Scenario *s, Error **errp)
{
    g_autofree char *answer = NULL;
    g_autofree char *disk_load = g_strdup_printf("disk-load 128 %d %d",
                                                 LOAD_SPAN_KIB,
                                                 LOAD_START_KIB);

    if (!pair_run_command(s->run, PAIR_CMD_START, 0, errp) ||
        !scenario_protect(s, errp)) {
        return false;
    }
    answer = guest_command(GUEST, "ping", BOOT_MS, errp);
    if (!answer || !scenario_check_booted(s, errp)) {
        return false;
    }
    s->report->booted = true;
    timeline_event(s->timeline, "guest", "the guest is up and answers at "
                   GUEST);
    if (s->config->busy &&
        (!scenario_command(s, "load 8 16", errp) ||
         !scenario_command(s, disk_load, errp))) {
        return false;
    }
    s->ledger = ledger_new(GUEST, s->config->disk_mib);
    s->stream_checkpoints = pair_checkpoints(pair_run_pair(s->run));
    s->stream = stream_open(GUEST, GUEST_COUNTER_PORT, 0, s->config->record_us,
                            ANSWER_MS, scenario_stream_broken, s, errp);
    if (!s->stream) {
        return false;
    }
    timeline_event(s->timeline, "client", "a client reads numbered records "
                   "over one TCP connection");
    return scenario_await_records(s, 2, errp);
}

static bool scenario_check_protected(Scenario *s, Error **errp)
{
    const Pair *pair = pair_run_pair(s->run);

    if (!scenario_check_trouble(s, errp)) {
        return false;
    }
    if (pair_state(pair) != PAIR_PROTECTED) {
        error_setg(errp, "the pair is %s and not protected: %s",
                   pair_state_text(pair_state(pair)), pair_reason(pair));
        return false;
    }
    return true;
}

/* Protected and at work for a while, with disk writes acknowledged. */
static bool scenario_dwell(Scenario *s, Error **errp)
{
    pair_run_sleep(s->run, s->config->dwell_ms);
    return scenario_check_stream(s, errp) && ledger_write(s->ledger, errp) &&
           ledger_write(s->ledger, errp);
}

/* @victim dies; the other one has to go on as if nothing had been. */
static bool scenario_fail_over(Scenario *s, int victim, Error **errp)
{
    bool primary = victim == pair_primary(pair_run_pair(s->run));
    int64_t killed;
    double ms;

    if (!scenario_check_protected(s, errp)) {
        return false;
    }
    s->killing = true;
    if (!s->report->failovers) {
        s->report->fresh = s->stream_checkpoints ==
                           pair_checkpoints(pair_run_pair(s->run));
    }
    timeline_event(s->timeline, "kill", "%s the %s at %s is killed "
                   "(SIGKILL)", primary ? "****" : "----",
                   primary ? "primary" : "secondary", scenario_addresses[victim]);
    killed = g_get_monotonic_time();
    vm_signal(pair_run_vm(s->run, victim), SIGKILL);
    if (!pair_run_wait(s->run, PAIR_LOST, FAILOVER_MS, errp) ||
        !pair_run_command(s->run, PAIR_CMD_FAILOVER, !victim, errp) ||
        !pair_run_wait(s->run, PAIR_FAILED_OVER, FAILOVER_MS, errp)) {
        return false;
    }
    /* From here on the survivor has to live. */
    s->killing = false;
    if (!scenario_await_records(s, 1, errp)) {
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
           (!s->config->busy || scenario_check_load(s, errp)) &&
           scenario_check_consoles(s, true, errp);
}

static bool scenario_cycle(Scenario *s, Error **errp)
{
    int primary = pair_primary(pair_run_pair(s->run));

    return scenario_dwell(s, errp) &&
           scenario_fail_over(s, primary, errp) &&
           scenario_rejoin(s, errp) &&
           scenario_dwell(s, errp) &&
           /* the roles have swapped: @primary is the secondary now */
           scenario_fail_over(s, primary, errp) &&
           scenario_rejoin(s, errp) &&
           scenario_dwell(s, errp);
}

/* All is written, read back, and equal on both hosts. */
static bool scenario_verify(Scenario *s, Error **errp)
{
    if (s->config->busy &&
        (!scenario_command(s, "load 0 0", errp) ||
         !scenario_command(s, "disk-load 0 0 0", errp) ||
         !scenario_check_load(s, errp))) {
        return false;
    }
    if (!ledger_write(s->ledger, errp) || !ledger_verify(s->ledger, errp) ||
        !scenario_await_records(s, 1, errp)) {
        return false;
    }
    stream_close(s->stream);
    s->stream = NULL;
    if (!scenario_check_consoles(s, true, errp) ||
        !scenario_check_protected(s, errp)) {
        return false;
    }
    /* What was acknowledged must be there even if both hosts die now. */
    s->killing = true;
    for (int i = 0; i < PAIR_NODES; i++) {
        vm_signal(pair_run_vm(s->run, i), SIGKILL);
    }
    if (!pair_run_wait(s->run, PAIR_ENDED, FAILOVER_MS, errp) ||
        !scenario_check_images(s, errp)) {
        return false;
    }
    s->report->blocks = ledger_blocks(s->ledger);
    return true;
}

static bool scenario_play(Scenario *s, Error **errp)
{
    static const PairRunOps ops = {
        .state = scenario_state, .step = scenario_step,
        .event = scenario_event, .resync = scenario_resync,
    };

    if (!scenario_prepare(s, &ops, s, errp)) {
        return false;
    }
    s->rand = g_rand_new_with_seed(s->config->seed);
    s->status_timer = g_timeout_add(STATUS_MS, scenario_show_status, s);
    s->console_timer = g_timeout_add(CONSOLE_MS, scenario_watch_consoles, s);
    if (!scenario_boot(s, errp)) {
        return false;
    }
    for (int i = 0; i < s->config->cycles; i++) {
        if (!scenario_cycle(s, errp)) {
            return false;
        }
    }
    return scenario_verify(s, errp);
}

bool scenario_run(const ScenarioConfig *config, Timeline *timeline,
                  const char *dir, ScenarioReport *report, Error **errp)
{
    Scenario s = {
        .config = config, .timeline = timeline, .report = report, .dir = dir,
    };
    Error *err = NULL;
    bool ok;

    *report = (ScenarioReport) { 0 };
    ok = scenario_play(&s, &err);
    if (!ok && s.trouble) {
        /* The cause, rather than what it has led to */
        error_setg(errp, "%s", s.trouble);
        error_free(err);
    } else if (!ok) {
        error_propagate(errp, err);
    }
    if (!ok) {
        scenario_dump(&s);
    }
    if (s.run) {
        report->checkpoints = pair_checkpoints(pair_run_pair(s.run));
    }
    scenario_clean_up(&s);
    return ok;
}
