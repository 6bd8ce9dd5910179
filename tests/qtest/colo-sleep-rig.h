/*
 * What the tests with a guest that sleeps have in common
 *
 * What does not come true in time ends in colo_fail().
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_QTEST_COLO_SLEEP_RIG_H
#define TESTS_QTEST_COLO_SLEEP_RIG_H

#include "colo-pair.h"

/* A pair without disks */
ColoPair *colo_sleep_start(int64_t delay_ms);

/* What query-status says at this instant */
bool colo_sleep_is(ColoSide *side, const char *status);

/* Wake it up, at whatever moment: not in vain.  It runs then. */
void colo_sleep_wake_up(ColoSide *side);

/* The guest of @pair->p, awake, counts; its numbers are of two lives. */
void colo_sleep_expect_counting(ColoPair *pair);

/* A clock of the guest in nanoseconds: start it, read it */
void colo_sleep_start_clock(ColoSide *side);
int64_t colo_sleep_clock_ns(ColoSide *side);
/* It runs, but perhaps not at this instant, because of a checkpoint: what it says */
int64_t colo_sleep_await_tick(ColoSide *side);

#endif
