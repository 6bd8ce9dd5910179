/*
 * The compare engine with threads, a channel from S, and a clock
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "block/aio-wait.h"
#include "migration/colo.h"
#include "migration/migration.h"
#include "net/colo-comparer.h"
#include "net/colo-compare.h"
#include "net/colo-epoch.h"
#include "sysemu/cpu-throttle.h"
#include "colo-request.h"
#include "trace.h"

/* ms, as they have always been, whatever the schema says of the second */
#define COMPARE_TIMEOUT_MS 3000
#define EXPIRED_SCAN_CYCLE_MS 1000

#define MAX_QUEUE_SIZE 1024

/* Memory of what is released but not taken over by the owner, bytes */
#define OUTBOX_MAX (64 * 1024 * 1024)

/* Comparers that are running; changed under the BQL and the lock */
static QTAILQ_HEAD(, ColoComparer) comparers =
    QTAILQ_HEAD_INITIALIZER(comparers);
static QemuMutex comparers_lock;

/* Whom to tell that a checkpoint is needed; the lock is held meanwhile */
static NotifierList notifiers = NOTIFIER_LIST_INITIALIZER(notifiers);
static QemuMutex notifiers_lock;

/* How many comparers want the guest to be slow; changed under its lock */
static unsigned slowing;
static QemuMutex slowing_lock;

static void __attribute__((constructor)) init_locks(void)
{
    qemu_mutex_init(&comparers_lock);
    qemu_mutex_init(&notifiers_lock);
    qemu_mutex_init(&slowing_lock);
}

/* The engine's side */

void colo_compare_register_notifier(Notifier *notify)
{
    QEMU_LOCK_GUARD(&notifiers_lock);
    notifier_list_add(&notifiers, notify);
}

void colo_compare_unregister_notifier(Notifier *notify)
{
    QEMU_LOCK_GUARD(&notifiers_lock);
    notifier_remove(notify);
}

static void notify_engine(void)
{
    QEMU_LOCK_GUARD(&notifiers_lock);
    notifier_list_notify(&notifiers, migrate_get_current());
}

void colo_notify_compares_event(void *opaque, int event, Error **errp)
{
    ColoComparer *c;

    QEMU_LOCK_GUARD(&comparers_lock);
    QTAILQ_FOREACH(c, &comparers, next) {
        colo_comparer_event(c, event);
    }
}

ColoComparer *colo_comparer_next(ColoComparer *c)
{
    return c ? QTAILQ_NEXT(c, next) : QTAILQ_FIRST(&comparers);
}

/* The guest's side */

/* Per cent of the time in which vCPUs sleep: what the throttle can do at most */
#define SLOWED_PCT 99

/*
 * Nobody can tell a guest not to send; but one that hardly runs hardly does.  A
 * checkpoint ends it at once, for a vCPU that is stopped does not sleep on.
 */
static void slow_guest(ColoComparer *c, bool slow)
{
    if (c->slowing == slow) {
        return;
    }
    c->slowing = slow;
    c->slowed += slow;
    QEMU_LOCK_GUARD(&slowing_lock);
    slowing += slow ? 1 : -1;
    if (slowing) {
        cpu_throttle_set(SLOWED_PCT);
    } else {
        cpu_throttle_stop();
    }
}

/* The core, under the lock */

static void on_release(void *opaque, ColoHeld *held)
{
    ColoComparer *c = opaque;

    QTAILQ_INSERT_TAIL(&c->outbox, held, in_order);
    c->outbox_bytes += colo_held_footprint(held);
}

static void on_want_checkpoint(void *opaque, ColoReason reason)
{
    ColoComparer *c = opaque;

    c->wants = true;
    /* None: it asks again for what it has asked for, and for the same reason */
    if (reason != COLO_REASON_NONE) {
        c->wanted = reason;
    }
}

static const ColoCoreOps core_ops = {
    .release = on_release,
    .want_checkpoint = on_want_checkpoint,
};

static void enter(ColoComparer *c)
{
    qemu_mutex_lock(&c->lock);
}

/* With the lock */
static void trace_want(const ColoComparer *c)
{
    const ColoCoreStats *stats = colo_core_stats(c->core);
    g_autofree char *flow = NULL, *text = NULL;

    if (!trace_event_get_state_backends(TRACE_COLO_COMPARE_MAIN)) {
        return;
    }
    flow = stats->has_last_mismatch ? colo_flow_key_str(&stats->last_mismatch)
                                    : g_strdup("no flow");
    text = g_strdup_printf("%s, %s", flow, colo_reason_text(c->wanted));
    trace_colo_compare_main(text);
}

/*
 * What the core has asked for is done without the lock.  True: there is something
 * in the outbox.
 */
static bool leave_silently(ColoComparer *c)
{
    bool wants = c->wants, released = !QTAILQ_EMPTY(&c->outbox);
    ColoReason reason = c->wanted;

    if (wants) {
        trace_want(c);
    }
    c->wants = false;
    slow_guest(c, colo_core_is_pressed(c->core, c->slowing));
    qemu_mutex_unlock(&c->lock);
    if (wants) {
        if (c->want) {
            c->want(c->opaque);
        } else if (reason == COLO_REASON_FULL) {
            colo_checkpoint_request();
        } else {
            notify_engine();
        }
    }
    return released;
}

static void leave(ColoComparer *c)
{
    if (leave_silently(c)) {
        c->deliver(c->opaque);
    }
}

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

void colo_comparer_event(ColoComparer *c, int event)
{
    enter(c);
    if (!c->quitting) {
        switch (event) {
        case COLO_EVENT_CHECKPOINT:
            colo_core_checkpoint(c->core, colo_epoch_get(), now_ms());
            break;
        case COLO_EVENT_FAILOVER:
            colo_core_failover(c->core);
            break;
        }
    }
    leave(c);
}

void colo_comparers_quit(void)
{
    ColoComparer *c;

    QEMU_LOCK_GUARD(&comparers_lock);
    QTAILQ_FOREACH(c, &comparers, next) {
        QEMU_LOCK_GUARD(&c->lock);
        c->quitting = true;
    }
}

static bool has_room(const ColoComparer *c)
{
    return !colo_core_is_overfull(c->core) && c->outbox_bytes < OUTBOX_MAX;
}

bool colo_comparer_has_room(ColoComparer *c)
{
    QEMU_LOCK_GUARD(&c->lock);
    c->promised = has_room(c);
    return c->promised;
}

bool colo_comparer_is_open(ColoComparer *c)
{
    QEMU_LOCK_GUARD(&c->lock);
    return colo_core_lets_through(c->core) && !c->outbox_bytes;
}

ColoTaken colo_comparer_primary(ColoComparer *c, const struct iovec *iov,
                                int iovcnt, uint32_t vnet_hdr_len,
                                uint64_t epoch)
{
    size_t len = iov_size(iov, iovcnt);
    ColoHeld *held = NULL;
    bool released;

    enter(c);
    if ((c->promised || has_room(c)) && len <= COLO_HELD_LARGE) {
        held = colo_core_new_held(c->core, iov, iovcnt, len,
                                  MIN(vnet_hdr_len, len));
    }
    c->promised = false;
    if (held) {
        held->epoch = epoch;
        colo_core_primary(c->core, held, now_ms());
    }
    released = leave_silently(c);
    return !held ? COLO_TAKEN_NOT : released ? COLO_TAKEN_RELEASED : COLO_TAKEN;
}

static void recycle(ColoComparer *c, ColoHeldList *list)
{
    ColoHeld *held;

    while ((held = QTAILQ_FIRST(list))) {
        QTAILQ_REMOVE(list, held, in_order);
        c->outbox_bytes -= colo_held_footprint(held);
        colo_core_recycle(c->core, held);
    }
}

void colo_comparer_take(ColoComparer *c, ColoHeldList *list)
{
    QEMU_LOCK_GUARD(&c->lock);
    colo_held_list_move(list, &c->outbox);
}

void colo_comparer_done(ColoComparer *c, ColoHeldList *list)
{
    QEMU_LOCK_GUARD(&c->lock);
    recycle(c, list);
}

bool colo_comparer_next_lot(ColoComparer *c, ColoHeldList *done,
                            ColoHeldList *list)
{
    QEMU_LOCK_GUARD(&c->lock);
    recycle(c, done);
    colo_held_list_move(list, &c->outbox);
    return !QTAILQ_EMPTY(list);
}

/* S's stream, in the compare thread */

static void secondary_opened(void *opaque)
{
    ColoComparer *c = opaque;

    /* What was on its way through the old connection is lost */
    enter(c);
    colo_core_secondary_epoch(c->core, 0);
    if (c->secondary.stats.connections > 1) {
        c->wants = true;
        c->wanted = COLO_REASON_NONE;
    }
    leave(c);
}

static void secondary_batch_done(void *opaque)
{
    ColoComparer *c = opaque;

    c->in_batch = 0;
    enter(c);
    leave(c);
}

static void secondary_receive(void *opaque, ColoFrameType type,
                              const ColoFrame *frame)
{
    ColoComparer *c = opaque;

    enter(c);
    if (type == COLO_FRAME_MARKER) {
        colo_core_secondary_epoch(c->core, frame->epoch);
    } else {
        colo_core_secondary(c->core, frame->data, frame->len,
                            frame->vnet_hdr_len, now_ms());
    }
    if (leave_silently(c) && ++c->in_batch == COLO_COMPARER_BATCH) {
        c->in_batch = 0;
        c->deliver(c->opaque);
    }
}

static void on_timer(void *opaque)
{
    ColoComparer *c = opaque;

    enter(c);
    colo_core_tick(c->core, now_ms());
    leave(c);
    timer_mod(c->timer, now_ms() + c->expired_scan_cycle);
}

/* Life */

void colo_comparer_init(ColoComparer *c, Object *obj)
{
    qemu_mutex_init(&c->lock);
    QTAILQ_INIT(&c->outbox);
    c->expired_scan_cycle = EXPIRED_SCAN_CYCLE_MS;
    c->config = (ColoCoreConfig) {
        .compare_timeout = COMPARE_TIMEOUT_MS,
        .max_queue_size = MAX_QUEUE_SIZE,
        .max_bytes = COLO_CORE_MAX_BYTES,
        .max_stream_bytes = COLO_CORE_MAX_STREAM_BYTES,
    };
    c->core = colo_core_new(&c->config, &core_ops, colo_epoch_get(), c);
    colo_comparer_add_properties(c, obj);
}

void colo_comparer_finalize(ColoComparer *c)
{
    assert(!c->running);
    colo_core_free(c->core);
    qemu_mutex_destroy(&c->lock);
    g_free(c->secondary_in);
}

/* Threads */

bool colo_comparer_in_thread(const ColoComparer *c)
{
    return qemu_get_current_aio_context() == c->aio;
}

void colo_comparer_run(ColoComparer *c, QEMUBHFunc *fn, void *opaque)
{
    if (c->thread) {
        aio_context_acquire(c->aio);
        aio_wait_bh_oneshot(c->aio, fn, opaque);
        aio_context_release(c->aio);
    } else {
        fn(opaque);
    }
}

typedef struct Start {
    ColoComparer *c;
    const char *name;
    ColoComparerSetup *setup;
    bool ok;
    Error *err;
} Start;

static void start_in_thread(void *opaque)
{
    Start *start = opaque;
    ColoComparer *c = start->c;

    c->secondary = (ColoIn) {
        .aio = c->aio,
        .context = c->context,
        .opened = secondary_opened,
        .receive = secondary_receive,
        .batch_done = secondary_batch_done,
        .opaque = c,
    };
    c->timer = aio_timer_new(c->aio ?: qemu_get_aio_context(),
                             QEMU_CLOCK_REALTIME, SCALE_MS, on_timer, c);
    start->ok = colo_in_init(&c->secondary, start->name, c->secondary_in,
                             c->vnet_hdr, &start->err) &&
                (!start->setup || start->setup(c->opaque, &start->err));
    if (start->ok) {
        timer_mod(c->timer, now_ms() + c->expired_scan_cycle);
    } else {
        colo_in_destroy(&c->secondary);
        timer_free(c->timer);
        c->timer = NULL;
    }
}

static void use_iothread(ColoComparer *c)
{
    c->thread = c->iothread;
    if (c->thread) {
        object_ref(OBJECT(c->thread));
        c->aio = iothread_get_aio_context(c->thread);
        c->context = iothread_get_g_main_context(c->thread);
    } else {
        c->aio = qemu_get_aio_context();
    }
}

static void leave_iothread(ColoComparer *c)
{
    if (c->thread) {
        object_unref(OBJECT(c->thread));
        c->thread = NULL;
    }
}

bool colo_comparer_start(ColoComparer *c, const char *name,
                         ColoComparerSetup *setup, Error **errp)
{
    Start start = { .c = c, .name = name, .setup = setup };

    use_iothread(c);
    colo_comparer_run(c, start_in_thread, &start);
    if (!start.ok) {
        error_propagate(errp, start.err);
        leave_iothread(c);
        return false;
    }
    c->running = true;
    QEMU_LOCK_GUARD(&comparers_lock);
    QTAILQ_INSERT_TAIL(&comparers, c, next);
    return true;
}

typedef struct Stop {
    ColoComparer *c;
    ColoComparerTeardown *teardown;
} Stop;

static void stop_in_thread(void *opaque)
{
    Stop *stop = opaque;
    ColoComparer *c = stop->c;

    colo_in_destroy(&c->secondary);
    timer_free(c->timer);
    c->timer = NULL;
    colo_comparer_event(c, COLO_EVENT_FAILOVER);
    if (stop->teardown) {
        stop->teardown(c->opaque);
    }
}

void colo_comparer_stop(ColoComparer *c, ColoComparerTeardown *teardown)
{
    Stop stop = { .c = c, .teardown = teardown };
    ColoHeldList rest = QTAILQ_HEAD_INITIALIZER(rest);

    if (!c->running) {
        return;
    }
    c->running = false;
    WITH_QEMU_LOCK_GUARD(&comparers_lock) {
        QTAILQ_REMOVE(&comparers, c, next);
    }
    colo_comparer_run(c, stop_in_thread, &stop);
    WITH_QEMU_LOCK_GUARD(&c->lock) {
        slow_guest(c, false);
    }
    colo_comparer_take(c, &rest);
    colo_comparer_done(c, &rest);
    leave_iothread(c);
}
