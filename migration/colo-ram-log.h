/*
 * COLO: the primary's dirty log
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * RAMBlock.bmap has a bit for each page that has been written to since it was
 * sent.  In COLO it belongs to P's COLO thread.
 */
#ifndef MIGRATION_COLO_RAM_LOG_H
#define MIGRATION_COLO_RAM_LOG_H

/* Add what the guest has written since the last time; BQL held */
void colo_ram_log_sync(void);

/*
 * @page of @rb is dirty and about to be read, to be sent.  Takes the bit away;
 * what is written from now on will be found by a later sync.  With or without
 * the BQL.
 */
void colo_ram_log_take(RAMBlock *rb, unsigned long page);

#endif /* MIGRATION_COLO_RAM_LOG_H */
