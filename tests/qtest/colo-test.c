/*
 * COLO with two QEMUs and no operating system
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Environment: QTEST_QEMU_BINARY, and QTEST_QEMU_IMG for the cases with a
 * disk, which are skipped without.  A single case: "-p /x86_64/colo/NAME".
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-guest.h"
#include "colo-pair.h"

/* Whatever goes on in a case, it ends within this. */
#define CASE_SECONDS 240

#define FAST_MS 100

/*
 * The primary syncs the dirty log of TCG, which sends work to the vCPU and
 * waits for it: a deadlock of the whole process unless it holds the BQL.
 */
static void test_first_checkpoint(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);

    colo_pair_request_checkpoint(pair);
    colo_side_ok(pair->p, "{'execute': 'query-status'}");
    colo_side_ok(pair->s, "{'execute': 'query-status'}");
    colo_pair_free(pair);
}

/* The timer makes checkpoints, and keeps making them. */
static void test_timer(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, FAST_MS);

    colo_pair_checkpoints(pair, 10);
    colo_pair_free(pair);
}

/* A long delay is a delay: one checkpoint per request and no other. */
static void test_request(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    unsigned base, i;

    colo_side_ok(pair->p, "{'execute': 'query-status'}");
    base = colo_side_count(pair->p, "STOP");
    for (i = 1; i <= 5; i++) {
        colo_pair_request_checkpoint(pair);
        colo_side_ok(pair->p, "{'execute': 'query-status'}");
        g_assert_cmpuint(colo_side_count(pair->p, "STOP"), ==, base + i);
    }
    colo_pair_free(pair);
}

/*
 * A chipset whose state differs from that after a reset can be loaded over
 * and over.  ICH9 maps its root complex registers when told so by its guest,
 * and once more on each load: if they are still mapped, QEMU aborts.
 */
static void test_load_again(void)
{
    ColoPair *pair = colo_pair_start_on("q35", COLO_NO_DISK, COLO_NO_TIMER);
    int i;

    /* 00:1f.0, offset 0xf0: base 0xfed1c000, enabled */
    colo_side_hmp(pair->p, "o /w 0xcf8 0x8000f8f0");
    colo_side_hmp(pair->p, "o /w 0xcfc 0xfed1c001");
    for (i = 0; i < 3; i++) {
        colo_pair_request_checkpoint(pair);
    }
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/*
 * Stores into pages that the guest writes all the time, so that the TLB
 * entries stay, must be logged anew after each sync of the dirty log.
 * Otherwise the registers move on and the pages stay behind.
 */
static void test_dirty_checkpoint(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    int i;

    for (i = 0; i < 5; i++) {
        colo_pair_request_checkpoint(pair);
    }
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/*
 * An ordinary migration that can't converge: in the time allowed for the end
 * it may send much less than the guest dirties over and over.
 */
static void start_migration(ColoPair *pair)
{
    g_autofree char *uri = g_strdup_printf("unix:%s/s1.migrate", pair->dir);

    colo_side_ok(pair->p, "{'execute': 'migrate-set-capabilities', "
                 "'arguments': {'capabilities': "
                 "[{'capability': 'events', 'state': true}]}}");
    colo_side_ok(pair->p, "{'execute': 'migrate-set-parameters', 'arguments':"
                 "{'max-bandwidth': 1000000, 'downtime-limit': 1}}");
    colo_side_ok(pair->p, "{'execute': 'migrate', 'arguments': "
                 "{'uri': %s}}", uri);
}

/* After some passes let it end; false: it ended by itself before that */
static bool finish_migration(ColoPair *pair)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    bool hurried = false;

    while (g_get_monotonic_time() < end) {
        g_autofree char *status =
            colo_side_ask(pair->p, "status", "{'execute': 'query-migrate'}");

        if (g_str_equal(status, "completed")) {
            return hurried;
        }
        if (!hurried && colo_side_count(pair->p, "MIGRATION_PASS") >= 6) {
            hurried = true;
            colo_side_ok(pair->p, "{'execute': 'migrate-set-parameters', "
                         "'arguments': {'max-bandwidth': 1000000000, "
                         "'downtime-limit': 10000}}");
        }
        g_usleep(10 * 1000);
    }
    colo_fail("the migration doesn't end");
}

/* The same hole in an ordinary migration: both sides' memory must agree. */
static void test_dirty_migration(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_NO_DISK, COLO_NO_TIMER);
    g_autofree uint8_t *sent = NULL, *got = NULL;
    int i, bad = 0, first = 0;
    bool hurried;

    colo_guest_check(pair->p, pair->scratch);
    colo_pair_add_secondary(pair, "-S");
    start_migration(pair);
    hurried = finish_migration(pair);
    colo_side_until(pair->p, "query-status", "status", "postmigrate");
    colo_side_until(pair->s, "query-status", "status", "paused");
    sent = colo_guest_memory(pair->p, pair->scratch, 0, COLO_GUEST_RAM);
    got = colo_guest_memory(pair->s, pair->scratch, 0, COLO_GUEST_RAM);
    for (i = COLO_GUEST_RAM - 4096; i >= 0; i -= 4096) {
        if (memcmp(sent + i, got + i, 4096)) {
            first = i;
            bad++;
        }
    }
    if (bad) {
        colo_fail("%d pages differ after the migration, first that at 0x%x",
                  bad, first);
    }
    if (!hurried) {
        colo_fail("the migration converged though it can't, by luck whole");
    }
    colo_side_ok(pair->s, "{'execute': 'cont'}");
    colo_guest_check(pair->s, pair->scratch);
    colo_pair_free(pair);
}

static void test_fail_over_to_primary(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, FAST_MS);

    colo_pair_checkpoints(pair, 3);
    colo_pair_fail_over_to_primary(pair);
    colo_pair_free(pair);
}

static void test_fail_over_to_secondary(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, FAST_MS);

    colo_pair_checkpoints(pair, 3);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* The primary keeps all it wrote, and goes on writing. */
static void test_disk_primary(void)
{
    ColoPair *pair = colo_pair_start(COLO_DISK, COLO_NO_TIMER);

    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    colo_pair_write(pair, 0x22, 0x10000);
    colo_pair_set_delay(pair, FAST_MS);
    colo_pair_checkpoints(pair, 3);
    colo_pair_fail_over_to_primary(pair);
    colo_pair_write(pair, 0x33, 0x20000);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, 0x10000);
    colo_pair_expect(pair, 0x33, 0x20000);

    /* It can have another secondary, with whom it can be lost itself. */
    pair->delay_ms = COLO_NO_TIMER;
    colo_pair_rejoin(pair);
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, 0x10000);
    colo_pair_expect(pair, 0x33, 0x20000);
    colo_pair_free(pair);
}

/* The secondary has the disk of the last checkpoint, nothing later. */
static void test_disk_secondary(void)
{
    ColoPair *pair = colo_pair_start(COLO_DISK, COLO_NO_TIMER);

    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    colo_pair_write(pair, 0x22, 0);
    colo_pair_write(pair, 0x22, 0x10000);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x00, 0x10000);
    colo_pair_free(pair);
}

/* A promoted secondary is a full primary: it can be replaced in its turn. */
static void test_second_life(void)
{
    ColoPair *pair = colo_pair_start(COLO_DISK, COLO_NO_TIMER);

    colo_pair_write(pair, 0x11, 0);
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_write(pair, 0x22, 0x10000);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, 0x10000);

    colo_pair_rejoin(pair);
    colo_pair_write(pair, 0x33, 0x20000);
    colo_pair_request_checkpoint(pair);
    colo_pair_request_checkpoint(pair);
    colo_pair_write(pair, 0x44, 0);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, 0x10000);
    colo_pair_expect(pair, 0x33, 0x20000);
    colo_pair_free(pair);
}

typedef struct {
    const char *name;
    void (*run)(void);
    bool disk;
} ColoCase;

static const ColoCase cases[] = {
    { "first-checkpoint", test_first_checkpoint },
    { "timer", test_timer },
    { "request", test_request },
    { "load-again", test_load_again },
    { "dirty/checkpoint", test_dirty_checkpoint },
    { "dirty/migration", test_dirty_migration },
    { "failover/primary", test_fail_over_to_primary },
    { "failover/secondary", test_fail_over_to_secondary },
    { "disk/primary", test_disk_primary, true },
    { "disk/secondary", test_disk_secondary, true },
    { "disk/second-life", test_second_life, true },
};

static int cases_run;

static void run_case(const void *opaque)
{
    const ColoCase *c = opaque;

    cases_run++;

    if (c->disk && !getenv("QTEST_QEMU_IMG")) {
        g_test_skip("QTEST_QEMU_IMG is not set");
        return;
    }
    /* Ends the process, and by that the QEMUs, if all other bounds fail. */
    alarm(CASE_SECONDS);
    c->run();
    alarm(0);
}

int main(int argc, char **argv)
{
    int i, status;

    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_accel("tcg")) {
        fprintf(stderr, "colo-test: this QEMU lacks TCG, which is tested\n");
        return EXIT_FAILURE;
    }
    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("colo/%s", cases[i].name);

        qtest_add_data_func(path, &cases[i], run_case);
    }
    status = g_test_run();
    if (!cases_run) {
        fprintf(stderr, "colo-test: no such case\n");
        return EXIT_FAILURE;
    }
    return status;
}
