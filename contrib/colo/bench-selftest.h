/*
 * Does the bench find what it is given?
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_SELFTEST_H
#define COLO_BENCH_SELFTEST_H

#include "bench-guest.h"

/*
 * Stops @guest, which is alone, for known times, and delays a client by known
 * times: the bench's own means must find both, within bounds that are
 * printed.  False with @errp set where they do not.
 */
bool bench_selftest(BenchGuest *guest, const ScenarioConfig *config,
                    Timeline *timeline, Error **errp);

#endif
