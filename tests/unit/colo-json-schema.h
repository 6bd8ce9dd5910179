/*
 * Does a JSON value agree with a JSON Schema?
 *
 * Knows what our schemas use of draft 2020-12: $ref into $defs, type, enum
 * (of strings and integers), required, properties, additionalProperties:
 * false, items, minimum, maximum.  Any other keyword but the describing ones
 * ($schema, title, description) is refused, so that none is silently passed
 * over.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_JSON_SCHEMA_H
#define COLO_JSON_SCHEMA_H

#include "qapi/error.h"
#include "qapi/qmp/qdict.h"

/* @errp says where @value differs. */
bool json_schema_check(QDict *schema, QObject *value, Error **errp);

#endif
