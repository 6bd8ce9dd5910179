/*
 * guestd: what its parts share
 *
 * One thread per connection, which may block; two more threads make load.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GUESTD_H
#define GUESTD_H

#include <stdbool.h>
#include <stdint.h>

/* Says so on the console in a way that tests look for, and halts guestd. */
void __attribute__((noreturn, format(printf, 1, 2)))
fatal(const char *fmt, ...);

/* A detached thread; fatal() where there can be none. */
void start_thread(void *(*fn)(void *), void *arg);

/*
 * Sleeps until *@next, monotonic nanoseconds, and moves it on by @period_ns;
 * what was missed (a pause) is not caught up.
 */
void pace(int64_t *next, int64_t period_ns);

/* All or nothing; false where the peer is gone. */
bool send_all(int fd, const void *buffer, size_t size);

/* One line without its end; false at the end of file, or if it is too long. */
bool read_line(int fd, char *line, size_t size);

/* The control service: answers commands until the peer goes. */
void control_serve(int fd);

/* RAM load: @mibps MiB/s of dirtied pages over @mib MiB; 0 ends it. */
const char *load_set(unsigned mibps, unsigned mib);

/*
 * The disk.  Each returns NULL, or what is wrong; offsets and lengths are
 * KiB and must lie on the disk.
 */
const char *disk_write(uint64_t offset, uint64_t length, uint64_t seed);
const char *disk_sum(uint64_t offset, uint64_t length, uint64_t *sum);
/* Numbered 4 KiB blocks, @kibps KiB/s, each one synced; 0 ends it. */
const char *disk_load_set(unsigned kibps, uint64_t span, uint64_t start);
/* Checks what disk_load_set() has written: blocks found, highest number. */
const char *disk_verify(uint64_t start, uint64_t span, uint64_t *blocks,
                        uint64_t *highest);

#endif
