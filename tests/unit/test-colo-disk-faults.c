/*
 * The secondary's side of replication, on disks that fail
 *
 * /colo/disk/faults/OVERLAYS/PHASE/NODE-REQUEST/ERROR: requests of one kind to one
 * node fail during one phase.  Each that meets the fault tells so, or what it was
 * for has been done; nothing else changes, then and afterwards; and when the
 * fault has gone, nothing is left of it.
 *
 *   epoch        both guests write
 *   commit       the overlays are emptied
 *   failover     from the failover on: the overlays are merged, the guest writes
 *   done         all is merged
 *
 * What the primary makes of such an error, which it gets by NBD, is tested in
 * test-colo-disk-loss; two whole QEMUs, in colo-disk-test (blkdebug),
 * colo-images-test (a full file system) and colo-nbd-test (the connection).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "block/replication.h"
#include "colo-fault.h"
#include "colo-secondary.h"

/*
 * Old content cannot be kept, or the disk takes no write: the primary is told,
 * and what the guest sees is whole, failover included.
 */
static void fail_hold(const char *node, FaultOp op, int error)
{
    sec_open(SEC_IMAGES);
    g_assert_cmpint(sec_put(sec_host, 0, SEC_SIZE, 0x11), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(sec_put(sec_guest, 512, 512, 0x22), ==, 0);
    fault_set(node, op, error);
    g_assert_cmpint(sec_put(sec_host, 0, 8 * SEC_CLUSTER, 0x33), ==, -error);
    fault_set(node, op, 0);
    sec_sees(sec_guest, 0, 512, 0x11);
    sec_sees(sec_guest, 512, 512, 0x22);
    sec_sees(sec_guest, 1024, SEC_SIZE - 1024, 0x11);
    replication_stop_all(true, &error_abort);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    sec_on_disk(0, 512, 0x11);
    sec_on_disk(512, 512, 0x22);
    sec_on_disk(1024, SEC_SIZE - 1024, 0x11);
    sec_close();
}

static void test_hold_fault(const void *opaque)
{
    int error = GPOINTER_TO_INT(opaque);

    fail_hold("hidden", FAULT_WRITE, error);
    fail_hold("parent", FAULT_READ, error);
    fail_hold("parent", FAULT_WRITE, error);
}

/* The guest's own write fails: it is told; the next commit makes that void */
static void test_own_fault(const void *opaque)
{
    int error = GPOINTER_TO_INT(opaque);

    sec_open(SEC_IMAGES);
    g_assert_cmpint(sec_put(sec_guest, 0, SEC_CLUSTER, 0x21), ==, 0);
    fault_set("active", FAULT_WRITE, error);
    g_assert_cmpint(sec_put(sec_guest, 4 * SEC_CLUSTER, SEC_CLUSTER, 0x22), ==, -error);
    g_assert_cmpint(sec_put(sec_host, 8 * SEC_CLUSTER, SEC_CLUSTER, 0x33), ==, 0);
    sec_sees(sec_guest, 0, SEC_CLUSTER, 0x21);
    replication_do_checkpoint_all(&error_abort);
    fault_set("active", FAULT_WRITE, 0);
    sec_sees(sec_guest, 0, 8 * SEC_CLUSTER, 0);
    sec_sees(sec_guest, 8 * SEC_CLUSTER, SEC_CLUSTER, 0x33);
    g_assert_cmpint(sec_put(sec_guest, 4 * SEC_CLUSTER, SEC_CLUSTER, 0x23), ==, 0);
    sec_sees(sec_guest, 4 * SEC_CLUSTER, SEC_CLUSTER, 0x23);
    sec_close();
}

/* Reads that fail say so, and nothing else */
static void test_read_fault(const void *opaque)
{
    int error = GPOINTER_TO_INT(opaque);
    uint8_t buffer[512];

    sec_open(SEC_IMAGES);
    g_assert_cmpint(sec_put(sec_guest, 0, 512, 0x21), ==, 0);
    g_assert_cmpint(sec_put(sec_host, SEC_CLUSTER, 512, 0x31), ==, 0);
    fault_set("active", FAULT_READ, error);
    g_assert_cmpint(blk_pread(sec_guest, 0, 512, buffer, 0), ==, -error);
    fault_set("active", FAULT_READ, 0);
    sec_sees(sec_guest, 0, 512, 0x21);
    fault_set("parent", FAULT_READ, error);
    g_assert_cmpint(blk_pread(sec_guest, 2 * SEC_CLUSTER, 512, buffer, 0), ==, -error);
    sec_sees(sec_guest, 0, 512, 0x21);
    sec_sees(sec_guest, SEC_CLUSTER, 512, 0);       /* held, as zeroes */
    fault_set("parent", FAULT_READ, 0);
    sec_close();
}

/* The merge fails at its source or its target, and is tried again */
static void fail_merge(const char *node, FaultOp op, int error)
{
    sec_open(SEC_IMAGES);
    g_assert_cmpint(sec_put(sec_host, 0, SEC_SIZE, 0x11), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    g_assert_cmpint(sec_put(sec_guest, 0, 2 * SEC_CLUSTER, 0x22), ==, 0);
    g_assert_cmpint(sec_put(sec_host, 4 * SEC_CLUSTER, 2 * SEC_CLUSTER, 0x33), ==, 0);
    fault_set(node, op, error);
    replication_stop_all(true, &error_abort);
    sec_wait_stage(REPLICATION_STAGE_STUCK);
    /* A flush that cannot make it durable says so */
    g_assert_cmpint(blk_flush(sec_guest), ==, -error);
    fault_set(node, op, 0);
    sec_sees(sec_guest, 0, 2 * SEC_CLUSTER, 0x22);
    sec_sees(sec_guest, 2 * SEC_CLUSTER, 4 * SEC_CLUSTER, 0x11);
    sec_wait_stage(REPLICATION_STAGE_DONE);
    sec_on_disk(0, 2 * SEC_CLUSTER, 0x22);
    sec_on_disk(2 * SEC_CLUSTER, SEC_SIZE - 2 * SEC_CLUSTER, 0x11);
    g_assert_cmpint(blk_flush(sec_guest), ==, 0);
    sec_close();
}

static void test_merge_fault(const void *opaque)
{
    int error = GPOINTER_TO_INT(opaque);

    fail_merge("active", FAULT_READ, error);
    fail_merge("hidden", FAULT_READ, error);
    fail_merge("parent", FAULT_WRITE, error);
    fail_merge("parent", FAULT_FLUSH, error);
}

typedef enum { EPOCH, COMMIT, FAILOVER, DONE, PHASES } Phase;

static const char *const phase_names[] = { "epoch", "commit", "failover",
                                           "done" };

typedef struct Case {
    SecKind kind;
    Phase phase;
    const char *node;
    FaultOp op;
    int error;
} Case;

/* Clusters that the guest (own) and the primary (host) write, by phase */
#define OWN(phase)      ((phase) * 10 + 1)
#define HOST(phase)     ((phase) * 10 + 3)
#define ZEROES(phase)   ((phase) * 10 + 5)
#define DISCARD(phase)  ((phase) * 10 + 7)
#define OLD     0x11
#define OWN_NEW 0x22
#define NEW     0x33

/* A node that is released with the images has none any more */
static void fault(const Case *c, Phase phase, bool on)
{
    if (phase == c->phase && bdrv_find_node(c->node)) {
        fault_set(c->node, c->op, on ? c->error : 0);
    }
}

static bool done_or_told(const Case *c, Phase phase, int ret)
{
    g_assert(ret == 0 || (phase == c->phase && ret == -c->error));
    return ret == 0;
}

static void sees_cluster(int cluster, uint8_t value)
{
    sec_sees(sec_guest, cluster * SEC_CLUSTER, SEC_CLUSTER, value);
}

static void disk_cluster(int cluster, uint8_t value)
{
    sec_on_disk(cluster * SEC_CLUSTER, SEC_CLUSTER, value);
}

/* What is read is right, or not read at all */
static void reads_or_told(const Case *c, Phase phase, int cluster, uint8_t value)
{
    uint8_t byte;

    if (done_or_told(c, phase, blk_pread(sec_guest, cluster * SEC_CLUSTER, 1,
                                         &byte, 0))) {
        g_assert_cmpint(byte, ==, value);
    }
}

/* The primary writes, which the secondary's guest does not see; is all there? */
static bool host_writes(const Case *c, Phase phase)
{
    bool written, zeroed;

    written = done_or_told(c, phase, sec_put(sec_host, HOST(phase) * SEC_CLUSTER,
                                             SEC_CLUSTER, NEW));
    zeroed = done_or_told(c, phase,
                          blk_pwrite_zeroes(sec_host,
                                            ZEROES(phase) * SEC_CLUSTER,
                                            SEC_CLUSTER, BDRV_REQ_MAY_UNMAP));
    done_or_told(c, phase, blk_pdiscard(sec_host, DISCARD(phase) * SEC_CLUSTER,
                                        SEC_CLUSTER));
    done_or_told(c, phase, blk_flush(sec_host));
    return written && zeroed;
}

static bool guest_writes(const Case *c, Phase phase)
{
    bool ok = done_or_told(c, phase, sec_put(sec_guest, OWN(phase) * SEC_CLUSTER,
                                             SEC_CLUSTER, OWN_NEW));

    reads_or_told(c, phase, OWN(phase), ok ? OWN_NEW : OLD);
    done_or_told(c, phase, blk_flush(sec_guest));
    return ok;
}

/* With the fault gone, an epoch is as it was written */
static void check_epoch(Phase phase, bool own)
{
    sees_cluster(OWN(phase), own ? OWN_NEW : OLD);
    sees_cluster(HOST(phase), OLD);
    sees_cluster(ZEROES(phase), OLD);
    sees_cluster(DISCARD(phase), OLD);
}

/* Returns whether the guest's own write is there */
static bool run_epoch(const Case *c, bool *whole)
{
    bool own;

    fault(c, EPOCH, true);
    *whole = host_writes(c, EPOCH);
    own = guest_writes(c, EPOCH);
    reads_or_told(c, EPOCH, HOST(EPOCH), OLD);
    fault(c, EPOCH, false);
    check_epoch(EPOCH, own);
    return own;
}

/* A commit needs nothing of any disk.  One without all writes does not happen. */
static void run_commit(const Case *c)
{
    fault(c, COMMIT, true);
    replication_get_error_all(&error_abort);
    replication_do_checkpoint_all(&error_abort);
    fault(c, COMMIT, false);
    sees_cluster(OWN(EPOCH), OLD);
    sees_cluster(HOST(EPOCH), NEW);
    sees_cluster(ZEROES(EPOCH), 0);
    g_assert(host_writes(c, COMMIT));
    g_assert(guest_writes(c, COMMIT));
    check_epoch(COMMIT, true);
}

static void check_merged(const Case *c, Phase last, bool own)
{
    sec_wait_stage(REPLICATION_STAGE_DONE);
    g_assert_cmpint(blk_flush(sec_guest), ==, 0);
    disk_cluster(OWN(last), own ? OWN_NEW : OLD);
    disk_cluster(HOST(last), OLD);
    disk_cluster(ZEROES(last), OLD);
    disk_cluster(DISCARD(last), OLD);
}

static void run_case(const void *opaque)
{
    const Case *c = opaque;
    Phase last = EPOCH;
    bool whole, own, mine;

    sec_open(c->kind);
    g_assert_cmpint(sec_put(sec_host, 0, SEC_SIZE, OLD), ==, 0);
    replication_do_checkpoint_all(&error_abort);
    own = run_epoch(c, &whole);
    if (whole) {
        run_commit(c);
        last = COMMIT;
        own = true;
    }
    fault(c, FAILOVER, true);
    replication_stop_all(true, &error_abort);
    g_assert_cmpint(sec_put(sec_host, 0, 512, NEW), ==, -EPERM);
    mine = guest_writes(c, FAILOVER);
    reads_or_told(c, FAILOVER, HOST(last), OLD);
    fault(c, FAILOVER, false);
    check_epoch(last, own);
    sees_cluster(OWN(FAILOVER), mine ? OWN_NEW : OLD);
    check_merged(c, last, own);
    disk_cluster(OWN(FAILOVER), mine ? OWN_NEW : OLD);

    fault(c, DONE, true);
    mine = guest_writes(c, DONE);
    fault(c, DONE, false);
    g_assert_cmpint(blk_flush(sec_guest), ==, 0);
    disk_cluster(OWN(DONE), mine ? OWN_NEW : OLD);
    sec_close();
}

static void add_cases(SecKind kind, Phase phase, const char *node)
{
    static const char *const ops[] = { "read", "write", "zeroes", "discard",
                                       "flush" };
    static const int errors[] = { EIO, ENOSPC };
    FaultOp op;
    int i;

    for (op = 0; op < FAULT_OPS; op++) {
        for (i = 0; i < ARRAY_SIZE(errors); i++) {
            Case *c = g_new(Case, 1);
            g_autofree char *name =
                g_strdup_printf("/colo/disk/faults/%s/%s/%s-%s/%s",
                                sec_kind_names[kind], phase_names[phase], node,
                                ops[op], errors[i] == EIO ? "EIO" : "ENOSPC");

            *c = (Case) { .kind = kind, .phase = phase, .node = node, .op = op,
                          .error = errors[i] };
            g_test_add_data_func_full(name, c, run_case, g_free);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct { const char *name; GTestDataFunc func; } faults[] = {
        { "hold", test_hold_fault },
        { "own", test_own_fault },
        { "read", test_read_fault },
        { "merge", test_merge_fault },
    };
    int i, phase, ret;

    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    sec_init();

    for (i = 0; i < ARRAY_SIZE(faults); i++) {
        g_autofree char *eio =
            g_strdup_printf("/colo/disk/faults/%s/EIO", faults[i].name);
        g_autofree char *enospc =
            g_strdup_printf("/colo/disk/faults/%s/ENOSPC", faults[i].name);

        g_test_add_data_func(eio, GINT_TO_POINTER(EIO), faults[i].func);
        g_test_add_data_func(enospc, GINT_TO_POINTER(ENOSPC), faults[i].func);
    }
    for (phase = 0; phase < PHASES; phase++) {
        add_cases(SEC_IMAGES, phase, "active");
        add_cases(SEC_IMAGES, phase, "hidden");
        add_cases(SEC_IMAGES, phase, "parent");
        add_cases(SEC_MEMORY, phase, "parent");
    }
    ret = g_test_run();
    sec_cleanup();
    return ret;
}
