/*
 * What COLO's filters have in common
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "qom/object.h"
#include "hw/qdev-core.h"
#include "net/net.h"
#include "sysemu/sysemu.h"
#include "colo-filter.h"

/* Whatever the net layer can hand to a filter fits into a frame */
QEMU_BUILD_BUG_ON(COLO_FRAME_LEN_MAX < NET_BUFSIZE);

static bool check_vnet_hdr(NetFilterState *nf, Error **errp)
{
    if (!nf->netdev->vnet_hdr_len) {
        return true;
    }
    error_setg(errp, "filter '%s' has no vnet_hdr_support, but the frames of "
               "netdev '%s' carry virtio-net headers: give vnet_hdr_support=on "
               "to all its filters and to colo-compare, on both hosts",
               object_get_canonical_path_component(OBJECT(nf)), nf->netdev_id);
    return false;
}

static void machine_done(Notifier *notifier, void *data)
{
    ColoVnetHdrCheck *check = container_of(notifier, ColoVnetHdrCheck,
                                           machine_done);
    Error *err = NULL;

    if (!check_vnet_hdr(check->nf, &err)) {
        warn_report_err(err);
    }
}

bool colo_vnet_hdr_check(ColoVnetHdrCheck *check, NetFilterState *nf,
                         Error **errp)
{
    check->nf = nf;
    if (phase_check(PHASE_MACHINE_READY)) {
        return check_vnet_hdr(nf, errp);
    }
    check->machine_done.notify = machine_done;
    qemu_add_machine_init_done_notifier(&check->machine_done);
    return true;
}

void colo_vnet_hdr_check_end(ColoVnetHdrCheck *check)
{
    if (check->machine_done.notify) {
        qemu_remove_machine_init_done_notifier(&check->machine_done);
        check->machine_done.notify = NULL;
    }
}

typedef struct Shown {
    const char *name;
    const char *description;
    size_t offset;
} Shown;

#define SHOW(name, field, description) \
    { name, description, offsetof(ColoChannelStats, field) }

static const Shown shown_out[] = {
    SHOW("out-frames", frames, "frames written to outdev"),
    SHOW("out-bytes", bytes, "bytes written to outdev, lengths included"),
    SHOW("out-dropped", dropped, "frames not written to outdev, because it was "
         "not connected, or its peer did not read, or a checkpoint came first"),
    SHOW("out-queue", queue, "bytes that wait to be written to outdev"),
    SHOW("out-queue-max", queue_max, "the most bytes that ever waited"),
    SHOW("out-connections", connections, "how often outdev was connected"),
};

static const Shown shown_in[] = {
    SHOW("in-frames", frames, "frames read from indev"),
    SHOW("in-bytes", bytes, "bytes read from indev, lengths included"),
    SHOW("in-dropped", dropped, "frames read from indev that belonged to an "
         "epoch which is over, came from a peer given up, or ended within "
         "their virtio-net header, Ethernet header or VLAN tag"),
    SHOW("in-connections", connections, "how often indev was connected"),
    SHOW("in-errors", errors, "connections of indev closed because the peer "
         "sent nonsense"),
};

static void show(Object *obj, const ColoChannelStats *stats,
                 const Shown *shown, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t *value = (const void *)((const char *)stats +
                                               shown[i].offset);

        object_property_add_uint64_ptr(obj, shown[i].name, value,
                                       OBJ_PROP_FLAG_READ);
        object_property_set_description(obj, shown[i].name,
                                        shown[i].description);
    }
}

void colo_filter_show_out(Object *obj, const ColoChannelStats *stats)
{
    show(obj, stats, shown_out, ARRAY_SIZE(shown_out));
}

void colo_filter_show_in(Object *obj, const ColoChannelStats *stats)
{
    show(obj, stats, shown_in, ARRAY_SIZE(shown_in));
}
