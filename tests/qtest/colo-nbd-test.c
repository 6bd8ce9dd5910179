/*
 * A primary and its secondary's disk when what is between them tells lies
 *
 * Each case is named for what is sent instead of a reply to the primary, or of a
 * request to the secondary, and for the phase in which that happens:
 *
 *   join         the disk is attached, the guest's memory not copied yet
 *   epoch        both guests run
 *   checkpoint   a checkpoint is asked for with the write still queued
 *
 * Whoever goes on answers its monitor, knows that the pair is lost, and has
 * the disk of its guest: the primary all that was written, the secondary that of
 * the last commit.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "block/nbd.h"
#include "libqtest.h"
#include "colo-chunks.h"
#include "colo-nbd-proxy.h"

/* The NBD protocol's (doc/proto.md of NBD) */
#define REQUEST_MAGIC   0x25609513
#define ERROR_EIO       5
#define ERROR_ENOSPC    28
#define ERROR_UNKNOWN   0x12345678

typedef enum { JOIN, EPOCH, CHECKPOINT, PHASES } Phase;

static const char *const phase_names[] = { "join", "epoch", "checkpoint" };

typedef struct {
    const char *name;
    void (*make)(ColoNbdForgery *f);
} Lie;

/* Replies to the primary */

static void reply(ColoNbdForgery *f, uint16_t type, uint32_t length)
{
    f->way = COLO_NBD_REPLY;
    stl_be_p(f->bytes, NBD_STRUCTURED_REPLY_MAGIC);
    stw_be_p(f->bytes + 4, NBD_REPLY_FLAG_DONE);
    stw_be_p(f->bytes + 6, type);
    f->handle = 8;
    stl_be_p(f->bytes + 16, length);
    f->size = 20;
}

static void error_reply(ColoNbdForgery *f, uint32_t error)
{
    reply(f, NBD_REPLY_TYPE_ERROR, 6);
    stl_be_p(f->bytes + 20, error);
    stw_be_p(f->bytes + 24, 0);     /* no text */
    f->size = 26;
}

static void reply_eio(ColoNbdForgery *f)
{
    error_reply(f, ERROR_EIO);
}

static void reply_enospc(ColoNbdForgery *f)
{
    error_reply(f, ERROR_ENOSPC);
}

static void reply_unknown_error(ColoNbdForgery *f)
{
    error_reply(f, ERROR_UNKNOWN);
}

/* An error without its reason, or with more text than there can be */
static void reply_error_length(ColoNbdForgery *f)
{
    error_reply(f, ERROR_EIO);
    stl_be_p(f->bytes + 16, UINT32_MAX);
    stw_be_p(f->bytes + 24, UINT16_MAX);
}

static void reply_magic(ColoNbdForgery *f)
{
    reply(f, NBD_REPLY_TYPE_NONE, 0);
    stl_be_p(f->bytes, 0xdeadbeef);
}

static void reply_handle(ColoNbdForgery *f)
{
    reply(f, NBD_REPLY_TYPE_NONE, 0);
    f->handle = 0;
    memset(f->bytes + 8, 0xff, 8);
}

static void reply_length(ColoNbdForgery *f)
{
    reply(f, NBD_REPLY_TYPE_NONE, UINT32_MAX);
}

/* Data nobody has asked for */
static void reply_data(ColoNbdForgery *f)
{
    reply(f, NBD_REPLY_TYPE_OFFSET_DATA, UINT32_MAX);
}

static void reply_cut(ColoNbdForgery *f)
{
    reply(f, NBD_REPLY_TYPE_NONE, 0);
    f->size = 11;
    f->cut = true;
}

static void reply_silence(ColoNbdForgery *f)
{
    f->way = COLO_NBD_REPLY;
}

/* Requests to the secondary */

static void request(ColoNbdForgery *f, uint16_t command, uint64_t offset,
                    uint32_t length)
{
    f->way = COLO_NBD_REQUEST;
    stl_be_p(f->bytes, REQUEST_MAGIC);
    stw_be_p(f->bytes + 6, command);
    f->handle = 8;
    stq_be_p(f->bytes + 16, offset);
    stl_be_p(f->bytes + 24, length);
    f->size = 28;
    f->cut = true;
}

static void request_magic(ColoNbdForgery *f)
{
    request(f, NBD_CMD_WRITE, 0, COLO_CHUNK);
    stl_be_p(f->bytes, 0xdeadbeef);
}

static void request_length(ColoNbdForgery *f)
{
    request(f, NBD_CMD_WRITE, 0, UINT32_MAX);
}

static void request_beyond(ColoNbdForgery *f)
{
    request(f, NBD_CMD_WRITE_ZEROES, UINT64_MAX - COLO_CHUNK + 1, COLO_CHUNK);
}

static void request_command(ColoNbdForgery *f)
{
    request(f, 0x7777, 0, 0);
}

static void request_cut(ColoNbdForgery *f)
{
    request(f, NBD_CMD_WRITE, 0, COLO_CHUNK);
    f->size = 17;
}

/* Nothing more arrives, and nobody says so */
static void request_silence(ColoNbdForgery *f)
{
    f->way = COLO_NBD_REQUEST;
}

static const Lie lies[] = {
    { "reply/EIO", reply_eio },
    { "reply/ENOSPC", reply_enospc },
    { "reply/unknown-error", reply_unknown_error },
    { "reply/error-length", reply_error_length },
    { "reply/magic", reply_magic },
    { "reply/handle", reply_handle },
    { "reply/length", reply_length },
    { "reply/data", reply_data },
    { "reply/cut", reply_cut },
    { "reply/silence", reply_silence },
    { "request/magic", request_magic },
    { "request/length", request_length },
    { "request/beyond", request_beyond },
    { "request/command", request_command },
    { "request/cut", request_cut },
    { "request/silence", request_silence },
};

typedef struct {
    const Lie *lie;
    Phase phase;
} Case;

static void answers(ColoSide *side)
{
    colo_side_ok(side, "{'execute': 'query-status'}");
}

/*
 * It ends before it has begun: the migration fails when the disks are flushed, and
 * the secondary exits.
 */
static void go_on_unjoined(ColoPair *pair)
{
    colo_side_until(pair->p, "query-migrate", "status", "failed");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_side_bury(pair->s);
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                 "{'parent': 'colo-disk0', 'child': 'children.1'}}");
    colo_side_hmp(pair->p, "drive_del replication0");
}

static void await_loss(ColoPair *pair, Phase phase)
{
    if (phase == EPOCH) {
        colo_lose(pair);
    } else {
        colo_side_await(pair->p, "COLO_LOST", 1, COLO_WAIT_MS);
    }
}

static void start(ColoPair *pair, Phase phase)
{
    if (phase == JOIN) {
        colo_pair_connect_disk(pair);
    } else {
        colo_pair_replicate(pair);
        colo_write_chunks(pair, 0x11, 0, 3);
        colo_pair_request_checkpoint(pair);
    }
}

static void expect_primary(ColoPair *pair)
{
    colo_pair_expect(pair, 0x22, 0);
    colo_pair_expect(pair, 0x33, COLO_CHUNK);
}

/* @pair becomes the one that goes on */
static void go_on(ColoPair *pair, bool primary)
{
    if (primary) {
        colo_pair_fail_over_to_primary(pair);
        expect_primary(pair);
    } else {
        colo_pair_fail_over_to_secondary(pair);
        colo_expect_chunks(pair, 0x11, 0, 3);
    }
}

static void run(const Case *c, bool primary)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);
    ColoNbdForgery forgery = { };
    ColoNbdProxy *proxy;
    g_autofree char *front = g_build_filename(pair->dir, "nbd-front", NULL);
    g_autofree char *back = NULL;

    colo_pair_add_secondary(pair, "");
    back = colo_pair_nbd_socket(pair);
    proxy = colo_nbd_proxy_new(front, back);
    pair->nbd_front = front;
    start(pair, c->phase);
    c->lie->make(&forgery);
    colo_nbd_proxy_arm(proxy, &forgery);

    colo_pair_write(pair, 0x22, 0);
    if (c->phase == JOIN) {
        colo_pair_migrate(pair);
    } else if (c->phase == CHECKPOINT) {
        colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    }
    colo_side_await(pair->p, "REPLICATION_BROKEN", 1, COLO_WAIT_MS);
    g_assert(colo_nbd_proxy_hit(proxy));
    answers(pair->p);
    colo_pair_write(pair, 0x33, COLO_CHUNK);
    if (c->phase == JOIN) {
        go_on_unjoined(pair);
        expect_primary(pair);
    } else {
        answers(pair->s);
        await_loss(pair, c->phase);
        go_on(pair, primary);
    }
    colo_pair_write(pair, 0x44, 2 * COLO_CHUNK);
    colo_pair_expect(pair, 0x44, 2 * COLO_CHUNK);
    colo_nbd_proxy_free(proxy);
    colo_pair_free(pair);
}

/* The secondary has no guest yet when it is to join: only the primary goes on. */
static void run_case(const void *opaque)
{
    const Case *c = opaque;

    run(c, true);
    if (c->phase != JOIN) {
        run(c, false);
    }
}

int main(int argc, char **argv)
{
    static Case cases[ARRAY_SIZE(lies) * PHASES];
    int i, phase;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(lies); i++) {
        for (phase = 0; phase < PHASES; phase++) {
            Case *c = &cases[i * PHASES + phase];
            g_autofree char *path = g_strdup_printf("colo-nbd/%s/%s",
                                                    lies[i].name,
                                                    phase_names[phase]);

            *c = (Case) { .lie = &lies[i], .phase = phase };
            qtest_add_data_func(path, c, run_case);
        }
    }
    return g_test_run();
}
