/*
 * COLO: the way to a failover
 *
 * NONE -> REQUIRE      x-colo-lost-heartbeat
 * REQUIRE -> ACTIVE    the main loop begins it
 * ACTIVE -> COMPLETED  this side is alone
 * ACTIVE -> RELAUNCH   S is loading a committed checkpoint: once more after it
 * RELAUNCH -> NONE     it has loaded it
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QEMU_FAILOVER_H
#define QEMU_FAILOVER_H

#include "qapi/qapi-types-migration.h"

/* COLO starts: no failover has been asked for. */
void failover_init_state(void);

/*
 * From @old_state to @new_state, if it is @old_state and that way exists.
 * Returns the state before, or, if there is no such way, FAILOVER_STATUS__MAX; anything
 * but @old_state: nothing has changed.  Any thread.
 */
FailoverStatus failover_set_state(FailoverStatus old_state,
                                  FailoverStatus new_state);

/* Any thread. */
FailoverStatus failover_get_state(void);

/* Any thread. Fails if there is one already. */
bool failover_request_active(Error **errp);

#endif
