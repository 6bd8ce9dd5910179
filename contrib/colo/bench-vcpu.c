/*
 * How long a QEMU's vCPUs were awake
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include "bench-vcpu.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qlist.h"

typedef struct Thread {
    int clock;              /* perf: nanoseconds with a CPU */
    int schedstat;          /* text: ran, waited (nanoseconds), times */
    int64_t marked_ns;
} Thread;

struct BenchVcpus {
    GArray *threads;        /* of Thread */
};

/* False where it has ended */
static bool get_waited_ns(const Thread *t, uint64_t *waited)
{
    char text[128];
    ssize_t len = pread(t->schedstat, text, sizeof(text) - 1, 0);

    if (len <= 0) {
        return false;
    }
    text[len] = 0;
    return sscanf(text, "%*u %" SCNu64, waited) == 1;
}

/* The last exact figure where a read fails: the thread has ended. */
static int64_t awake_ns(const Thread *t)
{
    uint64_t ran = 0, waited = 0;

    if (!get_waited_ns(t, &waited) ||
        read(t->clock, &ran, sizeof(ran)) != sizeof(ran)) {
        return t->marked_ns;
    }
    return ran + waited;
}

static bool add_thread(BenchVcpus *v, pid_t pid, pid_t tid, Error **errp)
{
    struct perf_event_attr attr = {
        .size = sizeof(attr), .type = PERF_TYPE_SOFTWARE,
        .config = PERF_COUNT_SW_TASK_CLOCK,
    };
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/schedstat",
                                            (int)pid, (int)tid);
    Thread t = {
        .clock = syscall(SYS_perf_event_open, &attr, tid, -1, -1,
                         PERF_FLAG_FD_CLOEXEC),
    };

    if (t.clock < 0) {
        error_setg_errno(errp, errno, "perf_event_open: the kernel does not "
                         "tell how long a thread of QEMU has run");
        return false;
    }
    t.schedstat = open(path, O_RDONLY | O_CLOEXEC);
    if (t.schedstat < 0) {
        error_setg_errno(errp, errno, "%s: the kernel does not tell how long "
                         "a thread of QEMU has waited for a CPU", path);
        close(t.clock);
        return false;
    }
    g_array_append_val(v->threads, t);
    return true;
}

BenchVcpus *bench_vcpus_new(BenchGuest *guest, BenchSide side, Error **errp)
{
    QObject *answer = bench_guest_qmp_ask(guest, side,
                                          "{'execute': 'query-cpus-fast'}",
                                          errp);
    g_autoptr(BenchVcpus) v = NULL;
    bool ok = answer != NULL;
    QListEntry *e;

    if (!ok) {
        return NULL;
    }
    v = g_new(BenchVcpus, 1);
    v->threads = g_array_new(false, false, sizeof(Thread));
    QLIST_FOREACH_ENTRY(qobject_to(QList, answer), e) {
        QDict *cpu = qobject_to(QDict, qlist_entry_obj(e));

        ok = ok && add_thread(v, bench_guest_pid(guest, side),
                              qdict_get_int(cpu, "thread-id"), errp);
    }
    qobject_unref(answer);
    return ok ? g_steal_pointer(&v) : NULL;
}

void bench_vcpus_free(BenchVcpus *v)
{
    for (guint i = 0; i < v->threads->len; i++) {
        close(g_array_index(v->threads, Thread, i).clock);
        close(g_array_index(v->threads, Thread, i).schedstat);
    }
    g_array_unref(v->threads);
    g_free(v);
}

void bench_vcpus_mark(BenchVcpus *v)
{
    for (guint i = 0; v && i < v->threads->len; i++) {
        Thread *t = &g_array_index(v->threads, Thread, i);

        t->marked_ns = awake_ns(t);
    }
}

int64_t bench_vcpus_awake_us(BenchVcpus *v)
{
    int64_t most = 0;

    for (guint i = 0; v && i < v->threads->len; i++) {
        const Thread *t = &g_array_index(v->threads, Thread, i);

        most = MAX(most, awake_ns(t) - t->marked_ns);
    }
    return most / 1000;
}
