/*
 * filter-mirror: a copy of each packet to a chardev
 *
 *   -object filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=mirror0
 *
 * On COLO's primary it copies what comes in to the secondary.  The packet goes
 * its way here whatever becomes of the copy.  In COLO both happen when the NIC can
 * take the packet, and until then it waits here: of what waits in the net layer
 * for a guest that is stopped, a NIC may lose what it has no room for, or all of it
 * (virtio-net), and in which epoch the guest got the rest nobody could tell.  So
 * S is sent each packet in the epoch in which P's guest gets it, and none twice.
 *
 * If the copy is lost, the guests are bound to differ; the copies that wait are
 * held up to COLO_OUT_QUEUE_MAX, a checkpoint is asked for when half of that is
 * used and whenever a copy was lost, and it heals the difference: its state comes
 * after the packet.
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
#include "qemu/queue.h"
#include "qemu/units.h"
#include "qom/object.h"
#include "migration/colo.h"
#include "net/net.h"
#include "sysemu/runstate.h"
#include "colo-channel.h"
#include "colo-epoch.h"
#include "colo-filter.h"
#include "colo-ready.h"
#include "colo-request.h"

#define TYPE_FILTER_MIRROR "filter-mirror"
OBJECT_DECLARE_SIMPLE_TYPE(FilterMirror, FILTER_MIRROR)

/* A checkpoint that was asked for takes its time: not once per packet */
#define REQUEST_INTERVAL_US (G_USEC_PER_SEC / 2)

/* Bytes of frames that may wait for the NIC */
#define WAITING_MAX (16 * MiB)

/* A packet that waits for the NIC */
typedef struct Waiting {
    QSIMPLEQ_ENTRY(Waiting) next;
    unsigned flags;
    size_t size;
    uint8_t data[];
} Waiting;

struct FilterMirror {
    NetFilterState parent_obj;

    char *outdev;
    bool vnet_hdr;
    ColoOut out;
    ColoVnetHdrCheck vnet_hdr_check;
    bool missing;           /* a copy was lost since the last checkpoint */
    int64_t requested;      /* us, when it last asked for a checkpoint */

    QSIMPLEQ_HEAD(, Waiting) waiting;
    size_t waiting_bytes;
    ColoReady ready;        /* waits as long as there are some */
    Waiting *refused;       /* what the net layer may keep for the NIC, or NULL */
    VMChangeStateEntry *vm_change;
    uint64_t waited;        /* frames that had to, ever */
    uint64_t overflowed;    /* frames for which there was no room */
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
    /* What was on its way through the old connection is lost, too */
    s->missing = s->missing || s->out.stats.connections > 1;
    if (s->missing) {
        mirror_request(s);
    }
}

static uint32_t vnet_hdr_len(FilterMirror *s)
{
    return NETFILTER(s)->netdev->vnet_hdr_len;
}

static void mirror_copy(FilterMirror *s, const struct iovec *iov, int iovcnt)
{
    if (!colo_out_send(&s->out, iov, iovcnt, vnet_hdr_len(s))) {
        s->missing = true;
    } else if (s->out.stats.queue > COLO_OUT_QUEUE_MAX / 2) {
        mirror_request(s);
    }
}

/* Packets that wait for the guest */

/*
 * Without epochs the net layer may keep them as it always has, but not while a
 * guest stands still that may be about to begin with COLO.
 */
static bool mirror_guest_takes(void *opaque)
{
    FilterMirror *s = opaque;

    return colo_epoch_get() ? qemu_can_send_packet(NETFILTER(s)->netdev)
                            : runstate_is_running();
}

static void mirror_pass_waiting(void *opaque);

static void mirror_await(FilterMirror *s)
{
    colo_ready_await(&s->ready, NULL, mirror_guest_takes, mirror_pass_waiting,
                     s);
}

static Waiting *waiting_new(unsigned flags, const struct iovec *iov, int iovcnt)
{
    size_t size = iov_size(iov, iovcnt);
    Waiting *w = g_malloc(sizeof(*w) + size);

    w->flags = flags;
    w->size = size;
    iov_to_buf(iov, iovcnt, 0, w->data, size);
    return w;
}

/*
 * A NIC may say that it takes packets and then have no room for this one.  The net
 * layer keeps that until there is.
 */
static void mirror_pass(FilterMirror *s, unsigned flags,
                        const struct iovec *iov, int iovcnt)
{
    NetFilterState *nf = NETFILTER(s);

    g_clear_pointer(&s->refused, g_free);
    if (nf->on) {
        mirror_copy(s, iov, iovcnt);
    }
    qemu_netfilter_pass_to_next(nf->netdev, flags, iov, iovcnt, nf);
    if (nf->netdev->peer && nf->netdev->peer->receive_disabled) {
        s->refused = waiting_new(flags, iov, iovcnt);
    }
}

static void mirror_pass_first(FilterMirror *s)
{
    Waiting *w = QSIMPLEQ_FIRST(&s->waiting);
    struct iovec iov = { .iov_base = w->data, .iov_len = w->size };

    QSIMPLEQ_REMOVE_HEAD(&s->waiting, next);
    s->waiting_bytes -= w->size;
    mirror_pass(s, w->flags, &iov, 1);
    g_free(w);
}

static void mirror_pass_waiting(void *opaque)
{
    FilterMirror *s = opaque;

    while (!QSIMPLEQ_EMPTY(&s->waiting) && mirror_guest_takes(s)) {
        mirror_pass_first(s);
    }
    if (QSIMPLEQ_EMPTY(&s->waiting)) {
        colo_ready_cancel(&s->ready);
    }
}

/* There is nobody to copy for: the net layer may have them. */
static void mirror_pass_all(FilterMirror *s)
{
    while (!QSIMPLEQ_EMPTY(&s->waiting)) {
        mirror_pass_first(s);
    }
    colo_ready_cancel(&s->ready);
}

/*
 * The guest stops.  What the NIC has no room for is dropped by the net layer, when
 * it hears of this, after us (it was there first): so it begins anew.
 */
static void mirror_vm_change(void *opaque, bool running, RunState state)
{
    FilterMirror *s = opaque;
    NetClientState *nic = NETFILTER(s)->netdev->peer;

    if (!running && s->refused && nic && nic->receive_disabled) {
        qemu_purge_queued_packets(NETFILTER(s)->netdev);
        QSIMPLEQ_INSERT_HEAD(&s->waiting, s->refused, next);
        s->waiting_bytes += s->refused->size;
        s->refused = NULL;
        s->waited++;
        mirror_await(s);
    }
}

/*
 * Beyond the limit it is lost as on the wire: neither guest has got it.  That is
 * what a tap does, too.
 */
static void mirror_wait(FilterMirror *s, unsigned flags,
                        const struct iovec *iov, int iovcnt)
{
    Waiting *w;

    if (s->waiting_bytes + iov_size(iov, iovcnt) > WAITING_MAX) {
        s->overflowed++;
        return;
    }
    w = waiting_new(flags, iov, iovcnt);
    QSIMPLEQ_INSERT_TAIL(&s->waiting, w, next);
    s->waiting_bytes += w->size;
    s->waited++;
    mirror_await(s);
}

static ssize_t mirror_receive(NetFilterState *nf, NetClientState *sender,
                              unsigned flags, const struct iovec *iov,
                              int iovcnt, NetPacketSent *sent_cb)
{
    FilterMirror *s = FILTER_MIRROR(nf);
    bool wait = !QSIMPLEQ_EMPTY(&s->waiting) || !mirror_guest_takes(s);

    if (sender != nf->netdev || (!wait && !colo_epoch_get())) {
        mirror_copy(s, iov, iovcnt);
        return 0;
    }
    if (wait) {
        mirror_wait(s, flags, iov, iovcnt);
    } else {
        mirror_pass(s, flags, iov, iovcnt);
    }
    return iov_size(iov, iovcnt);
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

static void mirror_status_changed(NetFilterState *nf, Error **errp)
{
    FilterMirror *s = FILTER_MIRROR(nf);

    if (!nf->on) {
        mirror_pass_all(s);
        g_clear_pointer(&s->refused, g_free);
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
        mirror_pass_all(s);
        g_free(s->refused);
    }
    colo_out_destroy(&s->out);
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

    QSIMPLEQ_INIT(&s->waiting);
    colo_filter_show_out(obj, &s->out.stats);
    object_property_add_uint64_ptr(obj, "waited", &s->waited,
                                   OBJ_PROP_FLAG_READ);
    object_property_set_description(obj, "waited",
        "frames that had to wait until the NIC could take them");
    object_property_add_uint64_ptr(obj, "wait-dropped", &s->overflowed,
                                   OBJ_PROP_FLAG_READ);
    object_property_set_description(obj, "wait-dropped",
        "frames that neither guest has got, because too many waited");
}

static void mirror_finalize(Object *obj)
{
    FilterMirror *s = FILTER_MIRROR(obj);

    g_free(s->outdev);
}

static void mirror_class_init(ObjectClass *oc, void *data)
{
    NetFilterClass *nfc = NETFILTER_CLASS(oc);

    colo_filter_check_netdev(oc);
    nfc->setup = mirror_setup;
    nfc->cleanup = mirror_cleanup;
    nfc->receive_iov = mirror_receive;
    nfc->handle_event = mirror_handle_event;
    nfc->status_changed = mirror_status_changed;
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
