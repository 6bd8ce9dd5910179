/*
 * Everything a client may have under way with the guest
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "guest-proto.h"
#include "net-flows.h"
#include "net-from-guest.h"
#include "net-udp.h"
#include "net-wire.h"
#include "sandbox.h"
#include "stream.h"

#define MANY 64
#define STREAMS (3 + MANY)
#define RECORD_US (50 * 1000)
#define MANY_RECORD_US (500 * 1000)
#define CONNECT_MS (60 * 1000)

/* What is reported together: streams from @first on, a UDP flow, the guest's */
typedef enum Kind { KIND_STREAM, KIND_UDP, KIND_FROM_GUEST } Kind;

static const struct {
    const char *name;
    Kind kind;
    unsigned first, count;
    const char *address;   /* of the guest */
} groups[] = {
    { "tcp", KIND_STREAM, 0, 1, SANDBOX_GUEST_IP4 },
    { "tcp6", KIND_STREAM, 1, 1, SANDBOX_GUEST_IP6 },
    { "tcp-vlan", KIND_STREAM, 2, 1, NET_WIRE_VLAN_PEER },
    { "tcp-many", KIND_STREAM, 3, MANY, SANDBOX_GUEST_IP4 },
    { "udp", KIND_UDP, 0, 1, SANDBOX_GUEST_IP4 },
    { "udp6", KIND_UDP, 1, 1, SANDBOX_GUEST_IP6 },
    { "from-guest", KIND_FROM_GUEST, 0, 1, SANDBOX_GUEST_IP4 },
};
#define GROUPS ARRAY_SIZE(groups)

struct NetFlows {
    Stream *stream[STREAMS];
    NetUdp *udp[2];
    NetFromGuest *from_guest;
};

/* One member of a group, at this moment */
typedef struct Member {
    uint64_t items;
    double gap_ms;
    const char *error;     /* NULL: all is well */
} Member;

static void stream_broken(void *opaque, const char *why)
{
    /* stream_error() tells */
}

static bool open_group(NetFlows *f, int g, Error **errp)
{
    ERRP_GUARD();
    const char *address = groups[g].address;

    for (unsigned i = groups[g].first;
         i < groups[g].first + groups[g].count && !*errp; i++) {
        switch (groups[g].kind) {
        case KIND_STREAM:
            f->stream[i] = stream_open(address, GUEST_COUNTER_PORT, 1000 * i,
                                       groups[g].count > 1 ? MANY_RECORD_US
                                                           : RECORD_US,
                                       CONNECT_MS, stream_broken, NULL, errp);
            break;
        case KIND_UDP:
            f->udp[i] = net_udp_new(address, GUEST_ECHO_PORT, errp);
            break;
        case KIND_FROM_GUEST:
            f->from_guest = net_from_guest_new(address, errp);
            break;
        }
    }
    if (*errp) {
        error_prepend(errp, "%s: ", groups[g].name);
    }
    return !*errp;
}

NetFlows *net_flows_new(Error **errp)
{
    NetFlows *f = g_new0(NetFlows, 1);

    for (int g = 0; g < GROUPS; g++) {
        if (!open_group(f, g, errp)) {
            net_flows_free(f);
            return NULL;
        }
    }
    return f;
}

void net_flows_free(NetFlows *f)
{
    if (!f) {
        return;
    }
    for (int i = 0; i < STREAMS; i++) {
        stream_close(f->stream[i]);
    }
    for (int i = 0; i < ARRAY_SIZE(f->udp); i++) {
        net_udp_free(f->udp[i]);
    }
    net_from_guest_free(f->from_guest);
    g_free(f);
}

static Member stream_member(Stream *stream)
{
    StreamStats stats;

    stream_stats(stream, &stats);
    return (Member) {
        .items = stats.records,
        .gap_ms = MAX(stats.gap_us, stats.current_gap_us) / 1e3,
        .error = stream_error(stream),
    };
}

static Member beat_member(const NetBeat *beat)
{
    return (Member) {
        .items = beat->items, .gap_ms = net_beat_gap_ms(beat),
        .error = beat->error,
    };
}

static Member member_of(NetFlows *f, int g, unsigned i)
{
    return groups[g].kind == KIND_STREAM ? stream_member(f->stream[i])
         : groups[g].kind == KIND_UDP ? beat_member(net_udp_beat(f->udp[i]))
         : beat_member(net_from_guest_beat(f->from_guest));
}

/* The slowest of a group; or one that is broken */
static Member group_of(NetFlows *f, int g)
{
    Member group = { .items = UINT64_MAX };

    for (unsigned i = groups[g].first;
         i < groups[g].first + groups[g].count; i++) {
        Member m = member_of(f, g, i);

        group.items = MIN(group.items, m.items);
        group.gap_ms = MAX(group.gap_ms, m.gap_ms);
        group.error = group.error ?: m.error;
    }
    return group;
}

static gboolean tick(gpointer opaque)
{
    return G_SOURCE_CONTINUE;
}

static bool await_group(NetFlows *f, int g, uint64_t wanted, int64_t end_us,
                        Error **errp)
{
    for (;;) {
        Member group = group_of(f, g);

        if (group.error) {
            error_setg(errp, "%s: %s", groups[g].name, group.error);
            return false;
        }
        if (group.items >= wanted) {
            return true;
        }
        if (g_get_monotonic_time() > end_us) {
            error_setg(errp, "%s: %" PRIu64 " items instead of %" PRIu64
                       " have come in time; nothing for %.1f s",
                       groups[g].name, group.items, wanted,
                       group.gap_ms / 1e3);
            return false;
        }
        g_main_context_iteration(NULL, true);
    }
}

bool net_flows_await(NetFlows *f, unsigned items, int timeout_ms, Error **errp)
{
    int64_t end_us = g_get_monotonic_time() + timeout_ms * 1000LL;
    guint timer = g_timeout_add(50, tick, NULL);
    uint64_t wanted[GROUPS];
    bool ok = true;

    for (unsigned i = 0; i < GROUPS; i++) {
        /* The many are ten times as slow. */
        wanted[i] = group_of(f, i).items +
                    (groups[i].count > 1 ? DIV_ROUND_UP(items, 10) : items);
    }
    for (int i = 0; ok && i < GROUPS; i++) {
        ok = await_group(f, i, wanted[i], end_us, errp);
    }
    g_source_remove(timer);
    return ok;
}

void net_flows_report(NetFlows *f, const char *when)
{
    printf("# longest gap, ms, %s:", when);
    for (int g = 0; g < GROUPS; g++) {
        printf(" %s %.0f", groups[g].name, group_of(f, g).gap_ms);
    }
    printf("\n");
    fflush(stdout);
    for (int i = 0; i < STREAMS; i++) {
        stream_reset_gap(f->stream[i]);
    }
    for (int i = 0; i < ARRAY_SIZE(f->udp); i++) {
        net_udp_beat(f->udp[i])->gap_us = 0;
    }
    net_from_guest_beat(f->from_guest)->gap_us = 0;
}

unsigned net_flows_from_guest(const NetFlows *f)
{
    return net_from_guest_count(f->from_guest);
}
