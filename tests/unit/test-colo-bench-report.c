/*
 * Tests of the bench's reports: table, JSON against its schema, pictures
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <math.h>
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qnum.h"
#include "bench-json.h"
#include "bench-table.h"
#include "colo-bench-sample.h"
#include "colo-json-schema.h"

static const char *const pictures[] = {
    "pauses", "latency-echo", "latency-connect", "latency-udp", "failover",
    "throughput", "packets", "ratios",
};

static void test_format(void)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        { 0, "0" },           { 0.0001234, "0.000123" }, { 0.5, "0.500" },
        { 0.9996, "1.00" },   { 7.414, "7.41" },     { 9.996, "10.0" },
        { 45.24, "45.2" },    { 99.96, "100" },      { 1234.4, "1234" },
        { 9999.4, "9999" },   { 9999.6, "10.0 k" },  { 45240, "45.2 k" },
        { 99960, "100 k" },   { 452400, "452 k" },   { 999600, "1.00 M" },
        { 12.34e6, "12.3 M" }, { 450e6, "450 M" },   { INFINITY, "inf" },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *text = bench_format(cases[i].value);

        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

/* The line of @table that begins with @title, less doubled blanks */
static char *line_of(const char *table, const char *title)
{
    g_auto(GStrv) lines = g_strsplit(table, "\n", -1);

    for (int i = 0; lines[i]; i++) {
        const char *begin = lines[i] + strspn(lines[i], "| ");

        if (g_str_has_prefix(begin, title)) {
            g_autoptr(GRegex) blanks = g_regex_new(" +", 0, 0, NULL);

            return g_regex_replace_literal(blanks, begin, -1, 0, " ", 0, NULL);
        }
    }
    g_error("no line '%s' in the table:\n%s", title, table);
}

static void assert_line(const char *table, const char *title, const char *want)
{
    g_autofree char *line = line_of(table, title);

    if (!g_pattern_match_simple(want, line)) {
        g_error("the line\n%s\nis not like\n%s", line, want);
    }
}

static void test_table(void)
{
    g_autoptr(BenchResults) results = bench_sample(5);
    g_autofree char *text = bench_table(results, &bench_sample_info,
                                        BENCH_TABLE_TEXT);
    g_autofree char *markdown = bench_table(results, &bench_sample_info,
                                            BENCH_TABLE_MARKDOWN);

    assert_line(text, "pause, idle", "pause, idle [ms] p50 1.* better *");
    assert_line(text, "disk, read", "disk, read [MB/s] 302 302 - 1.00 "
                "1.00 to 1.00 tie *");
    assert_line(text, "CPU seconds per guest second, primary, idle",
                "* 0.0* 1.* worse ");
    /* Missing for the baseline: with its reason, and without a ratio */
    assert_line(text, "small requests", "small requests [1/s] "
                "2* [1] ???? ");
    assert_line(text, "[1] ", "[1] baseline: it hangs at the second "
                "connection");
    assert_line(text, "settings:", "*; 5 rounds");
    assert_line(text, "device state, saved", "*[ms] p50 0.*");
    /* Nothing is known of it. */
    g_assert_null(strstr(text, "RSS"));
    g_assert_null(strstr(text, "**"));

    assert_line(markdown, "pause, idle",
                "pause, idle [ms] | p50 | 1.* | ??better?? | * |");
    assert_line(markdown, "metric", "metric | | ours | baseline | alone | "
                "ratio | spread | verdict | to limit |");
}

static void test_too_few(void)
{
    g_autoptr(BenchResults) results = bench_sample(3);
    g_autofree char *text = bench_table(results, &bench_sample_info,
                                        BENCH_TABLE_TEXT);

    assert_line(text, "pause, idle", "* ? *");
    g_assert_nonnull(strstr(text, "need at least 5 rounds"));
    g_assert_null(strstr(text, " tie "));
}

static void test_empty(void)
{
    g_autoptr(BenchResults) results = bench_results_new();
    g_autofree char *text = bench_table(results, &bench_sample_info,
                                        BENCH_TABLE_TEXT);

    assert_line(text, "settings:", "*; 0 rounds");
    g_assert_null(strstr(text, "nan"));
}

static QDict *load_schema(void)
{
    g_autofree char *path = g_build_filename(g_getenv("COLO_DOCS"),
                                             "bench-results.schema.json",
                                             NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) gerr = NULL;

    if (!g_file_get_contents(path, &text, NULL, &gerr)) {
        g_error("%s", gerr->message);
    }
    return qobject_to(QDict, qobject_from_json(text, &error_abort));
}

static void assert_valid(const BenchResults *results)
{
    g_autoptr(QDict) schema = load_schema();
    g_autoptr(QDict) dict = bench_json(results, &bench_sample_info);
    g_autoptr(GString) text = qobject_to_json(QOBJECT(dict));
    /* What others will read, not what we had in mind */
    QObject *parsed = qobject_from_json(text->str, &error_abort);

    json_schema_check(schema, parsed, &error_abort);
    qobject_unref(parsed);
}

static void test_json(void)
{
    const int rounds[] = { 0, 1, 5 };

    for (int i = 0; i < ARRAY_SIZE(rounds); i++) {
        g_autoptr(BenchResults) results = bench_sample(rounds[i]);

        assert_valid(results);
    }
}

static QDict *metric_of(QDict *dict, const char *name)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(dict, "metrics"), e) {
        QDict *metric = qobject_to(QDict, qlist_entry_obj(e));

        if (g_str_equal(qdict_get_str(metric, "name"), name)) {
            return metric;
        }
    }
    g_error("no metric '%s' in the JSON", name);
}

static QDict *walk(QDict *dict, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, "/", -1);

    for (int i = 0; names[i]; i++) {
        dict = qdict_get_qdict(dict, names[i]);
        g_assert_nonnull(dict);
    }
    return dict;
}

static void test_json_content(void)
{
    g_autoptr(BenchResults) results = bench_sample(5);
    g_autoptr(QDict) dict = bench_json(results, &bench_sample_info);
    QDict *metric, *ratio;

    metric = metric_of(dict, "disk.read");
    g_assert_cmpfloat(qdict_get_double(walk(metric, "variants/a/figures/value"),
                                       "median"), ==, 302);
    ratio = walk(metric, "ratios/value");
    g_assert_cmpstr(qdict_get_str(ratio, "verdict"), ==, "tie");
    g_assert_cmpfloat(qdict_get_double(ratio, "median"), ==, 1);
    g_assert_cmpint(qdict_get_int(ratio, "rounds"), ==, 5);

    metric = metric_of(dict, "requests.rate");
    g_assert_cmpstr(qdict_get_str(walk(metric, "variants/b"), "missing"), ==,
                    "it hangs at the second connection");
    g_assert_cmpint(qdict_size(walk(metric, "ratios")), ==, 0);

    metric = metric_of(dict, "cost.ram.rss");
    g_assert_cmpint(qdict_size(walk(metric, "variants")), ==, 0);
}

/* A validator that agrees with everything would be of no use. */
static void test_schema_refuses(void)
{
    static const struct {
        const char *json, *why;
    } cases[] = {
        { "[]", "$: is not of type object" },
        { "{}", "$: has no member 'n'" },
        { "{'n': 1, 'x': 2}", "$.x: is not in the schema" },
        { "{'n': -1}", "$.n: is too small" },
        { "{'n': 9}", "$.n: is too large" },
        { "{'n': 1.5}", "$.n: is not of type integer" },
        { "{'n': 1, 'l': ['a', 'c']}",
          "$.l[1]: is none of the values allowed" },
        { "{'n': 1, 'l': ['a', 'b']}", NULL },
    };
    QObject *schema = qobject_from_json(
        "{'type': 'object', 'required': ['n'], 'additionalProperties': false,"
        " 'properties': {'n': {'type': 'integer', 'minimum': 0, 'maximum': 8},"
        " 'l': {'type': 'array', 'items': {'$ref': '#/$defs/ab'}}},"
        " '$defs': {'ab': {'type': 'string', 'enum': ['a', 'b']}}}",
        &error_abort);

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        QObject *value = qobject_from_json(cases[i].json, &error_abort);
        Error *err = NULL;

        g_assert_cmpint(json_schema_check(qobject_to(QDict, schema), value,
                                          &err), ==, !cases[i].why);
        if (err) {
            g_assert_cmpstr(error_get_pretty(err), ==, cases[i].why);
            error_free(err);
        }
        qobject_unref(value);
    }
    qobject_unref(schema);
}

static char *make_dir(void)
{
    char *dir = g_dir_make_tmp("colo-bench-XXXXXX", NULL);

    g_assert_nonnull(dir);
    return dir;
}

/* Whether @name was there; it is not afterwards. */
static bool take_file(const char *dir, const char *name, const char *magic)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *content = NULL;

    if (!g_file_get_contents(path, &content, NULL, NULL)) {
        return false;
    }
    if (magic && !g_str_has_prefix(content, magic)) {
        g_error("%s does not begin as such a file does", path);
    }
    g_assert_cmpint(g_unlink(path), ==, 0);
    return true;
}

static void take_texts(const char *dir)
{
    g_assert_true(take_file(dir, "table.txt", "ours against baseline"));
    g_assert_true(take_file(dir, "table.md", "### ours against baseline"));
    g_assert_true(take_file(dir, "results.json", "{"));
}

static void test_write(void)
{
    g_autoptr(BenchResults) results = bench_sample(5);
    g_autofree char *top = make_dir();
    g_autofree char *dir = g_build_filename(top, "it's new", NULL);
    g_autofree char *gnuplot = g_find_program_in_path("gnuplot");

    if (!gnuplot) {
        g_rmdir(top);
        g_test_skip("gnuplot is not installed: apt-get install gnuplot-nox");
        return;
    }
    bench_report_write(results, &bench_sample_info, dir, true, &error_abort);
    take_texts(dir);
    for (int i = 0; i < ARRAY_SIZE(pictures); i++) {
        g_autofree char *svg = g_strdup_printf("%s.svg", pictures[i]);
        g_autofree char *png = g_strdup_printf("%s.png", pictures[i]);

        g_assert_true(take_file(dir, svg, "<?xml"));
        g_assert_true(take_file(dir, png, "\x89PNG"));
    }
    /* That was all. */
    g_assert_cmpint(g_rmdir(dir), ==, 0);
    g_assert_cmpint(g_rmdir(top), ==, 0);
}

/* No results: no pictures, and no complaint */
static void test_write_nothing(void)
{
    g_autoptr(BenchResults) results = bench_results_new();
    g_autofree char *dir = make_dir();

    bench_report_write(results, &bench_sample_info, dir, true, &error_abort);
    take_texts(dir);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* Between two measurements: no pictures yet */
static void test_write_texts(void)
{
    g_autoptr(BenchResults) results = bench_sample(1);
    g_autofree char *dir = make_dir();

    bench_report_write(results, &bench_sample_info, dir, false, &error_abort);
    take_texts(dir);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* What was measured in some of the rounds only says so, and why. */
static void test_table_rounds(void)
{
    g_autoptr(BenchResults) results = bench_results_new();
    g_autofree char *text = NULL;

    for (unsigned round = 0; round < 5; round++) {
        bench_results_add(results, "requests.rate", BENCH_A, round, 200);
    }
    bench_results_add(results, "requests.rate", BENCH_B, 0, 100);
    bench_results_add(results, "resync.all.time", BENCH_A, 0, 50);
    bench_results_missing(results, "requests.rate", BENCH_B, "it broke");
    text = bench_table(results, &bench_sample_info, BENCH_TABLE_TEXT);
    assert_line(text, "small requests", "small requests [1/s] 200 "
                "100 [1] - *");
    assert_line(text, "resync, all changed: time", "* 50.0 [2] - *");
    assert_line(text, "[1] ", "[1] baseline: measured in 1 of 5 rounds; it "
                "broke");
    assert_line(text, "[2] ", "[2] ours: measured in 1 of 5 rounds");
}

static void test_no_gnuplot(void)
{
    g_autoptr(BenchResults) results = bench_sample(5);
    g_autofree char *dir = make_dir();
    g_autofree char *path = g_strdup(g_getenv("PATH"));
    Error *err = NULL;

    g_setenv("PATH", dir, TRUE);
    g_assert_false(bench_report_write(results, &bench_sample_info, dir, true,
                                      &err));
    g_setenv("PATH", path, TRUE);
    g_assert_nonnull(strstr(error_get_pretty(err),
                            "apt-get install gnuplot-nox"));
    error_free(err);
    take_texts(dir);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* What gnuplot says must reach whoever has to mend it. */
static void test_gnuplot_fails(void)
{
    g_autoptr(BenchResults) results = bench_sample(1);
    g_autofree char *dir = make_dir();
    g_autofree char *fake = g_build_filename(dir, "gnuplot", NULL);
    g_autofree char *path = g_strdup(g_getenv("PATH"));
    g_autofree char *first = g_strdup_printf("%s:%s", dir, path);
    Error *err = NULL;

    g_file_set_contents(fake, "#!/bin/sh\necho no such font; exit 3\n", -1,
                        NULL);
    g_assert_cmpint(g_chmod(fake, 0755), ==, 0);
    g_setenv("PATH", first, TRUE);
    g_assert_false(bench_report_write(results, &bench_sample_info, dir, true,
                                      &err));
    g_setenv("PATH", path, TRUE);
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "gnuplot failed at the picture 'pauses': no such font");
    error_free(err);
    take_texts(dir);
    g_assert_cmpint(g_unlink(fake), ==, 0);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

static void test_no_directory(void)
{
    g_autoptr(BenchResults) results = bench_sample(1);
    Error *err = NULL;

    g_assert_false(bench_report_write(results, &bench_sample_info,
                                      "/proc/no/such", true, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "/proc/no/such"));
    error_free(err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench-report/format", test_format);
    g_test_add_func("/bench-report/table", test_table);
    g_test_add_func("/bench-report/too-few", test_too_few);
    g_test_add_func("/bench-report/empty", test_empty);
    g_test_add_func("/bench-report/json/schema", test_json);
    g_test_add_func("/bench-report/json/content", test_json_content);
    g_test_add_func("/bench-report/json/refuses", test_schema_refuses);
    g_test_add_func("/bench-report/write/all", test_write);
    g_test_add_func("/bench-report/write/nothing", test_write_nothing);
    g_test_add_func("/bench-report/write/texts", test_write_texts);
    g_test_add_func("/bench-report/table/rounds", test_table_rounds);
    g_test_add_func("/bench-report/write/no-gnuplot", test_no_gnuplot);
    g_test_add_func("/bench-report/write/gnuplot-fails", test_gnuplot_fails);
    g_test_add_func("/bench-report/write/no-directory", test_no_directory);
    return g_test_run();
}
