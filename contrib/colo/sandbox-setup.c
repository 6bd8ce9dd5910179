/*
 * The sandbox's needs and its network
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include "sandbox.h"
#include "sandbox-setup.h"

static char *find_ip(Error **errp)
{
    static const char *const places[] = { "/usr/sbin/ip", "/sbin/ip" };
    char *ip = g_find_program_in_path("ip");
    size_t i;

    /* A user's $PATH, kept by su, may lack the system's directories. */
    for (i = 0; !ip && i < ARRAY_SIZE(places); i++) {
        if (g_file_test(places[i], G_FILE_TEST_IS_EXECUTABLE)) {
            ip = g_strdup(places[i]);
        }
    }
    if (!ip) {
        error_setg(errp, "the program 'ip' was not found; apt-get install "
                   "iproute2");
    }
    return ip;
}

char *sandbox_check_host(Error **errp)
{
    int fd;

    if (geteuid() != 0) {
        error_setg(errp, "only root can make the sandbox; run this as root "
                   "(sudo)");
        return NULL;
    }
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        error_setg(errp, "/dev/net/tun cannot be used: %s; load the module "
                   "(modprobe tun), or pass the device into the container",
                   strerror(errno));
        return NULL;
    }
    close(fd);
    return find_ip(errp);
}

static bool enter_namespaces(Error **errp)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) {
        error_setg(errp, "network and mount namespaces were refused: %s; "
                   SANDBOX_NEED_NAMESPACES, strerror(errno));
        return false;
    }
    /* Nothing that is mounted from here on may be seen outside. */
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              NULL) < 0) {
        error_setg(errp, "a new /proc was refused: %s; "
                   SANDBOX_NEED_NAMESPACES, strerror(errno));
        return false;
    }
    return true;
}

static bool set_ip6(const char *name, char value, Error **errp)
{
    g_autofree char *path = g_strdup_printf("/proc/sys/net/ipv6/conf/%s",
                                            name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, &value, 1) != 1) {
        error_setg(errp, "%s cannot be set: %s; the kernel must have IPv6 (no "
                   "ipv6.disable=1), and /proc/sys/net must be writable",
                   path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    close(fd);
    return true;
}

/*
 * The links shall carry the guest's and the client's packets, nobody
 * else's: no advertisements are asked for or believed.
 */
static bool quiet_ip6(Error **errp)
{
    return set_ip6("all/disable_ipv6", '0', errp) &&
           set_ip6("default/disable_ipv6", '0', errp) &&
           set_ip6("default/accept_ra", '0', errp) &&
           set_ip6("default/autoconf", '0', errp) &&
           set_ip6("default/router_solicitations", '0', errp) &&
           set_ip6("default/accept_dad", '0', errp);
}

/* Runs "@ip @command"; the words of @command have one blank between them. */
static bool run_ip(const char *ip, const char *command, const char *remedy,
                   Error **errp)
{
    g_autofree char *line = g_strdup_printf("ip %s", command);
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);
    g_autofree char *errors = NULL;
    g_autoptr(GError) gerr = NULL;
    int status;

    g_free(argv[0]);
    argv[0] = g_strdup(ip);
    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                      NULL, NULL, &errors, &status, &gerr)) {
        error_setg(errp, "'%s' cannot be run: %s", line, gerr->message);
        return false;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        g_strdelimit(g_strstrip(errors), "\n", ';');
        error_setg(errp, "'%s' failed (%s); %s", line,
                   *errors ? errors : "it did not say why", remedy);
        return false;
    }
    return true;
}

/*
 * The bridge has a fixed address, lest it change as the taps come and go.
 * Links without link-local addresses do not speak on their own.
 */
static bool make_network(const char *ip, Error **errp)
{
    static const char caps[] = "CAP_NET_ADMIN is needed";
    static const char bridge[] = "the kernel needs CAP_NET_ADMIN from us and "
                                 "its bridge module (modprobe bridge)";
    static const char tun[] = "the kernel needs its tun module (modprobe "
                              "tun)";
    static const char ip6[] = "the kernel must have IPv6";
    static const struct {
        const char *command, *remedy;
    } steps[] = {
        { "link set lo up", caps },
        { "link add name br0 address 52:54:00:c0:10:01 type bridge "
          "stp_state 0 forward_delay 0 mcast_snooping 0", bridge },
        { "link set br0 addrgenmode none", ip6 },
        { "tuntap add dev tap0 mode tap", tun },
        { "tuntap add dev tap1 mode tap", tun },
        { "link set tap0 addrgenmode none", ip6 },
        { "link set tap1 addrgenmode none", ip6 },
        { "link set tap0 master br0 up", bridge },
        { "link set tap1 master br0 up", bridge },
        { "link set br0 up", caps },
        { "addr add " SANDBOX_CLIENT_IP4 "/24 dev br0", caps },
        { "addr add " SANDBOX_CLIENT_IP6 "/64 dev br0 nodad", ip6 },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(steps); i++) {
        if (!run_ip(ip, steps[i].command, steps[i].remedy, errp)) {
            return false;
        }
    }
    return true;
}

bool sandbox_setup(const char *ip, Error **errp)
{
    return enter_namespaces(errp) && quiet_ip6(errp) &&
           make_network(ip, errp);
}
