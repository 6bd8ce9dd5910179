/*
 * What query-colo says, for the tests of a COLO pair
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What it does not say ends in colo_fail(), as does a wait in vain.
 */
#ifndef TESTS_QTEST_COLO_QUERY_H
#define TESTS_QTEST_COLO_QUERY_H

#include "colo-pair.h"

/* The last epoch that @side has seen begin, and to wait for one */
int64_t colo_query_epoch(ColoSide *side);
void colo_query_await_epoch(ColoSide *side, int64_t epoch);

/* Until P has measured as many pauses, each of which ends with its guest running */
void colo_query_await_pauses(ColoSide *side, int64_t count);

/* One checkpoint by x-colo-checkpoint-now: committed, P may not run its guest yet */
void colo_query_checkpoint(ColoPair *pair);

/* All checkpoints that P has begun so far are over, on both sides. */
void colo_query_settle(ColoPair *pair);

/* Of @info, an answer of query-colo: a phase, owned by it */
QDict *colo_query_phase(QDict *info, const char *name);
bool colo_query_has_phase(QDict *info, const char *name);
/* ... and how many checkpoints were made for @cause */
int64_t colo_query_triggers(QDict *info, const char *cause);

/* The same, asked now */
int64_t colo_query_count(ColoSide *side, const char *cause);
/* Wait until there are as many. */
void colo_query_await_count(ColoSide *side, const char *cause, int64_t count);

#endif /* TESTS_QTEST_COLO_QUERY_H */
