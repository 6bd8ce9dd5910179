/*
 * What is measured with packets, and what must be there to feed it
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-packet-rig.h"

static void G_GNUC_PRINTF(3, 4) option(PacketRig *rig, const char *name,
                                       const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(rig->argv, g_strdup(name));
    g_ptr_array_add(rig->argv, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

static const char *vnet(const PacketRig *rig)
{
    return rig->tso ? ",vnet_hdr_support=on" : "";
}

/* Joined with the others by a hub, in the place of a tap or a NIC */
static bool add_netdev(PacketRig *rig, const char *id, PacketPort *port,
                       Error **errp)
{
    int theirs, ours = packet_process_connect(rig->process, PACKET_UNIX,
                                              &theirs, errp);

    if (ours < 0) {
        return false;
    }
    *port = (PacketPort) { .fd = ours };
    option(rig, "-netdev", "socket,id=%s,fd=%d", id, theirs);
    option(rig, "-netdev", "hubport,id=hub-%s,hubid=0,netdev=%s", id, id);
    return true;
}

/* A channel between hosts, as mirror0 and compare1 are */
static bool add_stream(PacketRig *rig, const char *id, PacketPort *port,
                       Error **errp)
{
    int theirs, ours = packet_process_connect(rig->process, PACKET_TCP,
                                              &theirs, errp);

    if (ours < 0) {
        return false;
    }
    *port = (PacketPort) { .fd = ours, .vnet_field = rig->tso };
    option(rig, "-chardev", "socket,id=%s,fd=%d", id, theirs);
    return true;
}

/* Two chardevs that are connected with each other */
static bool add_loop(PacketRig *rig, const char *id1, const char *id2,
                     Error **errp)
{
    int theirs[2];

    if (!packet_process_loop(rig->process, PACKET_TCP, theirs, errp)) {
        return false;
    }
    option(rig, "-chardev", "socket,id=%s,fd=%d", id1, theirs[0]);
    option(rig, "-chardev", "socket,id=%s,fd=%d", id2, theirs[1]);
    return true;
}

static bool build_plain(PacketRig *rig, Error **errp)
{
    rig->netdevs = true;
    return add_netdev(rig, "hn0", &rig->out, errp) &&
           add_netdev(rig, "hn1", &rig->in[0], errp);
}

static bool build_mirror(PacketRig *rig, Error **errp)
{
    rig->netdevs = true;
    if (!add_netdev(rig, "hn0", &rig->in[0], errp) ||
        !add_netdev(rig, "hn1", &rig->sink, errp) ||
        !add_stream(rig, "mirror0", &rig->out, errp)) {
        return false;
    }
    option(rig, "-object", "filter-mirror,id=m0,netdev=hn0,queue=tx,"
           "outdev=mirror0%s", vnet(rig));
    return true;
}

static bool build_redirector(PacketRig *rig, Error **errp)
{
    PacketPort wire;

    if (!add_netdev(rig, "hn0", &wire, errp) ||
        !add_stream(rig, "red0", &rig->in[0], errp) ||
        !add_stream(rig, "red1", &rig->out, errp)) {
        return false;
    }
    option(rig, "-object", "filter-redirector,id=f1,netdev=hn0,queue=tx,"
           "indev=red0%s", vnet(rig));
    option(rig, "-object", "filter-redirector,id=f2,netdev=hn0,queue=tx,"
           "outdev=red1%s", vnet(rig));
    return true;
}

static bool build_compare(PacketRig *rig, Error **errp)
{
    rig->netdevs = true;
    if (!add_netdev(rig, "hn0", &rig->out, errp) ||
        !add_netdev(rig, "hn1", &rig->in[0], errp) ||
        !add_stream(rig, "compare1", &rig->in[1], errp) ||
        !add_loop(rig, "compare0", "compare0-0", errp) ||
        !add_loop(rig, "compare_out", "compare_out0", errp)) {
        return false;
    }
    option(rig, "-object", "filter-redirector,id=redire0,netdev=hn0,queue=rx,"
           "indev=compare_out%s", vnet(rig));
    option(rig, "-object", "filter-redirector,id=redire1,netdev=hn0,queue=rx,"
           "outdev=compare0%s", vnet(rig));
    option(rig, "-object", "iothread,id=iothread1");
    option(rig, "-object", "colo-compare,id=comp0,primary_in=compare0-0,"
           "secondary_in=compare1,outdev=compare_out0,iothread=iothread1%s",
           vnet(rig));
    return true;
}

static bool build_filter_compare(PacketRig *rig, Error **errp)
{
    rig->netdevs = true;
    if (!add_netdev(rig, "hn0", &rig->out, errp) ||
        !add_netdev(rig, "hn1", &rig->in[0], errp) ||
        !add_stream(rig, "compare1", &rig->in[1], errp)) {
        return false;
    }
    option(rig, "-object", "filter-compare,id=fc0,netdev=hn0,"
           "secondary_in=compare1%s", vnet(rig));
    return true;
}

/* What the first one costs the others are measured against. */
const PacketTopology packet_topologies[PACKET_TOPOLOGIES] = {
    { "plain", NULL, build_plain },
    { "mirror", "filter-mirror", build_mirror },
    { "redirector", "filter-redirector", build_redirector },
    { "compare", "colo-compare", build_compare },
    { "filter-compare", "filter-compare", build_filter_compare },
};

void packet_rig_init(PacketRig *rig, const BenchCpus *cpus, bool tso)
{
    *rig = (PacketRig) {
        .process = packet_process_new(cpus),
        .in = { { .fd = -1 }, { .fd = -1 } },
        .sink = { .fd = -1 },
        .tso = tso,
        .argv = g_ptr_array_new_with_free_func(g_free),
    };
}

void packet_rig_qemu(PacketRig *rig, const char *qemu)
{
    g_ptr_array_add(rig->argv, g_strdup(qemu));
    option(rig, "-M", "none");
    option(rig, "-accel", "tcg");
    option(rig, "-display", "none");
    g_ptr_array_add(rig->argv, g_strdup("-nodefaults"));
}

void packet_rig_end(PacketRig *rig)
{
    packet_process_free(rig->process);
    g_ptr_array_unref(rig->argv);
}

/* A pipe that copies whatever comes */
bool packet_rig_build_limit(PacketRig *rig, Error **errp)
{
    int in, out;

    rig->in[0] = (PacketPort) {
        .fd = packet_process_connect(rig->process, PACKET_UNIX, &in, errp)
    };
    if (rig->in[0].fd < 0) {
        return false;
    }
    rig->out = (PacketPort) {
        .fd = packet_process_connect(rig->process, PACKET_UNIX, &out, errp)
    };
    option(rig, "/bin/sh", "-c");
    g_ptr_array_add(rig->argv, g_strdup_printf("exec cat <&%d >&%d", in, out));
    return rig->out.fd >= 0;
}
