/*
 * colo - run, show and measure replicated pairs of virtual machines
 *
 *     colo demo --help
 *     colo bench --help
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu-version.h"
#include "commands.h"

static const struct {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "demo", "show a pair through several failovers on this machine",
      colo_demo },
    { "bench", "measure builds of QEMU against each other on this machine",
      colo_bench },
};

static void usage(FILE *out)
{
    fprintf(out, "Usage: colo COMMAND [OPTION...]\n"
                 "       colo COMMAND --help\n"
                 "       colo --help | --version\n\nCommands:\n");
    for (int i = 0; i < ARRAY_SIZE(commands); i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && g_str_equal(argv[1], "--help")) {
        usage(stdout);
        return 0;
    }
    if (argc > 1 && g_str_equal(argv[1], "--version")) {
        printf("colo (qemu-colo) for QEMU %s\n", QEMU_FULL_VERSION);
        return 0;
    }
    for (int i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++) {
        if (g_str_equal(argv[1], commands[i].name)) {
            g_autofree char *name = g_strdup_printf("colo %s", argv[1]);

            g_set_prgname(name);
            argv[1] = argv[0];
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (argc > 1) {
        fprintf(stderr, "colo: there is no command '%s'\n", argv[1]);
    }
    usage(stderr);
    return 2;
}
