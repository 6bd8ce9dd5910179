/*
 * The procedure's parser, and the procedure itself
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qjson.h"
#include "procedure.h"
#include "procedure-text.h"

static const char small[] =
    "Some prose about Step things.\n"
    "\n"
    "  Step first, on the host:\n"
    "\n"
    "    # a remark\n"
    "    qemu-img create $a \\\n"
    "        -f qcow2\n"
    "\n"
    "    {'execute': 'stop'}\n"
    "\n"
    "Prose again.\n"
    "  Choice nic=good:\n"
    "    $nic = rtl8139\n"
    "    $none =\n"
    "  Choice nic=bad:\n"
    "    nonsense\n"
    "  Step last, on the monitor:\n"
    "    wait for BLOCK_JOB_READY\n";

static void test_parse(void)
{
    Procedure *p = procedure_parse(small, &error_abort);
    g_autofree const char **steps = procedure_steps(p);
    char *const *lines;

    g_assert_cmpstr(steps[0], ==, "first");
    g_assert_cmpstr(steps[1], ==, "last");
    g_assert_null(steps[2]);

    lines = procedure_step(p, "first", &error_abort);
    g_assert_cmpstr(lines[0], ==, "qemu-img create $a  -f qcow2");
    g_assert_cmpstr(lines[1], ==, "{'execute': 'stop'}");
    g_assert_null(lines[2]);
    g_assert_false(procedure_is_qmp(lines[0]));
    g_assert_true(procedure_is_qmp(lines[1]));
    g_assert_null(procedure_wait_event(lines[1]));

    lines = procedure_step(p, "last", &error_abort);
    g_assert_cmpstr(procedure_wait_event(lines[0]), ==, "BLOCK_JOB_READY");
    g_assert_null(lines[1]);
    procedure_free(p);
}

static void test_no_step(void)
{
    Procedure *p = procedure_parse(small, &error_abort);
    Error *err = NULL;

    g_assert_null(procedure_step(p, "nic=good", &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "the procedure has no step 'nic=good'");
    error_free(err);
    procedure_free(p);
}

static void test_choose(void)
{
    Procedure *p = procedure_parse(small, &error_abort);
    g_autoptr(GHashTable) vars = g_hash_table_new_full(g_str_hash,
                                                       g_str_equal, g_free,
                                                       g_free);
    Error *err = NULL;

    g_assert_true(procedure_choose(p, "nic", "good", vars, &error_abort));
    g_assert_cmpstr(g_hash_table_lookup(vars, "nic"), ==, "rtl8139");
    g_assert_cmpstr(g_hash_table_lookup(vars, "none"), ==, "");

    g_assert_false(procedure_choose(p, "nic", "bad", vars, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "choice 'nic=bad': 'nonsense' is not '$NAME = VALUE'");
    g_clear_pointer(&err, error_free);

    g_assert_false(procedure_choose(p, "nic", "ugly", vars, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "there is no nic 'ugly', only: good bad");
    error_free(err);
    procedure_free(p);
}

static void test_instead(void)
{
    static const char text[] =
        "Step a, x:\n  one\n"
        "Step b, x:\n  two\n"
        "Step c, x:\n  three\n"
        "Step a/other, x:\n  four\n"
        "Step b/other, x:\n  # nothing\n"
        "Choice way=this:\n  $instead =\n"
        "Choice way=other:\n  $instead = /other\n";
    Procedure *p = procedure_parse(text, &error_abort);
    g_autoptr(GHashTable) vars = g_hash_table_new_full(g_str_hash,
                                                       g_str_equal, g_free,
                                                       g_free);
    Error *err = NULL;
#define FIRST_OF(step) procedure_step_chosen(p, step, vars, &error_abort)[0]

    g_assert_cmpstr(FIRST_OF("a"), ==, "one");
    procedure_choose(p, "way", "this", vars, &error_abort);
    g_assert_cmpstr(FIRST_OF("a"), ==, "one");
    procedure_choose(p, "way", "other", vars, &error_abort);
    g_assert_cmpstr(FIRST_OF("a"), ==, "four");
    g_assert_null(FIRST_OF("b"));
    g_assert_cmpstr(FIRST_OF("c"), ==, "three");
    g_assert_null(procedure_step_chosen(p, "d", vars, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "the procedure has no step 'd'");
    error_free(err);
#undef FIRST_OF
    procedure_free(p);
}

static const struct {
    const char *text;
    const char *error;
} wrong[] = {
    { "Step a, x:\n  one\nStep a, y:\n  two\n",
      "line 3: 'a' was defined before, on line 1" },
    { "Step a, x:\nnothing\n", "line 1: nothing stands under 'a'" },
    { "Step two words, x:\n  one\n", "line 1: 'two words' is not a name" },
    { "Step a, x:\n  one \\\n", "the last line ends in a backslash" },
    { "Step a, x:\n  one \\\nprose\n",
      "line 3: the line before ends in a backslash, and nothing follows" },
};

static void test_wrong(void)
{
    for (int i = 0; i < ARRAY_SIZE(wrong); i++) {
        Error *err = NULL;

        g_assert_null(procedure_parse(wrong[i].text, &err));
        g_assert_cmpstr(error_get_pretty(err), ==, wrong[i].error);
        error_free(err);
    }
}

static void test_expand(void)
{
    g_autoptr(GHashTable) vars = g_hash_table_new(g_str_hash, g_str_equal);
    g_autofree char *text = NULL;
    Error *err = NULL;

    g_hash_table_insert(vars, (char *)"a", (char *)"1");
    g_hash_table_insert(vars, (char *)"a_b", (char *)"$c");
    text = procedure_expand("$a,$a_b.$a", vars, &error_abort);
    g_assert_cmpstr(text, ==, "1,$c.1");
    g_assert_null(procedure_expand("x $c", vars, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "the variable '$c' has no value");
    g_clear_pointer(&err, error_free);
    g_assert_null(procedure_expand("x $", vars, &err));
    error_free(err);
}

/*
 * Each step of the document must be complete under each choice: shell lines
 * that split into words, and monitor lines that are JSON.
 */
static void check_document(Procedure *p, const char *nic, const char *disk)
{
    static const char *const names[] = {
        "images", "size", "primary_ip", "secondary_ip", "accel", "cpu",
        "memory", "smp", "tap", "local",
    };
    g_autoptr(GHashTable) vars = g_hash_table_new_full(g_str_hash,
                                                       g_str_equal, g_free,
                                                       g_free);
    g_autofree const char **steps = procedure_steps(p);

    for (int i = 0; i < ARRAY_SIZE(names); i++) {
        g_hash_table_insert(vars, g_strdup(names[i]), g_strdup("value"));
    }
    g_hash_table_insert(vars, g_strdup("interval"), g_strdup("100"));
    procedure_choose(p, "machine", "pc", vars, &error_abort);
    procedure_choose(p, "nic", nic, vars, &error_abort);
    procedure_choose(p, "disk", disk, vars, &error_abort);
    procedure_choose(p, "compare", "filter-compare", vars, &error_abort);

    for (int i = 0; steps[i]; i++) {
        char *const *lines = procedure_step(p, steps[i], &error_abort);

        for (int j = 0; lines[j]; j++) {
            g_autofree char *text = procedure_expand(lines[j], vars,
                                                     &error_abort);
            g_auto(GStrv) argv = NULL;

            if (procedure_is_qmp(text)) {
                QObject *obj = qobject_from_json(text, &error_abort);

                g_assert_true(qdict_haskey(qobject_to(QDict, obj),
                                           "execute"));
                qobject_unref(obj);
            } else if (!procedure_wait_event(text)) {
                g_assert_true(g_shell_parse_argv(text, NULL, &argv, NULL));
                g_assert_true(g_str_has_prefix(argv[0], "qemu-"));
            }
        }
    }
}

static void test_document(void)
{
    static const char *const nics[] = { "rtl8139", "e1000", "virtio-net" };
    static const char *const disks[] = { "ide", "virtio-blk", "virtio-scsi" };
    Procedure *p = procedure_parse(colo_procedure_text, &error_abort);

    for (int i = 0; i < ARRAY_SIZE(nics); i++) {
        for (int j = 0; j < ARRAY_SIZE(disks); j++) {
            check_document(p, nics[i], disks[j]);
        }
    }
    procedure_free(p);
}

static bool document_has(Procedure *p, const char *line)
{
    g_autofree const char **steps = procedure_steps(p);

    for (int i = 0; steps[i]; i++) {
        char *const *lines = procedure_step(p, steps[i], &error_abort);

        for (int j = 0; lines[j]; j++) {
            if (strstr(lines[j], line)) {
                return true;
            }
        }
    }
    return false;
}

/*
 * The commands of the page on disks are the procedure's, which the tests of
 * the whole system carry out.
 */
static void test_block_document(void)
{
    Procedure *p = procedure_parse(colo_procedure_text, &error_abort);
    g_autofree char *path = g_test_build_filename(
        G_TEST_DIST, "..", "..", "docs", "block-replication.txt", NULL);
    g_autofree char *text = NULL;
    g_autofree const char **steps = NULL;
    Procedure *block;
    int drives = 0;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    block = procedure_parse(text, &error_abort);
    steps = procedure_steps(block);
    g_assert_nonnull(steps[0]);
    for (int i = 0; steps[i]; i++) {
        char *const *lines = procedure_step(block, steps[i], &error_abort);

        for (int j = 0; lines[j]; j++) {
            g_test_message("%s", lines[j]);
            g_assert_true(document_has(p, lines[j]));
        }
    }
    /* So are the parts of command lines that it explains. */
    for (const char *at = strstr(text, "\n    -drive "); at;
         at = strstr(at + 1, "\n    -drive ")) {
        g_autofree char *drive = g_strndup(at + 5, strcspn(at + 5, "\n"));

        g_test_message("%s", drive);
        g_assert_true(document_has(p, drive));
        drives++;
    }
    g_assert_cmpint(drives, ==, 3);
    procedure_free(block);
    procedure_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/procedure/parse", test_parse);
    g_test_add_func("/colo/procedure/no-step", test_no_step);
    g_test_add_func("/colo/procedure/choose", test_choose);
    g_test_add_func("/colo/procedure/instead", test_instead);
    g_test_add_func("/colo/procedure/wrong", test_wrong);
    g_test_add_func("/colo/procedure/expand", test_expand);
    g_test_add_func("/colo/procedure/document", test_document);
    g_test_add_func("/colo/procedure/block-document", test_block_document);
    return g_test_run();
}
