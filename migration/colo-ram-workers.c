/*
 * COLO: a few threads that are kept, to share out a loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "colo-ram-workers.h"

/* More don't make memory any faster */
#define WORKERS_MAX 7

struct ColoWorkers {
    unsigned count;
    QemuThread threads[WORKERS_MAX];

    QemuMutex lock;             /* of all that follows */
    QemuCond wake;              /* there is a job, or quit */
    QemuCond idle;              /* busy is 0 */
    uint64_t job;               /* its number */
    bool open;                  /* the caller is still at it: join in */
    unsigned busy;              /* threads that have, and aren't done */
    bool quit;
    void (*fn)(void *opaque);
    void *opaque;
};

unsigned colo_workers_advised(void)
{
    return MIN(g_get_num_processors() - 1, WORKERS_MAX);
}

static void *worker_thread(void *opaque)
{
    ColoWorkers *w = opaque;
    uint64_t done = 0;

    rcu_register_thread();
    qemu_mutex_lock(&w->lock);
    for (;;) {
        while (!(w->open && w->job != done) && !w->quit) {
            qemu_cond_wait(&w->wake, &w->lock);
        }
        if (w->quit) {
            break;
        }
        done = w->job;
        w->busy++;
        qemu_mutex_unlock(&w->lock);

        w->fn(w->opaque);

        qemu_mutex_lock(&w->lock);
        if (--w->busy == 0) {
            qemu_cond_signal(&w->idle);
        }
    }
    qemu_mutex_unlock(&w->lock);
    rcu_unregister_thread();
    return NULL;
}

ColoWorkers *colo_workers_new(unsigned count)
{
    ColoWorkers *w = g_new0(ColoWorkers, 1);

    qemu_mutex_init(&w->lock);
    qemu_cond_init(&w->wake);
    qemu_cond_init(&w->idle);
    for (w->count = 0; w->count < MIN(count, WORKERS_MAX); w->count++) {
        qemu_thread_create(&w->threads[w->count], "COLO RAM", worker_thread,
                           w, QEMU_THREAD_JOINABLE);
    }
    return w;
}

void colo_workers_run(ColoWorkers *w, void (*fn)(void *opaque), void *opaque)
{
    if (w->count) {
        qemu_mutex_lock(&w->lock);
        w->fn = fn;
        w->opaque = opaque;
        w->open = true;
        w->job++;
        qemu_cond_broadcast(&w->wake);
        qemu_mutex_unlock(&w->lock);
    }

    fn(opaque);

    qemu_mutex_lock(&w->lock);
    w->open = false;
    while (w->busy) {
        qemu_cond_wait(&w->idle, &w->lock);
    }
    qemu_mutex_unlock(&w->lock);
}

void colo_workers_free(ColoWorkers *w)
{
    unsigned i;

    if (!w) {
        return;
    }
    qemu_mutex_lock(&w->lock);
    w->quit = true;
    qemu_cond_broadcast(&w->wake);
    qemu_mutex_unlock(&w->lock);
    for (i = 0; i < w->count; i++) {
        qemu_thread_join(&w->threads[i]);
    }
    qemu_cond_destroy(&w->idle);
    qemu_cond_destroy(&w->wake);
    qemu_mutex_destroy(&w->lock);
    g_free(w);
}
