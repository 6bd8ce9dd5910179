/*
 * filter-compare: P's packets are held at its netdev until S's are equal
 *
 *   -object filter-compare,id=fc0,netdev=hn0,secondary_in=compare1,
 *           iothread=iothread1
 *
 * It stands for two filter-redirectors, a colo-compare and the four chardevs
 * between them.  What the guest sends goes into the compare engine right here,
 * in the thread that sends it, under the BQL, and comes out at once if S was
 * first.  S's packets are read and compared in the iothread, which needs no
 * BQL; what they release goes on from a BH of the main loop, many at a time.
 * So a packet costs no system call of its own but the netdev's.
 *
 *      guest --> receive --> core <-- S's packets <-- secondary_in
 *                             |            iothread
 *                   released  v
 *      netdev <-- next filter <-- this thread, or a BH in the main loop
 *
 * Without an iothread all of it happens in the main loop.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "migration/colo.h"
#include "net/colo-comparer.h"
#include "net/colo-epoch.h"
#include "net/colo-filter.h"
#include "net/filter.h"
#include "net/net.h"
#include "sysemu/runstate.h"

#define TYPE_FILTER_COMPARE "filter-compare"
OBJECT_DECLARE_SIMPLE_TYPE(FilterCompare, FILTER_COMPARE)

/* All of it under the BQL, but the comparer */
struct FilterCompare {
    NetFilterState parent_obj;

    ColoComparer comparer;
    ColoVnetHdrCheck vnet_hdr_check;
    QEMUBH *kick;
    ColoReady ready;        /* waits while what was released cannot leave */
    ColoHeldList released;  /* may leave, but the netdev does not take them yet */
    ColoHeldList refused;   /* one, which the net layer keeps for the netdev; or none */
    bool passing_on;
    VMChangeStateEntry *vm_change;
    uint64_t dropped;       /* packets of P: no room, or too long */
};

/*
 * The net layer keeps what it is given for a netdev while the guest is stopped, or
 * the netdev is full, but only so many packets, and drops the rest: it gets none.
 */
static bool may_leave(void *opaque)
{
    FilterCompare *s = opaque;
    NetClientState *nic = NETFILTER(s)->netdev->peer;

    return !colo_epoch_get() || !nic || qemu_can_send_packet(nic);
}

/* It may say that it takes packets, and then have no room for this one. */
static void pass_first(FilterCompare *s, ColoHeldList *sent)
{
    NetFilterState *nf = NETFILTER(s);
    ColoHeld *held = QTAILQ_FIRST(&s->released);
    struct iovec iov = { .iov_base = held->data, .iov_len = held->len };
    bool refused;

    QTAILQ_REMOVE(&s->released, held, in_order);
    colo_held_list_move(sent, &s->refused);
    qemu_netfilter_pass_to_next(nf->netdev->peer, 0, &iov, 1, nf);
    refused = colo_epoch_get() && nf->netdev->receive_disabled;
    QTAILQ_INSERT_TAIL(refused ? &s->refused : sent, held, in_order);
}

/* @all: whether they may leave or not.  False: some have to wait. */
static bool pass_some(FilterCompare *s, bool all)
{
    ColoHeldList sent = QTAILQ_HEAD_INITIALIZER(sent);
    bool wait = false;

    /* Who receives a packet may send one: then the first call sees to both */
    if (s->passing_on) {
        return true;
    }
    s->passing_on = true;
    while (colo_comparer_next_lot(&s->comparer, &sent, &s->released) && !wait) {
        while (!QTAILQ_EMPTY(&s->released) && !wait) {
            if (all || may_leave(s)) {
                pass_first(s, &sent);
            } else {
                wait = true;
            }
        }
    }
    s->passing_on = false;
    return !wait;
}

static void pass_on(void *opaque)
{
    FilterCompare *s = opaque;

    if (pass_some(s, false)) {
        colo_ready_cancel(&s->ready);
    } else {
        colo_ready_await(&s->ready, NULL, may_leave, pass_on, s);
    }
}

/*
 * The guest stops.  What the netdev has not taken the net layer drops when it hears
 * of this, after us (it was there first), and it was compared: nobody sends it again.
 */
static void vm_changed(void *opaque, bool running, RunState state)
{
    FilterCompare *s = opaque;
    NetClientState *netdev = NETFILTER(s)->netdev;
    ColoHeld *held = QTAILQ_FIRST(&s->refused);

    if (!running && held && netdev->peer && netdev->receive_disabled) {
        qemu_purge_queued_packets(netdev->peer);
        QTAILQ_REMOVE(&s->refused, held, in_order);
        QTAILQ_INSERT_HEAD(&s->released, held, in_order);
        colo_ready_await(&s->ready, NULL, may_leave, pass_on, s);
    }
}

/* Any thread */
static void deliver(void *opaque)
{
    FilterCompare *s = opaque;

    if (qemu_mutex_iothread_locked()) {
        pass_on(s);
    } else {
        qemu_bh_schedule(s->kick);
    }
}

static ssize_t filter_compare_receive(NetFilterState *nf,
                                      NetClientState *sender, unsigned flags,
                                      const struct iovec *iov, int iovcnt,
                                      NetPacketSent *sent_cb)
{
    FilterCompare *s = FILTER_COMPARE(nf);
    uint32_t vnet_hdr_len = s->comparer.vnet_hdr ? nf->netdev->vnet_hdr_len : 0;
    ColoTaken taken;

    /* QEMU's own announcements, and everything after a failover, pass */
    if (flags & QEMU_NET_PACKET_FLAG_RAW ||
        colo_comparer_is_open(&s->comparer)) {
        return 0;
    }
    taken = colo_comparer_primary(&s->comparer, iov, iovcnt, vnet_hdr_len,
                                  colo_epoch_get());
    if (taken == COLO_TAKEN_NOT) {
        /* A checkpoint may have released more than was to wait: that goes first */
        pass_on(s);
        taken = colo_comparer_primary(&s->comparer, iov, iovcnt, vnet_hdr_len,
                                      colo_epoch_get());
    }
    if (taken == COLO_TAKEN_RELEASED) {
        pass_on(s);
    }
    s->dropped += taken == COLO_TAKEN_NOT;
    return iov_size(iov, iovcnt);
}

static void filter_compare_handle_event(NetFilterState *nf, int event,
                                        Error **errp)
{
    /* Checkpoints come by colo_notify_compares_event() */
    if (event == COLO_EVENT_FAILOVER) {
        colo_comparer_event(&FILTER_COMPARE(nf)->comparer, event);
    }
}

/* Off, all that is held leaves; on, it is held from the next checkpoint. */
static void filter_compare_status_changed(NetFilterState *nf, Error **errp)
{
    FilterCompare *s = FILTER_COMPARE(nf);

    if (!nf->on) {
        colo_comparer_event(&s->comparer, COLO_EVENT_FAILOVER);
        /* What the guest sends from now on must not come before it */
        pass_some(s, true);
        colo_comparer_done(&s->comparer, &s->refused);
    }
}

static bool check_chardev(const char *id, Error **errp)
{
    Chardev *chr = id ? qemu_chr_find(id) : NULL;

    if (!id) {
        error_setg(errp, "filter-compare needs 'secondary_in', the chardev "
                   "that the secondary's packets come from");
        return false;
    }
    if (!chr) {
        error_setg(errp, "Device '%s' not found", id);
        return false;
    }
    if (!qemu_chr_has_feature(chr, QEMU_CHAR_FEATURE_GCONTEXT)) {
        error_setg(errp, "chardev \"%s\" cannot switch context; use one of "
                   "type socket", id);
        return false;
    }
    return true;
}

static void filter_compare_setup(NetFilterState *nf, Error **errp)
{
    FilterCompare *s = FILTER_COMPARE(nf);
    const char *name = object_get_canonical_path_component(OBJECT(nf));

    if (nf->direction == NET_FILTER_DIRECTION_TX) {
        error_setg(errp, "filter-compare takes what the guest sends: leave "
                   "'queue' out, or say queue=rx");
        return;
    }
    nf->direction = NET_FILTER_DIRECTION_RX;
    if (!check_chardev(s->comparer.secondary_in, errp) ||
        (!s->comparer.vnet_hdr &&
         !colo_vnet_hdr_check(&s->vnet_hdr_check, nf, errp))) {
        return;
    }
    s->kick = qemu_bh_new(pass_on, s);
    if (!colo_comparer_start(&s->comparer, name, NULL, errp)) {
        qemu_bh_delete(s->kick);
        s->kick = NULL;
        return;
    }
    s->vm_change = qemu_add_vm_change_state_handler(vm_changed, s);
}

static void filter_compare_cleanup(NetFilterState *nf)
{
    FilterCompare *s = FILTER_COMPARE(nf);

    colo_vnet_hdr_check_end(&s->vnet_hdr_check);
    if (!s->kick) {
        return;
    }
    qemu_del_vm_change_state_handler(s->vm_change);
    colo_comparer_event(&s->comparer, COLO_EVENT_FAILOVER);
    colo_ready_cancel(&s->ready);
    pass_some(s, true);
    colo_comparer_done(&s->comparer, &s->refused);
    colo_comparer_stop(&s->comparer, NULL);
    colo_ready_cancel(&s->ready);
    qemu_bh_delete(s->kick);
    s->kick = NULL;
}

/* QOM */

static char *get_secondary_in(Object *obj, Error **errp)
{
    return g_strdup(FILTER_COMPARE(obj)->comparer.secondary_in);
}

static void set_secondary_in(Object *obj, const char *value, Error **errp)
{
    ColoComparer *c = &FILTER_COMPARE(obj)->comparer;

    g_free(c->secondary_in);
    c->secondary_in = g_strdup(value);
}

static bool get_vnet_hdr(Object *obj, Error **errp)
{
    return FILTER_COMPARE(obj)->comparer.vnet_hdr;
}

static void set_vnet_hdr(Object *obj, bool value, Error **errp)
{
    FILTER_COMPARE(obj)->comparer.vnet_hdr = value;
}

static void filter_compare_init(Object *obj)
{
    FilterCompare *s = FILTER_COMPARE(obj);

    QTAILQ_INIT(&s->released);
    QTAILQ_INIT(&s->refused);
    s->comparer.deliver = deliver;
    s->comparer.opaque = s;
    colo_comparer_init(&s->comparer, obj);
    object_property_add_uint64_ptr(obj, "primary-dropped", &s->dropped,
                                   OBJ_PROP_FLAG_READ);
    object_property_set_description(obj, "primary-dropped",
        "packets that the primary's guest has sent and that were dropped, "
        "for want of room or because they were too long");
}

static void filter_compare_finalize(Object *obj)
{
    FilterCompare *s = FILTER_COMPARE(obj);

    filter_compare_cleanup(NETFILTER(s));
    colo_comparer_finalize(&s->comparer);
}

static void filter_compare_class_init(ObjectClass *oc, void *data)
{
    NetFilterClass *nfc = NETFILTER_CLASS(oc);

    colo_filter_check_netdev(oc);
    nfc->setup = filter_compare_setup;
    nfc->receive_iov = filter_compare_receive;
    nfc->handle_event = filter_compare_handle_event;
    nfc->status_changed = filter_compare_status_changed;
    object_class_property_add_str(oc, "secondary_in", get_secondary_in,
                                  set_secondary_in);
    object_class_property_set_description(oc, "secondary_in",
        "chardev that the secondary's packets come from");
    object_class_property_add_bool(oc, "vnet_hdr_support", get_vnet_hdr,
                                   set_vnet_hdr);
    object_class_property_set_description(oc, "vnet_hdr_support",
        "packets have virtio-net headers, on both hosts");
}

static const TypeInfo filter_compare_info = {
    .name = TYPE_FILTER_COMPARE,
    .parent = TYPE_NETFILTER,
    .instance_size = sizeof(FilterCompare),
    .instance_init = filter_compare_init,
    .instance_finalize = filter_compare_finalize,
    .class_init = filter_compare_class_init,
};

static void filter_compare_register(void)
{
    type_register_static(&filter_compare_info);
}

type_init(filter_compare_register)
