/*
 * Does a JSON value agree with a JSON Schema?
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qbool.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qnum.h"
#include "qapi/qmp/qstring.h"
#include "colo-json-schema.h"

typedef struct Checker {
    QDict *root;
    Error **errp;
} Checker;

static bool check(Checker *c, QDict *schema, QObject *value,
                  const char *where);

static bool G_GNUC_PRINTF(3, 4) refuse(Checker *c, const char *where,
                                       const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_setg(c->errp, "%s: %s", where, text);
    return false;
}

static bool check_keywords(Checker *c, QDict *schema, const char *where)
{
    static const char *const known[] = {
        "$schema", "$defs", "$ref", "title", "description", "type", "enum",
        "required", "properties", "additionalProperties", "items", "minimum",
        "maximum", NULL
    };
    const QDictEntry *e;

    for (e = qdict_first(schema); e; e = qdict_next(schema, e)) {
        if (!g_strv_contains(known, qdict_entry_key(e))) {
            return refuse(c, where, "the schema's keyword '%s' is unknown",
                          qdict_entry_key(e));
        }
    }
    return true;
}

static bool is_integer(QObject *value)
{
    int64_t i;

    return qobject_to(QNum, value) &&
           qnum_get_try_int(qobject_to(QNum, value), &i);
}

static bool check_type(Checker *c, const char *type, QObject *value,
                       const char *where)
{
    bool ok = g_str_equal(type, "object") ? qobject_type(value) == QTYPE_QDICT :
              g_str_equal(type, "array") ? qobject_type(value) == QTYPE_QLIST :
              g_str_equal(type, "string") ?
                  qobject_type(value) == QTYPE_QSTRING :
              g_str_equal(type, "number") ? qobject_type(value) == QTYPE_QNUM :
              g_str_equal(type, "integer") && is_integer(value);

    return ok || refuse(c, where, "is not of type %s", type);
}

static bool check_enum(Checker *c, QList *list, QObject *value,
                       const char *where)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(list, e) {
        if (qobject_is_equal(qlist_entry_obj(e), value)) {
            return true;
        }
    }
    return refuse(c, where, "is none of the values allowed");
}

static bool check_bounds(Checker *c, QDict *schema, QObject *value,
                         const char *where)
{
    QNum *num = qobject_to(QNum, value);
    QNum *minimum = qobject_to(QNum, qdict_get(schema, "minimum"));
    QNum *maximum = qobject_to(QNum, qdict_get(schema, "maximum"));

    if (num && minimum && qnum_get_double(num) < qnum_get_double(minimum)) {
        return refuse(c, where, "is too small");
    }
    if (num && maximum && qnum_get_double(num) > qnum_get_double(maximum)) {
        return refuse(c, where, "is too large");
    }
    return true;
}

static bool check_required(Checker *c, QList *names, QDict *value,
                           const char *where)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(names, e) {
        const char *name = qstring_get_str(
            qobject_to(QString, qlist_entry_obj(e)));

        if (!qdict_haskey(value, name)) {
            return refuse(c, where, "has no member '%s'", name);
        }
    }
    return true;
}

static bool check_members(Checker *c, QDict *schema, QDict *value,
                          const char *where)
{
    QDict *properties = qdict_get_qdict(schema, "properties");
    bool others = qdict_get_try_bool(schema, "additionalProperties", true);
    const QDictEntry *e;

    for (e = qdict_first(value); e; e = qdict_next(value, e)) {
        const char *name = qdict_entry_key(e);
        g_autofree char *at = g_strdup_printf("%s.%s", where, name);
        QDict *member = properties ? qdict_get_qdict(properties, name) : NULL;

        if (!member && !others) {
            return refuse(c, at, "is not in the schema");
        }
        if (member && !check(c, member, qdict_entry_value(e), at)) {
            return false;
        }
    }
    return true;
}

static bool check_items(Checker *c, QDict *schema, QList *value,
                        const char *where)
{
    const QListEntry *e;
    int i = 0;

    QLIST_FOREACH_ENTRY(value, e) {
        g_autofree char *at = g_strdup_printf("%s[%d]", where, i++);

        if (!check(c, schema, qlist_entry_obj(e), at)) {
            return false;
        }
    }
    return true;
}

static bool check_ref(Checker *c, const char *ref, QObject *value,
                      const char *where)
{
    QDict *defs = qdict_get_qdict(c->root, "$defs");
    QDict *schema = NULL;

    if (defs && g_str_has_prefix(ref, "#/$defs/")) {
        schema = qdict_get_qdict(defs, ref + strlen("#/$defs/"));
    }
    return schema ? check(c, schema, value, where) :
                    refuse(c, where, "the schema has no '%s'", ref);
}

static bool check(Checker *c, QDict *schema, QObject *value,
                  const char *where)
{
    const char *ref = qdict_get_try_str(schema, "$ref");
    const char *type = qdict_get_try_str(schema, "type");
    QList *values = qdict_get_qlist(schema, "enum");
    QList *required = qdict_get_qlist(schema, "required");
    QDict *items = qdict_get_qdict(schema, "items");
    QDict *dict = qobject_to(QDict, value);
    QList *list = qobject_to(QList, value);

    return check_keywords(c, schema, where) &&
           (!ref || check_ref(c, ref, value, where)) &&
           (!type || check_type(c, type, value, where)) &&
           (!values || check_enum(c, values, value, where)) &&
           check_bounds(c, schema, value, where) &&
           (!dict || !required || check_required(c, required, dict, where)) &&
           (!dict || check_members(c, schema, dict, where)) &&
           (!list || !items || check_items(c, items, list, where));
}

bool json_schema_check(QDict *schema, QObject *value, Error **errp)
{
    Checker c = { .root = schema, .errp = errp };

    return check(&c, schema, value, "$");
}
