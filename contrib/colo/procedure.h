/*
 * Procedure: the commands that docs/COLO-FT.txt tells people to type
 *
 * The document is the only place where these commands stand; this parser
 * takes them out of it.  Pure: text in, commands out.
 *
 *     Step disk-attach, on the primary's monitor:
 *
 *         {'execute': 'x-blockdev-change', ...}
 *         wait for BLOCK_JOB_READY
 *
 *     Choice nic=virtio-net:
 *
 *         $nic = virtio-net-pci
 *
 * A block is what follows its heading, indented further, up to the next line
 * that is not.  A backslash at the end of a line joins it with the next one,
 * as a shell does.  Lines beginning with '#' are remarks.
 *
 * A choice may replace whole steps: where it gives the variable $instead the
 * value "/filter-compare", the step "primary-start/filter-compare", if there is
 * one, stands for "primary-start".  Of remarks alone, it is nothing to do.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_PROCEDURE_H
#define COLO_PROCEDURE_H

#include "qapi/error.h"

typedef struct Procedure Procedure;

/* Returns NULL with @errp set, naming the line, where @text is wrong. */
Procedure *procedure_parse(const char *text, Error **errp);
void procedure_free(Procedure *procedure);

/*
 * The commands of step @name, a NULL-terminated array that belongs to the
 * procedure; NULL with @errp set where there is no such step.
 */
char *const *procedure_step(const Procedure *procedure, const char *name,
                            Error **errp);

/* The same, or the step that stands for it by what was chosen into @vars. */
char *const *procedure_step_chosen(const Procedure *procedure,
                                   const char *name, GHashTable *vars,
                                   Error **errp);

/* Names of all steps in the order of the document; g_free() the array. */
const char **procedure_steps(const Procedure *procedure);

/*
 * Adds to @vars (name without '$' to value, both g_malloc'd) what choice
 * @name=@value stands for, e.g. "nic", "rtl8139".  False with @errp set,
 * listing the possible values, where the document knows no such choice.
 */
bool procedure_choose(const Procedure *procedure, const char *name,
                      const char *value, GHashTable *vars, Error **errp);

/*
 * @command with each $name replaced by its value in @vars; NULL with @errp
 * set where one has none.  Values are taken as they are.  g_free() it.
 */
char *procedure_expand(const char *command, GHashTable *vars, Error **errp);

/* What kind of line is it? */
bool procedure_is_qmp(const char *command);
/* The event's name where @command is "wait for EVENT", else NULL. */
const char *procedure_wait_event(const char *command);

#endif
