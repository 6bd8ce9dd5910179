/*
 * A primary's replication node, in front of a disk that fails or hangs
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "colo-fault.h"
#include "colo-primary-node.h"

char *prim_image, *prim_own_image;
static const char *flush_mode;      /* of the next node; NULL: the default */

BlockBackend *prim_open_idle(int timeout_ms)
{
    QDict *options = qdict_new();

    qdict_put_str(options, "driver", "replication");
    qdict_put_str(options, "node-name", "replication0");
    qdict_put_str(options, "mode", "primary");
    qdict_put_int(options, "timeout", timeout_ms);
    if (flush_mode) {
        qdict_put_str(options, "flush", flush_mode);
    }
    flush_mode = NULL;
    qdict_put_str(options, "file.driver", "colo-fault");
    qdict_put_str(options, "file.node-name", "remote");
    qdict_put_str(options, "file.file.driver", "file");
    qdict_put_str(options, "file.file.filename", prim_image);
    qdict_put_str(options, "file.file.locking", "off");
    return blk_new_open(NULL, NULL, options, BDRV_O_RDWR | BDRV_O_UNMAP,
                        &error_abort);
}

BlockBackend *prim_open_with_timeout(int timeout_ms)
{
    BlockBackend *blk = prim_open_idle(timeout_ms);

    replication_start_all(REPLICATION_MODE_PRIMARY, &error_abort);
    return blk;
}

BlockBackend *prim_open(void)
{
    return prim_open_with_timeout(PRIM_TIMEOUT_MS);
}

BlockBackend *prim_open_background(void)
{
    flush_mode = "background";
    return prim_open();
}

BlockStatsSpecificReplication prim_stats(void)
{
    BlockStatsSpecific *s =
        bdrv_get_specific_stats(bdrv_find_node("replication0"));
    BlockStatsSpecificReplication copy = s->u.replication;

    qapi_free_BlockStatsSpecific(s);
    return copy;
}

int64_t prim_now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

int prim_write(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value,
               BdrvRequestFlags flags)
{
    g_autofree uint8_t *buffer = g_malloc(bytes);

    memset(buffer, value, bytes);
    return blk_pwrite(blk, offset, bytes, buffer, flags);
}

void prim_expect_refusal(const char *part)
{
    Error *err = NULL;

    replication_get_error_all(&err);
    g_assert(err);
    g_assert(strstr(error_get_pretty(err), part));
    error_free(err);
    err = NULL;
    replication_do_checkpoint_all(&err);
    g_assert(err);
    error_free(err);
}

uint8_t prim_on_disk(int64_t offset)
{
    int fd = open(prim_image, O_RDONLY);
    uint8_t value;

    g_assert_cmpint(pread(fd, &value, 1, offset), ==, 1);
    close(fd);
    return value;
}

void prim_await(const unsigned *count, unsigned least)
{
    int64_t begin = prim_now_ms();

    while (*count < least) {
        g_assert_cmpint(prim_now_ms() - begin, <, PRIM_SLACK_MS);
        main_loop_wait(true);
        g_usleep(1000);
    }
}

void prim_await_broken(void)
{
    int64_t begin = prim_now_ms();

    while (prim_stats().stage != REPLICATION_STAGE_BROKEN) {
        g_assert_cmpint(prim_now_ms() - begin, <, PRIM_SLACK_MS);
        main_loop_wait(true);
        g_usleep(1000);
    }
}

void prim_await_order(const FaultLog *log, const char *order)
{
    int64_t begin = prim_now_ms();

    while (strcmp(log->order, order)) {
        if (prim_now_ms() - begin > PRIM_SLACK_MS) {
            g_assert_cmpstr(log->order, ==, order);
        }
        main_loop_wait(true);
        g_usleep(1000);
    }
}

static char *new_image(void)
{
    char *name = g_strdup_printf("%s/colo-disk-XXXXXX", g_get_tmp_dir());
    int fd = g_mkstemp(name);

    g_assert(fd >= 0 && ftruncate(fd, PRIM_SIZE) == 0);
    close(fd);
    return name;
}

void prim_init(void)
{
    fault_init();
    prim_image = new_image();
    prim_own_image = new_image();
}

void prim_cleanup(void)
{
    unlink(prim_image);
    unlink(prim_own_image);
    g_free(prim_image);
    g_free(prim_own_image);
}
