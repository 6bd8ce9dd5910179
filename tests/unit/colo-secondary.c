/*
 * A secondary's disk, with faults where a test wants them
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
#include "colo-secondary.h"

const char *const sec_kind_names[] = { "images", "memory", "spill" };
const char *sec_disk_format = "raw";
const char *sec_disk_filter;
static char *dir;
BlockBackend *sec_guest, *sec_host;

void sec_init(void)
{
    fault_init();
    dir = g_strdup_printf("%s/colo-disk-XXXXXX", g_get_tmp_dir());
    g_assert(g_mkdtemp(dir));
}

void sec_cleanup(void)
{
    static const char *const files[] = { "parent", "active", "hidden" };
    int i;

    for (i = 0; i < ARRAY_SIZE(files); i++) {
        g_autofree char *name = sec_path(files[i]);

        unlink(name);
    }
    rmdir(dir);
    g_free(dir);
}

char *sec_path(const char *name)
{
    return g_strdup_printf("%s/%s", dir, name);
}

static void put_fault(QDict *options, const char *prefix, const char *node,
                      const char *format)
{
    g_autofree char *file = g_strdup_printf("%s/%s", dir, node);
    const struct { const char *key, *value; } pairs[] = {
        { "driver", format },
        { "file.driver", "colo-fault" },
        { "file.node-name", node },
        { "file.file.driver", "file" },
        { "file.file.filename", file },
        { "file.file.locking", "off" },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(pairs); i++) {
        g_autofree char *key = g_strconcat(prefix, pairs[i].key, NULL);

        qdict_put_str(options, key, pairs[i].value);
    }
}

void sec_open_parent(void)
{
    QDict *options = qdict_new();

    put_fault(options, sec_disk_filter ? "file." : "", "parent", sec_disk_format);
    if (sec_disk_filter) {
        qdict_put_str(options, "driver", sec_disk_filter);
    }
    qdict_put_str(options, "node-name", "parent0");
    sec_host = blk_new_open(NULL, NULL, options, BDRV_O_RDWR | BDRV_O_UNMAP,
                        &error_abort);
}

QDict *sec_options(SecKind kind, const char *id)
{
    QDict *options = qdict_new();

    qdict_put_str(options, "driver", "replication");
    qdict_put_str(options, "mode", "secondary");
    qdict_put_str(options, "node-name", id);
    qdict_put_str(options, "top-id", id);
    if (kind == SEC_IMAGES) {
        put_fault(options, "file.", "active", "qcow2");
        put_fault(options, "file.backing.", "hidden", "qcow2");
        qdict_put_str(options, "file.backing.backing", "parent0");
    } else {
        qdict_put_str(options, "file", "parent0");
        qdict_put_str(options, "overlay.limit", kind == SEC_SPILL ? "96K" : "16M");
    }
    if (kind == SEC_SPILL) {
        qdict_put_str(options, "overlay.directory", dir);
    }
    return options;
}

void sec_make_images(int64_t overlay_size)
{
    static const char *const names[] = { "active", "hidden" };
    g_autofree char *parent = sec_path("parent");
    int fd = open(parent, O_CREAT | O_RDWR | O_TRUNC, 0600);
    int i;

    g_assert(fd >= 0 && ftruncate(fd, SEC_SIZE) == 0);
    close(fd);
    if (strcmp(sec_disk_format, "raw")) {
        bdrv_img_create(parent, sec_disk_format, NULL, NULL, NULL, SEC_SIZE,
                        BDRV_O_RDWR, true, &error_abort);
    }
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *name = sec_path(names[i]);

        bdrv_img_create(name, "qcow2", NULL, NULL, NULL, overlay_size,
                        BDRV_O_RDWR, true, &error_abort);
    }
}

void sec_open_idle(SecKind kind, int64_t overlay_size)
{
    sec_make_images(overlay_size);
    sec_open_parent();
    sec_guest = blk_new_open(NULL, NULL, sec_options(kind, "childs0"),
                             BDRV_O_RDWR | BDRV_O_UNMAP, &error_abort);
}

void sec_open(SecKind kind)
{
    sec_open_idle(kind, SEC_SIZE);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
}

void sec_close(void)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + SEC_WAIT_MS;

    /* The images are released in the main loop, which holds the node until then */
    while (bdrv_find_node("childs0")->refcnt > 1) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <, end);
        main_loop_wait(true);
    }
    blk_unref(sec_host);
    blk_unref(sec_guest);
    g_assert_null(bdrv_find_node("childs0"));
    g_assert_null(bdrv_find_node("parent0"));
}

int sec_put(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value)
{
    g_autofree uint8_t *buffer = g_malloc(bytes);

    memset(buffer, value, bytes);
    return blk_pwrite(blk, offset, bytes, buffer, 0);
}

void sec_sees(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value)
{
    g_autofree uint8_t *buffer = g_malloc(bytes);
    int64_t i;

    g_assert_cmpint(blk_pread(blk, offset, bytes, buffer, 0), ==, 0);
    for (i = 0; i < bytes; i++) {
        if (buffer[i] != value) {
            g_error("at %" PRId64 ": 0x%02x, not 0x%02x", offset + i,
                    buffer[i], value);
        }
    }
}

void sec_on_disk(int64_t offset, int64_t bytes, uint8_t value)
{
    g_autofree char *name = sec_path("parent");
    g_autofree uint8_t *buffer = g_malloc(bytes);
    int fd = open(name, O_RDONLY);
    int64_t i;

    g_assert_cmpint(pread(fd, buffer, bytes, offset), ==, bytes);
    close(fd);
    for (i = 0; i < bytes; i++) {
        g_assert_cmpint(buffer[i], ==, value);
    }
}

BlockStatsSpecificReplication sec_stats(void)
{
    BlockStatsSpecific *s = bdrv_get_specific_stats(bdrv_find_node("childs0"));
    BlockStatsSpecificReplication copy = s->u.replication;

    qapi_free_BlockStatsSpecific(s);
    return copy;
}

void sec_wait_stage(ReplicationStage stage)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + SEC_WAIT_MS;

    while (sec_stats().stage != stage) {
        g_assert_cmpint(qemu_clock_get_ms(QEMU_CLOCK_REALTIME), <, end);
        main_loop_wait(true);
        g_usleep(100);
    }
}
