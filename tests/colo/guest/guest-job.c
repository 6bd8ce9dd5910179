/*
 * Daemon of the test guest: work that may block, a thread for each
 *
 * A connection has one Job at most, so there are never more threads than
 * connections.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "guestd.h"

#define STACK_SIZE (256 * 1024)
/* Who is later than this starts anew instead of making up for it. */
#define PACE_LATE_NS 1000000000LL

static pthread_mutex_t done_lock = PTHREAD_MUTEX_INITIALIZER;
static Job *done; /* newest first; under done_lock */
static Watch done_watch;

static void *job_thread(void *opaque)
{
    Job *job = opaque;
    uint64_t one = 1;

    job->run(job);
    pthread_mutex_lock(&done_lock);
    job->next = done;
    done = job;
    pthread_mutex_unlock(&done_lock);
    if (write(done_watch.fd, &one, sizeof(one)) != sizeof(one)) {
        fatal("eventfd: %s", strerror(errno));
    }
    return NULL;
}

static void job_end(Job *job)
{
    Conn *conn = job->conn;

    conn->busy = false;
    if (!conn->dead) {
        conn_printf(conn, "%s\n", job->answer);
    }
    free(job);
    conn_step(conn);
}

static void jobs_done(Watch *watch, uint32_t events)
{
    uint64_t count;
    Job *job;

    if (read(watch->fd, &count, sizeof(count)) != sizeof(count)) {
        return;
    }
    pthread_mutex_lock(&done_lock);
    job = done;
    done = NULL;
    pthread_mutex_unlock(&done_lock);
    while (job) {
        Job *next = job->next;

        job_end(job);
        job = next;
    }
}

void jobs_init(void)
{
    done_watch.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (done_watch.fd < 0) {
        fatal("eventfd: %s", strerror(errno));
    }
    done_watch.ready = jobs_done;
    watch_add(&done_watch, EPOLLIN);
}

void job_start(Conn *conn, const Job *template)
{
    Job *job = malloc(sizeof(*job));

    if (!job) {
        fatal("no memory");
    }
    *job = *template;
    job->conn = conn;
    conn->busy = true;
    if (!thread_start(job_thread, job)) {
        conn->busy = false;
        free(job);
        conn_printf(conn, "error no thread for it\n");
    }
}

void job_answer(Job *job, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(job->answer, sizeof(job->answer), fmt, ap);
    va_end(ap);
}

bool thread_start(void *(*start)(void *opaque), void *opaque)
{
    pthread_attr_t attr;
    pthread_t thread;
    int err;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    err = pthread_create(&thread, &attr, start, opaque);
    pthread_attr_destroy(&attr);
    return !err;
}

void thread_yield_to_others(void)
{
    /* In Linux 0 is the calling thread, not the process. */
    setpriority(PRIO_PROCESS, 0, 10);
}

void thread_pace(int64_t *due, int64_t period_ns)
{
    struct timespec now, when;
    int64_t now_ns;

    clock_gettime(CLOCK_MONOTONIC, &now);
    now_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    if (*due < now_ns - PACE_LATE_NS) {
        *due = now_ns;
    }
    *due += period_ns;
    when.tv_sec = *due / 1000000000;
    when.tv_nsec = *due % 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) ==
           EINTR) {
        /* again */
    }
}
