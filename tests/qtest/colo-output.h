/*
 * What the guests of a pair send: P's comparison, with the test as their network
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     ColoOutput *o = colo_output_new(pair, 1000);
 *     colo_pair_protect(pair);
 *     colo_output_send(o->primary, 'a');         held
 *     colo_output_send(o->secondary, 'a');       released
 *     colo_output_expect(o, 'a');
 *     colo_output_free(o);
 *
 * All frames are of one flow.  No wait is without end.
 */
#ifndef TESTS_QTEST_COLO_OUTPUT_H
#define TESTS_QTEST_COLO_OUTPUT_H

#include "colo-pair.h"

/* Frames of P's that may wait for S's like */
#define COLO_OUTPUT_QUEUE 64

typedef struct ColoOutput {
    ColoPair *pair;
    int primary, secondary;     /* what P's guest would send, what S's would, */
    int out;                    /* and what leaves */
} ColoOutput;

/*
 * P gets its comparison; before it replicates.  Where no checkpoint comes, it asks
 * again each @again_ms.
 */
ColoOutput *colo_output_new(ColoPair *pair, unsigned again_ms);
void colo_output_free(ColoOutput *o);

/* A frame of an EtherType of nobody's; its text is @content, over and over */
void colo_output_send(int fd, uint8_t content);

/* The next that leaves is this one. */
void colo_output_expect(ColoOutput *o, uint8_t content);

/* How many frames of P's are held now; and to wait until there are so many */
int64_t colo_output_held(ColoOutput *o);
void colo_output_await_held(ColoOutput *o, int64_t count);

/* P has been killed: nothing more had left it. */
void colo_output_expect_end(ColoOutput *o);

#endif /* TESTS_QTEST_COLO_OUTPUT_H */
