/*
 * A COLO pair for the tests: the documented steps, over unix sockets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "colo-pair.h"
#include "colo-guest.h"

#define DISK_SIZE (8 * MiB)
#define CHUNK (64 * KiB)

#define QUORUM "driver=quorum,read-pattern=fifo,vote-threshold=1"

/* All of a pair's files: "<dir>/<side><number>.<kind>" */
static char *pair_file(ColoPair *pair, const char *side, const char *kind)
{
    return g_strdup_printf("%s/%s%d.%s", pair->dir, side, pair->lives, kind);
}

int colo_pair_disks(ColoPair *pair)
{
    return pair->disk == COLO_THREE_DISKS ? 3 : pair->disk != COLO_NO_DISK;
}

static const char *format(ColoPair *pair, int disk)
{
    return pair->disk == COLO_RAW_DISK || disk == 1 ? "raw" : "qcow2";
}

/* Options for a disk's image, behind "@node." */
static char *pair_aio(ColoPair *pair, const char *node)
{
    return pair->aio ? g_strdup_printf(",%scache.direct=on,%sfile.aio=%s", node,
                                       node, pair->aio) : g_strdup("");
}

/* The guest's end of a disk */
static char *pair_top(ColoPair *pair, int i)
{
    return g_strdup_printf("-drive if=%s,id=colo-disk%d,node-name=top%d," QUORUM,
                           pair->iothread ? "none" : "ide", i, i);
}

/* As the driver of a virtio device would do it, which this guest has not */
static void pair_move_disks(ColoPair *pair, ColoSide *side)
{
    char letter = side == pair->p ? 'p' : 's';
    int i;

    if (!pair->iothread || !strchr(pair->iothread, letter)) {
        return;
    }
    for (i = 0; i < colo_pair_disks(pair); i++) {
        g_autofree char *node = g_strdup_printf("top%d", i);

        colo_side_ok(side, "{'execute': 'x-blockdev-set-iothread', "
                     "'arguments': {'node-name': %s, 'iothread': 'io0', "
                     "'force': true}}", node);
    }
}

/* @kind: of the first disk's file; @image: "parent", "active" or "hidden" */
static char *pair_create_image(ColoPair *pair, const char *side,
                               const char *kind, const char *image, int disk)
{
    bool small = pair->small_dir && !g_strcmp0(pair->faulty, image);
    g_autofree char *number = disk ? g_strdup_printf("%d-", disk) : g_strdup("");
    g_autofree char *name = g_strconcat(number, kind, NULL);
    char *path = small ? g_build_filename(pair->small_dir, name, NULL)
                       : pair_file(pair, side, name);
    bool is_disk = !strcmp(image, "parent");
    g_autofree char *size =
        g_strdup_printf("%" PRIu64, (uint64_t)DISK_SIZE +
                        (*side == 's' ? pair->excess : 0));
    const char *argv[] = {
        getenv("QTEST_QEMU_IMG"), "create", "-q", "-f",
        is_disk ? format(pair, disk) : "qcow2", path, size, NULL
    };
    GError *err = NULL;
    int status;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL,
                 NULL, &status, &err);
    g_assert_no_error(err);
    g_spawn_check_exit_status(status, &err);
    g_assert_no_error(err);
    return path;
}

ColoPair *colo_pair_plan(const char *machine, ColoPairDisk disk,
                         int64_t delay_ms)
{
    ColoPair *pair = g_new0(ColoPair, 1);
    g_autofree char *bios = NULL;
    GError *err = NULL;

    alarm(COLO_PAIR_SECONDS);
    pair->dir = g_dir_make_tmp("colo-test-XXXXXX", &err);
    g_assert_no_error(err);
    pair->scratch = g_build_filename(pair->dir, "scratch", NULL);
    pair->machine = machine;
    pair->disk = disk;
    pair->delay_ms = delay_ms;

    bios = g_build_filename(pair->dir, "bios", NULL);
    colo_guest_create(bios);
    return pair;
}

void colo_pair_add_primary(ColoPair *pair)
{
    g_autoptr(GString) drives = g_string_new("");
    g_autofree char *args = NULL;
    int i;

    for (i = 0; i < colo_pair_disks(pair); i++) {
        g_autofree char *image = pair_create_image(pair, "p", "disk", "parent",
                                                   i);
        g_autofree char *aio = pair_aio(pair, "children.0.");
        g_autofree char *top = pair_top(pair, i);

        g_string_append_printf(drives, " %s,children.0.file.filename=%s,"
                               "children.0.driver=%s%s", top, image,
                               format(pair, i), aio);
    }
    args = g_strdup_printf("-machine %s " COLO_GUEST_ARGS " -bios %s/bios "
                           "-object iothread,id=io0%s",
                           pair->machine, pair->dir, drives->str);
    pair->p = colo_side_start("primary", pair->dir, args);
    pair_move_disks(pair, pair->p);
}

ColoPair *colo_pair_new(const char *machine, ColoPairDisk disk,
                        int64_t delay_ms)
{
    ColoPair *pair = colo_pair_plan(machine, disk, delay_ms);

    colo_pair_add_primary(pair);
    return pair;
}

/* Options for the file of an image of the secondary, behind "@node." */
static char *pair_image_file(ColoPair *pair, const char *image,
                             const char *node, const char *path)
{
    g_autofree char *rule = pair->fault_errno ? g_strdup_printf(
        ",%sfile.inject-error.0.event=write_aio,"
        "%sfile.inject-error.0.errno=%d", node, node, pair->fault_errno) : NULL;

    if ((!rule && !pair->breaks) || g_strcmp0(pair->faulty, image)) {
        return g_strdup_printf("%sfile.filename=%s", node, path);
    }
    return g_strdup_printf("%sfile.driver=blkdebug,%sfile.image.filename=%s%s",
                           node, node, path, rule ?: "");
}

/* blkdebug hears of the flushes of who is above it: here of that of the file */
static char *pair_parent_file(ColoPair *pair, const char *path)
{
    return pair->breaks_flush ?
        g_strdup_printf("file.driver=copy-on-read,file.file.driver=blkdebug,"
                        "file.file.image.filename=%s", path) :
        pair_image_file(pair, "parent", "", path);
}

int colo_pair_free_port(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    g_assert(!bind(fd, (struct sockaddr *)&addr, len) &&
             !getsockname(fd, (struct sockaddr *)&addr, &len));
    close(fd);
    return ntohs(addr.sin_port);
}

static void pair_start_nbd(ColoPair *pair)
{
    g_autofree char *path = pair_file(pair, "s", "nbd");
    g_autofree char *port = g_strdup_printf("%d", pair->nbd_port);
    int i;

    if (pair->nbd_port) {
        colo_side_ok(pair->s, "{'execute': 'nbd-server-start', 'arguments': "
                     "{'addr': {'type': 'inet', 'data': "
                     "{'host': '127.0.0.1', 'port': %s}}}}", port);
    } else {
        colo_side_ok(pair->s, "{'execute': 'nbd-server-start', 'arguments': "
                     "{'addr': {'type': 'unix', 'data': {'path': %s}}}}", path);
    }
    for (i = 0; i < colo_pair_disks(pair); i++) {
        g_autofree char *node = g_strdup_printf("parent%d", i);

        colo_side_ok(pair->s, "{'execute': 'nbd-server-add', 'arguments': "
                     "{'device': %s, 'writable': true}}", node);
    }
}

static char *pair_overlay_drive(ColoPair *pair, const char *parent,
                                const char *top_id, const char *speed, int i)
{
    g_autofree char *aio = pair_aio(pair, "");
    g_autofree char *top = pair_top(pair, i);
    g_autofree char *directory =
        pair->small_dir ? g_strdup_printf(",overlay.directory=%s",
                                          pair->small_dir) : g_strdup("");

    return g_strdup_printf(
        "-blockdev driver=%s,node-name=parent%d,file.driver=file,"
        "file.filename=%s%s "
        "-blockdev driver=replication,mode=secondary,node-name=childs%d,"
        "top-id=%s,overlay.limit=%s%s,file=parent%d%s %s,children.0=childs%d",
        format(pair, i), i, parent, aio, i, top_id, pair->overlay, directory, i,
        speed, top, i);
}

static char *pair_images_drive(ColoPair *pair, const char *parent,
                               const char *top_id, const char *speed, int i)
{
    g_autofree char *active =
        pair_create_image(pair, "s", "active", "active", i);
    g_autofree char *hidden =
        pair_create_image(pair, "s", "hidden", "hidden", i);
    g_autofree char *parent_file = pair_parent_file(pair, parent);
    g_autofree char *active_file =
        pair_image_file(pair, "active", "file.", active);
    g_autofree char *hidden_file =
        pair_image_file(pair, "hidden", "file.backing.", hidden);
    g_autofree char *aio = pair_aio(pair, "");
    g_autofree char *top = pair_top(pair, i);

    return g_strdup_printf(
        "-drive if=none,id=parent%d,%s,driver=%s%s "
        "-drive if=none,id=childs%d,driver=replication,mode=secondary,"
        "top-id=%s%s,file.driver=qcow2,%s,"
        "file.backing.driver=qcow2,%s,"
        "file.backing.backing=parent%d %s,children.0=childs%d",
        i, parent_file, format(pair, i), aio, i, top_id, speed, active_file,
        hidden_file, i, top, i);
}

static char *pair_secondary_drive(ColoPair *pair, int i)
{
    g_autofree char *parent = pair_create_image(pair, "s", "disk", "parent", i);
    g_autofree char *top_id = pair->top_id ? g_strdup(pair->top_id)
                                           : g_strdup_printf("colo-disk%d", i);
    g_autofree char *speed =
        pair->merge_speed ? g_strdup_printf(",merge-speed=%s", pair->merge_speed)
                          : g_strdup("");

    return (pair->overlay ? pair_overlay_drive : pair_images_drive)(
        pair, parent, top_id, speed, i);
}

void colo_pair_add_secondary(ColoPair *pair, const char *extra)
{
    g_autofree char *name = g_strdup_printf("secondary%d", ++pair->lives);
    g_autofree char *incoming = pair_file(pair, "s", "migrate");
    g_autoptr(GString) drives = g_string_new("");
    g_autofree char *args = NULL;
    int i;

    g_assert(!pair->s);
    for (i = 0; i < colo_pair_disks(pair); i++) {
        g_autofree char *drive = pair_secondary_drive(pair, i);

        g_string_append_printf(drives, " %s", drive);
    }
    args = g_strdup_printf(
        "-machine %s " COLO_GUEST_ARGS " -bios %s/bios -incoming unix:%s "
        "-object iothread,id=io0 %s %s", pair->machine, pair->dir, incoming,
        drives->str, extra);
    pair->s = colo_side_start(name, pair->dir, args);
    pair_move_disks(pair, pair->s);
    if (pair->disk) {
        pair_start_nbd(pair);
    }
}

void colo_pair_set_delay(ColoPair *pair, int64_t delay_ms)
{
    pair->delay_ms = delay_ms;
    colo_side_ok(pair->p, "{'execute': 'migrate-set-parameters', 'arguments': "
                 "{'x-checkpoint-delay': %" PRId64 "}}", pair->delay_ms);
}

/* The NBD client's options, behind "file." or below blkdebug */
static char *pair_client(ColoPair *pair, int i)
{
    g_autofree char *path = pair_file(pair, "s", "nbd");
    const char *below = pair->client ? "file.image." : "file.";
    g_autofree char *server = pair->nbd_port ?
        g_strdup_printf("type=inet,%sserver.host=127.0.0.1,%sserver.port=%d",
                        below, below, pair->nbd_port) :
        g_strdup_printf("type=unix,%sserver.path=%s", below,
                        pair->nbd_front ?: path);
    g_autofree char *rule = pair->client ?
        g_strdup_printf("file.driver=blkdebug,%s,", pair->client) : g_strdup("");

    return g_strdup_printf("%s%sdriver=nbd,%sserver.%s,%sexport=parent%d", rule,
                           below, below, server, below, i);
}

void colo_pair_connect_disk(ColoPair *pair)
{
    int i;

    for (i = 0; i < colo_pair_disks(pair); i++) {
        g_autofree char *client = pair_client(pair, i);
        g_autofree char *node = g_strdup_printf("replication%d", i);
        g_autofree char *disk = g_strdup_printf("colo-disk%d", i);

        colo_side_hmp(pair->p, "drive_add -n buddy driver=replication,"
                      "mode=primary,%s,node-name=%s", client, node);
        colo_side_ok(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                     "{'parent': %s, 'node': %s}}", disk, node);
    }
}

void colo_pair_migrate(ColoPair *pair)
{
    g_autofree char *path = pair_file(pair, "s", "migrate");
    g_autofree char *uri = g_strdup_printf("unix:%s", path);

    colo_pair_set_delay(pair, pair->delay_ms);
    colo_side_ok(pair->p, "{'execute': 'migrate-set-capabilities', "
                 "'arguments': {'capabilities': "
                 "[{'capability': 'x-colo', 'state': true}]}}");
    colo_side_ok(pair->p, "{'execute': 'migrate', 'arguments': {'uri': %s}}",
                 uri);
}

void colo_pair_replicate(ColoPair *pair)
{
    colo_pair_connect_disk(pair);
    colo_pair_migrate(pair);
    colo_side_until(pair->p, "query-migrate", "status", "colo");
    colo_side_until(pair->p, "query-colo-status", "mode", "primary");
    colo_side_until(pair->s, "query-colo-status", "mode", "secondary");
    colo_side_until(pair->p, "query-status", "status", "running");
}

void colo_pair_protect(ColoPair *pair)
{
    colo_pair_add_secondary(pair, "");
    colo_pair_replicate(pair);
}

ColoPair *colo_pair_start(ColoPairDisk disk, int64_t delay_ms)
{
    return colo_pair_start_on("pc", disk, delay_ms);
}

ColoPair *colo_pair_start_on(const char *machine, ColoPairDisk disk,
                             int64_t delay_ms)
{
    ColoPair *pair = colo_pair_new(machine, disk, delay_ms);

    colo_pair_protect(pair);
    return pair;
}

/* Both guests have been stopped and run again @n times more than counted */
static void pair_await_cycles(ColoPair *pair, unsigned p_base,
                              unsigned s_base, unsigned n)
{
    colo_side_await(pair->p, "STOP", p_base + n, COLO_WAIT_MS);
    colo_side_await(pair->s, "STOP", s_base + n, COLO_WAIT_MS);
    colo_side_await(pair->s, "RESUME", s_base + n, COLO_WAIT_MS);
    colo_side_await(pair->p, "RESUME", p_base + n, COLO_WAIT_MS);
}

void colo_pair_checkpoints(ColoPair *pair, unsigned n)
{
    unsigned p_base = colo_side_count(pair->p, "RESUME");
    unsigned s_base = colo_side_count(pair->s, "RESUME");
    unsigned i;

    for (i = 1; i <= n; i++) {
        pair_await_cycles(pair, p_base, s_base, i);
        colo_side_ok(pair->p, "{'execute': 'query-status'}");
    }
}

void colo_pair_request_checkpoint(ColoPair *pair)
{
    unsigned p_base, s_base;

    g_assert(pair->delay_ms == COLO_NO_TIMER);
    /* Any answer: takes note of all events up to now */
    colo_side_ok(pair->p, "{'execute': 'query-status'}");
    colo_side_ok(pair->s, "{'execute': 'query-status'}");
    p_base = colo_side_count(pair->p, "RESUME");
    s_base = colo_side_count(pair->s, "RESUME");

    /* In COLO, setting the delay makes a checkpoint at once. */
    colo_pair_set_delay(pair, pair->delay_ms);
    colo_side_await(pair->s, "RESUME", s_base + 1, COLO_WAIT_MS);
    colo_side_await(pair->p, "RESUME", p_base + 1, COLO_WAIT_MS);
}

static void pair_lost_heartbeat(ColoPair *pair)
{
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_await(pair->p, "COLO_EXIT", 1, COLO_WAIT_MS);
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-status", "status", "running");
}

void colo_pair_fail_over_to_primary(ColoPair *pair)
{
    int i;

    colo_side_kill(pair->s);
    pair->s = NULL;
    for (i = 0; i < colo_pair_disks(pair); i++) {
        g_autofree char *disk = g_strdup_printf("colo-disk%d", i);

        colo_side_ok(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                     "{'parent': %s, 'child': 'children.1'}}", disk);
        colo_side_hmp(pair->p, "drive_del replication%d", i);
    }
    pair_lost_heartbeat(pair);
    colo_guest_check(pair->p, pair->scratch);
}

void colo_pair_fail_over_to_secondary(ColoPair *pair)
{
    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
    if (pair->disk) {
        colo_side_ok(pair->p, "{'execute': 'nbd-server-stop'}");
    }
    pair_lost_heartbeat(pair);
    colo_guest_check(pair->p, pair->scratch);
}

void colo_pair_take_over(ColoPair *pair, const char *status)
{
    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-status", "status", status);
}

/* The fresh secondary's disk becomes equal; leaves the guest stopped */
static void pair_resync_disk(ColoPair *pair, int i)
{
    g_autofree char *nbd = pair_file(pair, "s", "nbd");
    g_autofree char *disk = g_strdup_printf("colo-disk%d", i);
    g_autofree char *target =
        g_strdup_printf("nbd+unix:///parent%d?socket=%s", i, nbd);
    unsigned ready = colo_side_count(pair->p, "BLOCK_JOB_READY");
    unsigned done = colo_side_count(pair->p, "BLOCK_JOB_COMPLETED");

    colo_side_ok(pair->p, "{'execute': 'drive-mirror', 'arguments': "
                 "{'device': %s, 'job-id': 'resync', 'target': %s, "
                 "'mode': 'existing', 'format': 'raw', 'sync': 'full'}}",
                 disk, target);
    colo_side_await(pair->p, "BLOCK_JOB_READY", ready + 1, COLO_WAIT_MS);
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_ok(pair->p, "{'execute': 'block-job-cancel', "
                 "'arguments': {'device': 'resync'}}");
    colo_side_await(pair->p, "BLOCK_JOB_COMPLETED", done + 1, COLO_WAIT_MS);
}

void colo_pair_resync(ColoPair *pair)
{
    int i;

    for (i = 0; i < colo_pair_disks(pair); i++) {
        pair_resync_disk(pair, i);
    }
}

void colo_pair_rejoin(ColoPair *pair)
{
    colo_pair_add_secondary(pair, "");
    colo_pair_resync(pair);
    colo_pair_replicate(pair);
}

void colo_pair_write(ColoPair *pair, uint8_t pattern, unsigned offset)
{
    colo_side_hmp(pair->p, "qemu-io colo-disk%d \"write -q -P %d %u %" PRIu64
                  "\"", pair->at, pattern, offset, (uint64_t)CHUNK);
}

char *colo_pair_nbd_socket(ColoPair *pair)
{
    return pair_file(pair, "s", "nbd");
}

void colo_pair_expect(ColoPair *pair, uint8_t pattern, unsigned offset)
{
    unsigned done = colo_side_count(pair->p, "BLOCK_JOB_COMPLETED");
    g_autofree char *disk = g_strdup_printf("colo-disk%d", pair->at);
    g_autofree char *bytes = NULL;
    GError *err = NULL;
    size_t size;
    unsigned i;

    /* What qemu-io reads goes to QEMU's stdout; a copy can be looked at. */
    colo_side_ok(pair->p, "{'execute': 'drive-backup', 'arguments': "
                 "{'device': %s, 'job-id': 'look', 'target': %s, "
                 "'format': 'raw', 'sync': 'full'}}", disk, pair->scratch);
    colo_side_await(pair->p, "BLOCK_JOB_COMPLETED", done + 1, COLO_WAIT_MS);
    g_file_get_contents(pair->scratch, &bytes, &size, &err);
    g_assert_no_error(err);
    unlink(pair->scratch);

    for (i = offset; i < offset + CHUNK; i++) {
        if (i >= size || (uint8_t)bytes[i] != pattern) {
            colo_fail("the disk holds 0x%02x at %u, 0x%02x expected",
                      i < size ? (uint8_t)bytes[i] : 0, i, pattern);
        }
    }
}

void colo_pair_free(ColoPair *pair)
{
    if (pair->s) {
        colo_side_kill(pair->s);
        colo_side_kill(pair->p);
    } else if (pair->p) {
        colo_side_quit(pair->p);
    }
    alarm(0);
    colo_remove_dir(pair->dir);
    g_free(pair->scratch);
    g_free(pair->dir);
    g_free(pair);
}
