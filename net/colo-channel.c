/*
 * Character devices as streams of frames: what both ways share, and out
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
#include "chardev/char-socket.h"
#include "io/channel-tls.h"
#include "colo-channel-int.h"

/* Out of a peer's hands: how often it may fill the log */
#define WARN_INTERVAL_US (10 * G_USEC_PER_SEC)

bool colo_channel_may_warn(int64_t *warned)
{
    int64_t now = g_get_monotonic_time();

    if (*warned && now - *warned < WARN_INTERVAL_US) {
        return false;
    }
    *warned = now;
    return true;
}

QIOChannel *colo_channel_of_socket(CharBackend *chr)
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

bool colo_channel_take(CharBackend *chr, const char *id, Error **errp)
{
    Chardev *dev = qemu_chr_find(id);

    if (!dev) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND,
                  "Device '%s' not found", id);
        return false;
    }
    return qemu_chr_fe_init(chr, dev, errp);
}

AioContext *colo_channel_aio(AioContext *aio)
{
    return aio ?: qemu_get_aio_context();
}

/* Out */

static void out_drop(ColoOut *out, uint64_t frames, const char *why)
{
    out->stats.dropped += frames;
    if (colo_channel_may_warn(&out->warned)) {
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

/*
 * TLS that had no room has encrypted the beginning of what it was given, nobody knows
 * how much.  It will send that in any case, and say so when it is given the same again:
 * until then nothing may be taken out of the queue.
 */
static bool out_waits_for_tls(const ColoOut *out)
{
    Object *dev = OBJECT(out->chr.chr);

    return out->watch && object_dynamic_cast(dev, TYPE_CHARDEV_SOCKET) &&
           object_dynamic_cast(OBJECT(SOCKET_CHARDEV(dev)->ioc),
                               TYPE_QIO_CHANNEL_TLS);
}

void colo_out_discard(ColoOut *out)
{
    if (out_waits_for_tls(out)) {
        return;
    }
    out->stats.dropped += colo_frame_writer_discard(&out->writer);
    out->stats.queue = out->writer.used;
}

static void out_event(void *opaque, QEMUChrEvent event)
{
    ColoOut *out = opaque;

    if (event == CHR_EVENT_OPENED) {
        out_closed(out);
        colo_channel_of_socket(&out->chr);
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
    if (!colo_channel_take(&out->chr, id, errp)) {
        return false;
    }
    out->name = g_strdup(name ?: id);
    colo_frame_writer_init(&out->writer, COLO_OUT_QUEUE_MAX, vnet_hdr);
    out->flush = aio_bh_new(colo_channel_aio(out->aio), out_flush_bh, out);
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
    part = out->writer.started || out_waits_for_tls(out);
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
