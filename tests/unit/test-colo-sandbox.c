/*
 * Tests of the sandbox: what is inside, what it tells, what it asks for
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "qemu/cutils.h"
#include "sandbox.h"
#include "colo-sandbox-run.h"

static int inside_exit_7(void *opaque, const char *dir)
{
    g_assert_true(is_empty(dir));
    start_company();
    litter(dir);
    return 7;
}

static int inside_segfault(void *opaque, const char *dir)
{
    /* Volatile: the compiler shall not drop the store. */
    volatile char *p = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);

    signal(SIGSEGV, SIG_DFL);
    prctl(PR_SET_DUMPABLE, 0);
    raise(SIGSEGV);             /* process 1 does not hear this, ... */
    say('r');
    *p = 0;                     /* ... but this it does */
    return 0;
}

static int inside_abort(void *opaque, const char *dir)
{
    prctl(PR_SET_DUMPABLE, 0);
    abort();
}

static bool has_address(const char *text)
{
    struct ifaddrs *all, *i;
    bool found = false;

    g_assert_cmpint(getifaddrs(&all), ==, 0);
    for (i = all; i; i = i->ifa_next) {
        char buf[INET6_ADDRSTRLEN] = "";

        if (!i->ifa_addr) {
            continue;
        }
        if (i->ifa_addr->sa_family == AF_INET) {
            inet_ntop(AF_INET,
                      &((struct sockaddr_in *)i->ifa_addr)->sin_addr,
                      buf, sizeof(buf));
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            inet_ntop(AF_INET6,
                      &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr,
                      buf, sizeof(buf));
        }
        found |= g_str_equal(buf, text);
    }
    freeifaddrs(all);
    return found;
}

/* Host B's address is usable although nobody set it. */
static bool can_bind(const char *text)
{
    struct sockaddr_in sin = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok;

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(inet_pton(AF_INET, text, &sin.sin_addr), ==, 1);
    ok = bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0;
    close(fd);
    return ok;
}

static char *file_text(const char *path)
{
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_strstrip(text);
}

static int count_interfaces(void)
{
    struct if_nameindex *all = if_nameindex();
    int n = 0;

    g_assert_nonnull(all);
    while (all[n].if_index) {
        n++;
    }
    if_freenameindex(all);
    return n;
}

static int inside_look(void *opaque, const char *dir)
{
    g_autofree char *self = g_file_read_link("/proc/self", NULL);
    g_autofree char *init = file_text("/proc/1/comm");
    g_autofree char *own = file_text("/proc/self/comm");
    g_autofree char *dev = file_text("/proc/net/dev");
    struct stat st;

    g_assert_cmpint(getpid(), ==, 1);
    g_assert_cmpstr(self, ==, "1");
    g_assert_cmpstr(init, ==, own);
    g_assert_nonnull(strstr(dev, "tap1:"));
    g_assert_cmpint(stat(dir, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0700);
    g_assert_true(g_path_is_absolute(dir));

    g_assert_cmpint(count_interfaces(), ==, 4);
    g_assert_cmpint(if_nametoindex("lo"), !=, 0);
    g_assert_cmpint(if_nametoindex("br0"), !=, 0);
    g_assert_cmpint(if_nametoindex("tap0"), !=, 0);
    g_assert_cmpint(if_nametoindex("tap1"), !=, 0);
    g_assert_true(has_address(SANDBOX_CLIENT_IP4));
    g_assert_true(has_address(SANDBOX_CLIENT_IP6));
    g_assert_false(has_address("192.0.2.3"));
    g_assert_true(can_bind("127.0.0.1"));
    g_assert_true(can_bind("127.0.0.2"));
    g_assert_false(can_bind("192.0.2.3"));
    return 0;
}

static void test_look(const void *data)
{
    static const Case c = { .fn = inside_look };
    unsigned br0 = if_nametoindex("br0"), tap0 = if_nametoindex("tap0");
    bool addr = has_address(SANDBOX_CLIENT_IP4);
    g_autofree char *ns = g_file_read_link("/proc/self/ns/net", NULL);
    g_autofree char *ns_after = NULL;

    run_check(&c, 0);
    g_assert_cmpint(if_nametoindex("br0"), ==, br0);
    g_assert_cmpint(if_nametoindex("tap0"), ==, tap0);
    g_assert_cmpint(has_address(SANDBOX_CLIENT_IP4), ==, addr);
    ns_after = g_file_read_link("/proc/self/ns/net", NULL);
    g_assert_cmpstr(ns, ==, ns_after);
}

/* The network: what QEMU does with the taps, on a small scale. */

static int open_tap(const char *name)
{
    struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

    g_assert_cmpint(fd, >=, 0);
    pstrcpy(ifr.ifr_name, sizeof(ifr.ifr_name), name);
    g_assert_cmpint(ioctl(fd, TUNSETIFF, &ifr), ==, 0);
    return fd;
}

/*
 * The next frame, if one comes within @ms.  The bridge has to announce
 * once or twice that it listens to its IPv6 address (MLD); this is all that
 * it says unasked.
 */
static bool next_frame(int fd, uint8_t *frame, size_t size, int ms)
{
    static const uint8_t mld[] = {
        0x33, 0x33, 0, 0, 0, 0x16, 0x52, 0x54, 0, 0xc0, 0x10, 1
    };
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    do {
        memset(frame, 0, size);
        if (poll(&pfd, 1, ms) != 1) {
            return false;
        }
        g_assert_cmpint(read(fd, frame, size), >=, 42);
    } while (!memcmp(frame, mld, sizeof(mld)));
    return true;
}

static int inside_network(void *opaque, const char *dir)
{
    /* Who has 192.0.2.1?  Tell 192.0.2.2. */
    static const uint8_t question[42] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2, 3, 8, 6,
        0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 1, 2, 3, 192, 0, 2, 2,
        0, 0, 0, 0, 0, 0, 192, 0, 2, 1
    };
    int tap0 = open_tap("tap0"), tap1 = open_tap("tap1");
    uint8_t frame[2048], answer[42];
    int tries;

    /* Some milliseconds until the ports know that somebody is there. */
    for (tries = 0; !next_frame(tap1, frame, sizeof(frame), 50); tries++) {
        g_assert_cmpint(tries, <, 100);
        g_assert_cmpint(write(tap0, question, sizeof(question)), ==,
                        sizeof(question));
    }
    g_assert_cmpint(memcmp(frame, question, sizeof(question)), ==, 0);
    g_assert_true(next_frame(tap0, frame, sizeof(frame), 5000));
    memcpy(answer, frame, sizeof(answer));
    g_assert_cmpint(memcmp(answer, question + 6, 6), ==, 0);
    g_assert_cmpint(answer[21], ==, 2);
    g_assert_cmpint(memcmp(answer + 28, question + 38, 4), ==, 0);
    /* Nothing else is said. */
    while (next_frame(tap0, frame, sizeof(frame), 500)) {
        g_assert_cmpint(memcmp(frame, answer, sizeof(answer)), ==, 0);
    }
    while (next_frame(tap1, frame, sizeof(frame), 100)) {
        g_assert_cmpint(memcmp(frame, question, sizeof(question)), ==, 0);
    }
    return 0;
}

static void test_network(const void *data)
{
    static const Case c = { .fn = inside_network };

    run_check(&c, 0);
}

static void test_status(const void *data)
{
    static const Case exit_7 = { .fn = inside_exit_7 };
    static const Case segv = { .fn = inside_segfault };
    static const Case abrt = { .fn = inside_abort };

    run_check(&exit_7, 7);
    run_check(&segv, 128 + SIGSEGV);
    run_check(&abrt, 128 + SIGABRT);
}

static void test_keep(const void *data)
{
    static const Case c = { .fn = inside_exit_7, .keep = true };
    g_autofree char *path = NULL, *file = NULL;
    const char *name;
    int status;
    GDir *dir;
    Run run;

    run_start(&run, &c);
    status = run_wait(&run);
    g_assert_cmpint(WEXITSTATUS(status), ==, 7);
    run_assert_nobody(&run, 0);
    dir = g_dir_open(run.tmpdir, 0, NULL);
    name = g_dir_read_name(dir);
    g_assert_true(g_str_has_prefix(name, "colo-test-"));
    path = g_build_filename(run.tmpdir, name, NULL);
    g_dir_close(dir);
    file = g_build_filename(path, "a/b/file", NULL);
    g_assert_true(g_file_test(file, G_FILE_TEST_IS_REGULAR));
    run_end(&run, true);
}

static int inside_0(void *opaque, const char *dir)
{
    return 0;
}

/* The caller can go on as if nothing had been. */
static void before_twice(void)
{
    sigset_t before, after;
    int status, sig;
    pid_t pid;

    sigprocmask(SIG_BLOCK, NULL, &before);
    g_assert_cmpint(sandbox_run("first", false, inside_exit_7, NULL,
                                &error_abort), ==, 7);
    sigprocmask(SIG_BLOCK, NULL, &after);
    for (sig = 1; sig < 32; sig++) {
        g_assert_cmpint(sigismember(&before, sig), ==,
                        sigismember(&after, sig));
    }
    /* A child of ours is again one of our own PID namespace. */
    pid = fork();
    if (pid == 0) {
        _exit(getpid() == 1);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

static void test_twice(const void *data)
{
    static const Case c = { .fn = inside_0, .before = before_twice };

    run_check(&c, 0);
}

/* Refusals: the supervisor's world is impaired first. */

static void before_not_root(void)
{
    /* The work directory belongs to root; all checks come before it. */
    g_assert_cmpint(setresuid(65534, 65534, 65534), ==, 0);
}

static void private_mounts(void)
{
    g_assert_cmpint(unshare(CLONE_NEWNS), ==, 0);
    g_assert_cmpint(mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL),
                    ==, 0);
}

static void before_no_tun(void)
{
    private_mounts();
    g_assert_cmpint(mount("none", "/dev/net", "tmpfs", 0, NULL), ==, 0);
}

static void before_no_ip(void)
{
    static const char *const places[] = {
        "/usr/sbin/ip", "/usr/bin/ip", "/sbin/ip", "/bin/ip"
    };
    size_t i;

    private_mounts();
    for (i = 0; i < ARRAY_SIZE(places); i++) {
        if (g_file_test(places[i], G_FILE_TEST_IS_EXECUTABLE)) {
            g_assert_cmpint(mount("/dev/null", places[i], "none", MS_BIND,
                                  NULL), ==, 0);
        }
    }
    g_setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", true);
}

static void drop_capability(int cap)
{
    struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];

    g_assert_cmpint(syscall(SYS_capget, &head, data), ==, 0);
    data[cap / 32].effective &= ~(1u << cap % 32);
    data[cap / 32].permitted &= ~(1u << cap % 32);
    g_assert_cmpint(prctl(PR_CAPBSET_DROP, cap), ==, 0);
    g_assert_cmpint(syscall(SYS_capset, &head, data), ==, 0);
}

static void before_no_sys_admin(void)
{
    drop_capability(CAP_SYS_ADMIN);
}

static void before_no_net_admin(void)
{
    drop_capability(CAP_NET_ADMIN);
}

/* As of a kernel without the bridge module. */
static void before_no_bridge(void)
{
    static const char script[] =
        "#!/bin/sh\n"
        "case \"$*\" in *'type bridge'*)\n"
        "    echo 'RTNETLINK answers: Operation not supported' >&2\n"
        "    exit 2\n"
        "esac\n";

    private_mounts();
    g_assert_cmpint(mount("none", "/mnt", "tmpfs", 0, NULL), ==, 0);
    g_assert_true(g_file_set_contents("/mnt/ip", script, -1, NULL));
    g_assert_cmpint(chmod("/mnt/ip", 0755), ==, 0);
    g_setenv("PATH", "/mnt:/usr/bin:/bin", true);
}

static void before_no_tmpdir(void)
{
    g_setenv("TMPDIR", "/nonexistent", true);
}

static const Case not_root = {
    inside_0, true, before_not_root, "only root can make the sandbox"
};
static const Case no_tun = {
    inside_0, true, before_no_tun, "modprobe tun"
};
static const Case no_ip = {
    inside_0, true, before_no_ip, "apt-get install iproute2"
};
static const Case no_sys_admin = {
    inside_0, true, before_no_sys_admin, "a PID namespace was refused"
};
static const Case no_net_admin = {
    inside_0, true, before_no_net_admin, "CAP_NET_ADMIN"
};
static const Case no_bridge = {
    inside_0, true, before_no_bridge, "modprobe bridge"
};
static const Case no_tmpdir = {
    inside_0, true, before_no_tmpdir, "set TMPDIR"
};

static void test_refused(const void *data)
{
    run_check(data, STATUS_REFUSED);
}

int main(int argc, char **argv)
{
    static const SandboxTest tests[] = {
        { "/colo/sandbox/inside", test_look },
        { "/colo/sandbox/network", test_network },
        { "/colo/sandbox/status", test_status },
        { "/colo/sandbox/keep", test_keep },
        { "/colo/sandbox/twice", test_twice },
        { "/colo/sandbox/refused/not-root", test_refused, &not_root },
        { "/colo/sandbox/refused/no-tun", test_refused, &no_tun },
        { "/colo/sandbox/refused/no-ip", test_refused, &no_ip },
        { "/colo/sandbox/refused/no-sys-admin", test_refused,
          &no_sys_admin },
        { "/colo/sandbox/refused/no-net-admin", test_refused,
          &no_net_admin },
        { "/colo/sandbox/refused/no-bridge", test_refused, &no_bridge },
        { "/colo/sandbox/refused/no-tmpdir", test_refused, &no_tmpdir },
        { }
    };

    return sandbox_tests_main(argc, argv, tests);
}
