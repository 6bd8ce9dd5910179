/*
 * When one side of a pair is lost: what the other must do
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A side that waits for its peer answers its monitor all the time, says why it has
 * lost it, and goes on alone when it is told to.
 */
#ifndef TESTS_QTEST_COLO_SURVIVOR_H
#define TESTS_QTEST_COLO_SURVIVOR_H

#include "colo-proxy.h"

/* What a monitor may take to answer, on a machine that does other things too */
#define COLO_SURVIVOR_ANSWER_MS 3000

typedef enum { PRIMARY, SECONDARY } ColoSurvivor;

/* Of both */
void colo_survivor_set_timeout(ColoPair *pair, int ms);

/* It answers its monitor in time. */
void colo_survivor_answer(ColoSide *side);

/* The fault happens, while both answer. */
void colo_survivor_await_fault(ColoPair *pair, ColoProxy *proxy);

/* ... and @notice_ms later both know, having answered all the time. */
void colo_survivor_await_loss(ColoPair *pair, ColoProxy *proxy, int notice_ms);

/* Why a side has lost its peer: this is part of it. */
void colo_survivor_reason(ColoSide *side, const char *reason);

/* The other side ends, if it has not, and this one goes on alone: pair->p. */
void colo_survivor_go_on(ColoPair *pair, ColoSurvivor survivor);

/* As pair->p it has gone on, or is about to, and its guest is whole. */
void colo_survivor_is_alone(ColoPair *pair);

/* It says that it is no survivor, because of @reason. */
void colo_survivor_refuses(ColoSide *side, const char *reason);

#endif /* TESTS_QTEST_COLO_SURVIVOR_H */
