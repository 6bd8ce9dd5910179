/*
 * What the programs that test the whole system have in common
 *
 * They are GLib test programs: options, QEMU and guest from the environment,
 * and all tests run in one sandbox.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_COLO_SYSTEM_H
#define TESTS_COLO_SYSTEM_H

#include "scenario.h"

/*
 * Takes --machine, --disk, --nic and --compare for @config and the program's own
 * options @entries, or NULL, from the command line; and the files and the
 * accelerator of @config from COLO_QEMU, COLO_QEMU_IMG, COLO_KERNEL, COLO_INITRD
 * and COLO_ACCEL.  Ends the program if there is something wrong with them.
 */
void system_options(ScenarioConfig *config, const GOptionEntry *entries,
                    int *argc, char ***argv);

/* Runs the tests that were added in a sandbox of this name: the exit status */
int system_run(const char *name);

/* Meanwhile, the sandbox's directory */
const char *system_dir(void);

/* The dump below that directory, if there is one, as comments of TAP */
void system_print_dump(const char *file);

#endif
