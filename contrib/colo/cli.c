/*
 * What the subcommands' options have in common
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "cli.h"

bool cli_parse(const GOptionEntry *entries, const char *summary, int argc,
               char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) gerr = NULL;
    const char *name = g_get_prgname();

    g_option_context_set_summary(context, summary);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &gerr)) {
        fprintf(stderr, "%s: %s; see %s --help\n", name, gerr->message, name);
        return false;
    }
    if (argc > 1) {
        fprintf(stderr, "%s: '%s' is not an option; see %s --help\n", name,
                argv[1], name);
        return false;
    }
    return true;
}

bool cli_check_file(const char *option, const char *path, int mode,
                    const char *target)
{
    const char *name = g_get_prgname();

    if (!path) {
        fprintf(stderr, "%s: --%s is needed ('make %s' gives it)\n", name,
                option, target);
        return false;
    }
    if (!g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
        fprintf(stderr, "%s: --%s %s: there is no such file\n", name, option,
                path);
        return false;
    }
    if (access(path, mode)) {
        fprintf(stderr, "%s: --%s %s: %s\n", name, option, path,
                strerror(errno));
        return false;
    }
    return true;
}

bool cli_check_number(const char *option, int value, int min, int max)
{
    if (value < min || value > max) {
        fprintf(stderr, "%s: --%s must be between %d and %d\n",
                g_get_prgname(), option, min, max);
        return false;
    }
    return true;
}

static bool check_devices(const ScenarioConfig *c)
{
    Error *err = NULL;

    if (!scenario_check_config(c, &err)) {
        fprintf(stderr, "%s: %s\n", g_get_prgname(), error_get_pretty(err));
        error_free(err);
        return false;
    }
    return true;
}

bool cli_check_config(const ScenarioConfig *c)
{
    return check_devices(c) &&
           cli_check_number("smp", c->smp, 1, 64) &&
           cli_check_number("memory", c->memory_mib, 128, 1 << 20) &&
           cli_check_number("disk-size", c->disk_mib, 256, 1 << 20) &&
           cli_check_number("interval", c->interval_ms, 10, 1000000);
}
