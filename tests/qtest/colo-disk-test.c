/*
 * The disks of a COLO pair when something fails
 *
 * An image of the secondary whose writes fail (blkdebug), a secondary that is
 * stopped, a primary that stops in the middle of an NBD request.  Whoever goes
 * on must answer its monitor, tell the loss by an event, and have a disk that
 * is the one of its guest.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/sockets.h"
#include "block/nbd.h"
#include "libqtest.h"
#include "colo-guest.h"
#include "colo-pair.h"

/* What a monitor may take to answer, on a machine that does other things too */
#define ANSWER_MS 3000

#define CHUNK 0x10000

/* The NBD protocol's (doc/proto.md of NBD) */
#define OPTION_MAGIC 0x49484156454F5054ULL      /* "IHAVEOPT" */
#define REQUEST_MAGIC 0x25609513
#define REQUEST_SIZE 28

typedef struct {
    const char *image;
    int error;
} FaultCase;

static void answer(ColoSide *side)
{
    QDict *dict = colo_side_try(side, ANSWER_MS, "{'execute': 'query-status'}");

    if (!dict) {
        colo_fail("no answer within %d ms", ANSWER_MS);
    }
    qobject_unref(dict);
}

/* Wait for @event, with the monitor answering all the time */
static void await_answering(ColoSide *side, const char *event)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    while (!colo_side_count(side, event)) {
        answer(side);
        if (g_get_monotonic_time() > end) {
            colo_fail("no event %s within %d ms", event, COLO_WAIT_MS);
        }
        g_usleep(20 * 1000);
    }
}

static ColoPair *start(const char *faulty, int error)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);

    pair->faulty = faulty;
    pair->fault_errno = error;
    colo_pair_protect(pair);
    return pair;
}

static void ask_for_checkpoint(ColoPair *pair)
{
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
}

/* The disk of the secondary fails: its guest is not affected, the pair is lost */
static void test_parent(int error)
{
    ColoPair *pair = start("parent", error);

    colo_pair_write(pair, 0x11, 0);
    await_answering(pair->p, "REPLICATION_BROKEN");
    colo_pair_write(pair, 0x22, CHUNK);
    ask_for_checkpoint(pair);
    await_answering(pair->p, "COLO_LOST");
    colo_pair_fail_over_to_primary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, CHUNK);
    colo_pair_free(pair);
}

/* What is to be kept cannot be: the last commit is there in full */
static void test_hidden(int error)
{
    ColoPair *pair = start("hidden", error);

    /* Zeroes are kept without being written, data are not */
    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    colo_pair_write(pair, 0x22, 0);
    await_answering(pair->p, "REPLICATION_BROKEN");
    ask_for_checkpoint(pair);
    await_answering(pair->p, "COLO_LOST");
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_free(pair);
}

/* The secondary's guest cannot write: the next commit makes it equal again */
static void test_active(int error)
{
    ColoPair *pair = start("active", error);

    colo_pair_write(pair, 0x11, 0);
    colo_side_hmp(pair->s, "qemu-io colo-disk0 \"write -q -P 51 0 65536\"");
    answer(pair->s);
    colo_pair_request_checkpoint(pair);
    g_assert_cmpuint(colo_side_count(pair->p, "REPLICATION_BROKEN"), ==, 0);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_write(pair, 0x22, 0);
    colo_pair_expect(pair, 0x22, 0);
    colo_pair_free(pair);
}

/* What the secondary's disk does; see "breakpoints" of qemu-io */
static void breakpoint(ColoPair *pair, const char *command)
{
    colo_side_hmp(pair->s, "qemu-io parent0 \"%s\"", command);
}

static int64_t epoch(ColoSide *side)
{
    QDict *colo = colo_side_get(side, "{'execute': 'query-colo'}");
    int64_t epoch = qdict_get_int(colo, "epoch");

    qobject_unref(colo);
    return epoch;
}

/*
 * RESUME comes before the secondary says that it runs, and a primary that has
 * not heard it begins no other checkpoint.
 */
static void await_secondary_running(ColoPair *pair)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    while (epoch(pair->s) != epoch(pair->p)) {
        if (g_get_monotonic_time() > end) {
            colo_fail("the secondary does not say that it runs");
        }
        g_usleep(1000);
    }
}

/*
 * A commit needs the writes to the secondary's disk, not the flush behind them,
 * which here does not end before the test lets it.
 */
static void test_flush(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);
    unsigned stops, resumes;

    pair->faulty = "parent";
    pair->breaks = true;
    colo_pair_protect(pair);
    colo_pair_request_checkpoint(pair);
    await_secondary_running(pair);
    stops = colo_side_count(pair->p, "STOP");
    resumes = colo_side_count(pair->p, "RESUME");
    breakpoint(pair, "break flush_to_os flush");

    /* The queue holds both until the secondary goes on */
    colo_side_freeze(pair->s, true);
    colo_pair_write(pair, 0x11, 0);
    colo_side_hmp(pair->p, "qemu-io colo-disk0 flush");
    ask_for_checkpoint(pair);
    colo_side_await(pair->p, "STOP", stops + 1, COLO_WAIT_MS);
    answer(pair->p);
    g_assert_cmpuint(colo_side_count(pair->p, "RESUME"), ==, resumes);
    colo_side_freeze(pair->s, false);

    colo_side_await(pair->p, "RESUME", resumes + 1, COLO_WAIT_MS);
    breakpoint(pair, "wait_break flush");
    g_assert_cmpuint(colo_side_count(pair->p, "COLO_LOST"), ==, 0);
    breakpoint(pair, "resume flush");
    colo_pair_request_checkpoint(pair);
    g_assert_cmpuint(colo_side_count(pair->p, "REPLICATION_BROKEN"), ==, 0);

    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_free(pair);
}

static void run_fault(const void *opaque)
{
    const FaultCase *c = opaque;

    if (!strcmp(c->image, "parent")) {
        test_parent(c->error);
    } else if (!strcmp(c->image, "hidden")) {
        test_hidden(c->error);
    } else {
        test_active(c->error);
    }
}

/* The secondary stands still while the primary's guest writes */
static void test_stopped(void)
{
    ColoPair *pair = start(NULL, 0);

    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    colo_side_freeze(pair->s, true);
    colo_pair_write(pair, 0x22, CHUNK);
    colo_pair_write(pair, 0x33, 2 * CHUNK);
    await_answering(pair->p, "REPLICATION_BROKEN");
    await_answering(pair->p, "COLO_LOST");
    colo_pair_write(pair, 0x44, 3 * CHUNK);
    answer(pair->p);
    colo_pair_fail_over_to_primary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, CHUNK);
    colo_pair_expect(pair, 0x33, 2 * CHUNK);
    colo_pair_expect(pair, 0x44, 3 * CHUNK);
    colo_pair_free(pair);
}

static void put(int fd, const void *data, size_t size)
{
    g_assert_cmpint(write(fd, data, size), ==, size);
}

static void get(int fd, void *data, size_t size)
{
    g_assert_cmpint(recv(fd, data, size, MSG_WAITALL), ==, size);
}

/* The secondary's disk gets the first half of a write and nothing more */
static int send_half_a_write(ColoPair *pair)
{
    g_autofree char *path = colo_pair_nbd_socket(pair);
    int fd = unix_connect(path, &error_abort);
    static const char name[] = "parent0";
    uint8_t buffer[REQUEST_SIZE + CHUNK / 2] = { };
    uint8_t greeting[18], info[8 + 2 + 124];

    get(fd, greeting, sizeof(greeting));
    stl_be_p(buffer, NBD_FLAG_C_FIXED_NEWSTYLE);
    stq_be_p(buffer + 4, OPTION_MAGIC);
    stl_be_p(buffer + 12, NBD_OPT_EXPORT_NAME);
    stl_be_p(buffer + 16, strlen(name));
    memcpy(buffer + 20, name, strlen(name));
    put(fd, buffer, 20 + strlen(name));
    get(fd, info, sizeof(info));

    memset(buffer, 0xee, sizeof(buffer));
    stl_be_p(buffer, REQUEST_MAGIC);
    stw_be_p(buffer + 4, 0);
    stw_be_p(buffer + 6, NBD_CMD_WRITE);
    stq_be_p(buffer + 8, 1);
    stq_be_p(buffer + 16, 0);
    stl_be_p(buffer + 24, CHUNK);
    put(fd, buffer, sizeof(buffer));
    return fd;
}

/* ... and the secondary is to begin a new epoch: it answers, and can go on */
static void test_half_checkpoint(void)
{
    ColoPair *pair = start(NULL, 0);
    int fd;

    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    fd = send_half_a_write(pair);
    ask_for_checkpoint(pair);
    await_answering(pair->s, "REPLICATION_BROKEN");
    answer(pair->s);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    close(fd);
    colo_pair_free(pair);
}

/* ... and the primary is gone */
static void test_half_failover(void)
{
    ColoPair *pair = start(NULL, 0);
    int fd;

    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    fd = send_half_a_write(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    close(fd);
    colo_pair_free(pair);
}

int main(int argc, char **argv)
{
    static const FaultCase cases[] = {
        { "parent", EIO }, { "parent", ENOSPC }, { "hidden", EIO },
        { "hidden", ENOSPC }, { "active", EIO }, { "active", ENOSPC },
    };

    g_test_init(&argc, &argv, NULL);
    if (!getenv("QTEST_QEMU_IMG")) {
        fprintf(stderr, "colo-disk-test: QTEST_QEMU_IMG is not set\n");
        return EXIT_FAILURE;
    }
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        bool eio = cases[i].error == EIO;
        const char *error = eio ? "EIO" : "ENOSPC";
        g_autofree char *path = g_strdup_printf("colo-disk/fault/%s/%s",
                                                cases[i].image, error);

        qtest_add_data_func(path, &cases[i], run_fault);
    }
    qtest_add_func("colo-disk/stopped", test_stopped);
    qtest_add_func("colo-disk/half/checkpoint", test_half_checkpoint);
    qtest_add_func("colo-disk/half/failover", test_half_failover);
    qtest_add_func("colo-disk/flush", test_flush);
    return g_test_run();
}
