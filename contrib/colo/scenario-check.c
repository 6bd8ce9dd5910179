/*
 * Scenario: is all as it must be?
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "console.h"
#include "scenario-priv.h"

void scenario_dump(Scenario *s)
{
    g_autofree char *path = g_strdup_printf("%s/dump.txt", s->dir);
    g_autofree char *text = NULL;

    /* The first one is the one that tells. */
    if (s->run && !g_file_test(path, G_FILE_TEST_EXISTS)) {
        text = pair_run_dump(s->run);
        g_file_set_contents(path, text, -1, NULL);
    }
}

void scenario_trouble(Scenario *s, const char *fmt, ...)
{
    va_list ap;

    if (s->trouble) {
        return;
    }
    va_start(ap, fmt);
    s->trouble = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    timeline_event(s->timeline, "trouble", "!!!! %s", s->trouble);
    guest_give_up(s->trouble);
    scenario_dump(s);
}

bool scenario_check_trouble(Scenario *s, Error **errp)
{
    if (s->trouble) {
        error_setg(errp, "%s", s->trouble);
        return false;
    }
    return true;
}

bool scenario_check_consoles(Scenario *s, bool all, Error **errp)
{
    char *const *consoles = pair_run_consoles(s->run);

    for (int i = 0; consoles[i]; i++) {
        g_autofree char *text = NULL;
        g_autofree char *trouble = NULL;
        g_autoptr(GError) gerr = NULL;

        if (!g_file_get_contents(consoles[i], &text, NULL, &gerr)) {
            if (!all) {
                continue;
            }
            error_setg(errp, "no console: %s", gerr->message);
            return false;
        }
        trouble = console_find_trouble(text);
        if (trouble) {
            error_setg(errp, "a guest complains on its console (%s): %s",
                       consoles[i], trouble);
            return false;
        }
    }
    return true;
}

bool scenario_check_booted(Scenario *s, Error **errp)
{
    char *const *consoles = pair_run_consoles(s->run);

    for (int i = 0; consoles[i]; i++) {
        g_autofree char *text = NULL;

        if (g_file_get_contents(consoles[i], &text, NULL, NULL) &&
            strstr(text, "guestd: ready")) {
            return true;
        }
    }
    error_setg(errp, "no console has seen the guest start: are the guest's "
               "messages lost?");
    return false;
}

bool scenario_check_stream(Scenario *s, Error **errp)
{
    StreamStats stats;

    if (!scenario_check_trouble(s, errp)) {
        return false;
    }
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

bool scenario_await_records(Scenario *s, unsigned count, Error **errp)
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

bool scenario_command(Scenario *s, const char *command, Error **errp)
{
    g_autofree char *answer = guest_command(GUEST, command, ANSWER_MS, errp);

    return answer != NULL;
}

bool scenario_check_load(Scenario *s, Error **errp)
{
    g_autofree char *command = g_strdup_printf("disk-verify %d %d",
                                               LOAD_START_KIB, LOAD_SPAN_KIB);
    g_autofree char *answer = guest_command(GUEST, command, ANSWER_MS, errp);
    uint64_t count, highest;
    char rest;

    if (!answer) {
        return false;
    }
    if (sscanf(answer, "%" SCNu64 " %" SCNu64 "%c", &count, &highest,
               &rest) != 2 || !count || highest <= s->load_highest) {
        error_setg(errp, "the guest's disk load has not gone on: '%s' after "
                   "block %" PRIu64, answer, s->load_highest);
        return false;
    }
    s->load_highest = highest;
    return true;
}

bool scenario_check_images(Scenario *s, Error **errp)
{
    g_autofree char *compare = g_strdup_printf(
        "qemu-img compare -f qcow2 -F qcow2 %s/primary.qcow2 "
        "%s/primary.qcow2", s->node_dir[0], s->node_dir[1]);
    g_autofree char *convert = g_strdup_printf(
        "qemu-img convert -f qcow2 -O raw %s/primary.qcow2 %s/disk.raw",
        s->node_dir[0], s->dir);
    g_autofree char *raw = g_strdup_printf("%s/disk.raw", s->dir);
    char *const lines[] = { compare, convert, NULL };

    if (!scenario_shell(s, s->dir, lines, s->vars, errp)) {
        return false;
    }
    s->report->disks_equal = true;
    return ledger_verify_image(s->ledger, raw, errp);
}
