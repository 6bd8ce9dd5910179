/*
 * The states of one replication node, and what may happen in each (pure)
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "block/replication-state.h"

/* One cell: go to a stage, ignore the event, or refuse it with a reason */
typedef struct Cell {
    ReplVerdict verdict;
    ReplStage next;
    const char *refusal;
} Cell;

#define GO(stage)   { REPL_DO, stage, NULL }
#define IGNORE      { REPL_IGNORED, 0, NULL }
#define NO(text)    { REPL_REFUSED, 0, text }

#define NOT_STARTED NO("replication is not running: start it first")
#define RUNNING     NO("replication is running already: stop it first")
#define NOT_P       NO("this node is the primary's (mode=primary), and was " \
                       "asked to be the secondary's: start the migration on " \
                       "the host whose disk has mode=primary")
#define NOT_S       NO("this node is the secondary's (mode=secondary), and " \
                       "was asked to be the primary's: start the migration " \
                       "on the host whose disk has mode=primary")
#define ENDED       NO("replication has ended on this node: remove it, and " \
                       "add a new one")
#define BROKEN      NO("the secondary's disk lacks data: give up the " \
                       "secondary, and let a new one join")
#define STUCK       NO("the overlays could not be merged into the disk: make " \
                       "room there, it is tried again")
#define NEVER       NO("this cannot happen in this state")

/*
 * A promoted secondary's node stays below its disk when a new secondary joins.
 * What the engine asks of all nodes then does not concern it: hence the
 * ignored events of MERGING, STUCK and DONE.  A secondary again it cannot be: what
 * it would have to hold, its writes replace on the disk.
 */
static const Cell table[REPL_ROLES][REPL_STAGES][REPL_EVENTS] = {
    [REPL_PRIMARY] = {
        /*   start P, start S, checkpoint, get error, */
        /*   stop, failover, lost, merged, merge failed, merge again */
        [REPL_IDLE] = {
            GO(REPL_RUNNING), NOT_P, NOT_STARTED, NOT_STARTED,
            NOT_STARTED, NOT_STARTED, GO(REPL_BROKEN), NEVER, NEVER, NEVER },
        [REPL_RUNNING] = {
            RUNNING, RUNNING, GO(REPL_RUNNING), GO(REPL_RUNNING),
            GO(REPL_DONE), GO(REPL_DONE), GO(REPL_BROKEN),
            NEVER, NEVER, NEVER },
        [REPL_BROKEN] = {
            BROKEN, BROKEN, BROKEN, BROKEN,
            GO(REPL_DONE), GO(REPL_DONE), IGNORE, NEVER, NEVER, NEVER },
        [REPL_MERGING] = {
            NEVER, NEVER, NEVER, NEVER,
            NEVER, NEVER, NEVER, NEVER, NEVER, NEVER },
        [REPL_STUCK] = {
            NEVER, NEVER, NEVER, NEVER,
            NEVER, NEVER, NEVER, NEVER, NEVER, NEVER },
        [REPL_DONE] = {
            ENDED, ENDED, ENDED, ENDED,
            IGNORE, IGNORE, IGNORE, NEVER, NEVER, NEVER },
    },
    [REPL_SECONDARY] = {
        [REPL_IDLE] = {
            NOT_S, GO(REPL_RUNNING), NOT_STARTED, NOT_STARTED,
            NOT_STARTED, NOT_STARTED, NEVER, NEVER, NEVER, NEVER },
        [REPL_RUNNING] = {
            RUNNING, RUNNING, GO(REPL_RUNNING), GO(REPL_RUNNING),
            GO(REPL_DONE), GO(REPL_MERGING), NEVER, NEVER, NEVER, NEVER },
        [REPL_BROKEN] = {
            NEVER, NEVER, NEVER, NEVER,
            NEVER, NEVER, NEVER, NEVER, NEVER, NEVER },
        [REPL_MERGING] = {
            IGNORE, ENDED, IGNORE, IGNORE,
            IGNORE, IGNORE, NEVER, GO(REPL_DONE), GO(REPL_STUCK), NEVER },
        [REPL_STUCK] = {
            STUCK, STUCK, IGNORE, STUCK,
            IGNORE, IGNORE, NEVER, GO(REPL_DONE), IGNORE, GO(REPL_MERGING) },
        [REPL_DONE] = {
            IGNORE, ENDED, IGNORE, IGNORE,
            IGNORE, IGNORE, NEVER, IGNORE, IGNORE, IGNORE },
    },
};

ReplVerdict repl_event(ReplRole role, ReplStage *stage, ReplEvent event,
                       Error **errp)
{
    const Cell *cell;

    assert(role < REPL_ROLES && *stage < REPL_STAGES && event < REPL_EVENTS);
    cell = &table[role][*stage][event];
    switch (cell->verdict) {
    case REPL_DO:
        *stage = cell->next;
        break;
    case REPL_REFUSED:
        error_setg(errp, "%s", cell->refusal);
        break;
    case REPL_IGNORED:
        break;
    }
    return cell->verdict;
}
