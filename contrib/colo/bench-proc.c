/*
 * What the kernel knows of a process and of its connections
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include "bench-proc.h"

/*
 * The kernel's struct tcp_info (linux/tcp.h, which cannot be included beside
 * the C library's) goes on with these.
 */
typedef struct TcpInfo {
    struct tcp_info base;
    uint64_t pacing_rate, max_pacing_rate;
    uint64_t bytes_acked, bytes_received;
} TcpInfo;
QEMU_BUILD_BUG_ON(offsetof(TcpInfo, pacing_rate) != 104);

double bench_cpu_seconds(pid_t pid)
{
    struct timespec used;
    clockid_t clock;

    /* In nanoseconds, where /proc/PID/stat counts ticks of 10 ms */
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used) < 0) {
        return -1;
    }
    return used.tv_sec + used.tv_nsec / 1e9;
}

static bool rollup_field(const char *text, const char *name, double *mib)
{
    const char *line = strstr(text, name);
    unsigned long kib;

    if (!line || sscanf(line + strlen(name), "%lu kB", &kib) != 1) {
        return false;
    }
    *mib = kib / 1024.0;
    return true;
}

bool bench_ram_mib(pid_t pid, double *rss, double *pss, Error **errp)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup",
                                            (int)pid);
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        !rollup_field(text, "\nRss:", rss) ||
        !rollup_field(text, "\nPss:", pss)) {
        error_setg(errp, "%s does not tell Rss and Pss", path);
        return false;
    }
    return true;
}

static void add_socket(const struct nlmsghdr *h, uint16_t port,
                       BenchBytes *bytes)
{
    const struct inet_diag_msg *msg = NLMSG_DATA(h);
    int len = h->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));
    const struct rtattr *attr = (const void *)(msg + 1);

    if (msg->id.idiag_dport != htons(port)) {
        return;
    }
    for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
        TcpInfo info = { };

        if (attr->rta_type == INET_DIAG_INFO) {
            memcpy(&info, RTA_DATA(attr), MIN(sizeof(info),
                                              RTA_PAYLOAD(attr)));
            bytes->sent += info.bytes_acked;
            bytes->received += info.bytes_received;
            bytes->sockets++;
        }
    }
}

/* False at the end of the answer, or with @errp set. */
static bool take_answer(int fd, uint16_t port, BenchBytes *bytes,
                        Error **errp)
{
    static char buf[64 * 1024] __attribute__((aligned(8)));
    struct nlmsghdr *h = (void *)buf;
    ssize_t len = recv(fd, buf, sizeof(buf), 0);

    if (len < 0) {
        error_setg_errno(errp, errno, "sock_diag");
        return false;
    }
    for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
        if (h->nlmsg_type == NLMSG_DONE) {
            return false;
        }
        if (h->nlmsg_type == NLMSG_ERROR) {
            error_setg(errp, "the kernel does not tell about its sockets");
            return false;
        }
        add_socket(h, port, bytes);
    }
    return true;
}

bool bench_socket_bytes(uint16_t port, BenchBytes *bytes, Error **errp)
{
    ERRP_GUARD();
    struct {
        struct nlmsghdr h;
        struct inet_diag_req_v2 r;
    } request = {
        .h = {
            .nlmsg_len = sizeof(request),
            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
        },
        .r = {
            .sdiag_family = AF_INET,
            .sdiag_protocol = IPPROTO_TCP,
            .idiag_ext = 1 << (INET_DIAG_INFO - 1),
            .idiag_states = 1 << TCP_ESTABLISHED,
        },
    };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    *bytes = (BenchBytes) { };
    if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0) {
        error_setg_errno(errp, errno, "sock_diag");
    } else {
        while (take_answer(fd, port, bytes, errp)) {
            /* more */
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return !*errp;
}

/* Value of the first line of @text that begins with @name; or "?" */
static char *proc_field(const char *path, const char *name)
{
    g_autofree char *text = NULL;
    const char *at = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        at = strstr(text, name);
        at = at ? strchr(at, ':') : NULL;
    }
    if (!at) {
        return g_strdup("?");
    }
    return g_strstrip(g_strndup(at + 1, strcspn(at + 1, "\n")));
}

double bench_available_mib(void)
{
    g_autofree char *kib = proc_field("/proc/meminfo", "MemAvailable");

    return g_ascii_strtod(kib, NULL) / 1024;
}

char *bench_machine(void)
{
    g_autofree char *cpu = proc_field("/proc/cpuinfo", "model name");
    g_autofree char *ram = proc_field("/proc/meminfo", "MemTotal");
    struct utsname uts;

    uname(&uts);
    return g_strdup_printf("%s, %ld cores, %.0f GiB, Linux %s", cpu,
                           sysconf(_SC_NPROCESSORS_ONLN),
                           g_ascii_strtod(ram, NULL) / (1 << 20),
                           uts.release);
}
