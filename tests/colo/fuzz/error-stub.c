/*
 * Error for the fuzz targets: util/error.c without the monitor behind it
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"

struct Error {
    char *text;
};

Error *error_abort, *error_fatal, *error_warn;

void error_setg_internal(Error **errp, const char *src, int line,
                         const char *func, const char *fmt, ...)
{
    va_list ap;

    if (!errp) {
        return;
    }
    assert(!*errp);
    *errp = g_new0(Error, 1);
    va_start(ap, fmt);
    (*errp)->text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
}

const char *error_get_pretty(const Error *err)
{
    return err->text;
}

void error_free(Error *err)
{
    if (err) {
        g_free(err->text);
        g_free(err);
    }
}
