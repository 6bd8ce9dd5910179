/*
 * A survivor's memory, disk and output, compared with what they have to be
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     ColoModel *m = colo_model_new("");
 *     colo_survivor_set_timeout(m->pair, 4000);
 *     colo_model_commit(m);               a checkpoint has the old state
 *     colo_model_go_on(m, 64);            both guests go on in the new epoch
 *     ... a fault, in a checkpoint with the new state ...
 *     colo_model_go_on_alone(m);          P does, which may not know it yet
 *     colo_model_kill(m, false);
 *     colo_survivor_go_on(m->pair, SECONDARY);
 *     colo_model_expect_secondary(m, false);
 *     colo_model_free(m);
 *
 * P's guest writes to its memory from COLO_GUEST_FREE_RAM on and to its disk, and
 * sends frames, none of which S's guest sends; S's guest writes something else.  All
 * of the free memory is compared.
 */
#ifndef TESTS_QTEST_COLO_MODEL_H
#define TESTS_QTEST_COLO_MODEL_H

#include "colo-output.h"
#include "colo-survivor.h"

typedef struct ColoModel {
    ColoPair *pair;
    ColoProxy *proxy;
    ColoOutput *output;
    unsigned pages;         /* of P's memory that are new; 0: no guest went on */
    bool went_on;           /* P's guest, after the loss */
} ColoModel;

/* P, and S (@args: more for QEMU), with a disk; they do not replicate yet. */
ColoModel *colo_model_new(const char *args);
void colo_model_free(ColoModel *m);

/* The old state is there, and the migration begins; waits for nothing. */
void colo_model_begin(ColoModel *m);

/* Instead: they replicate, and have had a checkpoint. */
void colo_model_commit(ColoModel *m);

/* Both guests go on; P's writes to @pages pages at least. */
void colo_model_go_on(ColoModel *m, unsigned pages);

/* P has lost S: what its guest does from now on is for P alone. */
void colo_model_go_on_alone(ColoModel *m);

/*
 * P vanishes.  What its guest has sent since the old state must have @left it, or
 * must not: it may if P was told that S has the checkpoint.
 */
void colo_model_kill(ColoModel *m, bool left);

/* P, alone, has all that its guest ever did, and its output has left. */
void colo_model_expect_primary(ColoModel *m);

/*
 * S, alone, has the new state, if it was @committed, or else the old one, with what
 * its own guest has made of it.
 */
void colo_model_expect_secondary(ColoModel *m, bool committed);

#endif /* TESTS_QTEST_COLO_MODEL_H */
