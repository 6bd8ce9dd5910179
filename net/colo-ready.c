/*
 * What is to be done as soon as something is so that nobody tells of
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "sysemu/runstate.h"
#include "colo-ready.h"

/* How often a running guest's NIC is asked that does not wake anybody */
#define POLL_MS 1

typedef struct ReadySource {
    GSource source;
    bool (*ready)(void *opaque);
    void (*go)(void *opaque);
    void *opaque;
} ReadySource;

static gboolean ready_prepare(GSource *source, gint *timeout)
{
    ReadySource *s = (ReadySource *)source;

    *timeout = runstate_is_running() ? POLL_MS : -1;
    return s->ready(s->opaque);
}

static gboolean ready_dispatch(GSource *source, GSourceFunc callback,
                               gpointer do_not_use)
{
    ReadySource *s = (ReadySource *)source;

    s->go(s->opaque);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs ready_funcs = {
    .prepare = ready_prepare, .dispatch = ready_dispatch,
};

void colo_ready_await(ColoReady *r, GMainContext *context,
                      bool (*ready)(void *opaque), void (*go)(void *opaque),
                      void *opaque)
{
    ReadySource *s;

    if (r->source) {
        return;
    }
    r->source = g_source_new(&ready_funcs, sizeof(*s));
    s = (ReadySource *)r->source;
    s->ready = ready;
    s->go = go;
    s->opaque = opaque;
    g_source_attach(r->source, context);
}

void colo_ready_cancel(ColoReady *r)
{
    if (r->source) {
        g_source_destroy(r->source);
        g_source_unref(r->source);
        r->source = NULL;
    }
}
