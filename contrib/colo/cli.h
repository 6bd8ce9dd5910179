/*
 * What the subcommands' options have in common
 *
 * Each check says on stderr what is wrong, beginning with the name of the
 * program (g_get_prgname()).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_CLI_H
#define COLO_CLI_H

#include "scenario.h"

/* Parses @argv; nothing but options may be there. */
bool cli_parse(const GOptionEntry *entries, const char *summary, int argc,
               char **argv);
/* There is such a file, with access @mode; @target is the make target. */
bool cli_check_file(const char *option, const char *path, int mode,
                    const char *target);
bool cli_check_number(const char *option, int value, int min, int max);
/* The numbers and devices of @config */
bool cli_check_config(const ScenarioConfig *config);

#endif
