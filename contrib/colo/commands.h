/*
 * The subcommands of the program "colo"
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_COMMANDS_H
#define COLO_COMMANDS_H

/*
 * Each gets its own arguments, argv[0] being "colo NAME", and returns the
 * exit status: 0 success, 1 what was tried has failed, 2 wrong usage or
 * something is missing on this machine, 128 + N ended by signal N.
 */
int colo_demo(int argc, char **argv);
int colo_bench(int argc, char **argv);

#endif
