/*
 * Daemon of the test guest: the control service
 *
 * Each command is a line, and so is its answer: "ok ..." or "error ...".
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>
#include <x86intrin.h>
#include "guestd.h"

#define MIB_PER_S_MAX 16384
#define DISK_KIB_MAX (1ULL << 50)
/* An area of the background load has to fit into memory for its check. */
#define SPAN_KIB_MAX (32 * 1024)
#define KIB_PER_S_MAX (1024 * 1024)
#define TICK_MIN_US 50
#define TICK_MAX_US 1000000
#define CONNECT_BYTES_MAX (1ULL << 40)

typedef struct Command {
    const char *name;
    const char *usage;
    int args;
    /* Returns NULL if it has answered, or what is wrong */
    const char *(*run)(Conn *conn, const char *const *arg);
} Command;

static const char bad_argument[] = "an argument is out of range";

static const char *cmd_ping(Conn *conn, const char *const *arg)
{
    conn_printf(conn, "ok\n");
    return NULL;
}

static const char *cmd_load(Conn *conn, const char *const *arg)
{
    uint64_t mib_per_s, mib;
    const char *error;

    if (!parse_number(arg[0], 0, MIB_PER_S_MAX, &mib_per_s) ||
        !parse_number(arg[1], 0, UINT32_MAX, &mib)) {
        return bad_argument;
    }
    error = load_start(mib_per_s, mib);
    if (!error) {
        conn_printf(conn, "ok\n");
    }
    return error;
}

static const char *cmd_work(Conn *conn, const char *const *arg)
{
    uint64_t on;
    const char *error;

    if (!parse_number(arg[0], 0, 1, &on)) {
        return bad_argument;
    }
    error = work_start(on);
    if (!error) {
        conn_printf(conn, "ok\n");
    }
    return error;
}

static const char *cmd_work_stat(Conn *conn, const char *const *arg)
{
    conn_printf(conn, "ok rounds %" PRIu64 "\n", work_rounds());
    return NULL;
}

/* Is there such a part of the disk? */
static const char *check_disk(uint64_t start_kib, uint64_t span_kib)
{
    if (!disk_kib()) {
        return "there is no disk";
    }
    return start_kib > disk_kib() || span_kib > disk_kib() - start_kib
           ? "beyond the end of the disk" : NULL;
}

static const char *check_area(uint64_t start_kib, uint64_t span_kib)
{
    return span_kib < GUEST_BLOCK_KIB || span_kib > SPAN_KIB_MAX ||
           span_kib % GUEST_BLOCK_KIB || start_kib % GUEST_BLOCK_KIB
           ? "not an area of whole blocks of 4 KiB, up to 32 MiB"
           : check_disk(start_kib, span_kib);
}

static const char *cmd_disk_write(Conn *conn, const char *const *arg)
{
    Job job = { .run = disk_write_run };
    const char *error;

    if (!parse_number(arg[0], 0, DISK_KIB_MAX, &job.arg[0]) ||
        !parse_number(arg[1], 1, DISK_KIB_MAX, &job.arg[1]) ||
        !parse_number(arg[2], 0, UINT64_MAX, &job.arg[2])) {
        return bad_argument;
    }
    error = check_disk(job.arg[0], job.arg[1]);
    if (!error) {
        job_start(conn, &job);
    }
    return error;
}

static const char *cmd_disk_sum(Conn *conn, const char *const *arg)
{
    Job job = { .run = disk_sum_run };
    const char *error;

    if (!parse_number(arg[0], 0, DISK_KIB_MAX, &job.arg[0]) ||
        !parse_number(arg[1], 1, DISK_KIB_MAX, &job.arg[1])) {
        return bad_argument;
    }
    error = check_disk(job.arg[0], job.arg[1]);
    if (!error) {
        job_start(conn, &job);
    }
    return error;
}

static const char *cmd_disk_load(Conn *conn, const char *const *arg)
{
    Job job = { .run = disk_load_run };
    const char *error = NULL;

    if (!parse_number(arg[0], 0, KIB_PER_S_MAX, &job.arg[0]) ||
        !parse_number(arg[1], 0, DISK_KIB_MAX, &job.arg[1]) ||
        !parse_number(arg[2], 0, DISK_KIB_MAX, &job.arg[2])) {
        return bad_argument;
    }
    if (job.arg[0]) {
        error = check_area(job.arg[2], job.arg[1]);
    }
    if (!error) {
        job_start(conn, &job);
    }
    return error;
}

static const char *cmd_disk_verify(Conn *conn, const char *const *arg)
{
    Job job = { .run = disk_verify_run };
    const char *error;

    if (!parse_number(arg[0], 0, DISK_KIB_MAX, &job.arg[0]) ||
        !parse_number(arg[1], 0, DISK_KIB_MAX, &job.arg[1])) {
        return bad_argument;
    }
    error = check_area(job.arg[0], job.arg[1]);
    if (!error) {
        job_start(conn, &job);
    }
    return error;
}

static const char *cmd_disk_bench(Conn *conn, const char *const *arg)
{
    Job job = { .run = disk_bench_run };
    const DiskBenchMode *mode = disk_bench_mode(arg[0]);
    const char *error;

    if (!mode) {
        return "there is no such mode";
    }
    if (!parse_number(arg[1], 0, DISK_KIB_MAX, &job.arg[0]) ||
        !parse_number(arg[2], disk_bench_block(mode) / 1024, DISK_KIB_MAX,
                      &job.arg[1]) ||
        !parse_number(arg[3], 1, UINT32_MAX, &job.arg[2])) {
        return bad_argument;
    }
    strcpy(job.text, mode->name);
    error = check_disk(job.arg[0], job.arg[1]);
    if (!error) {
        job_start(conn, &job);
    }
    return error;
}

static const char *cmd_disk_size(Conn *conn, const char *const *arg)
{
    conn_printf(conn, "ok %" PRIu64 "\n", disk_kib());
    return NULL;
}

static const char *cmd_connect(Conn *conn, const char *const *arg)
{
    Job job = { .run = connect_run };

    if (strlen(arg[0]) >= sizeof(job.text) ||
        !parse_number(arg[1], 1, UINT16_MAX, &job.arg[0]) ||
        !parse_number(arg[2], 0, CONNECT_BYTES_MAX, &job.arg[1])) {
        return bad_argument;
    }
    strcpy(job.text, arg[0]);
    job_start(conn, &job);
    return NULL;
}

static const char *cmd_stat(Conn *conn, const char *const *arg)
{
    conn_printf(conn, "ok connections %" PRIu64 " refused %" PRIu64
                " echoed %" PRIu64 " sunk %" PRIu64 " sourced %" PRIu64
                " records %" PRIu64 " datagrams %" PRIu64 " commands %"
                PRIu64 "\n", stats.connections, stats.refused, stats.echoed,
                stats.sunk, stats.sourced, stats.records, stats.datagrams,
                stats.commands);
    return NULL;
}

static const char *cmd_load_stat(Conn *conn, const char *const *arg)
{
    conn_printf(conn, "ok pages %" PRIu64 " blocks %" PRIu64 "\n",
                load_pages(), disk_load_acknowledged());
    return NULL;
}

/* Two instances of the guest can hardly read the same. */
static const char *cmd_differ(Conn *conn, const char *const *arg)
{
    conn_printf(conn, "ok %016llx\n", (unsigned long long)__rdtsc());
    return NULL;
}

static const char *cmd_tick(Conn *conn, const char *const *arg)
{
    uint64_t period_us, nonce;
    const char *error;

    if (!parse_number(arg[0], 0, TICK_MAX_US, &period_us) ||
        (period_us && period_us < TICK_MIN_US) ||
        !parse_number(arg[1], 0, UINT64_MAX, &nonce)) {
        return bad_argument;
    }
    error = tick_start(period_us, nonce);
    if (!error) {
        conn_printf(conn, "ok\n");
    }
    return error;
}

static const char *cmd_poweroff(Conn *conn, const char *const *arg)
{
    reboot(RB_POWER_OFF);
    return "cannot power off";
}

static const char *cmd_panic(Conn *conn, const char *const *arg)
{
    int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (write(fd, "c", 1) < 0) {
            /* said below */
        }
        close(fd);
    }
    return "cannot panic";
}

static const Command commands[] = {
    { "ping", "", 0, cmd_ping },
    { "load", " MIB_PER_S MIB", 2, cmd_load },
    { "work", " ON", 1, cmd_work },
    { "work-stat", "", 0, cmd_work_stat },
    { "disk-write", " OFFSET_KIB LENGTH_KIB SEED", 3, cmd_disk_write },
    { "disk-sum", " OFFSET_KIB LENGTH_KIB", 2, cmd_disk_sum },
    { "disk-load", " KIB_PER_S SPAN_KIB START_KIB", 3, cmd_disk_load },
    { "disk-verify", " START_KIB SPAN_KIB", 2, cmd_disk_verify },
    { "disk-bench", " MODE START_KIB SPAN_KIB COUNT", 4, cmd_disk_bench },
    { "disk-size", "", 0, cmd_disk_size },
    { "connect", " ADDRESS PORT BYTES", 3, cmd_connect },
    { "stat", "", 0, cmd_stat },
    { "load-stat", "", 0, cmd_load_stat },
    { "tick", " PERIOD_US NONCE", 2, cmd_tick },
    { "differ", "", 0, cmd_differ },
    { "poweroff", "", 0, cmd_poweroff },
    { "panic", "", 0, cmd_panic },
};

static void control_line(Conn *conn, char *line)
{
    const char *word[CONN_WORDS];
    int words = line_split(line, word);
    const char *error;
    size_t i;

    stats.commands++;
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        const Command *c = &commands[i];

        if (words == 0 || strcmp(word[0], c->name)) {
            continue;
        }
        if (words - 1 != c->args) {
            conn_printf(conn, "error usage: %s%s\n", c->name, c->usage);
            return;
        }
        error = c->run(conn, word + 1);
        if (error) {
            conn_printf(conn, "error %s\n", error);
        }
        return;
    }
    conn_printf(conn, "error there is no such command\n");
}

const Service service_control = {
    .port = GUEST_CONTROL_PORT, .line = control_line,
};
