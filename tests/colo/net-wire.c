/*
 * The client's cable
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/thread.h"
#include "net-wire.h"
#include "sandbox.h"

#define FRAME_MAX 2048
#define TAG_OFF 12         /* behind two Ethernet addresses */
#define TAG_LEN 4
#define ETHER_VLAN 0x8100

/* A delayed frame is overtaken by those of so much time. */
#define DELAY_US 20000
#define DELAYED_MAX 256

enum { LINK_CLIENT, LINK_VLAN, LINK_BRIDGE, LINKS };

static const char *const link_names[LINKS] = {
    "client0", "client5", "relay0",
};

typedef struct Delayed {
    int64_t due_us;
    int link;
    size_t len;
    uint8_t frame[FRAME_MAX];
} Delayed;

struct NetWire {
    int fd[LINKS];
    int stop[2];           /* a pipe: closed at the end */
    QemuThread thread;
    bool running;
    unsigned per_mille;    /* atomic */
    QemuMutex lock;
    NetWireStats stats;    /* lock */
    /* of the thread */
    GRand *rand;
    GQueue delayed;        /* of Delayed, by due_us */
};

/* The relay */

static void count(NetWire *wire, uint64_t *counter)
{
    qemu_mutex_lock(&wire->lock);
    (*counter)++;
    qemu_mutex_unlock(&wire->lock);
}

static void put(NetWire *wire, int link, const uint8_t *frame, size_t len)
{
    if (write(wire->fd[link], frame, len) != (ssize_t)len) {
        count(wire, &wire->stats.overflowed);
    }
}

static bool happens(NetWire *wire)
{
    unsigned per_mille = qatomic_read(&wire->per_mille);

    return per_mille &&
           g_rand_int_range(wire->rand, 0, 1000) < (int)per_mille;
}

static void delay(NetWire *wire, int link, const uint8_t *frame, size_t len)
{
    Delayed *d;

    if (g_queue_get_length(&wire->delayed) == DELAYED_MAX) {
        count(wire, &wire->stats.overflowed);
        return;
    }
    d = g_new(Delayed, 1);
    d->due_us = g_get_monotonic_time() + DELAY_US;
    d->link = link;
    d->len = len;
    memcpy(d->frame, frame, len);
    g_queue_push_tail(&wire->delayed, d);
    count(wire, &wire->stats.delayed);
}

static void pass(NetWire *wire, int link, const uint8_t *frame, size_t len)
{
    count(wire, &wire->stats.frames);
    if (happens(wire)) {
        count(wire, &wire->stats.lost);
        return;
    }
    if (happens(wire)) {
        count(wire, &wire->stats.doubled);
        put(wire, link, frame, len);
    }
    if (happens(wire)) {
        delay(wire, link, frame, len);
    } else {
        put(wire, link, frame, len);
    }
}

static bool is_tagged(const uint8_t *frame, size_t len)
{
    return len >= TAG_OFF + TAG_LEN && lduw_be_p(frame + TAG_OFF) == ETHER_VLAN;
}

/* The room of @frame is FRAME_MAX. */
static void from_link(NetWire *wire, int link, uint8_t *frame, size_t len)
{
    if (link == LINK_VLAN) {
        if (len < TAG_OFF || len > FRAME_MAX - TAG_LEN) {
            return;
        }
        memmove(frame + TAG_OFF + TAG_LEN, frame + TAG_OFF, len - TAG_OFF);
        stw_be_p(frame + TAG_OFF, ETHER_VLAN);
        stw_be_p(frame + TAG_OFF + 2, NET_WIRE_VLAN);
        len += TAG_LEN;
    } else if (link == LINK_BRIDGE && is_tagged(frame, len)) {
        memmove(frame + TAG_OFF, frame + TAG_OFF + TAG_LEN,
                len - TAG_OFF - TAG_LEN);
        pass(wire, LINK_VLAN, frame, len - TAG_LEN);
        return;
    }
    pass(wire, link == LINK_BRIDGE ? LINK_CLIENT : LINK_BRIDGE, frame, len);
}

/* Delivers what is due; ms until the next one, -1: there is none. */
static int deliver_delayed(NetWire *wire)
{
    Delayed *d;

    while ((d = g_queue_peek_head(&wire->delayed)) != NULL) {
        int64_t left_us = d->due_us - g_get_monotonic_time();

        if (left_us > 0) {
            return (left_us + 999) / 1000;
        }
        put(wire, d->link, d->frame, d->len);
        g_free(g_queue_pop_head(&wire->delayed));
    }
    return -1;
}

static void *relay(void *opaque)
{
    NetWire *wire = opaque;
    struct pollfd pfd[LINKS + 1];
    uint8_t frame[FRAME_MAX];

    for (int i = 0; i < LINKS; i++) {
        pfd[i] = (struct pollfd) { .fd = wire->fd[i], .events = POLLIN };
    }
    pfd[LINKS] = (struct pollfd) { .fd = wire->stop[0], .events = POLLIN };
    while (!pfd[LINKS].revents) {
        if (poll(pfd, LINKS + 1, deliver_delayed(wire)) < 0) {
            continue;
        }
        for (int i = 0; i < LINKS; i++) {
            ssize_t n = pfd[i].revents ? read(pfd[i].fd, frame, FRAME_MAX) : 0;

            if (n > 0) {
                from_link(wire, i, frame, n);
            }
        }
    }
    return NULL;
}

/* Links */

static bool open_link(NetWire *wire, int link, Error **errp)
{
    struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    wire->fd[link] = fd;
    pstrcpy(ifr.ifr_name, sizeof(ifr.ifr_name), link_names[link]);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0) {
        error_setg_errno(errp, errno, "no tap device %s", link_names[link]);
        return false;
    }
    return true;
}

static bool set_links_up(Error **errp)
{
    static const char *const commands[] = {
        "addr del " SANDBOX_CLIENT_IP4 "/24 dev br0",
        "addr del " SANDBOX_CLIENT_IP6 "/64 dev br0",
        "link set client0 addrgenmode none up",
        "link set client5 addrgenmode none up",
        "link set relay0 addrgenmode none",
        "link set relay0 master br0 up",
        "addr add " SANDBOX_CLIENT_IP4 "/24 dev client0",
        "addr add " SANDBOX_CLIENT_IP6 "/64 dev client0 nodad",
        "addr add " NET_WIRE_VLAN_IP4 "/24 dev client5",
    };
    const char *path = g_getenv("PATH");
    g_autofree char *longer = g_strdup_printf("%s:/usr/sbin:/sbin",
                                              path ?: "/usr/bin:/bin");

    g_setenv("PATH", longer, true);
    for (int i = 0; i < ARRAY_SIZE(commands); i++) {
        g_autofree char *line = g_strdup_printf("ip %s", commands[i]);
        g_autofree char *errors = NULL;
        g_autoptr(GError) gerr = NULL;
        int status;

        if (!g_spawn_command_line_sync(line, NULL, &errors, &status, &gerr) ||
            !g_spawn_check_exit_status(status, &gerr)) {
            error_setg(errp, "'%s': %s %s", line, gerr->message, errors ?: "");
            return false;
        }
    }
    return true;
}

NetWire *net_wire_new(Error **errp)
{
    NetWire *wire = g_new0(NetWire, 1);

    qemu_mutex_init(&wire->lock);
    g_queue_init(&wire->delayed);
    wire->rand = g_rand_new_with_seed(1);
    for (int i = 0; i < LINKS; i++) {
        wire->fd[i] = -1;
    }
    wire->stop[0] = wire->stop[1] = -1;
    for (int i = 0; i < LINKS; i++) {
        if (!open_link(wire, i, errp)) {
            net_wire_free(wire);
            return NULL;
        }
    }
    if (pipe(wire->stop) < 0) {
        error_setg_errno(errp, errno, "no pipe");
        net_wire_free(wire);
        return NULL;
    }
    if (!set_links_up(errp)) {
        net_wire_free(wire);
        return NULL;
    }
    qemu_thread_create(&wire->thread, "wire", relay, wire,
                       QEMU_THREAD_JOINABLE);
    wire->running = true;
    return wire;
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void net_wire_free(NetWire *wire)
{
    if (!wire) {
        return;
    }
    close_fd(wire->stop[1]);
    if (wire->running) {
        qemu_thread_join(&wire->thread);
    }
    close_fd(wire->stop[0]);
    for (int i = 0; i < LINKS; i++) {
        close_fd(wire->fd[i]);
    }
    g_queue_foreach(&wire->delayed, (GFunc)g_free, NULL);
    g_queue_clear(&wire->delayed);
    g_rand_free(wire->rand);
    qemu_mutex_destroy(&wire->lock);
    g_free(wire);
}

void net_wire_disturb(NetWire *wire, unsigned per_mille)
{
    qatomic_set(&wire->per_mille, per_mille);
}

void net_wire_stats(NetWire *wire, NetWireStats *stats)
{
    qemu_mutex_lock(&wire->lock);
    *stats = wire->stats;
    qemu_mutex_unlock(&wire->lock);
}
