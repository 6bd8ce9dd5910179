/*
 * filter-rewriter: a secondary's TCP connections in the primary's numbers
 *
 *   -object filter-rewriter,id=rew0,netdev=hn0,queue=all
 *
 * The shell around colo-rewrite.h: takes packets from the net layer, passes
 * on those that change with a new copy of their headers (the rest is passed
 * on where it lies, for it may be the guest's memory), and tells what COLO
 * does:
 *
 *   created with -incoming          secondary; otherwise alone
 *   COLO_EVENT_CHECKPOINT           checkpoint, for a secondary
 *   COLO_EVENT_FAILOVER             alone
 *   the guest runs without COLO     alone: it was an ordinary migration
 *
 * A survivor's mappings belong to the guest's state as a new secondary gets
 * it: they travel in a section "filter-rewriter/NETDEV" of the migration
 * stream, in each checkpoint.  Only a survivor with connections from before
 * its failover sends one; who gets it needs a rewriter on the same netdev,
 * and is refused otherwise ("Unknown savevm section").
 *
 * What comes for a secondary's guest while that stands still waits here, with
 * P's numbers: the checkpoint that follows may change the mapping.
 *
 * All of it runs under the BQL.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qom/object.h"
#include "migration/colo.h"
#include "migration/vmstate.h"
#include "net/net.h"
#include "net/colo-rewrite.h"
#include "sysemu/runstate.h"
#include "colo-epoch.h"
#include "colo-filter.h"
#include "trace.h"

#define TYPE_FILTER_REWRITER "filter-rewriter"
OBJECT_DECLARE_SIMPLE_TYPE(FilterRewriter, FILTER_REWRITER)

enum {
    CONNECTIONS_MAX = 16384,
};

struct FilterRewriter {
    NetFilterState parent_obj;

    bool vnet_hdr;
    ColoVnetHdrCheck vnet_hdr_check;
    ColoRewrite *rw;
    NetQueue *held;             /* for a guest that stands still */
    VMChangeStateEntry *vm_change;

    /* The section of the migration stream */
    VMStateDescription *vmsd;
    ColoRewriteEntry *entries;
    int32_t n_entries;
    bool loaded;                /* since the guest last ran */
};

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

/* Packets */

static void trace_packet(const uint8_t *head, size_t have, size_t size,
                         size_t vnet_len, const char *direction)
{
    g_autofree char *flow = NULL;
    ColoPacket p;
    ColoFlowKey key;

    colo_packet_parse_head(&p, head, have, size, vnet_len);
    colo_flow_key(&key, &p, head);
    flow = colo_flow_key_str(&key);
    trace_colo_filter_rewriter_pkt_info(direction, flow, "rewritten",
                                        p.tcp.seq, p.tcp.ack, p.tcp.flags);
}

/* As FilterReceiveIOV: 0 where the packet is to go on as it is */
static ssize_t rewrite(FilterRewriter *s, NetClientState *sender,
                       unsigned flags, const struct iovec *iov, int iovcnt)
{
    NetFilterState *nf = NETFILTER(s);
    bool out = sender != nf->netdev;
    size_t size = iov_size(iov, iovcnt);
    size_t vnet_len = nf->netdev->vnet_hdr_len;
    uint8_t head[COLO_REWRITE_HEAD_MAX];
    struct iovec changed[IOV_MAX + 1];
    size_t have;
    int n;

    if (iovcnt > IOV_MAX) {
        return 0;
    }
    have = iov_to_buf(iov, iovcnt, 0, head, sizeof(head));
    if (!colo_rewrite_packet(s->rw, head, have, size, vnet_len, out,
                             now_ms())) {
        return 0;
    }
    if (trace_event_get_state_backends(TRACE_COLO_FILTER_REWRITER_PKT_INFO)) {
        trace_packet(head, have, size, vnet_len, out ? "out" : "in");
    }
    changed[0] = (struct iovec) { .iov_base = head, .iov_len = have };
    n = 1 + iov_copy(changed + 1, IOV_MAX, iov, iovcnt, have, size - have);
    qemu_netfilter_pass_to_next(sender, flags, changed, n, nf);
    return size;
}

static ssize_t rewriter_receive(NetFilterState *nf, NetClientState *sender,
                                unsigned flags, const struct iovec *iov,
                                int iovcnt, NetPacketSent *sent_cb)
{
    FilterRewriter *s = FILTER_REWRITER(nf);

    if (colo_rewrite_idle(s->rw)) {
        return 0;
    }
    if (sender == nf->netdev && !runstate_is_running() &&
        colo_rewrite_role(s->rw) == COLO_REWRITE_SECONDARY) {
        qemu_net_queue_append_iov(s->held, sender, flags, iov, iovcnt, NULL);
        return iov_size(iov, iovcnt);
    }
    return rewrite(s, sender, flags, iov, iovcnt);
}

static ssize_t deliver_held(NetClientState *sender, unsigned flags,
                            const struct iovec *iov, int iovcnt, void *opaque)
{
    FilterRewriter *s = opaque;
    ssize_t ret = rewrite(s, sender, flags, iov, iovcnt);

    return ret ?: qemu_netfilter_pass_to_next(sender, flags, iov, iovcnt,
                                              NETFILTER(s));
}

/* COLO */

static void rewriter_checkpoint(FilterRewriter *s)
{
    /* Where epochs are numbered, what belongs to the new one still comes. */
    if (colo_epoch_get() && !colo_rewrite_idle(s->rw)) {
        qemu_net_queue_purge(s->held, NETFILTER(s)->netdev);
    }
    if (!s->loaded) {
        colo_rewrite_checkpoint(s->rw, NULL, 0, now_ms());
    }
    s->loaded = false;
}

static void rewriter_handle_event(NetFilterState *nf, int event, Error **errp)
{
    FilterRewriter *s = FILTER_REWRITER(nf);

    switch (event) {
    case COLO_EVENT_CHECKPOINT:
        rewriter_checkpoint(s);
        break;
    case COLO_EVENT_FAILOVER:
        colo_rewrite_alone(s->rw, true);
        break;
    }
}

static void rewriter_vm_change(void *opaque, bool running, RunState state)
{
    FilterRewriter *s = opaque;

    if (!running) {
        return;
    }
    s->loaded = false;
    if (!migration_incoming_in_colo_state()) {
        colo_rewrite_alone(s->rw, false);
    }
    qemu_net_queue_flush(s->held);
}

/* The section of the migration stream */

static void forget_entries(FilterRewriter *s)
{
    g_free(s->entries);
    s->entries = NULL;
    s->n_entries = 0;
}

static bool rewriter_needed(void *opaque)
{
    FilterRewriter *s = opaque;

    return colo_rewrite_role(s->rw) == COLO_REWRITE_ALONE &&
           colo_rewrite_count(s->rw);
}

static int rewriter_pre_save(void *opaque)
{
    FilterRewriter *s = opaque;
    unsigned n;

    forget_entries(s);
    s->entries = colo_rewrite_export(s->rw, &n);
    s->n_entries = n;
    return 0;
}

static int rewriter_post_save(void *opaque)
{
    forget_entries(opaque);
    return 0;
}

static int rewriter_pre_load(void *opaque)
{
    forget_entries(opaque);
    return 0;
}

static bool n_entries_possible(void *opaque, int version_id)
{
    FilterRewriter *s = opaque;

    return s->n_entries >= 0 && s->n_entries <= CONNECTIONS_MAX;
}

static int rewriter_post_load(void *opaque, int version_id)
{
    FilterRewriter *s = opaque;

    for (int i = 0; i < s->n_entries; i++) {
        if (!colo_seq_valid(&s->entries[i].seq)) {
            return -EINVAL;
        }
    }
    colo_rewrite_checkpoint(s->rw, s->entries, s->n_entries, now_ms());
    forget_entries(s);
    s->loaded = true;
    return 0;
}

/* The array comes from g_malloc(), and a key is compared as a whole. */
static int entry_pre_load(void *opaque)
{
    memset(opaque, 0, sizeof(ColoRewriteEntry));
    return 0;
}

static const VMStateDescription vmstate_entry = {
    .name = "filter-rewriter/connection",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_load = entry_pre_load,
    .fields = (VMStateField[]) {
        VMSTATE_UINT8_ARRAY(key.src, ColoRewriteEntry, 16),
        VMSTATE_UINT8_ARRAY(key.dst, ColoRewriteEntry, 16),
        VMSTATE_UINT16(key.src_port, ColoRewriteEntry),
        VMSTATE_UINT16(key.dst_port, ColoRewriteEntry),
        VMSTATE_UINT16_ARRAY(key.vlan, ColoRewriteEntry, COLO_VLAN_TAGS),
        VMSTATE_UINT16(key.eth_type, ColoRewriteEntry),
        VMSTATE_UINT8(key.ip_version, ColoRewriteEntry),
        VMSTATE_UINT8(key.proto, ColoRewriteEntry),
        VMSTATE_UINT32(seq.state, ColoRewriteEntry),
        VMSTATE_UINT32(seq.flags, ColoRewriteEntry),
        VMSTATE_UINT32(seq.offset, ColoRewriteEntry),
        VMSTATE_UINT32(seq.ts_add, ColoRewriteEntry),
        VMSTATE_UINT32(seq.isn, ColoRewriteEntry),
        VMSTATE_UINT32(seq.snd_max, ColoRewriteEntry),
        VMSTATE_UINT32(seq.rcv_nxt, ColoRewriteEntry),
        VMSTATE_UINT32(seq.ts_last, ColoRewriteEntry),
        VMSTATE_UINT32(seq.ts_moved, ColoRewriteEntry),
        VMSTATE_UINT32(seq.fin_out, ColoRewriteEntry),
        VMSTATE_UINT32(seq.fin_in, ColoRewriteEntry),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_rewriter = {
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = rewriter_needed,
    .pre_save = rewriter_pre_save,
    .post_save = rewriter_post_save,
    .pre_load = rewriter_pre_load,
    .post_load = rewriter_post_load,
    .fields = (VMStateField[]) {
        VMSTATE_INT32(n_entries, FilterRewriter),
        VMSTATE_VALIDATE("as many connections as there can be",
                         n_entries_possible),
        VMSTATE_STRUCT_VARRAY_ALLOC(entries, FilterRewriter, n_entries, 1,
                                    vmstate_entry, ColoRewriteEntry),
        VMSTATE_END_OF_LIST()
    },
};

/* Its name tells the netdev, which is called the same on both hosts. */
static void register_section(FilterRewriter *s)
{
    s->vmsd = g_memdup2(&vmstate_rewriter, sizeof(vmstate_rewriter));
    s->vmsd->name = g_strdup_printf("filter-rewriter/%s",
                                    NETFILTER(s)->netdev_id);
    vmstate_register(NULL, VMSTATE_INSTANCE_ID_ANY, s->vmsd, s);
}

static void unregister_section(FilterRewriter *s)
{
    vmstate_unregister(NULL, s->vmsd, s);
    g_free((char *)s->vmsd->name);
    g_free(s->vmsd);
    forget_entries(s);
}

/* The object */

static void rewriter_setup(NetFilterState *nf, Error **errp)
{
    FilterRewriter *s = FILTER_REWRITER(nf);

    if (!s->vnet_hdr && !colo_vnet_hdr_check(&s->vnet_hdr_check, nf, errp)) {
        return;
    }
    s->rw = colo_rewrite_new(CONNECTIONS_MAX,
                             runstate_check(RUN_STATE_INMIGRATE) ?
                             COLO_REWRITE_SECONDARY : COLO_REWRITE_ALONE);
    s->held = qemu_new_net_queue(deliver_held, s);
    s->vm_change = qemu_add_vm_change_state_handler(rewriter_vm_change, s);
    register_section(s);
}

static void rewriter_cleanup(NetFilterState *nf)
{
    FilterRewriter *s = FILTER_REWRITER(nf);

    colo_vnet_hdr_check_end(&s->vnet_hdr_check);
    if (!s->rw) {
        return;
    }
    unregister_section(s);
    qemu_del_vm_change_state_handler(s->vm_change);
    qemu_del_net_queue(s->held);
    colo_rewrite_free(s->rw);
}

static bool rewriter_get_vnet_hdr(Object *obj, Error **errp)
{
    return FILTER_REWRITER(obj)->vnet_hdr;
}

static void rewriter_set_vnet_hdr(Object *obj, bool value, Error **errp)
{
    FILTER_REWRITER(obj)->vnet_hdr = value;
}

typedef uint64_t Statistic(const ColoRewrite *rw);

static uint64_t stat_connections(const ColoRewrite *rw)
{
    return colo_rewrite_count(rw);
}

static uint64_t stat_rewritten(const ColoRewrite *rw)
{
    return colo_rewrite_stats(rw)->rewritten;
}

static uint64_t stat_dropped(const ColoRewrite *rw)
{
    return colo_rewrite_stats(rw)->evicted;
}

static const struct {
    const char *name, *description;
    Statistic *get;
} statistics[] = {
    { "connections", "connections whose numbers are, or may have to be, "
      "mapped, those that have ended in the last minute included",
      stat_connections },
    { "packets-rewritten", "packets changed so far", stat_rewritten },
    { "connections-dropped", "connections forgotten so far because there "
      "were too many, the half-open and the ended ones first", stat_dropped },
};

static void rewriter_get_statistic(Object *obj, Visitor *v, const char *name,
                                   void *opaque, Error **errp)
{
    FilterRewriter *s = FILTER_REWRITER(obj);
    const ptrdiff_t i = (intptr_t)opaque;
    uint64_t value = s->rw ? statistics[i].get(s->rw) : 0;

    visit_type_uint64(v, name, &value, errp);
}

static void rewriter_class_init(ObjectClass *oc, void *data)
{
    NetFilterClass *nfc = NETFILTER_CLASS(oc);

    colo_filter_check_netdev(oc);
    nfc->setup = rewriter_setup;
    nfc->cleanup = rewriter_cleanup;
    nfc->receive_iov = rewriter_receive;
    nfc->handle_event = rewriter_handle_event;
    object_class_property_add_bool(oc, "vnet_hdr_support",
                                   rewriter_get_vnet_hdr,
                                   rewriter_set_vnet_hdr);
    object_class_property_set_description(oc, "vnet_hdr_support",
        "frames may carry a virtio-net header");
    for (intptr_t i = 0; i < ARRAY_SIZE(statistics); i++) {
        object_class_property_add(oc, statistics[i].name, "uint64",
                                  rewriter_get_statistic, NULL, NULL,
                                  (void *)i);
        object_class_property_set_description(oc, statistics[i].name,
                                              statistics[i].description);
    }
}

static const TypeInfo rewriter_info = {
    .name = TYPE_FILTER_REWRITER,
    .parent = TYPE_NETFILTER,
    .instance_size = sizeof(FilterRewriter),
    .class_init = rewriter_class_init,
};

static void rewriter_register(void)
{
    type_register_static(&rewriter_info);
}

type_init(rewriter_register)
