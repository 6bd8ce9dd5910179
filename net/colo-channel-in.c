/*
 * Character devices as streams of frames: in
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qapi/qapi-events-colo-net.h"
#include "colo-channel-int.h"

/* Then others have their turn in the main loop */
#define READS_PER_ROUND 4

/* What a closed socket can still hold is bounded; this is far beyond */
#define READS_AT_END 1024

static bool in_ready(ColoIn *in)
{
    return in->open && (!in->ready || in->ready(in->opaque));
}

/*
 * As long as something is held that was read, no more is: there might be no room.
 * That it is @ready now, which another thread may have made so since, does not tell
 * that nothing is.
 */
static bool in_may_read(ColoIn *in)
{
    return !in->held && in_ready(in);
}

static void in_unwatch(ColoIn *in)
{
    if (in->watch) {
        g_source_destroy(in->watch);
        g_source_unref(in->watch);
        in->watch = NULL;
    }
}

static void in_resume_bh(void *opaque);

static bool in_is_ready(void *opaque)
{
    return in_ready(opaque);
}

/* Whoever makes it ready wakes the loop */
static void in_await_ready(ColoIn *in, bool wanted)
{
    if (wanted) {
        colo_ready_await(&in->await_ready, in->context, in_is_ready,
                         in_resume_bh, in);
    } else {
        colo_ready_cancel(&in->await_ready);
    }
}

static void in_forget(ColoIn *in)
{
    in->open = in->held = false;
    in_unwatch(in);
    in_await_ready(in, false);
    if (in->ioc) {
        object_unref(OBJECT(in->ioc));
        in->ioc = NULL;
    }
    colo_frame_reader_reset(&in->reader);
}

static void in_refuse(ColoIn *in)
{
    in->stats.errors++;
    if (colo_channel_may_warn(&in->warned)) {
        warn_report("%s: the peer sent %s; closing the connection", in->name,
                    in->reader.error);
        qapi_event_send_colo_net_error(in->name, in->reader.error);
    }
    in_forget(in);
    if (!in->closing) {
        qemu_chr_fe_disconnect(&in->chr);
    }
}

/* Hand out what is there; the chardev may close in here */
static void in_pump(ColoIn *in)
{
    ColoFrame frame;

    while (in_ready(in)) {
        ColoFrameType type = colo_frame_reader_next(&in->reader, &frame);

        if (type == COLO_FRAME_NONE) {
            in->held = false;
            return;
        }
        if (type == COLO_FRAME_ERROR) {
            in_refuse(in);
            return;
        }
        if (type == COLO_FRAME_DATA) {
            in->stats.frames++;
        }
        in->receive(in->opaque, type, &frame);
    }
    in->held = in->open;
}

/* The end of a batch, in which there may have been nothing */
static void in_batch_done(ColoIn *in)
{
    if (in->batch_done) {
        in->batch_done(in->opaque);
    }
}

typedef enum InRead {
    IN_END,             /* of the connection */
    IN_NOTHING,
    IN_LITTLE,          /* that was all, or one record of TLS */
    IN_MUCH,            /* there may well be more */
} InRead;

static InRead in_read_channel(ColoIn *in)
{
    size_t size;
    uint8_t *space = colo_frame_reader_space(&in->reader, &size);
    ssize_t n = qio_channel_read(in->ioc, (char *)space, size, NULL);

    if (n <= 0) {
        return n == QIO_CHANNEL_ERR_BLOCK ? IN_NOTHING : IN_END;
    }
    in->stats.bytes += n;
    colo_frame_reader_fill(&in->reader, n);
    in_pump(in);
    return n < size ? IN_LITTLE : IN_MUCH;
}

static gboolean in_readable(QIOChannel *ioc, GIOCondition cond, gpointer opaque);

/* Wait for the peer or, as long as what it sends is held, for that to end */
static void in_rewatch(ColoIn *in)
{
    bool ready = in_may_read(in);

    in_await_ready(in, in->open && !ready);
    if (!in->ioc || !ready) {
        in_unwatch(in);
    } else if (!in->watch) {
        in->watch = qio_channel_create_watch(in->ioc, G_IO_IN | G_IO_ERR |
                                             G_IO_HUP);
        g_source_set_callback(in->watch, (GSourceFunc)in_readable, in, NULL);
        /*
         * Nothing called from there runs the loop again.  To see to it that it would
         * not dispatch this one, GLib takes its file out of the set to poll and puts
         * it back, and wakes the loop, which is awake, at either: five system calls.
         */
        g_source_set_can_recurse(in->watch, true);
        g_source_attach(in->watch, in->context);
    }
}

static gboolean in_readable(QIOChannel *ioc, GIOCondition cond, gpointer opaque)
{
    ColoIn *in = opaque;
    InRead result = IN_MUCH;

    for (int i = 0; i < READS_PER_ROUND && in->ioc && in_may_read(in); i++) {
        result = in_read_channel(in);
        if (result != IN_MUCH) {
            break;
        }
    }
    in_batch_done(in);
    if (result == IN_END) {
        qemu_chr_fe_disconnect(&in->chr);
    }
    in_rewatch(in);
    return in->watch ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/*
 * The chardev may have closed before all was read: what the peer had sent
 * before it went is worth as much as what came earlier.  A socket tells of its end
 * with the lock held that disconnecting it takes.
 */
static void in_closed(ColoIn *in)
{
    InRead result = IN_MUCH;

    in->closing = true;
    in_unwatch(in);
    in_pump(in);
    for (int i = 0; i < READS_AT_END && in->ioc && in_may_read(in) &&
         result > IN_NOTHING; i++) {
        result = in_read_channel(in);
    }
    in_batch_done(in);
    in_forget(in);
    in->closing = false;
}

static void in_event(void *opaque, QEMUChrEvent event)
{
    ColoIn *in = opaque;

    if (event == CHR_EVENT_OPENED) {
        in_forget(in);
        in->ioc = colo_channel_of_socket(&in->chr);
        if (in->ioc) {
            object_ref(OBJECT(in->ioc));
        }
        in->open = true;
        in->stats.connections++;
        if (in->opened) {
            in->opened(in->opaque);
        }
        in_rewatch(in);
    } else if (event == CHR_EVENT_CLOSED) {
        in_closed(in);
    }
}

/*
 * A chardev that is no socket is read by itself.  What has come before may still be
 * there, if it had to be held: then that is handed out first.
 */
static int in_can_read(void *opaque)
{
    ColoIn *in = opaque;
    bool room = colo_frame_reader_has_room(&in->reader);

    return !in->ioc && room && in_ready(in) ? CHR_READ_BUF_LEN : 0;
}

static void in_read(void *opaque, const uint8_t *buf, int size)
{
    ColoIn *in = opaque;
    size_t room;
    uint8_t *space = colo_frame_reader_space(&in->reader, &room);

    assert(size <= room);
    memcpy(space, buf, size);
    in->stats.bytes += size;
    colo_frame_reader_fill(&in->reader, size);
    in_pump(in);
    in_batch_done(in);
    in_rewatch(in);
}

static void in_resume_bh(void *opaque)
{
    ColoIn *in = opaque;

    in_pump(in);
    in_batch_done(in);
    in_rewatch(in);
    qemu_chr_fe_accept_input(&in->chr);
}

void colo_in_resume(ColoIn *in)
{
    qemu_bh_schedule(in->resume);
}

bool colo_in_init(ColoIn *in, const char *name, const char *id, bool vnet_hdr,
                  Error **errp)
{
    if (!colo_channel_take(&in->chr, id, errp)) {
        return false;
    }
    in->name = g_strdup(name ?: id);
    colo_frame_reader_init(&in->reader, vnet_hdr);
    in->resume = aio_bh_new(colo_channel_aio(in->aio), in_resume_bh, in);
    qemu_chr_fe_set_handlers(&in->chr, in_can_read, in_read, in_event,
                             NULL, in, in->context, true);
    return true;
}

void colo_in_destroy(ColoIn *in)
{
    bool part;

    if (!in->name) {
        return;
    }
    part = colo_frame_reader_pending(&in->reader);
    in_forget(in);
    if (part) {
        /* The next user must not begin in the middle of a frame */
        qemu_chr_fe_disconnect(&in->chr);
    }
    qemu_chr_fe_deinit(&in->chr, false);
    qemu_bh_delete(in->resume);
    colo_frame_reader_destroy(&in->reader);
    g_free(in->name);
    in->name = NULL;
}
