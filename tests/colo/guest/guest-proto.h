/*
 * What guestd and its clients have to agree on
 *
 * Included by the guest's daemon and by programs on the host; depends on
 * the C library's headers only.  The protocol is described in README.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GUEST_PROTO_H
#define GUEST_PROTO_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define GUEST_ECHO_PORT     7      /* TCP and UDP */
#define GUEST_SINK_PORT     9
#define GUEST_SOURCE_PORT   19
#define GUEST_CONTROL_PORT  1000
#define GUEST_COUNTER_PORT  1001

#define GUEST_LINE_MAX      256    /* bytes, with the newline */
#define GUEST_RECORD_SIZE   28     /* bytes, with the newline */

/* splitmix64 (Steele, Lea, Flood 2014): any number to a well mixed one */
static inline uint64_t guest_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/*
 * The stream of bytes named @seed, from @offset on: the little-endian words
 * guest_mix(@seed + 0), guest_mix(@seed + 1), ...
 */
static inline void guest_fill(void *buffer, size_t size, uint64_t seed,
                              uint64_t offset)
{
    uint8_t *bytes = buffer;

    for (size_t i = 0; i < size; i++, offset++) {
        bytes[i] = guest_mix(seed + offset / 8) >> (offset % 8 * 8);
    }
}

#define GUEST_SUM_INIT 0xcbf29ce484222325ULL

/* FNV-1a, 64 bits, continued from @sum; begin with GUEST_SUM_INIT */
static inline uint64_t guest_sum(uint64_t sum, const void *buffer, size_t size)
{
    const uint8_t *bytes = buffer;

    for (size_t i = 0; i < size; i++) {
        sum = (sum ^ bytes[i]) * 0x100000001b3ULL;
    }
    return sum;
}

/* Record @number of the counter; @record has GUEST_RECORD_SIZE + 1 bytes */
static inline void guest_record_format(char *record, uint64_t number)
{
    snprintf(record, GUEST_RECORD_SIZE + 1, "%010" PRIu64 " %016" PRIx64 "\n",
             number % UINT64_C(10000000000), guest_mix(number));
}

#endif
