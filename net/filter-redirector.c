/*
 * filter-redirector: packets from a netdev to a chardev, and back in
 *
 *   -object filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1
 *   -object filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0
 *
 * With outdev, a packet goes there and nowhere else: as long as the filter is
 * on, it never reaches the other side of the netdev.  Where the chardev is not
 * connected, or its peer does not read, it is dropped and counted.  This is
 * what keeps a secondary's output, and a primary's uncompared one, off the wire.
 *
 * With indev, what comes from there goes on from here: with queue=tx to the
 * guest, with queue=rx to the netdev.  On its way to the guest, an epoch's
 * packet must find the guest in that epoch (colo-gate.h).
 *
 * At a failover the filter goes off: what the guest sends passes, and what a
 * lost peer may still have to say to the guest is dropped.  What waits for outdev
 * still goes there on the primary, on the way that it was meant to take; on the
 * secondary it has been said by the primary, or will be by this guest.
 *
 * All of it runs under the BQL: packets in the main loop or a vCPU thread,
 * events of the chardevs in the main loop, those of COLO in its thread.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "migration/colo.h"
#include "net/eth.h"
#include "net/net.h"
#include "sysemu/runstate.h"
#include "colo-channel.h"
#include "colo-epoch.h"
#include "colo-filter.h"
#include "colo-gate.h"
#include "colo-ready.h"
#include "trace.h"

#define TYPE_FILTER_REDIRECTOR "filter-redirector"
OBJECT_DECLARE_SIMPLE_TYPE(FilterRedirector, FILTER_REDIRECTOR)

struct FilterRedirector {
    NetFilterState parent_obj;

    char *indev;
    char *outdev;
    bool vnet_hdr;
    ColoIn in;
    ColoOut out;
    ColoGate gate;          /* for what goes to the guest */
    bool given_up;          /* indev's peer, by a failover */
    GByteArray *refused;    /* what the net layer keeps for the netdev, or NULL */
    bool again;             /* it does so no more: @refused has to be passed on */
    ColoReady ready;        /* waits as long as that cannot be */
    VMChangeStateEntry *vm_change;
    ColoVnetHdrCheck vnet_hdr_check;
};

static bool towards_guest(FilterRedirector *s)
{
    return NETFILTER(s)->direction != NET_FILTER_DIRECTION_RX;
}

static bool towards_netdev(FilterRedirector *s)
{
    return NETFILTER(s)->direction != NET_FILTER_DIRECTION_TX;
}

/* In */

static void redirector_in_opened(void *opaque)
{
    FilterRedirector *s = opaque;

    colo_gate_reconnect(&s->gate);
}

/*
 * S has no guest yet: what P's gets meanwhile is part of the state that is on
 * its way.
 */
static bool before_guest(void)
{
    return !colo_epoch_get() && runstate_check(RUN_STATE_INMIGRATE);
}

/*
 * In COLO, not faster than the NIC takes them, as a tap: of what is queued for
 * a NIC, most models throw away what does not fit into their ring when it is
 * flushed, and what S's guest lost but P's did not nobody sends again.  Without
 * epochs all goes into that queue.
 */
static bool guest_takes(FilterRedirector *s)
{
    return !colo_epoch_get() || qemu_can_send_packet(NETFILTER(s)->netdev);
}

/*
 * Likewise on P's way out: of what the net layer keeps for a netdev that is full, or
 * while the guest is stopped, it drops what is more than 10000 packets, and what was
 * compared nobody sends again.
 */
static bool netdev_takes(FilterRedirector *s)
{
    NetClientState *nic = NETFILTER(s)->netdev->peer;

    return !colo_epoch_get() || !nic || qemu_can_send_packet(nic);
}

static bool redirector_in_ready(void *opaque)
{
    FilterRedirector *s = opaque;

    if (towards_netdev(s) && (s->again || !netdev_takes(s))) {
        return false;
    }
    if (!towards_guest(s) || s->given_up) {
        return true;
    }
    switch (colo_gate_verdict(&s->gate)) {
    case COLO_GATE_HOLD:
        return false;
    case COLO_GATE_DROP:
        return true;
    case COLO_GATE_PASS:
        return guest_takes(s);
    }
    g_assert_not_reached();
}

/* A netdev may say that it takes packets, and then have no room for this one. */
static void pass_to_netdev(FilterRedirector *s, const uint8_t *data, size_t len)
{
    NetFilterState *nf = NETFILTER(s);
    struct iovec iov = { .iov_base = (void *)data, .iov_len = len };

    g_clear_pointer(&s->refused, g_byte_array_unref);
    qemu_netfilter_pass_to_next(nf->netdev->peer, 0, &iov, 1, nf);
    if (colo_epoch_get() && nf->netdev->receive_disabled) {
        s->refused = g_byte_array_new();
        g_byte_array_append(s->refused, data, len);
    }
}

static bool redirector_netdev_takes(void *opaque)
{
    return netdev_takes(opaque);
}

static void redirector_pass_again(void *opaque)
{
    FilterRedirector *s = opaque;
    g_autoptr(GByteArray) frame = g_steal_pointer(&s->refused);

    colo_ready_cancel(&s->ready);
    s->again = false;
    if (frame) {
        pass_to_netdev(s, frame->data, frame->len);
    }
    colo_in_resume(&s->in);
}

/*
 * The guest stops.  What the netdev has not taken the net layer drops when it hears
 * of this, after us (it was there first), and it was compared: nobody sends it again.
 */
static void redirector_vm_change(void *opaque, bool running, RunState state)
{
    FilterRedirector *s = opaque;
    NetFilterState *nf = NETFILTER(s);

    if (!running && s->refused && !s->again && nf->netdev->peer &&
        nf->netdev->receive_disabled) {
        qemu_purge_queued_packets(nf->netdev->peer);
        s->again = true;
        colo_ready_await(&s->ready, NULL, redirector_netdev_takes,
                         redirector_pass_again, s);
    }
}

/*
 * NICs take for granted that there is an Ethernet header, behind a virtio-net header
 * where the netdev has them, and that a VLAN tag which begins there also ends:
 * virtio-net and rtl8139 look at addresses and tag before they look at the length,
 * and would read what follows in memory.  No guest sends such a frame, so none is
 * lacking it.  Outside of COLO anything goes where there are no virtio-net headers,
 * as it always has, with zeros behind it: QEMU's own test sends a few letters.
 */
static bool is_whole(FilterRedirector *s, const ColoFrame *frame)
{
    size_t vnet_hdr_len = NETFILTER(s)->netdev->vnet_hdr_len;
    size_t need = vnet_hdr_len + ETH_HLEN;

    if (!vnet_hdr_len && !colo_epoch_get()) {
        return true;
    }
    if (frame->len >= need &&
        lduw_be_p(frame->data + need - sizeof(uint16_t)) == ETH_P_VLAN) {
        need += sizeof(struct vlan_header);
    }
    if (frame->len < need) {
        trace_colo_proxy_main_vnet_info("dropped, it ends within its headers:",
                                        vnet_hdr_len, frame->len);
        return false;
    }
    return true;
}

static void redirector_in_receive(void *opaque, ColoFrameType type,
                                  const ColoFrame *frame)
{
    FilterRedirector *s = opaque;
    NetFilterState *nf = NETFILTER(s);
    uint8_t padded[ETH_HLEN + sizeof(struct vlan_header)] = { };
    struct iovec iov = {
        .iov_base = (void *)frame->data, .iov_len = frame->len,
    };

    if (type == COLO_FRAME_MARKER) {
        colo_gate_marker(&s->gate, frame->epoch);
        return;
    }
    if (!is_whole(s, frame) ||
        (towards_guest(s) &&
         (s->given_up || before_guest() ||
          colo_gate_verdict(&s->gate) != COLO_GATE_PASS))) {
        s->in.stats.dropped++;
        return;
    }
    if (frame->len < sizeof(padded)) {
        /* What a NIC reads behind it is ours then, and known */
        memcpy(padded, frame->data, frame->len);
        iov.iov_base = padded;
    }
    if (towards_guest(s)) {
        qemu_netfilter_pass_to_next(nf->netdev, 0, &iov, 1, nf);
    }
    if (towards_netdev(s)) {
        pass_to_netdev(s, iov.iov_base, iov.iov_len);
    }
}

/* Out */

static void redirector_out_opened(void *opaque)
{
    FilterRedirector *s = opaque;
    uint64_t epoch = colo_epoch_get();

    if (epoch) {
        colo_out_send_marker(&s->out, epoch);
    }
}

/* QEMU's own, which has no virtio-net header: the others do not expect that */
static void send_raw(FilterRedirector *s, const struct iovec *iov, int iovcnt)
{
    uint32_t vnet_hdr_len = NETFILTER(s)->netdev->vnet_hdr_len;
    size_t size = iov_size(iov, iovcnt);
    g_autofree uint8_t *frame = g_malloc0(vnet_hdr_len + size);
    struct iovec whole = { .iov_base = frame, .iov_len = vnet_hdr_len + size };

    iov_to_buf(iov, iovcnt, 0, frame + vnet_hdr_len, size);
    colo_out_send(&s->out, &whole, 1, vnet_hdr_len);
}

static ssize_t redirector_receive(NetFilterState *nf, NetClientState *sender,
                                  unsigned flags, const struct iovec *iov,
                                  int iovcnt, NetPacketSent *sent_cb)
{
    FilterRedirector *s = FILTER_REDIRECTOR(nf);

    if (!s->outdev) {
        return 0;
    }
    if (flags & QEMU_NET_PACKET_FLAG_RAW) {
        send_raw(s, iov, iovcnt);
    } else {
        colo_out_send(&s->out, iov, iovcnt, nf->netdev->vnet_hdr_len);
    }
    /* Taken, one way or the other: what is dropped must not pass, either */
    return iov_size(iov, iovcnt);
}

/* COLO */

static void redirector_checkpoint(FilterRedirector *s)
{
    uint64_t epoch = colo_epoch_get();

    if (s->indev && towards_guest(s)) {
        /*
         * The state just loaded is later than what the net layer keeps for the
         * guest to take when it runs again.
         */
        qemu_purge_queued_packets(NETFILTER(s)->netdev);
        colo_gate_checkpoint(&s->gate, epoch);
        colo_in_resume(&s->in);
    }
    if (s->outdev && epoch) {
        colo_out_send_marker(&s->out, epoch);
    }
}

static void redirector_failover(FilterRedirector *s, Error **errp)
{
    if (s->indev) {
        s->given_up = true;
        colo_in_resume(&s->in);
    }
    if (s->outdev && !migration_in_colo_state()) {
        colo_out_discard(&s->out);
    }
    object_property_set_str(OBJECT(s), "status", "off", errp);
}

static void redirector_handle_event(NetFilterState *nf, int event, Error **errp)
{
    switch (event) {
    case COLO_EVENT_CHECKPOINT:
        redirector_checkpoint(FILTER_REDIRECTOR(nf));
        break;
    case COLO_EVENT_FAILOVER:
        redirector_failover(FILTER_REDIRECTOR(nf), errp);
        break;
    }
}

/* Switched on again, there is a new peer */
static void redirector_status_changed(NetFilterState *nf, Error **errp)
{
    FilterRedirector *s = FILTER_REDIRECTOR(nf);

    if (nf->on && s->given_up) {
        s->given_up = false;
        s->gate = (ColoGate) {};
    }
    if (!nf->on && !s->again) {
        /* The net layer has it; what the guest sends next goes without us */
        g_clear_pointer(&s->refused, g_byte_array_unref);
    }
}

static void redirector_setup(NetFilterState *nf, Error **errp)
{
    FilterRedirector *s = FILTER_REDIRECTOR(nf);
    const char *name = object_get_canonical_path_component(OBJECT(nf));

    if (!s->indev && !s->outdev) {
        error_setg(errp, "filter-redirector needs 'indev' or 'outdev', the "
                   "chardev to take packets from or to give them to");
        return;
    }
    if (!g_strcmp0(s->indev, s->outdev)) {
        error_setg(errp, "'indev' and 'outdev' of a filter-redirector must be "
                   "two chardevs");
        return;
    }
    if (!s->vnet_hdr && !colo_vnet_hdr_check(&s->vnet_hdr_check, nf, errp)) {
        return;
    }
    s->in.opened = redirector_in_opened;
    s->in.ready = redirector_in_ready;
    s->in.receive = redirector_in_receive;
    s->in.opaque = s;
    s->out.opened = redirector_out_opened;
    s->out.opaque = s;
    if (s->outdev &&
        !colo_out_init(&s->out, name, s->outdev, s->vnet_hdr, errp)) {
        return;
    }
    if (s->indev &&
        colo_in_init(&s->in, name, s->indev, s->vnet_hdr, errp)) {
        s->vm_change = qemu_add_vm_change_state_handler(redirector_vm_change, s);
    }
}

static void redirector_cleanup(NetFilterState *nf)
{
    FilterRedirector *s = FILTER_REDIRECTOR(nf);

    colo_vnet_hdr_check_end(&s->vnet_hdr_check);
    g_clear_pointer(&s->vm_change, qemu_del_vm_change_state_handler);
    if (s->again) {
        redirector_pass_again(s);
    }
    g_clear_pointer(&s->refused, g_byte_array_unref);
    colo_in_destroy(&s->in);
    colo_out_destroy(&s->out);
}

static char *redirector_get_indev(Object *obj, Error **errp)
{
    return g_strdup(FILTER_REDIRECTOR(obj)->indev);
}

static void redirector_set_indev(Object *obj, const char *value, Error **errp)
{
    FilterRedirector *s = FILTER_REDIRECTOR(obj);

    g_free(s->indev);
    s->indev = g_strdup(value);
}

static char *redirector_get_outdev(Object *obj, Error **errp)
{
    return g_strdup(FILTER_REDIRECTOR(obj)->outdev);
}

static void redirector_set_outdev(Object *obj, const char *value, Error **errp)
{
    FilterRedirector *s = FILTER_REDIRECTOR(obj);

    g_free(s->outdev);
    s->outdev = g_strdup(value);
}

static bool redirector_get_vnet_hdr(Object *obj, Error **errp)
{
    return FILTER_REDIRECTOR(obj)->vnet_hdr;
}

static void redirector_set_vnet_hdr(Object *obj, bool value, Error **errp)
{
    FILTER_REDIRECTOR(obj)->vnet_hdr = value;
}

static void redirector_init(Object *obj)
{
    FilterRedirector *s = FILTER_REDIRECTOR(obj);

    colo_filter_show_in(obj, &s->in.stats);
    colo_filter_show_out(obj, &s->out.stats);
}

static void redirector_finalize(Object *obj)
{
    FilterRedirector *s = FILTER_REDIRECTOR(obj);

    g_free(s->indev);
    g_free(s->outdev);
}

static void redirector_class_init(ObjectClass *oc, void *data)
{
    NetFilterClass *nfc = NETFILTER_CLASS(oc);

    colo_filter_check_netdev(oc);
    nfc->setup = redirector_setup;
    nfc->cleanup = redirector_cleanup;
    nfc->receive_iov = redirector_receive;
    nfc->handle_event = redirector_handle_event;
    nfc->status_changed = redirector_status_changed;
    object_class_property_add_str(oc, "indev", redirector_get_indev,
                                  redirector_set_indev);
    object_class_property_set_description(oc, "indev",
        "chardev whose packets go on from here");
    object_class_property_add_str(oc, "outdev", redirector_get_outdev,
                                  redirector_set_outdev);
    object_class_property_set_description(oc, "outdev",
        "chardev that gets the packets");
    object_class_property_add_bool(oc, "vnet_hdr_support",
                                   redirector_get_vnet_hdr,
                                   redirector_set_vnet_hdr);
    object_class_property_set_description(oc, "vnet_hdr_support",
        "the length of the virtio-net header goes with each packet");
}

static const TypeInfo redirector_info = {
    .name = TYPE_FILTER_REDIRECTOR,
    .parent = TYPE_NETFILTER,
    .instance_size = sizeof(FilterRedirector),
    .instance_init = redirector_init,
    .instance_finalize = redirector_finalize,
    .class_init = redirector_class_init,
};

static void redirector_register(void)
{
    type_register_static(&redirector_info);
}

type_init(redirector_register)
