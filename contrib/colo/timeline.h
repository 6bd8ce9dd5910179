/*
 * Timeline: what happens to a pair, told to a person or to a program
 *
 * For a person, one line per event with the time since the start, and, on a
 * terminal, a status line below that is overwritten.  For a program, one
 * JSON object per line: {"time": SECONDS, "event": NAME, "text": ...}.
 *
 * Thread: one, any.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_TIMELINE_H
#define COLO_TIMELINE_H

#include "qapi/qmp/qdict.h"

typedef struct Timeline Timeline;

typedef enum TimelineStyle {
    TIMELINE_PEOPLE,
    TIMELINE_JSON,
    TIMELINE_TAP,     /* as for people, each line a TAP comment */
} TimelineStyle;

/* Writes to stdout; time starts now. */
Timeline *timeline_new(TimelineStyle style);
void timeline_free(Timeline *timeline);

/* @event is a word for programs, the rest is the sentence for people. */
void G_GNUC_PRINTF(3, 4)
timeline_event(Timeline *timeline, const char *event, const char *fmt, ...);

/* The pair has entered @state; for programs the event is "state". */
void timeline_state(Timeline *timeline, const char *state, const char *why);

/* The status line; does nothing where stdout is no terminal, or for JSON. */
void G_GNUC_PRINTF(2, 3)
timeline_status(Timeline *timeline, const char *fmt, ...);

/*
 * The end: for JSON, @result with "event": "result" and the time added; for
 * people @text as it is, which may have several lines.  Takes over @result.
 */
void timeline_result(Timeline *timeline, const char *text, QDict *result);

/* Seconds since the start. */
double timeline_seconds(const Timeline *timeline);

#endif
