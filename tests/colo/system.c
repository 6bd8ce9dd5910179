/*
 * What the programs that test the whole system have in common
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "sandbox.h"
#include "system.h"

static const char *work_dir;

static G_NORETURN void fail(const char *message)
{
    fprintf(stderr, "%s: %s\n", g_get_prgname(), message);
    exit(EXIT_FAILURE);
}

static const char *required(const char *variable)
{
    const char *value = getenv(variable);

    if (!value || access(value, R_OK)) {
        g_autofree char *message = g_strdup_printf("%s must name a file: %s",
            variable, value ? strerror(errno) : "it is not set");

        fail(message);
    }
    return value;
}

void system_options(ScenarioConfig *config, const GOptionEntry *entries,
                    int *argc, char ***argv)
{
    const GOptionEntry common[] = {
        { "machine", 0, 0, G_OPTION_ARG_STRING, &config->machine, NULL, "" },
        { "disk", 0, 0, G_OPTION_ARG_STRING, &config->disk, NULL, "" },
        { "nic", 0, 0, G_OPTION_ARG_STRING, &config->nic, NULL, "" },
        { "compare", 0, 0, G_OPTION_ARG_STRING, &config->compare, NULL, "" },
        { }
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) gerr = NULL;

    g_option_context_add_main_entries(context, common, NULL);
    if (entries) {
        g_option_context_add_main_entries(context, entries, NULL);
    }
    if (!g_option_context_parse(context, argc, argv, &gerr)) {
        fail(gerr->message);
    }
    config->qemu = required("COLO_QEMU");
    config->qemu_img = required("COLO_QEMU_IMG");
    config->kernel = required("COLO_KERNEL");
    config->initrd = required("COLO_INITRD");
    if (getenv("COLO_ACCEL")) {
        config->accel = getenv("COLO_ACCEL");
    }
}

static int run(void *opaque, const char *dir)
{
    work_dir = dir;
    return g_test_run();
}

int system_run(const char *name)
{
    Error *err = NULL;
    int status = sandbox_run(name, false, run, NULL, &err);

    if (status < 0) {
        fail(error_get_pretty(err));
    }
    return status;
}

const char *system_dir(void)
{
    return work_dir;
}

void system_print_dump(const char *file)
{
    g_autofree char *path = g_build_filename(work_dir, file, NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        lines = g_strsplit(text, "\n", -1);
        for (int i = 0; lines[i]; i++) {
            printf("# %s\n", lines[i]);
        }
    }
}
