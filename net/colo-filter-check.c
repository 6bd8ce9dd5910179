/*
 * Set-ups in which COLO's filters cannot work, and what to do about them
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qom/object_interfaces.h"
#include "net/filter.h"
#include "net/net.h"
#include "net/vhost_net.h"
#include "colo-filter-check.h"

/* What QEMU's filters do when all properties are set */
static void (*netfilter_complete)(UserCreatable *uc, Error **errp);

/* Say what to do about what all filters refuse */
static void filter_complete(UserCreatable *uc, Error **errp)
{
    NetFilterState *nf = NETFILTER(uc);
    NetClientState *ncs[MAX_QUEUE_NUM];
    int queues = 0;

    if (nf->netdev_id) {
        queues = qemu_find_net_clients_except(nf->netdev_id, ncs,
                                              NET_CLIENT_DRIVER_NIC,
                                              MAX_QUEUE_NUM);
    }
    if (queues > 1) {
        error_setg(errp, "netdev '%s' has %d queues; COLO compares packets of "
                   "one: leave queues= out of -netdev, and mq=on out of the "
                   "network device", nf->netdev_id, queues);
        return;
    }
    if (queues == 1 && get_vhost_net(ncs[0])) {
        error_setg(errp, "netdev '%s' uses vhost, where packets do not pass "
                   "through QEMU: add vhost=off to -netdev", nf->netdev_id);
        return;
    }
    netfilter_complete(uc, errp);
}

void colo_filter_check_netdev(ObjectClass *oc)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    assert(!netfilter_complete || netfilter_complete == ucc->complete);
    netfilter_complete = ucc->complete;
    ucc->complete = filter_complete;
}

/* Before COLO begins */

typedef struct Check {
    bool seen[2];           /* redirectors without and with vnet_hdr_support */
    Error **errp;
} Check;

static const char *id_of(Object *obj)
{
    return object_get_canonical_path_component(obj);
}

static bool has_vnet_hdr(Object *obj)
{
    return object_property_get_bool(obj, "vnet_hdr_support", &error_abort);
}

static bool is_a(void *obj, const char *type)
{
    return object_dynamic_cast(obj, type);
}

/* Does it hand frames on to others, with or without the header's length? */
static bool is_on_chain(void *obj)
{
    return NETFILTER(obj)->on && (is_a(obj, "filter-mirror") ||
                                  is_a(obj, "filter-redirector") ||
                                  is_a(obj, "filter-compare"));
}

#define REMEDY "give vnet_hdr_support=on to all filters of a netdev with " \
    "virtio-net headers, and to colo-compare, on both hosts"

static bool check_filter(NetFilterState *nf, Check *check)
{
    bool vnet_hdr = has_vnet_hdr(OBJECT(nf));
    NetFilterState *other;

    if (!vnet_hdr && nf->netdev->vnet_hdr_len) {
        error_setg(check->errp, "filter '%s' has no vnet_hdr_support, but the "
                   "frames of netdev '%s' have virtio-net headers: " REMEDY,
                   id_of(OBJECT(nf)), nf->netdev_id);
        return false;
    }
    QTAILQ_FOREACH(other, &nf->netdev->filters, next) {
        if (is_on_chain(other) && is_on_chain(nf) &&
            has_vnet_hdr(OBJECT(other)) != vnet_hdr) {
            error_setg(check->errp, "of the filters '%s' and '%s' of netdev "
                       "'%s' only one has vnet_hdr_support: " REMEDY,
                       id_of(OBJECT(nf)), id_of(OBJECT(other)), nf->netdev_id);
            return false;
        }
    }
    if (is_a(nf, "filter-redirector")) {
        check->seen[vnet_hdr] = true;
    }
    return true;
}

static int check_one_filter(Object *obj, void *opaque)
{
    NetFilterState *nf = (void *)object_dynamic_cast(obj, TYPE_NETFILTER);

    if (!nf || !nf->netdev || !nf->on ||
        (!is_on_chain(nf) && !is_a(nf, "filter-rewriter"))) {
        return 0;
    }
    return !check_filter(nf, opaque);
}

/* Which redirectors its chardevs lead to nobody knows; there must be some. */
static int check_one_compare(Object *obj, void *opaque)
{
    Check *check = opaque;
    bool vnet_hdr;

    if (!is_a(obj, "colo-compare") || check->seen[0] == check->seen[1]) {
        return 0;
    }
    vnet_hdr = has_vnet_hdr(obj);
    if (check->seen[vnet_hdr]) {
        return 0;
    }
    error_setg(check->errp, "colo-compare '%s' has %svnet_hdr_support, unlike "
               "the redirectors: " REMEDY, id_of(obj), vnet_hdr ? "" : "no ");
    return 1;
}

bool colo_filters_check(Error **errp)
{
    Object *objects = object_get_objects_root();
    Check check = { .errp = errp };

    return !object_child_foreach(objects, check_one_filter, &check) &&
           !object_child_foreach(objects, check_one_compare, &check);
}
