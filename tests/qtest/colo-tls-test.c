/*
 * COLO over an encrypted connection
 *
 * Two QEMUs without an operating system, whose migration has "tls-creds": the
 * checkpoints go through TLS too.  The key is a shared one, which needs no
 * certificates.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-guest.h"
#include "colo-pair.h"

#define PEER_TIMEOUT_MS 4000

/* What QEMU looks for in the directory of tls-creds-psk */
#define KEY_FILE "keys.psk"
#define KEY "qemu:009d5638c40fde0c\n"
#define OTHER_KEY "qemu:10ffa6a2c42f0388\n"

/* More than sockets hold and TLS records are long, of the 16 MiB of the guest */
#define BULK_START (4 * 1024 * 1024)
#define BULK_SIZE (4 * 1024 * 1024)
#define BULK_PIECE (32 * 1024)      /* long ones take qtest ever longer */

/* A directory of its own in the pair's, with @key in it */
static char *key_dir(ColoPair *pair, const char *name, const char *key)
{
    char *dir = g_build_filename(pair->dir, name, NULL);
    g_autofree char *path = g_build_filename(dir, KEY_FILE, NULL);
    GError *err = NULL;

    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    g_file_set_contents(path, key, -1, &err);
    g_assert_no_error(err);
    return dir;
}

static void use_tls(ColoSide *side, const char *dir, bool server)
{
    if (server) {
        colo_side_ok(side, "{'execute': 'object-add', 'arguments': "
                     "{'qom-type': 'tls-creds-psk', 'id': 'tls0', "
                     "'endpoint': 'server', 'dir': %s}}", dir);
    } else {
        colo_side_ok(side, "{'execute': 'object-add', 'arguments': "
                     "{'qom-type': 'tls-creds-psk', 'id': 'tls0', "
                     "'endpoint': 'client', 'username': 'qemu', 'dir': %s}}",
                     dir);
    }
    colo_side_ok(side, "{'execute': 'migrate-set-parameters', "
                 "'arguments': {'tls-creds': 'tls0'}}");
}

static void forget_key(char *dir)
{
    colo_remove_dir(dir);
    g_free(dir);
}

static ColoPair *start(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_NO_DISK, COLO_NO_TIMER);
    char *dir = key_dir(pair, "key", KEY);

    colo_pair_add_secondary(pair, "");
    use_tls(pair->p, dir, false);
    use_tls(pair->s, dir, true);
    colo_pair_replicate(pair);
    forget_key(dir);
    return pair;
}

static void bulk(ColoPair *pair, uint8_t pattern)
{
    g_autofree uint8_t *bytes = g_malloc(BULK_SIZE);

    for (size_t i = 0; i < BULK_SIZE; i++) {
        bytes[i] = pattern + i / 7;
    }
    for (size_t i = 0; i < BULK_SIZE; i += BULK_PIECE) {
        colo_side_write(pair->p, BULK_START + i, bytes + i, BULK_PIECE);
    }
}

/* Checkpoints of all sizes, and a secondary with a guest of one piece */
static void test_cycle(void)
{
    ColoPair *pair = start();
    g_autofree uint8_t *mem = NULL;

    for (int i = 0; i < 8; i++) {
        if (i % 2) {
            bulk(pair, i);
        }
        colo_pair_request_checkpoint(pair);
    }
    colo_pair_set_delay(pair, 20);
    colo_pair_checkpoints(pair, 10);
    colo_pair_fail_over_to_secondary(pair);
    mem = colo_guest_memory(pair->p, pair->scratch, BULK_START, BULK_SIZE);
    for (size_t i = 0; i < BULK_SIZE; i++) {
        g_assert_cmphex(mem[i], ==, (uint8_t)(7 + i / 7));
    }
    colo_pair_free(pair);
}

static void set_peer_timeout(ColoSide *side)
{
    colo_side_ok(side, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': %d}}", PEER_TIMEOUT_MS);
}

static void alone(ColoPair *pair)
{
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

/* The secondary stands still: what TLS has taken in part stays in order. */
static void test_slow(void)
{
    ColoPair *pair = start();

    colo_pair_request_checkpoint(pair);
    for (int i = 0; i < 3; i++) {
        bulk(pair, i);
        colo_side_signal(pair->s, SIGSTOP);
        colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
        g_usleep(300 * 1000);       /* how long it stands, not a wait */
        colo_side_ok(pair->p, "{'execute': 'query-colo'}");
        colo_side_signal(pair->s, SIGCONT);
        colo_pair_request_checkpoint(pair);
    }
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

static void test_lost(void)
{
    ColoPair *pair = start();

    set_peer_timeout(pair->p);
    colo_pair_request_checkpoint(pair);
    bulk(pair, 3);
    colo_side_signal(pair->s, SIGSTOP);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    colo_side_await(pair->p, "COLO_LOST", 1, COLO_WAIT_MS);
    colo_side_kill(pair->s);
    pair->s = NULL;
    alone(pair);
}

static void test_yank(void)
{
    ColoPair *pair = start();

    colo_pair_request_checkpoint(pair);
    bulk(pair, 3);
    colo_side_signal(pair->s, SIGSTOP);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    colo_side_ok(pair->p, "{'exec-oob': 'yank', 'arguments': {'instances': "
                 "[{'type': 'migration'}]}}");
    colo_side_await(pair->p, "COLO_LOST", 1, COLO_WAIT_MS);
    colo_side_kill(pair->s);
    pair->s = NULL;
    alone(pair);
}

/* Without the key nobody is a secondary, and nothing has happened. */
static void test_wrong_key(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_NO_DISK, COLO_NO_TIMER);
    char *dir = key_dir(pair, "key", KEY);
    char *other = key_dir(pair, "other", OTHER_KEY);

    colo_pair_add_secondary(pair, "");
    use_tls(pair->p, dir, false);
    use_tls(pair->s, other, true);
    colo_pair_migrate(pair);
    colo_side_until(pair->p, "query-migrate", "status", "failed");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_guest_check(pair->p, pair->scratch);
    forget_key(dir);
    forget_key(other);
    colo_pair_free(pair);
}

static const ColoTestCase cases[] = {
    { "cycle", test_cycle },
    { "slow", test_slow },
    { "lost", test_lost },
    { "yank", test_yank },
    { "wrong-key", test_wrong_key },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-tls", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
