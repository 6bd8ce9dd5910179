/*
 * Reading a guest's serial console for signs of trouble
 *
 * A secondary whose guest has crashed looks, from the primary, merely slow;
 * only its console tells.  Pure.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_CONSOLE_H
#define COLO_CONSOLE_H

/*
 * The first line of @text that tells of a panic, oops, warning, stall or
 * lock-up of a Linux guest, or of our guest daemon's death; NULL where there
 * is none.  g_free() it.
 */
char *console_find_trouble(const char *text);

#endif
