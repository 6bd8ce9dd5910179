/*
 * What libFuzzer calls
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_FUZZ_H
#define COLO_FUZZ_H

/* Always return 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
