/*
 * The guest of the COLO tests: counts in many pages, for ever
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A firmware image of our own, so that no other is needed.  It runs in real
 * mode with interrupts off, adds 1 to a counter in each of its pages in turn,
 * and after each round notes the number of rounds:
 *
 *     for (rounds = 1;; rounds++) {
 *         for each page: page->counter += 1;
 *         last page: note = rounds; mark = 1;
 *     }
 *
 * rounds lives in a register, that is in the device state.  So at any instant
 * all counters and the note differ by at most one, and they stay apart for
 * ever once a single page, or the registers, were taken from another instant
 * than the rest: a page that a checkpoint lost is found at any later time.
 *
 * It runs in RAM, and the 1 is part of an instruction: changed there, it tells
 * whether this code is executed or what an emulator once made of it.
 */
#ifndef TESTS_QTEST_COLO_GUEST_H
#define TESTS_QTEST_COLO_GUEST_H

#include "colo-side.h"

/* Arguments for QEMU, less the image's path; it wants 64 KiB, "-bios" */
#define COLO_GUEST_ARGS "-accel tcg -m 16 -nodefaults -vga none " \
                        "-global apic-common.vapic=off"
#define COLO_GUEST_RAM (16 * 1024 * 1024)

/* From here on the guest leaves its RAM alone. */
#define COLO_GUEST_FREE_RAM (2 * 1024 * 1024)
#define COLO_GUEST_PAGE 4096

/* Write the image to the file @path. */
void colo_guest_create(const char *path);

/*
 * Read guest-physical memory by way of the file @scratch; the guest should
 * be stopped.  The caller owns what is returned, @size bytes.
 */
uint8_t *colo_guest_memory(ColoSide *s, const char *scratch, uint64_t start,
                           size_t size);

/*
 * The guest of @s must be of one piece, and it must be counting.  It is
 * stopped in between and runs afterwards; not while @s replicates.
 */
void colo_guest_check(ColoSide *s, const char *scratch);

/*
 * Write to @pages pages of the guest's memory from @start on, each @stride pages
 * after the one before, from outside, as a device would.
 */
void colo_guest_fill(ColoSide *s, uint64_t start, unsigned pages,
                     unsigned stride, uint8_t seed);

/*
 * What a guest of machine type pc does to itself, done from outside.  They want
 * devices: pvpanic; ib700, whose shortest time is none.
 */
typedef void ColoGuestAct(ColoSide *s);
ColoGuestAct colo_guest_panic, colo_guest_watchdog, colo_guest_power_off;
/* ACPI S3 */
ColoGuestAct colo_guest_sleep;
/* An alarm of the real-time clock in @seconds, less than 10, that wakes it up */
void colo_guest_set_alarm(ColoSide *s, unsigned seconds);

/* A disk for machine type pc that is full once, at the first write: werror=stop */
#define COLO_GUEST_FULL_DISK \
    "-drive if=ide,index=2,driver=raw,werror=stop," \
    "file.driver=blkdebug,file.image.driver=null-co," \
    "file.inject-error.0.event=none,file.inject-error.0.iotype=write," \
    "file.inject-error.0.errno=28,file.inject-error.0.once=on"
ColoGuestAct colo_guest_write_full_disk;

/* Change the guest's code, from outside, so that it uses this mark. */
void colo_guest_set_mark(ColoSide *s, uint8_t mark);

/* The mark that it used last.  Stops and runs it; not while @s replicates. */
uint8_t colo_guest_mark(ColoSide *s, const char *scratch);

#endif /* TESTS_QTEST_COLO_GUEST_H */
