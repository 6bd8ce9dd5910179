/*
 * filter-mirror: a copy of each packet to a chardev
 *
 *   -object filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=mirror0
 *
 * On COLO's primary it copies what comes in to the secondary.  The packet goes
 * its way here whatever becomes of the copy.  If the copy is lost, the guests
 * are bound to differ; the copies that wait are held up to COLO_OUT_QUEUE_MAX,
 * a checkpoint is asked for when half of that is used and whenever a copy was
 * lost, and it heals the difference: its state comes after the packet.
 *
 * All of it runs under the BQL: packets in the main loop or a vCPU thread,
 * events of the chardev in the main loop, those of COLO in its thread.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "migration/colo.h"
#include "net/net.h"
#include "sysemu/runstate.h"
#include "colo-channel.h"
#include "colo-epoch.h"
#include "colo-filter.h"
#include "colo-request.h"

#define TYPE_FILTER_MIRROR "filter-mirror"
OBJECT_DECLARE_SIMPLE_TYPE(FilterMirror, FILTER_MIRROR)

/* A checkpoint that was asked for takes its time: not once per packet */
#define REQUEST_INTERVAL_US (G_USEC_PER_SEC / 2)

/* Frames that may be sent again after a marker, see "late" */
#define LATE_MAX 256

struct FilterMirror {
    NetFilterState parent_obj;

    char *outdev;
    bool vnet_hdr;
    ColoOut out;
    ColoVnetHdrCheck vnet_hdr_check;
    bool missing;           /* a copy was lost since the last checkpoint */
    int64_t requested;      /* us, when it last asked for a checkpoint */

    /*
     * Copies (GBytes) of what came while the guest was stopped.  The net layer
     * keeps these for it until it runs again, but the marker of a checkpoint
     * taken in between makes the secondary drop them: they are sent once more
     * behind it.
     */
    GPtrArray *late;
    VMChangeStateEntry *vm_change;
};

static void mirror_request(FilterMirror *s)
{
    int64_t now = g_get_monotonic_time();

    if (s->requested && now - s->requested < REQUEST_INTERVAL_US) {
        return;
    }
    if (colo_checkpoint_request()) {
        s->requested = now;
    }
}

static void mirror_lost(void *opaque)
{
    FilterMirror *s = opaque;

    s->missing = true;
    mirror_request(s);
}

static void mirror_opened(void *opaque)
{
    FilterMirror *s = opaque;
    uint64_t epoch = colo_epoch_get();

    if (epoch) {
        colo_out_send_marker(&s->out, epoch);
    }
    if (s->missing) {
        mirror_request(s);
    }
}

static uint32_t vnet_hdr_len(FilterMirror *s)
{
    return NETFILTER(s)->netdev->vnet_hdr_len;
}

static ssize_t mirror_receive(NetFilterState *nf, NetClientState *sender,
                              unsigned flags, const struct iovec *iov,
                              int iovcnt, NetPacketSent *sent_cb)
{
    FilterMirror *s = FILTER_MIRROR(nf);

    if (!colo_out_send(&s->out, iov, iovcnt, vnet_hdr_len(s))) {
        s->missing = true;
    } else if (s->out.stats.queue > COLO_OUT_QUEUE_MAX / 2) {
        mirror_request(s);
    }
    if (!runstate_is_running() && s->late->len < LATE_MAX) {
        size_t size = iov_size(iov, iovcnt);
        uint8_t *data = g_malloc(size);

        iov_to_buf(iov, iovcnt, 0, data, size);
        g_ptr_array_add(s->late, g_bytes_new_take(data, size));
    }
    return 0;
}

static void mirror_vm_change(void *opaque, bool running, RunState state)
{
    FilterMirror *s = opaque;

    /*
     * Stopping, too: the run state changes before the vCPUs have stopped, so
     * that some may be late by then; but the net layer gives these to the NIC
     * (or drops them) when it hears of the change, as we do now.  The state of
     * the checkpoint holds them, and the secondary must not get them again.
     */
    g_ptr_array_set_size(s->late, 0);
}

/* What is of the old epoch would be dropped over there: spare the way */
static void mirror_checkpoint(FilterMirror *s)
{
    uint64_t epoch = colo_epoch_get();

    s->missing = false;
    if (!epoch) {
        return;
    }
    colo_out_discard(&s->out);
    colo_out_send_marker(&s->out, epoch);
    for (guint i = 0; i < s->late->len; i++) {
        struct iovec iov;
        size_t size;

        iov.iov_base = (void *)g_bytes_get_data(s->late->pdata[i], &size);
        iov.iov_len = size;
        colo_out_send(&s->out, &iov, 1, vnet_hdr_len(s));
    }
}

static void mirror_handle_event(NetFilterState *nf, int event, Error **errp)
{
    FilterMirror *s = FILTER_MIRROR(nf);

    switch (event) {
    case COLO_EVENT_CHECKPOINT:
        mirror_checkpoint(s);
        break;
    case COLO_EVENT_FAILOVER:
        /* Nobody is there to copy for */
        colo_out_discard(&s->out);
        object_property_set_str(OBJECT(nf), "status", "off", errp);
        break;
    }
}

static void mirror_setup(NetFilterState *nf, Error **errp)
{
    FilterMirror *s = FILTER_MIRROR(nf);
    const char *name = object_get_canonical_path_component(OBJECT(nf));

    if (!s->vnet_hdr && !colo_vnet_hdr_check(&s->vnet_hdr_check, nf, errp)) {
        return;
    }
    s->out.opened = mirror_opened;
    s->out.lost = mirror_lost;
    s->out.opaque = s;
    if (!colo_out_init(&s->out, name, s->outdev, s->vnet_hdr, errp)) {
        return;
    }
    s->vm_change = qemu_add_vm_change_state_handler(mirror_vm_change, s);
}

static void mirror_cleanup(NetFilterState *nf)
{
    FilterMirror *s = FILTER_MIRROR(nf);

    colo_vnet_hdr_check_end(&s->vnet_hdr_check);
    if (s->vm_change) {
        qemu_del_vm_change_state_handler(s->vm_change);
    }
    colo_out_destroy(&s->out);
    g_ptr_array_free(s->late, true);
}

static char *mirror_get_outdev(Object *obj, Error **errp)
{
    return g_strdup(FILTER_MIRROR(obj)->outdev);
}

static void mirror_set_outdev(Object *obj, const char *value, Error **errp)
{
    FilterMirror *s = FILTER_MIRROR(obj);

    g_free(s->outdev);
    s->outdev = g_strdup(value);
}

static bool mirror_get_vnet_hdr(Object *obj, Error **errp)
{
    return FILTER_MIRROR(obj)->vnet_hdr;
}

static void mirror_set_vnet_hdr(Object *obj, bool value, Error **errp)
{
    FILTER_MIRROR(obj)->vnet_hdr = value;
}

static void mirror_init(Object *obj)
{
    FilterMirror *s = FILTER_MIRROR(obj);

    s->late = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    colo_filter_show_out(obj, &s->out.stats);
}

static void mirror_finalize(Object *obj)
{
    FilterMirror *s = FILTER_MIRROR(obj);

    g_free(s->outdev);
}

static void mirror_class_init(ObjectClass *oc, void *data)
{
    NetFilterClass *nfc = NETFILTER_CLASS(oc);

    nfc->setup = mirror_setup;
    nfc->cleanup = mirror_cleanup;
    nfc->receive_iov = mirror_receive;
    nfc->handle_event = mirror_handle_event;
    object_class_property_add_str(oc, "outdev", mirror_get_outdev,
                                  mirror_set_outdev);
    object_class_property_set_description(oc, "outdev",
        "chardev that gets a copy of each packet");
    object_class_property_add_bool(oc, "vnet_hdr_support", mirror_get_vnet_hdr,
                                   mirror_set_vnet_hdr);
    object_class_property_set_description(oc, "vnet_hdr_support",
        "tell the length of the virtio-net header with each packet");
}

static const TypeInfo mirror_info = {
    .name = TYPE_FILTER_MIRROR,
    .parent = TYPE_NETFILTER,
    .instance_size = sizeof(FilterMirror),
    .instance_init = mirror_init,
    .instance_finalize = mirror_finalize,
    .class_init = mirror_class_init,
};

static void mirror_register(void)
{
    type_register_static(&mirror_info);
}

type_init(mirror_register)
