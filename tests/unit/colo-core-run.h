/*
 * The compare engine, driven by text: frames in, frames out
 *
 * Each case is a text, a line for each event, and behind "=>" what must come of
 * it: numbers of P's frames which leave, counted from 1 in the order in which
 * they came, as NUMBER/LENGTH where no more than LENGTH bytes of the payload
 * leave, as NUMBER^ACK where an ACK leaves that is lowered to that number, with
 * ~WINDOW behind it where that is not P's (and @ its sequence number where it has
 * no payload), and "want-REASON" for a checkpoint that is asked for.
 *
 *   P FRAME          P has sent it; see colo-packet-text.h.  ${T} and the like
 *   P@5 FRAME        in epoch 5             stand for headers in colo-core-run.c
 *   S FRAME          S has sent it
 *   marker 5         what comes from S now is of epoch 5
 *   checkpoint 5     epoch 5 begins
 *   failover
 *   wait 100         100 ms pass
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_CORE_RUN_H
#define COLO_CORE_RUN_H

#include "net/colo-core.h"

#define CORE_RUN_LENGTHS 64

typedef struct CoreRun {
    ColoCore *core;
    unsigned sent;
    uint32_t length[CORE_RUN_LENGTHS];   /* of the first frames of P's */
    uint32_t ack[CORE_RUN_LENGTHS];      /* what they acknowledge */
    uint16_t window[CORE_RUN_LENGTHS];   /* and what they promise */
    GString *effects;
    int64_t now;
} CoreRun;

typedef struct CoreCase {
    const char *name;           /* below /colo/core/ */
    const char *text;
} CoreCase;

/* A test of each of these; they must stay where they are. */
void core_run_add(const CoreCase *cases, size_t count);

/* For tests that go on from what came of it: @effects grows */
CoreRun *core_run_new(void);
void core_run_free(CoreRun *run);
void core_run_event(CoreRun *run, const char *text);

/* What one line of a case does, @line is written to. */
void core_run_line(CoreRun *run, char *line);

#endif
