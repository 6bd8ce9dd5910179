/*
 * How the sanitizers run in fuzz targets: most of an execution went into their
 * allocator, which fills and remembers blocks for longer than one input lasts.
 * What they find stays: overruns, use after free within one input, leaks.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "max_malloc_fill_size=0:malloc_context_size=3:quarantine_size_mb=1:"
           "thread_local_quarantine_size_kb=256";
}
