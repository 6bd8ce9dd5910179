/*
 * The secondary's disk, the driver as it is, against a simple model
 *
 * Requests of both guests are under way at the same time and overlap: data, zeroes,
 * discards, flushes, reads; meanwhile there are commits, a failover or an end
 * in peace, and errors of each disk.  colo-memdisk.h makes the order that of a seed.
 * The model has, for each sector, what the secondary's guest may see and what the
 * primary has written:
 *
 *  - a read returns it, whenever it ends;
 *  - a commit makes the one the other, a failover keeps the first;
 *  - when a flush of the survivor returns, the disk alone has it;
 *  - so it has after the end, and in the life that follows.
 *
 *   test-colo-disk-driver --seed-of-sequence N     replays what a failure has printed
 *   test-colo-disk-driver --sequences N            instead of SEQUENCES
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qapi-types-block-core.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "sysemu/block-backend.h"
#include "colo-memdisk.h"

#define SECTOR      512
#define CLUSTER     128         /* sectors */
#define SECTORS     (5 * CLUSTER + 7)
#define IN_FLIGHT   6
#define STEPS       60
#define SEQUENCES   5000

enum { PARENT, ACTIVE, HIDDEN };    /* slots of colo-memdisk */

typedef enum What { WRITE, ZEROES, DISCARD, FLUSH, READ, WHATS } What;

/* What a sector may be: one value; after an error one of two; after two, any */
typedef struct Sector {
    uint8_t value, other;
    bool any;
} Sector;

typedef struct Op {
    bool busy, host;
    bool clashes;               /* with another one of the same guest */
    What what;
    int first, count;           /* sectors */
    uint8_t value;
    uint8_t buffer[SECTORS * SECTOR];
} Op;

static struct {
    uint32_t seed;
    GRand *rand;
    BlockBackend *guest, *host;
    bool errors, lost, over;    /* the primary has met an error; replication ended */
    Sector view[SECTORS], disk[SECTORS];
    Op ops[IN_FLIGHT];
    uint8_t last_value;
} sim;

static struct {
    unsigned commits, failovers, lost, errors, flushes, reads, in_flight;
} seen;

static int pick(int from, int to)
{
    return g_rand_int_range(sim.rand, from, to);
}

static ReplicationStage stage(void)
{
    BlockStatsSpecific *s = bdrv_get_specific_stats(bdrv_find_node("childs0"));
    ReplicationStage is = s->u.replication.stage;

    qapi_free_BlockStatsSpecific(s);
    return is;
}

/* The model */

static void becomes(Sector *s, int count, uint8_t value, bool failed)
{
    for (; count--; s++) {
        if (!failed) {
            *s = (Sector) { .value = value, .other = value };
        } else if (s->other != s->value && s->other != value) {
            s->any = true;
        } else {
            s->other = value;
        }
    }
}

static void check_sector(const Sector *s, const uint8_t *data, int at,
                         const char *what)
{
    if (!s->any && (data[0] != s->value || data[SECTOR - 1] != s->value) &&
        (data[0] != s->other || data[SECTOR - 1] != s->other)) {
        g_error("seed %u: %s: sector %d is %d..%d, should be %d or %d", sim.seed,
                what, at, data[0], data[SECTOR - 1], s->value, s->other);
    }
}

/* Is a request of the survivor on its way to change it? */
static bool changes(int at)
{
    int i;

    for (i = 0; i < IN_FLIGHT; i++) {
        const Op *op = &sim.ops[i];

        if (op->busy && !op->host && op->what < FLUSH && at >= op->first &&
            at < op->first + op->count) {
            return true;
        }
    }
    return false;
}

static void check_disk(const Sector *model, const char *what)
{
    int i;

    for (i = 0; i < SECTORS; i++) {
        if (!changes(i)) {
            check_sector(&model[i], memdisk_data(PARENT) + i * SECTOR, i, what);
        }
    }
}

/* Requests */

static int coroutine_fn perform(Op *op)
{
    BlockBackend *blk = op->host ? sim.host : sim.guest;
    int64_t offset = op->first * SECTOR, bytes = op->count * SECTOR;

    switch (op->what) {
    case WRITE:
        memset(op->buffer, op->value, bytes);
        return blk_co_pwrite(blk, offset, bytes, op->buffer,
                             op->value % 16 ? 0 : BDRV_REQ_FUA);
    case ZEROES:
        return blk_co_pwrite_zeroes(blk, offset, bytes, 0);
    case DISCARD:
        return blk_co_pdiscard(blk, offset, bytes);
    case FLUSH:
        return blk_co_flush(blk);
    default:
        return blk_co_pread(blk, offset, bytes, op->buffer, 0);
    }
}

static void host_done(Op *op, int ret)
{
    int i;

    if (op->what >= FLUSH || !op->count) {
        return;
    }
    if (sim.over) {
        /* Shut out: it is not dead yet */
        g_assert_cmpint(ret, ==, -EPERM);
        return;
    }
    sim.lost |= ret < 0;
    becomes(sim.disk + op->first, op->count, op->value, ret < 0);
    for (i = 0; i < op->count && op->clashes; i++) {
        sim.disk[op->first + i].any = true;
    }
}

static void guest_done(Op *op, int ret)
{
    int i;

    switch (op->what) {
    case WRITE:
    case ZEROES:
        becomes(sim.view + op->first, op->count, op->value, ret < 0);
        break;
    case DISCARD:
        if (stage() != REPLICATION_STAGE_RUNNING) {
            becomes(sim.view + op->first, op->count, 0, ret < 0);
        }
        break;
    case FLUSH:
        if (ret == 0 && stage() != REPLICATION_STAGE_RUNNING) {
            seen.flushes++;
            check_disk(sim.view, "the disk after a flush");
        }
        break;
    default:
        for (i = 0; i < op->count && ret == 0; i++) {
            check_sector(&sim.view[op->first + i], op->buffer + i * SECTOR,
                         op->first + i, "a read");
        }
        seen.reads += ret == 0;
        break;
    }
}

static void coroutine_fn op_entry(void *opaque)
{
    Op *op = opaque;
    int ret = perform(op);

    if (ret < 0) {
        seen.errors++;
        g_assert(sim.errors || (op->host && sim.over));
    }
    op->busy = false;
    (op->host ? host_done : guest_done)(op, ret);
}

/*
 * A guest has no two requests under way for one sector, or expects nothing: the
 * primary may, the model then forgets what the sector is
 */
static bool in_the_way(Op *op)
{
    int i;

    op->clashes = false;
    for (i = 0; i < IN_FLIGHT; i++) {
        Op *other = &sim.ops[i];

        if (other->busy && other != op && other->host == op->host &&
            other->first < op->first + op->count &&
            op->first < other->first + other->count) {
            if (!op->host || pick(0, 4)) {
                return true;
            }
            op->clashes = other->clashes = true;
        }
    }
    return false;
}

static void begin(Op *op)
{
    /* Some small, some aligned, some large; now and then nothing at all */
    int size = pick(0, 3);

    op->host = pick(0, 2);
    op->what = pick(0, op->host ? READ : WHATS);
    op->first = pick(0, SECTORS);
    op->count = MIN(SECTORS - op->first,
                    pick(0, size == 0 ? 9 : size == 1 ? CLUSTER : 3 * CLUSTER));
    if (op->what == FLUSH) {
        op->count = 0;
    } else if (pick(0, 4) == 0) {
        op->first = QEMU_ALIGN_DOWN(op->first, CLUSTER);
    }
    op->value = 0;
    if (op->what == WRITE) {
        op->value = sim.last_value = sim.last_value % 255 + 1;
    }
    if (in_the_way(op) || (op->host && sim.lost && !sim.over)) {
        return;
    }
    op->busy = true;
    qemu_coroutine_enter(qemu_coroutine_create(op_entry, op));
}

static unsigned under_way(void)
{
    unsigned n = 0;
    int i;

    for (i = 0; i < IN_FLIGHT; i++) {
        n += sim.ops[i].busy;
    }
    return n;
}

/* The engine */

static void commit(void)
{
    Error *err = NULL;

    /* The primary's writes are all there, or nobody asks for a commit */
    while (under_way() && !sim.lost) {
        bool any = false;
        int i;

        for (i = 0; i < IN_FLIGHT; i++) {
            any |= sim.ops[i].busy && sim.ops[i].host;
        }
        if (!any) {
            break;
        }
        aio_poll(qemu_get_aio_context(), true);
    }
    if (sim.lost) {
        return;
    }
    seen.in_flight += under_way();
    replication_do_checkpoint_all(&err);
    g_assert_null(err);
    g_assert_cmpuint(under_way(), ==, 0);
    memcpy(sim.view, sim.disk, sizeof(sim.view));
    check_disk(sim.disk, "the disk at a commit");
    seen.commits++;
}

static void end(bool failover)
{
    seen.in_flight += under_way();
    replication_stop_all(failover, &error_abort);
    g_assert_cmpuint(under_way(), ==, 0);
    if (failover) {
        sim.over = true;
        seen.failovers++;
    } else {
        memcpy(sim.view, sim.disk, sizeof(sim.view));
        /* Nobody shuts out a primary then; it does not write any more */
        sim.lost = true;
    }
    seen.lost += sim.lost;
}

static void put(QDict *options, const char *prefix, const char *key,
                const char *value)
{
    g_autofree char *name = g_strconcat(prefix, key, NULL);

    qdict_put_str(options, name, value);
}

static char *template;          /* an empty qcow2 image */
static gsize template_size;

static void put_image(QDict *options, const char *prefix, int slot)
{
    g_autofree char *number = g_strdup_printf("%d", slot);

    memcpy(memdisk_data(slot), template, template_size);
    memdisk_set_length(slot, template_size);
    put(options, prefix, "driver", "qcow2");
    put(options, prefix, "file.driver", "colo-memdisk");
    put(options, prefix, "file.slot", number);
}

static void open_disks(void)
{
    const int flags = BDRV_O_RDWR | BDRV_O_UNMAP;
    QDict *options = qdict_new();

    memdisk_reset(sim.seed);
    memdisk_set_length(PARENT, SECTORS * SECTOR);
    put(options, "", "driver", "colo-memdisk");
    put(options, "", "slot", "0");
    put(options, "", "node-name", "parent0");
    sim.host = blk_new_open(NULL, NULL, options, flags, &error_abort);
    options = qdict_new();
    put(options, "", "driver", "replication");
    put(options, "", "mode", "secondary");
    put(options, "", "node-name", "childs0");
    put(options, "", "top-id", "childs0");
    if (pick(0, 2)) {
        put_image(options, "file.", ACTIVE);
        put_image(options, "file.backing.", HIDDEN);
        put(options, "", "file.backing.backing", "parent0");
    } else {
        put(options, "", "file", "parent0");
        /* The small one is exhausted sooner or later: an error like others */
        sim.errors = pick(0, 4) == 0;
        put(options, "", "overlay.limit", sim.errors ? "400K" : "4M");
    }
    sim.guest = blk_new_open(NULL, NULL, options, flags, &error_abort);
    replication_start_all(REPLICATION_MODE_SECONDARY, &error_abort);
}

static void close_disks(void)
{
    blk_unref(sim.host);
    blk_unref(sim.guest);
    /* The end of a merge holds the node for a BH */
    while (bdrv_find_node("childs0")) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_null(bdrv_find_node("parent0"));
}

static void set_errors(int rate)
{
    int slot;

    sim.errors |= rate;
    for (slot = 0; slot < MEMDISK_SLOTS; slot++) {
        memdisk_set_errors(slot, rate);
    }
}

static void steps(int count)
{
    while (count--) {
        Op *op = &sim.ops[pick(0, IN_FLIGHT)];
        int polls = pick(0, 8);

        if (!op->busy) {
            begin(op);
        }
        while (polls--) {
            aio_poll(qemu_get_aio_context(), false);
        }
        if (!sim.over && !sim.lost && pick(0, 12) == 0) {
            commit();
        }
    }
}

static void finish(void)
{
    set_errors(0);
    while (under_way()) {
        aio_poll(qemu_get_aio_context(), true);
    }
    g_assert_cmpint(blk_flush(sim.guest), ==, 0);
    g_assert_cmpint(stage(), ==, REPLICATION_STAGE_DONE);
    check_disk(sim.view, "the disk at the end");
}

static void sequence(uint32_t seed)
{
    memset(&sim, 0, sizeof(sim));
    sim.seed = seed;
    sim.rand = g_rand_new_with_seed(seed);
    open_disks();
    if (pick(0, 3) == 0) {
        set_errors(pick(1, 30));
    }
    steps(pick(1, STEPS));
    end(pick(0, 6));
    if (pick(0, 3)) {
        steps(pick(1, STEPS));
    }
    /* Some are closed in the middle of the merge */
    if (pick(0, 3)) {
        finish();
        steps(pick(1, STEPS / 2));
    }
    set_errors(0);
    while (under_way()) {
        aio_poll(qemu_get_aio_context(), true);
    }
    close_disks();
    check_disk(sim.view, "the disk after its node was closed");
    g_rand_free(sim.rand);
}

static int sequences = SEQUENCES;

static void test_sequences(void)
{
    uint32_t first = g_test_rand_int();
    int i;

    g_test_message("seeds %u to %u", first, first + sequences - 1);
    for (i = 0; i < sequences; i++) {
        sequence(first + i);
    }
    g_test_message("%u commits, %u failovers, %u primaries lost, %u errors, "
                   "%u flushes of the survivor, %u reads, %u requests under way "
                   "at a commit or an end", seen.commits, seen.failovers, seen.lost,
                   seen.errors, seen.flushes, seen.reads, seen.in_flight);
    if (sequences >= SEQUENCES) {
        g_assert_cmpuint(seen.commits, >, sequences);
        g_assert_cmpuint(seen.failovers, >, sequences / 2);
        g_assert_cmpuint(seen.lost, >, sequences / 100);
        g_assert_cmpuint(seen.errors, >, sequences / 10);
        g_assert_cmpuint(seen.flushes, >, sequences / 10);
        g_assert_cmpuint(seen.reads, >, sequences);
        g_assert_cmpuint(seen.in_flight, >, sequences);
    }
}

static void make_template(void)
{
    g_autofree char *name = g_strdup_printf("%s/colo-disk-XXXXXX", g_get_tmp_dir());
    int fd = g_mkstemp(name);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    bdrv_img_create(name, "qcow2", NULL, NULL, NULL, SECTORS * SECTOR, BDRV_O_RDWR,
                    true, &error_abort);
    g_assert(g_file_get_contents(name, &template, &template_size, NULL));
    unlink(name);
}

int main(int argc, char **argv)
{
    unsigned seed;
    int ret = 0;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    memdisk_init();
    make_template();
    if (argc == 3 && !strcmp(argv[1], "--seed-of-sequence") &&
        qemu_strtoui(argv[2], NULL, 10, &seed) == 0) {
        sequence(seed);
    } else {
        if (argc == 3 && !strcmp(argv[1], "--sequences")) {
            sequences = atoi(argv[2]);
        }
        g_test_add_func("/colo/disk/driver/sequences", test_sequences);
        ret = g_test_run();
    }
    g_free(template);
    return ret;
}
