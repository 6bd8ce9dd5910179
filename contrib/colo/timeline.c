/*
 * Timeline of a pair, for people and for programs
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qnum.h"
#include "timeline.h"

#define ERASE_LINE "\r\033[K"

struct Timeline {
    TimelineStyle style;
    bool terminal;
    bool status_shown;
    int64_t start_us;
};

Timeline *timeline_new(TimelineStyle style)
{
    Timeline *timeline = g_new0(Timeline, 1);

    timeline->style = style;
    timeline->terminal = style == TIMELINE_PEOPLE && isatty(STDOUT_FILENO);
    timeline->start_us = g_get_monotonic_time();
    return timeline;
}

static void timeline_erase_status(Timeline *timeline)
{
    if (timeline->status_shown) {
        fputs(ERASE_LINE, stdout);
        timeline->status_shown = false;
    }
}

void timeline_free(Timeline *timeline)
{
    if (timeline) {
        timeline_erase_status(timeline);
        fflush(stdout);
        g_free(timeline);
    }
}

double timeline_seconds(const Timeline *timeline)
{
    return (g_get_monotonic_time() - timeline->start_us) / 1e6;
}

static void timeline_put_json(Timeline *timeline, const char *event,
                              QDict *dict)
{
    g_autoptr(GString) text = NULL;

    qdict_put_str(dict, "event", event);
    qdict_put(dict, "time", qnum_from_double(timeline_seconds(timeline)));
    text = qobject_to_json(QOBJECT(dict));
    puts(text->str);
    fflush(stdout);
}

static void timeline_put_line(Timeline *timeline, const char *text)
{
    timeline_erase_status(timeline);
    printf("%s%7.2f s  %s\n", timeline->style == TIMELINE_TAP ? "# " : "",
           timeline_seconds(timeline), text);
    fflush(stdout);
}

void timeline_event(Timeline *timeline, const char *event, const char *fmt,
                    ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);

    if (timeline->style == TIMELINE_JSON) {
        g_autoptr(QDict) dict = qdict_new();

        qdict_put_str(dict, "text", g_strstrip(text));
        timeline_put_json(timeline, event, dict);
    } else {
        timeline_put_line(timeline, text);
    }
}

void timeline_state(Timeline *timeline, const char *state, const char *why)
{
    if (timeline->style == TIMELINE_JSON) {
        g_autoptr(QDict) dict = qdict_new();

        qdict_put_str(dict, "state", state);
        qdict_put_str(dict, "text", why);
        timeline_put_json(timeline, "state", dict);
    } else {
        g_autofree char *shout = g_ascii_strup(state, -1);
        g_autofree char *text = g_strdup_printf("%-12s %s", shout, why);

        timeline_put_line(timeline, text);
    }
}

void timeline_status(Timeline *timeline, const char *fmt, ...)
{
    va_list ap;

    if (!timeline->terminal) {
        return;
    }
    timeline_erase_status(timeline);
    printf("%7.2f s  ", timeline_seconds(timeline));
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    fflush(stdout);
    timeline->status_shown = true;
}

void timeline_result(Timeline *timeline, const char *text, QDict *result)
{
    if (timeline->style == TIMELINE_JSON) {
        timeline_put_json(timeline, "result", result);
    } else {
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

        timeline_erase_status(timeline);
        for (int i = 0; lines[i]; i++) {
            printf("%s%s\n", timeline->style == TIMELINE_TAP ? "# " : "",
                   lines[i]);
        }
        fflush(stdout);
    }
    qobject_unref(result);
}
