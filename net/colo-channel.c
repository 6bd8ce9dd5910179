/*
 * Character devices as streams of frames, out and in
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/qapi-events-colo-net.h"
#include "chardev/char-socket.h"
#include "colo-channel.h"

/* Out of a peer's hands: how often it may fill the log */
#define WARN_INTERVAL_US (10 * G_USEC_PER_SEC)

/* Then others have their turn in the main loop */
#define READS_PER_ROUND 4

/* What a closed socket can still hold is bounded; this is far beyond */
#define READS_AT_END 1024

static bool may_warn(int64_t *warned)
{
    int64_t now = g_get_monotonic_time();

    if (*warned && now - *warned < WARN_INTERVAL_US) {
        return false;
    }
    *warned = now;
    return true;
}

/* The channel of a connected socket, set to send at once; NULL for others */
static QIOChannel *socket_channel(CharBackend *chr)
{
    Object *dev = OBJECT(qemu_chr_fe_get_driver(chr));
    QIOChannel *ioc;

    if (!object_dynamic_cast(dev, TYPE_CHARDEV_SOCKET)) {
        return NULL;
    }
    ioc = SOCKET_CHARDEV(dev)->ioc;
    if (ioc) {
        qio_channel_set_delay(ioc, false);
    }
    return ioc;
}

static bool take_chardev(CharBackend *chr, const char *id, Error **errp)
{
    Chardev *dev = qemu_chr_find(id);

    if (!dev) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "Device '%s' not found", id);
        return false;
    }
    return qemu_chr_fe_init(chr, dev, errp);
}

static AioContext *aio_context(AioContext *aio)
{
    return aio ?: qemu_get_aio_context();
}

/* Out */

static void out_drop(ColoOut *out, uint64_t frames, const char *why)
{
    out->stats.dropped += frames;
    if (may_warn(&out->warned)) {
        warn_report("%s: %" PRIu64 " frames dropped, %s", out->name,
                    out->stats.dropped - out->told, why);
        out->told = out->stats.dropped;
    }
    if (out->lost) {
        out->lost(out->opaque);
    }
}

static void out_closed(ColoOut *out)
{
    bool was_open = out->open;
    bool part = out->writer.started && !out->writer.marker;
    uint64_t frames = colo_frame_writer_discard(&out->writer) + part;

    out->open = false;
    if (out->watch) {
        GMainContext *context = out->context ?: g_main_context_default();

        g_source_destroy(g_main_context_find_source_by_id(context, out->watch));
        out->watch = 0;
    }
    colo_frame_writer_reset(&out->writer);
    out->stats.queue = 0;
    if (was_open && frames) {
        out_drop(out, frames, "the connection is gone");
    }
}

static void out_flush(ColoOut *out);

static gboolean out_writable(void *do_not_use, GIOCondition cond, void *opaque)
{
    ColoOut *out = opaque;

    out->watch = 0;
    out_flush(out);
    return G_SOURCE_REMOVE;
}

/* Write until there is nothing, or no room; the chardev may close in here */
static void out_flush(ColoOut *out)
{
    struct iovec iov[2];

    while (out->open && !out->watch &&
           colo_frame_writer_peek(&out->writer, iov)) {
        int n = qemu_chr_fe_write(&out->chr, iov[0].iov_base, iov[0].iov_len);
        bool wait = n == 0 || (n < 0 && errno == EAGAIN);

        if (!out->open) {
            return;
        }
        if (n > 0) {
            out->stats.bytes += n;
            out->stats.frames += colo_frame_writer_done(&out->writer, n);
            continue;
        }
        if (wait) {
            out->watch = qemu_chr_fe_add_watch(&out->chr, G_IO_OUT | G_IO_HUP,
                                               out_writable, out);
        }
        if (!out->watch) {
            out_closed(out);
            qemu_chr_fe_disconnect(&out->chr);
        }
    }
    out->stats.queue = out->writer.used;
}

static void out_flush_bh(void *opaque)
{
    ColoOut *out = opaque;

    out->scheduled = false;
    out->alone = out->sent_in_round == 1;
    out->sent_in_round = 0;
    out_flush(out);
}

/*
 * Within a round of its own loop, more frames are likely to follow, and all of them
 * are written at its end.  But where the last round had one frame only, the next
 * is likely to be alone as well, and need not wait for the end.  From elsewhere,
 * which is a vCPU or the COLO thread, waking the loop costs more than writing.
 */
static void out_wake(ColoOut *out)
{
    bool in_loop = g_main_context_is_owner(out->context ?:
                                           g_main_context_default());
    bool first = !out->scheduled;

    if (in_loop && !out->watch) {
        out->sent_in_round++;
        /* A second time would do nothing but wake a loop that is awake */
        if (first) {
            out->scheduled = true;
            qemu_bh_schedule(out->flush);
        }
    }
    if (!in_loop || (first && out->alone)) {
        out_flush(out);
    }
    out->stats.queue = out->writer.used;
    out->stats.queue_max = out->writer.max_used;
}

void colo_out_flush(ColoOut *out)
{
    out_flush(out);
}

/* True: @frame is in the queue */
static bool out_put(ColoOut *out, const struct iovec *iov, int iovcnt,
                    uint32_t vnet_hdr_len)
{
    if (!out->open) {
        out->stats.dropped++;
        return false;
    }
    switch (colo_frame_writer_put(&out->writer, iov, iovcnt, vnet_hdr_len)) {
    case COLO_FRAME_QUEUED:
        return true;
    case COLO_FRAME_FULL:
        out_drop(out, 1, "the peer does not read");
        return false;
    default:
        out_drop(out, 1, "too long to be sent");
        return false;
    }
}

bool colo_out_put(ColoOut *out, const struct iovec *iov, int iovcnt,
                  uint32_t vnet_hdr_len)
{
    bool queued = out_put(out, iov, iovcnt, vnet_hdr_len);

    out->stats.queue = out->writer.used;
    out->stats.queue_max = out->writer.max_used;
    return queued;
}

bool colo_out_send(ColoOut *out, const struct iovec *iov, int iovcnt,
                   uint32_t vnet_hdr_len)
{
    if (!out_put(out, iov, iovcnt, vnet_hdr_len)) {
        return false;
    }
    out_wake(out);
    return true;
}

void colo_out_send_marker(ColoOut *out, uint64_t epoch)
{
    if (!out->open) {
        return;
    }
    if (colo_frame_writer_put_marker(&out->writer, epoch) ==
        COLO_FRAME_QUEUED) {
        out_wake(out);
        return;
    }
    /* Many epochs behind; the next connection begins with a marker */
    out_closed(out);
    qemu_chr_fe_disconnect(&out->chr);
}

void colo_out_discard(ColoOut *out)
{
    out->stats.dropped += colo_frame_writer_discard(&out->writer);
    out->stats.queue = out->writer.used;
}

static void out_event(void *opaque, QEMUChrEvent event)
{
    ColoOut *out = opaque;

    if (event == CHR_EVENT_OPENED) {
        out_closed(out);
        socket_channel(&out->chr);
        out->open = true;
        out->stats.connections++;
        if (out->opened) {
            out->opened(out->opaque);
        }
    } else if (event == CHR_EVENT_CLOSED) {
        out_closed(out);
    }
}

/*
 * Nothing is to come back. Reading it all the same is what tells of the end of
 * the connection while there is nothing to write.
 */
static int out_can_read(void *opaque)
{
    return CHR_READ_BUF_LEN;
}

static void out_read(void *opaque, const uint8_t *buf, int size)
{
}

bool colo_out_init(ColoOut *out, const char *name, const char *id,
                   bool vnet_hdr, Error **errp)
{
    if (!take_chardev(&out->chr, id, errp)) {
        return false;
    }
    out->name = g_strdup(name ?: id);
    colo_frame_writer_init(&out->writer, COLO_OUT_QUEUE_MAX, vnet_hdr);
    out->flush = aio_bh_new(aio_context(out->aio), out_flush_bh, out);
    qemu_chr_fe_set_handlers(&out->chr, out_can_read, out_read, out_event,
                             NULL, out, out->context, true);
    return true;
}

void colo_out_destroy(ColoOut *out)
{
    bool part;

    if (!out->name) {
        return;
    }
    out_flush(out);
    part = out->writer.started;
    out->open = false;
    out_closed(out);
    if (part) {
        /* The next user must not begin in the middle of a frame */
        qemu_chr_fe_disconnect(&out->chr);
    }
    qemu_chr_fe_deinit(&out->chr, false);
    qemu_bh_delete(out->flush);
    colo_frame_writer_destroy(&out->writer);
    g_free(out->name);
    out->name = NULL;
}

/* In */

static bool in_ready(ColoIn *in)
{
    return in->open && (!in->ready || in->ready(in->opaque));
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
    in->open = false;
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
    if (may_warn(&in->warned)) {
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
    bool ready = in_ready(in);

    in_await_ready(in, in->open && !ready);
    if (!in->ioc || !ready) {
        in_unwatch(in);
    } else if (!in->watch) {
        in->watch = qio_channel_create_watch(in->ioc, G_IO_IN | G_IO_ERR |
                                             G_IO_HUP);
        g_source_set_callback(in->watch, (GSourceFunc)in_readable, in, NULL);
        g_source_attach(in->watch, in->context);
    }
}

static gboolean in_readable(QIOChannel *ioc, GIOCondition cond, gpointer opaque)
{
    ColoIn *in = opaque;
    InRead result = IN_MUCH;

    for (int i = 0; i < READS_PER_ROUND && in->ioc && in_ready(in); i++) {
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
    for (int i = 0; i < READS_AT_END && in->ioc && in_ready(in) &&
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
        in->ioc = socket_channel(&in->chr);
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

/* A chardev that is no socket is read by itself */
static int in_can_read(void *opaque)
{
    ColoIn *in = opaque;

    return !in->ioc && in_ready(in) ? CHR_READ_BUF_LEN : 0;
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
    if (!take_chardev(&in->chr, id, errp)) {
        return false;
    }
    in->name = g_strdup(name ?: id);
    colo_frame_reader_init(&in->reader, vnet_hdr);
    in->resume = aio_bh_new(aio_context(in->aio), in_resume_bh, in);
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
