/*
 * What the test guest and its clients on the host agree upon
 *
 * Ports, limits, and the functions which say what each byte must be; the
 * protocol itself is described in README.  Needs only stdint and stddef, so
 * that each side may include it.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GUEST_PROTO_H
#define GUEST_PROTO_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_ECHO_PORT      7      /* TCP and UDP */
#define GUEST_SINK_PORT      9
#define GUEST_SOURCE_PORT    19
#define GUEST_CONTROL_PORT   1000
#define GUEST_COUNTER_PORT   1001

/* Bytes of a request or an answer, its '\n' included */
#define GUEST_LINE_MAX       1024
/* Connections at a time, all services together; more are closed at once */
#define GUEST_CONNECTIONS    128

/* "NNNNNNNNNN HHHHHHHHHHHHHHHH\n" */
#define GUEST_RECORD_SIZE    28
#define GUEST_RECORD_LAST    9999999999ULL

/* Seed of the bytes that the guest sends for the command "connect" */
#define GUEST_CONNECT_SEED   1ULL

/* Of a computation: some microseconds */
#define GUEST_WORK_STEPS     1000

/* A block of the background disk load */
#define GUEST_BLOCK_SIZE     4096
#define GUEST_BLOCK_KIB      (GUEST_BLOCK_SIZE / 1024)
#define GUEST_BLOCK_MAGIC    0x6b636f6c62646c63ULL

/* The page of the command "tick"; a page of its own, words as the CPU has them */
#define GUEST_TICK_MAGIC     0x6b6369746f6c6f63ULL

typedef struct GuestTickPage {
    uint64_t magic;
    uint64_t nonce;     /* as given to the command */
    uint64_t count;     /* one more per period */
} GuestTickPage;

#define GUEST_SUM_INIT       0xcbf29ce484222325ULL

/* splitmix64: a bijection in which each bit of @x moves half of the others */
static inline uint64_t guest_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* Word @n of the endless sequence with that seed */
static inline uint64_t guest_word(uint64_t seed, uint64_t n)
{
    return guest_mix(guest_mix(seed) + n);
}

static inline void guest_put64(uint8_t *p, uint64_t word)
{
    size_t i;

    for (i = 0; i < 8; i++) {
        p[i] = word >> (8 * i);
    }
}

static inline uint64_t guest_get64(const uint8_t *p)
{
    uint64_t word = 0;
    size_t i;

    for (i = 0; i < 8; i++) {
        word |= (uint64_t)p[i] << (8 * i);
    }
    return word;
}

/*
 * Bytes @offset .. @offset + @len - 1 of the sequence with that seed, which
 * is its words one after the other, least significant byte first.
 */
static inline void guest_fill(void *buf, size_t len, uint64_t seed,
                              uint64_t offset)
{
    uint8_t *p = buf;

    while (len) {
        uint64_t word = guest_word(seed, offset / 8);

        if (offset % 8 == 0 && len >= 8) {
            guest_put64(p, word);
            p += 8;
            offset += 8;
            len -= 8;
        } else {
            *p++ = word >> (8 * (offset % 8));
            offset++;
            len--;
        }
    }
}

/*
 * Continues the checksum @sum with @len bytes, a multiple of 8: FNV-1a by
 * words, with a shift so that the high bits count as well.  Starts with
 * GUEST_SUM_INIT.
 */
static inline uint64_t guest_sum(uint64_t sum, const void *buf, size_t len)
{
    const uint8_t *p = buf;
    size_t i;

    for (i = 0; i + 8 <= len; i += 8) {
        sum = (sum ^ guest_get64(p + i)) * 0x100000001b3ULL;
        sum ^= sum >> 32;
    }
    return sum;
}

/* Sixteen hexadecimal digits, no terminator */
static inline void guest_hex(char *out, uint64_t value)
{
    int i;

    for (i = 15; i >= 0; i--) {
        out[i] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
}

/*
 * Record @n of the counter service and a terminator: GUEST_RECORD_SIZE + 1
 * bytes.  After GUEST_RECORD_LAST the digits start again from 0, the hash
 * does not.
 */
static inline void guest_record_format(char *out, uint64_t n)
{
    uint64_t left = n;
    int i;

    for (i = 9; i >= 0; i--) {
        out[i] = '0' + left % 10;
        left /= 10;
    }
    out[10] = ' ';
    guest_hex(out + 11, guest_mix(n));
    out[27] = '\n';
    out[28] = 0;
}

/*
 * Block number @sequence of a background load that started with @first, in
 * the area of @span_kib KiB from @start_kib KiB on.  It lies at slot
 * @sequence modulo the number of blocks in the area.
 */
static inline void guest_block_fill(uint8_t *block, uint64_t start_kib,
                                    uint64_t span_kib, uint64_t first,
                                    uint64_t sequence)
{
    guest_fill(block, GUEST_BLOCK_SIZE, sequence, 0);
    guest_put64(block, GUEST_BLOCK_MAGIC);
    guest_put64(block + 8, start_kib);
    guest_put64(block + 16, span_kib);
    guest_put64(block + 24, first);
    guest_put64(block + 32, sequence);
}

#endif
