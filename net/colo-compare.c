/*
 * colo-compare: P's packets from one chardev, S's from another, what may leave
 * goes to a third
 *
 *   -object colo-compare,id=comp0,primary_in=compare0-0,secondary_in=compare1,
 *           outdev=compare_out0,iothread=iothread1
 *
 * All three are read and written in the iothread.  Where outdev is not open
 * or its reader is slow, what was released waits here, and if that gets too
 * much, P's packets are no longer read: nothing is dropped, nothing blocks.
 *
 * With notify_dev, a program that runs Xen's COLO is asked for checkpoints, and
 * tells of them, in place of QEMU's own engine.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/visitor.h"
#include "qemu/bswap.h"
#include "migration/colo.h"
#include "net/colo-compare.h"
#include "net/colo-comparer.h"
#include "net/net.h"
#include "qom/object_interfaces.h"

#define TYPE_COLO_COMPARE "colo-compare"
OBJECT_DECLARE_SIMPLE_TYPE(ColoCompare, COLO_COMPARE)

/* No more is put into the queue of outdev than this, in bytes */
#define OUT_QUEUE_MAX (COLO_OUT_QUEUE_MAX / 2)

/* ms until a slow reader of outdev is given more */
#define RETRY_MS 2

struct ColoCompare {
    Object parent_obj;

    char *primary_in;
    char *outdev;
    char *notify_dev;
    ColoComparer comparer;

    /* All of it belongs to the compare thread; anyone may schedule kick */
    ColoIn primary;
    bool primary_stalled;
    uint64_t primary_epoch;     /* of what comes from primary_in; 0: unknown */
    unsigned in_batch;          /* frames since what was released was passed on */
    ColoOut out;
    ColoHeldList released;
    QEMUTimer *retry;
    QEMUBH *kick;
    CharBackend notify_chr;
    ColoFrameReader notify_reader;
};

/* Out */

static bool out_has_room(const ColoCompare *s)
{
    return s->out.open && s->out.writer.used < OUT_QUEUE_MAX;
}

static void pass_on(ColoCompare *s)
{
    ColoHeldList sent = QTAILQ_HEAD_INITIALIZER(sent);
    ColoHeld *held;

    colo_comparer_take(&s->comparer, &s->released);
    while ((held = QTAILQ_FIRST(&s->released)) && out_has_room(s)) {
        struct iovec iov = { .iov_base = held->data, .iov_len = held->len };

        colo_out_put(&s->out, &iov, 1, held->vnet_hdr_len);
        QTAILQ_REMOVE(&s->released, held, in_order);
        QTAILQ_INSERT_TAIL(&sent, held, in_order);
    }
    colo_comparer_done(&s->comparer, &sent);
    colo_out_flush(&s->out);
    if (held && s->out.open) {
        timer_mod(s->retry, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + RETRY_MS);
    }
    if (s->primary_stalled && colo_comparer_has_room(&s->comparer)) {
        s->primary_stalled = false;
        colo_in_resume(&s->primary);
    }
}

static void pass_on_cb(void *opaque)
{
    pass_on(opaque);
}

/* Any thread */
static void deliver(void *opaque)
{
    ColoCompare *s = opaque;

    if (colo_comparer_in_thread(&s->comparer)) {
        pass_on(s);
    } else {
        qemu_bh_schedule(s->kick);
    }
}

/* P's packets */

static void primary_opened(void *opaque)
{
    ColoCompare *s = opaque;

    s->primary_epoch = 0;
}

static bool primary_ready(void *opaque)
{
    ColoCompare *s = opaque;

    s->primary_stalled = !colo_comparer_has_room(&s->comparer);
    return !s->primary_stalled;
}

static void primary_batch_done(void *opaque)
{
    ColoCompare *s = opaque;

    if (s->in_batch) {
        s->in_batch = 0;
        pass_on(s);
    }
}

static void primary_receive(void *opaque, ColoFrameType type,
                            const ColoFrame *frame)
{
    ColoCompare *s = opaque;
    struct iovec iov = {
        .iov_base = (void *)frame->data, .iov_len = frame->len,
    };

    if (type == COLO_FRAME_MARKER) {
        s->primary_epoch = frame->epoch;
        return;
    }
    switch (colo_comparer_primary(&s->comparer, &iov, 1, frame->vnet_hdr_len,
                                  s->primary_epoch)) {
    case COLO_TAKEN_NOT:
        s->primary.stats.dropped++;
        break;
    case COLO_TAKEN_RELEASED:
        if (++s->in_batch == COLO_COMPARER_BATCH) {
            primary_batch_done(s);
        }
        break;
    default:
        break;
    }
}

/* Xen */

static void notify_send(ColoCompare *s, const char *message)
{
    uint8_t frame[64];
    uint32_t len = strlen(message);

    stl_be_p(frame, len);
    memcpy(frame + sizeof(len), message, len);
    len += sizeof(len);
    if (qemu_chr_fe_write(&s->notify_chr, frame, len) != len) {
        error_report("colo-compare: '%s' could not be sent to '%s'", message,
                     s->notify_dev);
    }
}

static void notify_want(void *opaque)
{
    notify_send(opaque, "DO_CHECKPOINT");
}

static bool frame_is(const ColoFrame *frame, const char *text)
{
    return frame->len == strlen(text) && !memcmp(frame->data, text, frame->len);
}

static void notify_receive(ColoCompare *s, const ColoFrame *frame)
{
    if (frame_is(frame, "COLO_USERSPACE_PROXY_INIT")) {
        notify_send(s, "COLO_COMPARE_GET_XEN_INIT");
    } else if (frame_is(frame, "COLO_CHECKPOINT")) {
        colo_comparer_event(&s->comparer, COLO_EVENT_CHECKPOINT);
    } else {
        warn_report("colo-compare: '%s' sent an unknown message of %u bytes",
                    s->notify_dev, frame->len);
    }
}

static int notify_can_read(void *opaque)
{
    return CHR_READ_BUF_LEN;
}

static void notify_read(void *opaque, const uint8_t *buf, int size)
{
    ColoCompare *s = opaque;
    ColoFrameType type;
    ColoFrame frame;
    size_t room;
    uint8_t *space = colo_frame_reader_space(&s->notify_reader, &room);

    assert(size <= room);
    memcpy(space, buf, size);
    colo_frame_reader_fill(&s->notify_reader, size);
    while ((type = colo_frame_reader_next(&s->notify_reader, &frame)) ==
           COLO_FRAME_DATA || type == COLO_FRAME_MARKER) {
        if (type == COLO_FRAME_DATA) {
            notify_receive(s, &frame);
        }
    }
    if (type == COLO_FRAME_ERROR) {
        warn_report("colo-compare: '%s' sent %s; closing it", s->notify_dev,
                    s->notify_reader.error);
        colo_frame_reader_reset(&s->notify_reader);
        qemu_chr_fe_disconnect(&s->notify_chr);
    }
}

static void notify_event(void *opaque, QEMUChrEvent event)
{
    ColoCompare *s = opaque;

    if (event == CHR_EVENT_OPENED || event == CHR_EVENT_CLOSED) {
        colo_frame_reader_reset(&s->notify_reader);
    }
}

static bool notify_init(ColoCompare *s, Error **errp)
{
    Chardev *chr = qemu_chr_find(s->notify_dev);

    if (!chr) {
        error_setg(errp, "Device '%s' not found", s->notify_dev);
        return false;
    }
    if (!qemu_chr_fe_init(&s->notify_chr, chr, errp)) {
        return false;
    }
    colo_frame_reader_init(&s->notify_reader, s->comparer.vnet_hdr);
    qemu_chr_fe_set_handlers(&s->notify_chr, notify_can_read, notify_read,
                             notify_event, NULL, s, s->comparer.context, true);
    return true;
}

/* Beginning and end, in the compare thread */

static void teardown(void *opaque)
{
    ColoCompare *s = opaque;

    if (s->kick) {
        pass_on(s);
        colo_comparer_done(&s->comparer, &s->released);
        qemu_bh_delete(s->kick);
        timer_free(s->retry);
        s->kick = NULL;
        s->retry = NULL;
    }
    colo_in_destroy(&s->primary);
    colo_out_destroy(&s->out);
    qemu_chr_fe_deinit(&s->notify_chr, false);
    colo_frame_reader_destroy(&s->notify_reader);
}

static bool setup(void *opaque, Error **errp)
{
    ColoCompare *s = opaque;
    ColoComparer *c = &s->comparer;
    const char *name = object_get_canonical_path_component(OBJECT(s));

    s->primary = (ColoIn) {
        .aio = c->aio, .context = c->context, .opened = primary_opened,
        .ready = primary_ready, .receive = primary_receive,
        .batch_done = primary_batch_done, .opaque = s,
    };
    s->out = (ColoOut) {
        .aio = c->aio, .context = c->context, .opened = pass_on_cb, .opaque = s,
    };
    s->kick = aio_bh_new(c->aio, pass_on_cb, s);
    s->retry = aio_timer_new(c->aio, QEMU_CLOCK_REALTIME, SCALE_MS, pass_on_cb,
                             s);
    if (!colo_in_init(&s->primary, name, s->primary_in, c->vnet_hdr, errp) ||
        !colo_out_init(&s->out, name, s->outdev, c->vnet_hdr, errp) ||
        (s->notify_dev && !notify_init(s, errp))) {
        teardown(s);
        return false;
    }
    return true;
}

/* QOM */

static bool check_chardev(const char *property, const char *id, Error **errp)
{
    Chardev *chr = id ? qemu_chr_find(id) : NULL;

    if (!id) {
        error_setg(errp, "colo-compare needs '%s', the name of a chardev",
                   property);
        return false;
    }
    if (!chr) {
        error_setg(errp, "Device '%s' not found", id);
        return false;
    }
    if (!qemu_chr_has_feature(chr, QEMU_CHAR_FEATURE_RECONNECTABLE)) {
        error_setg(errp, "chardev \"%s\" is not reconnectable", id);
        return false;
    }
    if (!qemu_chr_has_feature(chr, QEMU_CHAR_FEATURE_GCONTEXT)) {
        error_setg(errp, "chardev \"%s\" cannot switch context", id);
        return false;
    }
    return true;
}

static void compare_complete(UserCreatable *uc, Error **errp)
{
    ColoCompare *s = COLO_COMPARE(uc);
    ColoComparer *c = &s->comparer;

    if (!check_chardev("primary_in", s->primary_in, errp) ||
        !check_chardev("secondary_in", c->secondary_in, errp) ||
        !check_chardev("outdev", s->outdev, errp) ||
        (s->notify_dev && !check_chardev("notify_dev", s->notify_dev, errp))) {
        return;
    }
    if (!c->iothread) {
        error_setg(errp, "colo-compare needs 'iothread', the name of one");
        return;
    }
    if (!strcmp(s->primary_in, s->outdev) ||
        !strcmp(s->primary_in, c->secondary_in) ||
        !strcmp(c->secondary_in, s->outdev)) {
        error_setg(errp, "'primary_in', 'secondary_in' and 'outdev' of "
                   "colo-compare must be three chardevs");
        return;
    }
    c->want = s->notify_dev ? notify_want : NULL;
    colo_comparer_start(c, object_get_canonical_path_component(OBJECT(s)),
                        setup, errp);
}

/* The net layer is going: so do those that still hold its chardevs. */
void colo_compare_cleanup(void)
{
    ColoComparer *c;

    colo_comparers_quit();
    c = colo_comparer_next(NULL);
    while (c) {
        Object *obj = OBJECT(c->opaque);

        if (object_dynamic_cast(obj, TYPE_COLO_COMPARE)) {
            object_unparent(obj);
            c = colo_comparer_next(NULL);
        } else {
            c = colo_comparer_next(c);
        }
    }
}

static char **string_of(ColoCompare *s, const char *name)
{
    return !strcmp(name, "primary_in") ? &s->primary_in
         : !strcmp(name, "secondary_in") ? &s->comparer.secondary_in
         : !strcmp(name, "outdev") ? &s->outdev : &s->notify_dev;
}

static void get_chardev(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    char *value = *string_of(COLO_COMPARE(obj), name) ?: (char *)"";

    visit_type_str(v, name, &value, errp);
}

static void set_chardev(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    char **chardev = string_of(COLO_COMPARE(obj), name);
    char *value;

    if (visit_type_str(v, name, &value, errp)) {
        g_free(*chardev);
        *chardev = value;
    }
}

static bool get_vnet_hdr(Object *obj, Error **errp)
{
    return COLO_COMPARE(obj)->comparer.vnet_hdr;
}

static void set_vnet_hdr(Object *obj, bool value, Error **errp)
{
    COLO_COMPARE(obj)->comparer.vnet_hdr = value;
}

static void compare_instance_init(Object *obj)
{
    ColoCompare *s = COLO_COMPARE(obj);

    QTAILQ_INIT(&s->released);
    s->comparer.deliver = deliver;
    s->comparer.opaque = s;
    colo_comparer_init(&s->comparer, obj);
}

static void compare_instance_finalize(Object *obj)
{
    ColoCompare *s = COLO_COMPARE(obj);

    colo_comparer_stop(&s->comparer, teardown);
    colo_comparer_finalize(&s->comparer);
    g_free(s->primary_in);
    g_free(s->outdev);
    g_free(s->notify_dev);
}

static void compare_class_init(ObjectClass *oc, void *data)
{
    static const char *const chardevs[][2] = {
        { "primary_in", "chardev that the primary's packets come from" },
        { "secondary_in", "chardev that the secondary's packets come from" },
        { "outdev", "chardev that gets the packets which may leave" },
        { "notify_dev", "chardev to a program that runs Xen's COLO" },
    };

    USER_CREATABLE_CLASS(oc)->complete = compare_complete;
    for (int i = 0; i < ARRAY_SIZE(chardevs); i++) {
        object_class_property_add(oc, chardevs[i][0], "str", get_chardev,
                                  set_chardev, NULL, NULL);
        object_class_property_set_description(oc, chardevs[i][0],
                                              chardevs[i][1]);
    }
    object_class_property_add_bool(oc, "vnet_hdr_support", get_vnet_hdr,
                                   set_vnet_hdr);
    object_class_property_set_description(oc, "vnet_hdr_support",
        "the length of the virtio-net header comes with each packet");
}

static const TypeInfo compare_info = {
    .name = TYPE_COLO_COMPARE,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(ColoCompare),
    .instance_init = compare_instance_init,
    .instance_finalize = compare_instance_finalize,
    .class_init = compare_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    }
};

static void compare_register(void)
{
    type_register_static(&compare_info);
}

type_init(compare_register)
