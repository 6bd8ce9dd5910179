/*
 * Asking for a checkpoint
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "migration/colo.h"
#include "migration/migration.h"
#include "colo-request.h"

bool colo_checkpoint_request(void)
{
    MigrationState *s = migrate_get_current();

    /* The timer is made last: without it the engine cannot be notified yet */
    if (!migration_in_colo_state() || !s->colo_delay_timer) {
        return false;
    }
    colo_checkpoint_notify(s);
    return true;
}
