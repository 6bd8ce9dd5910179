/*
 * Asking for a checkpoint
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "migration/colo.h"
#include "colo-request.h"

bool colo_checkpoint_request(void)
{
    if (!migration_in_colo_state()) {
        return false;
    }
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_QUEUE);
    return true;
}
