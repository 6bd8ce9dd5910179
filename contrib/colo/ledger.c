/*
 * Ledger of acknowledged disk writes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "guest-proto.h"
#include "ledger.h"
#include "stream.h"

#define BLOCK_KIB 64
#define ANSWER_MS (60 * 1000)

struct Ledger {
    const char *address;
    unsigned capacity;     /* blocks that have room */
    unsigned written;      /* writes acknowledged so far */
};

Ledger *ledger_new(const char *address, unsigned disk_mib)
{
    Ledger *ledger = g_new0(Ledger, 1);

    ledger->address = address;
    ledger->capacity = disk_mib * 1024 / 2 / BLOCK_KIB;
    return ledger;
}

void ledger_free(Ledger *ledger)
{
    g_free(ledger);
}

static unsigned block_offset(const Ledger *ledger, unsigned index)
{
    return index % ledger->capacity * BLOCK_KIB;
}

/* Every write has a content of its own, also where it overwrites. */
static uint64_t block_seed(unsigned index)
{
    return (uint64_t)(index + 1) << 32;
}

bool ledger_write(Ledger *ledger, Error **errp)
{
    g_autofree char *command = g_strdup_printf(
        "disk-write %u %u %" PRIu64, block_offset(ledger, ledger->written),
        BLOCK_KIB, block_seed(ledger->written));
    g_autofree char *answer = guest_command(ledger->address, command,
                                            ANSWER_MS, errp);

    if (!answer) {
        return false;
    }
    ledger->written++;
    return true;
}

static bool ledger_verify_block(Ledger *ledger, unsigned index, Error **errp)
{
    g_autofree uint8_t *content = g_malloc(BLOCK_KIB * 1024);
    g_autofree char *command = g_strdup_printf(
        "disk-sum %u %u", block_offset(ledger, index), BLOCK_KIB);
    g_autofree char *want = NULL;
    g_autofree char *answer = guest_command(ledger->address, command,
                                            ANSWER_MS, errp);

    if (!answer) {
        return false;
    }
    guest_fill(content, BLOCK_KIB * 1024, block_seed(index), 0);
    want = g_strdup_printf("%016" PRIx64, guest_sum(GUEST_SUM_INIT, content,
                                                    BLOCK_KIB * 1024));
    if (!g_str_equal(answer, want)) {
        error_setg(errp, "acknowledged disk write %u is lost: its checksum "
                   "is %s instead of %s", index, answer, want);
        return false;
    }
    return true;
}

/* Before that, blocks have been written over. */
static unsigned ledger_first(const Ledger *ledger)
{
    return ledger->written > ledger->capacity ?
        ledger->written - ledger->capacity : 0;
}

bool ledger_verify(Ledger *ledger, Error **errp)
{
    for (unsigned i = ledger_first(ledger); i < ledger->written; i++) {
        if (!ledger_verify_block(ledger, i, errp)) {
            return false;
        }
    }
    return true;
}

bool ledger_verify_image(Ledger *ledger, const char *path, Error **errp)
{
    g_autofree uint8_t *want = g_malloc(BLOCK_KIB * 1024);
    g_autofree uint8_t *got = g_malloc(BLOCK_KIB * 1024);
    int fd = qemu_open(path, O_RDONLY, errp);
    bool ok = fd >= 0;

    for (unsigned i = ledger_first(ledger); ok && i < ledger->written; i++) {
        off_t offset = block_offset(ledger, i) * 1024LL;

        guest_fill(want, BLOCK_KIB * 1024, block_seed(i), 0);
        ok = pread(fd, got, BLOCK_KIB * 1024, offset) == BLOCK_KIB * 1024 &&
             !memcmp(got, want, BLOCK_KIB * 1024);
        if (!ok) {
            error_setg(errp, "acknowledged disk write %u is not in the image "
                       "of the disk", i);
        }
    }
    if (fd >= 0) {
        qemu_close(fd);
    }
    return ok;
}

unsigned ledger_blocks(const Ledger *ledger)
{
    return ledger->written;
}
