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

static char *pair_create_image(ColoPair *pair, const char *side,
                               const char *kind)
{
    char *path = pair_file(pair, side, kind);
    g_autofree char *size = g_strdup_printf("%" PRIu64, (uint64_t)DISK_SIZE);
    const char *argv[] = {
        getenv("QTEST_QEMU_IMG"), "create", "-q", "-f", "qcow2", path, size,
        NULL
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

ColoPair *colo_pair_new(const char *machine, ColoPairDisk disk,
                        int64_t delay_ms)
{
    ColoPair *pair = g_new0(ColoPair, 1);
    g_autofree char *bios = NULL, *image = NULL, *drive = NULL, *args = NULL;
    GError *err = NULL;

    pair->dir = g_dir_make_tmp("colo-test-XXXXXX", &err);
    g_assert_no_error(err);
    pair->scratch = g_build_filename(pair->dir, "scratch", NULL);
    pair->machine = machine;
    pair->disk = disk;
    pair->delay_ms = delay_ms;

    bios = g_build_filename(pair->dir, "bios", NULL);
    colo_guest_create(bios);
    if (disk) {
        image = pair_create_image(pair, "p", "qcow2");
        drive = g_strdup_printf("-drive if=ide,id=colo-disk0," QUORUM ","
                                "children.0.file.filename=%s,"
                                "children.0.driver=qcow2", image);
    }
    args = g_strdup_printf("-machine %s " COLO_GUEST_ARGS " -bios %s %s",
                           machine, bios, drive ?: "");
    pair->p = colo_side_start("primary", pair->dir, args);
    return pair;
}

/* Options for the file of an image of the secondary, behind "@node." */
static char *pair_image_file(ColoPair *pair, const char *image,
                             const char *node, const char *path)
{
    if (g_strcmp0(pair->faulty, image)) {
        return g_strdup_printf("%sfile.filename=%s", node, path);
    }
    return g_strdup_printf("%sfile.driver=blkdebug,%sfile.image.filename=%s,"
                           "%sfile.inject-error.0.event=write_aio,"
                           "%sfile.inject-error.0.errno=%d", node, node, path,
                           node, node, pair->fault_errno);
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

    if (pair->nbd_port) {
        colo_side_ok(pair->s, "{'execute': 'nbd-server-start', 'arguments': "
                     "{'addr': {'type': 'inet', 'data': "
                     "{'host': '127.0.0.1', 'port': %s}}}}", port);
    } else {
        colo_side_ok(pair->s, "{'execute': 'nbd-server-start', 'arguments': "
                     "{'addr': {'type': 'unix', 'data': {'path': %s}}}}", path);
    }
    colo_side_ok(pair->s, "{'execute': 'nbd-server-add', 'arguments': "
                 "{'device': 'parent0', 'writable': true}}");
}

static char *pair_secondary_drives(ColoPair *pair)
{
    g_autofree char *parent = pair_create_image(pair, "s", "qcow2");
    g_autofree char *active = NULL, *hidden = NULL;
    g_autofree char *parent_file = NULL, *active_file = NULL, *hidden_file = NULL;
    const char *top_id = pair->top_id ?: "colo-disk0";

    if (pair->overlay) {
        return g_strdup_printf(
            "-blockdev driver=qcow2,node-name=parent0,file.driver=file,"
            "file.filename=%s "
            "-blockdev driver=replication,mode=secondary,node-name=childs0,"
            "top-id=%s,overlay.limit=%s,file=parent0 "
            "-drive if=ide,id=colo-disk0," QUORUM ",children.0=childs0",
            parent, top_id, pair->overlay);
    }
    active = pair_create_image(pair, "s", "active");
    hidden = pair_create_image(pair, "s", "hidden");
    parent_file = pair_image_file(pair, "parent", "", parent);
    active_file = pair_image_file(pair, "active", "file.", active);
    hidden_file = pair_image_file(pair, "hidden", "file.backing.", hidden);
    return g_strdup_printf(
        "-drive if=none,id=parent0,%s,driver=qcow2 "
        "-drive if=none,id=childs0,driver=replication,mode=secondary,"
        "top-id=%s,file.driver=qcow2,%s,"
        "file.backing.driver=qcow2,%s,"
        "file.backing.backing=parent0 "
        "-drive if=ide,id=colo-disk0," QUORUM ",children.0=childs0",
        parent_file, top_id, active_file, hidden_file);
}

void colo_pair_add_secondary(ColoPair *pair, const char *extra)
{
    g_autofree char *name = g_strdup_printf("secondary%d", ++pair->lives);
    g_autofree char *incoming = pair_file(pair, "s", "migrate");
    g_autofree char *drives = pair->disk ? pair_secondary_drives(pair) : NULL;
    g_autofree char *args = g_strdup_printf(
        "-machine %s " COLO_GUEST_ARGS " -bios %s/bios -incoming unix:%s "
        "%s %s", pair->machine, pair->dir, incoming, drives ?: "", extra);

    g_assert(!pair->s);
    pair->s = colo_side_start(name, pair->dir, args);
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

void colo_pair_connect_disk(ColoPair *pair)
{
    g_autofree char *path = pair_file(pair, "s", "nbd");
    g_autofree char *server = pair->nbd_port ?
        g_strdup_printf("file.server.type=inet,file.server.host=127.0.0.1,"
                        "file.server.port=%d", pair->nbd_port) :
        g_strdup_printf("file.server.type=unix,file.server.path=%s", path);

    if (pair->disk) {
        colo_side_hmp(pair->p, "drive_add -n buddy driver=replication,"
                      "mode=primary,file.driver=nbd,%s,file.export=parent0,"
                      "node-name=replication0", server);
        colo_side_ok(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                     "{'parent': 'colo-disk0', 'node': 'replication0'}}");
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

ColoPair *colo_pair_start(ColoPairDisk disk, int64_t delay_ms)
{
    return colo_pair_start_on("pc", disk, delay_ms);
}

ColoPair *colo_pair_start_on(const char *machine, ColoPairDisk disk,
                             int64_t delay_ms)
{
    ColoPair *pair = colo_pair_new(machine, disk, delay_ms);

    colo_pair_add_secondary(pair, "");
    colo_pair_replicate(pair);
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
    colo_side_kill(pair->s);
    pair->s = NULL;
    if (pair->disk) {
        colo_side_ok(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                     "{'parent': 'colo-disk0', 'child': 'children.1'}}");
        colo_side_hmp(pair->p, "drive_del replication0");
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

/* The fresh secondary's disk becomes equal; leaves the guest stopped */
static void pair_resync(ColoPair *pair)
{
    g_autofree char *nbd = pair_file(pair, "s", "nbd");
    g_autofree char *target =
        g_strdup_printf("nbd+unix:///parent0?socket=%s", nbd);
    unsigned ready = colo_side_count(pair->p, "BLOCK_JOB_READY");
    unsigned done = colo_side_count(pair->p, "BLOCK_JOB_COMPLETED");

    colo_side_ok(pair->p, "{'execute': 'drive-mirror', 'arguments': "
                 "{'device': 'colo-disk0', 'job-id': 'resync', 'target': %s, "
                 "'mode': 'existing', 'format': 'raw', 'sync': 'full'}}",
                 target);
    colo_side_await(pair->p, "BLOCK_JOB_READY", ready + 1, COLO_WAIT_MS);
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_ok(pair->p, "{'execute': 'block-job-cancel', "
                 "'arguments': {'device': 'resync'}}");
    colo_side_await(pair->p, "BLOCK_JOB_COMPLETED", done + 1, COLO_WAIT_MS);
}

void colo_pair_rejoin(ColoPair *pair)
{
    colo_pair_add_secondary(pair, "");
    if (pair->disk) {
        pair_resync(pair);
    }
    colo_pair_replicate(pair);
}

void colo_pair_write(ColoPair *pair, uint8_t pattern, unsigned offset)
{
    colo_side_hmp(pair->p, "qemu-io colo-disk0 \"write -q -P %d %u %" PRIu64
                  "\"", pattern, offset, (uint64_t)CHUNK);
}

char *colo_pair_nbd_socket(ColoPair *pair)
{
    return pair_file(pair, "s", "nbd");
}

void colo_pair_expect(ColoPair *pair, uint8_t pattern, unsigned offset)
{
    unsigned done = colo_side_count(pair->p, "BLOCK_JOB_COMPLETED");
    g_autofree char *bytes = NULL;
    GError *err = NULL;
    size_t size;
    unsigned i;

    /* What qemu-io reads goes to QEMU's stdout; a copy can be looked at. */
    colo_side_ok(pair->p, "{'execute': 'drive-backup', 'arguments': "
                 "{'device': 'colo-disk0', 'job-id': 'look', 'target': %s, "
                 "'format': 'raw', 'sync': 'full'}}", pair->scratch);
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
    } else {
        colo_side_quit(pair->p);
    }
    colo_remove_dir(pair->dir);
    g_free(pair->scratch);
    g_free(pair->dir);
    g_free(pair);
}
