/*
 * COLO: the primary's jobs, which use its disks while its guest does
 *
 * A backup, a mirror and the like keep requests in flight without a break.  A
 * checkpoint, which has to wait for an instant without any, would wait for their
 * end; and draining the disks pauses jobs only once that is over.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/job.h"
#include "qemu/main-loop.h"
#include "qemu/notify.h"
#include "qemu/queue.h"
#include "colo-jobs.h"

typedef struct PausedJob {
    Job *job;
    Notifier completed, cancelled;
    QLIST_ENTRY(PausedJob) next;
} PausedJob;

/* With the BQL; jobs are finalized with it, too */
static QLIST_HEAD(, PausedJob) paused = QLIST_HEAD_INITIALIZER(paused);

static void forget(PausedJob *p)
{
    notifier_remove(&p->completed);
    notifier_remove(&p->cancelled);
    QLIST_REMOVE(p, next);
    g_free(p);
}

static void job_completed(Notifier *notifier, void *data)
{
    forget(container_of(notifier, PausedJob, completed));
}

static void job_cancelled(Notifier *notifier, void *data)
{
    forget(container_of(notifier, PausedJob, cancelled));
}

static bool is_paused(const Job *job)
{
    PausedJob *p;

    QLIST_FOREACH(p, &paused, next) {
        if (p->job == job) {
            return true;
        }
    }
    return false;
}

/* One that has begun and may have requests; finalizing it will notify us. */
static bool is_at_work(const Job *job)
{
    return job->status == JOB_STATUS_RUNNING || job->status == JOB_STATUS_PAUSED ||
        job->status == JOB_STATUS_READY || job->status == JOB_STATUS_STANDBY;
}

static void pause_job(Job *job)
{
    PausedJob *p = g_new0(PausedJob, 1);

    p->job = job;
    p->completed.notify = job_completed;
    p->cancelled.notify = job_cancelled;
    notifier_list_add(&job->on_finalize_completed, &p->completed);
    notifier_list_add(&job->on_finalize_cancelled, &p->cancelled);
    QLIST_INSERT_HEAD(&paused, p, next);
    job_pause_locked(job);
}

void colo_jobs_pause(void)
{
    Job *job = NULL;

    assert(qemu_mutex_iothread_locked());
    JOB_LOCK_GUARD();
    while ((job = job_next_locked(job))) {
        if (is_at_work(job) && !is_paused(job)) {
            pause_job(job);
        }
    }
}

void colo_jobs_resume(void)
{
    PausedJob *p;

    assert(qemu_mutex_iothread_locked());
    JOB_LOCK_GUARD();
    while ((p = QLIST_FIRST(&paused))) {
        Job *job = p->job;

        forget(p);
        job_resume_locked(job);
    }
}
