/*
 * Procedure: taking the commands out of docs/COLO-FT.txt
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "procedure.h"

#define WAIT_FOR "wait for "

typedef struct Block {
    char *name;        /* "disk-attach" or "nic=virtio-net" */
    bool is_choice;
    int indent;        /* of its heading */
    int line;          /* of its heading, from 1 */
    bool remarks;      /* it has some */
    GPtrArray *lines;  /* NULL-terminated once parsed */
} Block;

struct Procedure {
    GPtrArray *blocks;
};

static void block_free(void *opaque)
{
    Block *block = opaque;

    g_free(block->name);
    g_ptr_array_unref(block->lines);
    g_free(block);
}

void procedure_free(Procedure *procedure)
{
    if (procedure) {
        g_ptr_array_unref(procedure->blocks);
        g_free(procedure);
    }
}

static const Block *procedure_find(const Procedure *procedure,
                                   bool is_choice, const char *name)
{
    for (guint i = 0; i < procedure->blocks->len; i++) {
        const Block *block = g_ptr_array_index(procedure->blocks, i);

        if (block->is_choice == is_choice && g_str_equal(block->name, name)) {
            return block;
        }
    }
    return NULL;
}

static int indentation(const char *line)
{
    return strspn(line, " ");
}

/*
 * "Step NAME, on ...:" and "Choice NAME=VALUE:" are headings.  Returns NULL
 * for any other line.
 */
static Block *block_from_heading(const char *line, int number)
{
    const char *text = line + indentation(line);
    bool is_choice = g_str_has_prefix(text, "Choice ");
    size_t length;
    Block *block;

    if (!g_str_has_suffix(text, ":") ||
        !(is_choice || g_str_has_prefix(text, "Step "))) {
        return NULL;
    }
    text = strchr(text, ' ') + 1;
    length = strcspn(text, is_choice ? ":" : ",:");
    block = g_new0(Block, 1);
    block->name = g_strndup(text, length);
    block->is_choice = is_choice;
    block->indent = indentation(line);
    block->line = number;
    block->lines = g_ptr_array_new_with_free_func(g_free);
    return block;
}

static bool block_finish(Procedure *procedure, Block *block, Error **errp)
{
    const Block *before = procedure_find(procedure, block->is_choice,
                                         block->name);

    if (before) {
        error_setg(errp, "line %d: '%s' was defined before, on line %d",
                   block->line, block->name, before->line);
    } else if (!block->lines->len && !block->remarks) {
        error_setg(errp, "line %d: nothing stands under '%s'",
                   block->line, block->name);
    } else if (!*block->name || strchr(block->name, ' ')) {
        error_setg(errp, "line %d: '%s' is not a name",
                   block->line, block->name);
    } else {
        g_ptr_array_add(block->lines, NULL);
        g_ptr_array_add(procedure->blocks, block);
        return true;
    }
    block_free(block);
    return false;
}

/* Joins lines that end in a backslash; adds the others to @block. */
static void block_add_line(Block *block, GString *pending, const char *line)
{
    const char *text = line + (pending->len ? 0 : indentation(line));
    size_t length = strlen(text);

    if (pending->len) {
        /* A shell keeps the indentation, which then only parts words. */
        text += MAX(indentation(text) - 1, 0);
        length = strlen(text);
    }
    if (length && text[length - 1] == '\\') {
        g_string_append_len(pending, text, length - 1);
        return;
    }
    g_string_append_len(pending, text, length);
    g_strchomp(pending->str);
    if (pending->str[0] != '#') {
        g_ptr_array_add(block->lines, g_strdup(pending->str));
    } else {
        block->remarks = true;
    }
    g_string_truncate(pending, 0);
}

static bool procedure_parse_lines(Procedure *procedure, char **lines,
                                  Error **errp)
{
    g_autoptr(GString) pending = g_string_new(NULL);
    Block *block = NULL;

    for (int i = 0; lines[i]; i++) {
        const char *line = g_strchomp(lines[i]);

        if (block && *line && indentation(line) <= block->indent) {
            Block *ended = block;

            block = NULL;
            if (pending->len) {
                error_setg(errp, "line %d: the line before ends in a "
                           "backslash, and nothing follows", i + 1);
                block_free(ended);
                return false;
            }
            if (!block_finish(procedure, ended, errp)) {
                return false;
            }
        }
        if (!block) {
            block = block_from_heading(line, i + 1);
        } else if (*line) {
            block_add_line(block, pending, line);
        }
    }
    if (!block) {
        return true;
    }
    if (pending->len) {
        error_setg(errp, "the last line ends in a backslash");
        block_free(block);
        return false;
    }
    return block_finish(procedure, block, errp);
}

Procedure *procedure_parse(const char *text, Error **errp)
{
    Procedure *procedure = g_new0(Procedure, 1);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    procedure->blocks = g_ptr_array_new_with_free_func(block_free);
    if (!procedure_parse_lines(procedure, lines, errp)) {
        procedure_free(procedure);
        return NULL;
    }
    return procedure;
}

char *const *procedure_step(const Procedure *procedure, const char *name,
                            Error **errp)
{
    const Block *block = procedure_find(procedure, false, name);

    if (!block) {
        error_setg(errp, "the procedure has no step '%s'", name);
        return NULL;
    }
    return (char *const *)block->lines->pdata;
}

char *const *procedure_step_chosen(const Procedure *procedure,
                                   const char *name, GHashTable *vars,
                                   Error **errp)
{
    const char *instead = g_hash_table_lookup(vars, "instead");
    g_autofree char *other = g_strconcat(name, instead, NULL);

    return procedure_step(procedure, procedure_find(procedure, false, other) ?
                          other : name, errp);
}

const char **procedure_steps(const Procedure *procedure)
{
    GPtrArray *names = g_ptr_array_new();

    for (guint i = 0; i < procedure->blocks->len; i++) {
        const Block *block = g_ptr_array_index(procedure->blocks, i);

        if (!block->is_choice) {
            g_ptr_array_add(names, block->name);
        }
    }
    g_ptr_array_add(names, NULL);
    return (const char **)g_ptr_array_free(names, false);
}

/* "rtl8139 e1000 virtio-net", for choice "nic" */
static char *choice_values(const Procedure *procedure, const char *name)
{
    g_autofree char *prefix = g_strdup_printf("%s=", name);
    GString *values = g_string_new(NULL);

    for (guint i = 0; i < procedure->blocks->len; i++) {
        const Block *block = g_ptr_array_index(procedure->blocks, i);

        if (block->is_choice && g_str_has_prefix(block->name, prefix)) {
            g_string_append_printf(values, "%s%s", values->len ? " " : "",
                                   block->name + strlen(prefix));
        }
    }
    return g_string_free(values, false);
}

bool procedure_choose(const Procedure *procedure, const char *name,
                      const char *value, GHashTable *vars, Error **errp)
{
    g_autofree char *key = g_strdup_printf("%s=%s", name, value);
    const Block *block = procedure_find(procedure, true, key);

    if (!block) {
        g_autofree char *values = choice_values(procedure, name);

        error_setg(errp, "there is no %s '%s', only: %s", name, value,
                   values);
        return false;
    }
    for (guint i = 0; i < block->lines->len - 1; i++) {
        g_auto(GStrv) words = g_strsplit(
            g_ptr_array_index(block->lines, i), "=", 2);

        if (words[0][0] != '$' || !words[1]) {
            error_setg(errp, "choice '%s': '%s' is not '$NAME = VALUE'",
                       key, (char *)g_ptr_array_index(block->lines, i));
            return false;
        }
        g_strstrip(words[1]);
        g_hash_table_insert(vars, g_strdup(g_strchomp(words[0]) + 1),
                            g_strdup(words[1]));
    }
    return true;
}

char *procedure_expand(const char *command, GHashTable *vars, Error **errp)
{
    g_autoptr(GString) out = g_string_new(NULL);

    while (*command) {
        size_t plain = strcspn(command, "$");
        size_t length = 0;
        g_autofree char *name = NULL;
        const char *value;

        g_string_append_len(out, command, plain);
        command += plain;
        if (!*command) {
            break;
        }
        command++;
        while (g_ascii_isalnum(command[length]) || command[length] == '_') {
            length++;
        }
        name = g_strndup(command, length);
        value = g_hash_table_lookup(vars, name);
        if (!value) {
            error_setg(errp, "the variable '$%s' has no value", name);
            return NULL;
        }
        g_string_append(out, value);
        command += length;
    }
    return g_strdup(out->str);
}

bool procedure_is_qmp(const char *command)
{
    return command[0] == '{';
}

const char *procedure_wait_event(const char *command)
{
    if (!g_str_has_prefix(command, WAIT_FOR)) {
        return NULL;
    }
    return command + strlen(WAIT_FOR);
}
