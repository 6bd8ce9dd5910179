/*
 * One step of the procedure, carried out line by line
 *
 * Thread: the default GMainContext's.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_STEP_H
#define COLO_STEP_H

#include "qmp-client.h"

typedef struct Step Step;

/* Where a step is carried out; all belongs to the caller. */
typedef struct StepTarget {
    QMPClient *qmp;        /* for monitor commands and events, may be NULL */
    const char *dir;       /* commands.log of the shell's goes there */
    const char *qemu;      /* stands in for qemu-system-x86_64 */
    const char *qemu_img;  /* stands in for qemu-img */
} StepTarget;

/*
 * Begins to carry out @lines (from procedure_step()) with @vars filled in;
 * neither is used after the return.  Once all are done, or one has failed
 * and the step is not @lenient, calls @ended exactly once from the main loop,
 * with NULL or a sentence that says which line failed and why.  A lenient
 * step goes on after a failure, and skips the waits that follow it.
 */
Step *step_new(char *const *lines, GHashTable *vars, const StepTarget *target,
               bool lenient, void (*ended)(void *opaque, const char *error),
               void *opaque);

/* A QMP event of the target; an awaited one is also seen if it came early. */
void step_event(Step *step, const char *name, QDict *data);

/* Ends the step where it is; ended() is not called.  Allowed from ended(). */
void step_free(Step *step);

/*
 * The words of a shell line with @vars filled in, and the programs' own
 * paths; NULL with @errp set where that is impossible.  g_strfreev() it.
 */
char **step_argv(const char *line, GHashTable *vars, const char *qemu,
                 const char *qemu_img, Error **errp);

#endif
