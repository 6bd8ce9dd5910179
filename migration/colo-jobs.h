/*
 * COLO: the primary's jobs, which use its disks while its guest does
 *
 * All of this with the BQL held.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_JOBS_H
#define MIGRATION_COLO_JOBS_H

/*
 * Pause all jobs that are not yet paused by this: they begin no more requests, and
 * those under way end.  Does not wait for that.
 */
void colo_jobs_pause(void);

/* Let those go on that are still there. */
void colo_jobs_resume(void);

#endif
