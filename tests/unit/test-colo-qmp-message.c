/*
 * QMP messages: bytes in, messages or an error out
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qstring.h"
#include "qemu/units.h"
#include "qmp-message.h"

#define TIME "'timestamp': {'seconds': 1, 'microseconds': 2}"
#define NOT_QMP "error: the peer sent what is not QMP: "
#define NOT_JSON "error: the peer sent what is not JSON: "

/* In @in, ' stands for ".  @out is a line per message. */
typedef struct Case {
    const char *name;
    const char *in;
    const char *out;
} Case;

static const Case cases[] = {
    { "nothing", "", "end\n" },
    { "white", " \r\n\t ", "end\n" },
    { "greeting", "{'QMP': {'version': {}, 'capabilities': ['oob']}}\r\n",
      "greeting\nend\n" },
    { "greeting-no-object", "{'QMP': 1}", NOT_QMP "{\"QMP\": 1}\n" },
    { "return", "{'return': {}, 'id': 1}", "return 1 {}\nend\n" },
    { "return-null", "{'return': null, 'id': 7}", "return 7 null\nend\n" },
    { "return-no-id", "{'return': [1]}", "return 0 [1]\nend\n" },
    { "return-id-string", "{'return': 1, 'id': '7'}", "return 0 1\nend\n" },
    { "return-id-fraction", "{'return': 1, 'id': 7.5}",
      "return 0 1\nend\n" },
    { "return-id-huge", "{'return': 1, 'id': 99999999999999999999999}",
      "return 0 1\nend\n" },
    { "return-string", "{'return': 'a}{b\\u00e9\\\\', 'id': 2}",
      "return 2 \"a}{b\\u00E9\\\\\"\nend\n" },
    { "two", "{'return': 1, 'id': 1}{'return': 2, 'id': 2}\n",
      "return 1 1\nreturn 2 2\nend\n" },
    { "error", "{'id': 3, 'error': {'class': 'GenericError', 'desc': 'Bad"
      " %s\\n thing'}}", "failure 3 class 0 GenericError: Bad %s\n thing\n"
      "end\n" },
    { "error-class", "{'id': 3, 'error': {'class': 'CommandNotFound', 'desc':"
      " 'x'}}", "failure 3 class 1 CommandNotFound: x\nend\n" },
    { "error-class-new", "{'id': 3, 'error': {'class': 'New', 'desc': 'x'}}",
      "failure 3 class 0 New: x\nend\n" },
    { "error-no-desc", "{'id': 3, 'error': {'class': 'GenericError'}}",
      NOT_QMP "{\"id\": 3, \"error\": {\"class\": \"GenericError\"}}"
      "\n" },
    { "error-desc-number", "{'error': {'class': 'GenericError', 'desc': 4}}",
      NOT_QMP "*" },
    { "error-no-class", "{'error': {'desc': 'x'}}", NOT_QMP "*" },
    { "error-no-object", "{'error': 'x'}", NOT_QMP "{\"error\": "
      "\"x\"}\n" },
    { "error-and-return", "{'return': 1, 'error': {'class': 'GenericError', "
      "'desc': 'x'}}", NOT_QMP "*" },
    { "event", "{'event': 'STOP', " TIME "}", "event STOP 1000002\nend\n" },
    { "event-data", "{" TIME ", 'event': 'E', 'data': {'a': [{}]}}",
      "event E 1000002 {\"a\": [{}]}\nend\n" },
    { "event-no-clock", "{'event': 'E', 'timestamp': {'seconds': -1, "
      "'microseconds': -1}}", "event E -1000001\nend\n" },
    { "event-late", "{'event': 'E', 'timestamp': {'seconds': 9223372036853, "
      "'microseconds': 999999}}", "event E 9223372036853999999\nend\n" },
    { "event-too-late", "{'event': 'E', 'timestamp': {'seconds': "
      "9223372036854, 'microseconds': 0}}", NOT_QMP "*" },
    { "event-too-early", "{'event': 'E', 'timestamp': {'seconds': "
      "-9223372036854, 'microseconds': 0}}", NOT_QMP "*" },
    { "event-microseconds", "{'event': 'E', 'timestamp': {'seconds': 1, "
      "'microseconds': 1000000}}", NOT_QMP "*" },
    { "event-no-time", "{'event': 'E'}", NOT_QMP "{\"event\": "
      "\"E\"}\n" },
    { "event-time-string", "{'event': 'E', 'timestamp': {'seconds': '1', "
      "'microseconds': 2}}", NOT_QMP "*" },
    { "event-time-half", "{'event': 'E', 'timestamp': {'seconds': 1}}",
      NOT_QMP "*" },
    { "event-name-number", "{'event': 3, " TIME "}", NOT_QMP "*" },
    { "event-data-list", "{'event': 'E', 'data': [], " TIME "}",
      NOT_QMP "*" },
    { "object-empty", "{}", NOT_QMP "{}\n" },
    { "object-other", "{'execute': 'stop'}", NOT_QMP "*" },
    { "number", "1 {'return': 1, 'id': 1}", NOT_QMP "1\n" },
    { "numbers", "1 2 3 {'return': 1, 'id': 1}", NOT_QMP "1\n" },
    { "number-at-end", "12", "middle\n" },
    { "string", "'abc'", NOT_QMP "\"abc\"\n" },
    { "list", "[1]", NOT_QMP "[1]\n" },
    { "null", "null ", NOT_QMP "null\n" },
    { "then-wrong", "{'return': 1, 'id': 1} x {'return': 2, 'id': 2}",
      "return 1 1\n" NOT_JSON "*" },
    { "garbage", "hello\n", NOT_JSON "*" },
    { "garbage-ff", "\xff\xfe", NOT_JSON "*" },
    { "garbage-control", "{'return'\x01}", NOT_JSON "*" },
    { "garbage-http", "HTTP/1.1 400 Bad Request\r\n\r\n", NOT_JSON "*" },
    { "brace", "}", NOT_JSON "*" },
    { "bracket", "]", NOT_JSON "*" },
    { "crossed", "[{]}", NOT_JSON "*" },
    { "no-value", "{'return': }", NOT_JSON "*" },
    { "no-comma", "{'return': 1 'id': 1}", NOT_JSON "*" },
    { "twice", "{'return': 1, 'return': 2, 'id': 1}", NOT_JSON "*" },
    { "percent", "{'return': %d, 'id': 1}", NOT_JSON "*" },
    { "percent-p", "%p", NOT_JSON "*" },
    { "infinite", "{'return': 1e999, 'id': 1}", "return 1 *" },
    { "no-utf8", "{'return': '\xc0\x80', 'id': 1}", "*" },
    { "bad-utf8", "{'return': '\xe9z', 'id': 1}", NOT_JSON "*" },
    { "bad-escape", "{'return': '\\x', 'id': 1}", NOT_JSON "*" },
    { "surrogate", "{'return': '\\ud800', 'id': 1}", NOT_JSON "*" },
    { "control", "{'return': 'a\nb', 'id': 1}", NOT_JSON "*" },
    { "middle-object", "{'return': ", "middle\n" },
    { "middle-string", "{'return': '", "middle\n" },
    { "middle-escape", "{'return': 1, 'id': 1}\n{'retu\\", "return 1 1\n"
      "middle\n" },
    { "middle-open", "{", "middle\n" },
};

static void trace_message(GString *out, QMPMessage *msg)
{
    g_autoptr(GString) json = NULL;

    switch (msg->type) {
    case QMP_MSG_GREETING:
        g_string_append(out, "greeting\n");
        break;
    case QMP_MSG_EVENT:
        g_string_append_printf(out, "event %s %" PRId64, msg->event,
                               msg->time_us);
        if (msg->data) {
            json = qobject_to_json(QOBJECT(msg->data));
            g_string_append_printf(out, " %s", json->str);
        }
        g_string_append(out, "\n");
        break;
    case QMP_MSG_REPLY:
        g_assert_true(!msg->ret != !msg->failure);
        if (msg->ret) {
            json = qobject_to_json(msg->ret);
            g_string_append_printf(out, "return %" PRId64 " %s\n", msg->id,
                                   json->str);
        } else {
            g_string_append_printf(out, "failure %" PRId64 " class %d %s\n",
                                   msg->id, error_get_class(msg->failure),
                                   error_get_pretty(msg->failure));
        }
        break;
    }
}

/* False where the input is wrong. */
static bool feed(QMPParser *parser, const char *in, size_t size,
                 GString *out)
{
    Error *err = NULL;
    QMPMessage *msg;

    qmp_parser_feed(parser, in, size);
    while ((msg = qmp_parser_next(parser, &err))) {
        g_assert_null(err);
        trace_message(out, msg);
        qmp_message_free(msg);
    }
    if (err) {
        g_string_append_printf(out, "error: %s\n", error_get_pretty(err));
        error_free(err);
        return false;
    }
    g_assert_false(qmp_parser_has_input(parser));
    return true;
}

/* Feeds @in up to @split, then in pieces of @step bytes; g_free() it. */
static char *parse(const char *in, size_t size, size_t split, size_t step)
{
    QMPParser *parser = qmp_parser_new();
    GString *out = g_string_new(NULL);
    bool ok = feed(parser, in, split, out);

    for (size_t i = split; ok && i < size; i += step) {
        ok = feed(parser, in + i, MIN(step, size - i), out);
    }
    if (ok) {
        g_string_append(out, qmp_parser_finish(parser) ? "end\n"
                                                       : "middle\n");
    }
    qmp_parser_free(parser);
    return g_string_free(out, false);
}

static void test_case(gconstpointer opaque)
{
    const Case *c = opaque;
    g_autofree char *in = g_strdelimit(g_strdup(c->in), "'", '"');
    size_t size = strlen(in);
    g_autofree char *whole = parse(in, size, size, 1);

    if (!g_pattern_match_simple(c->out, whole)) {
        /* For the message. */
        g_assert_cmpstr(whole, ==, c->out);
    }
    for (size_t split = 0; split < size; split++) {
        g_autofree char *parts = parse(in, size, split, size);
        g_autofree char *bytes = parse(in, size, split, 1);

        g_assert_cmpstr(parts, ==, whole);
        g_assert_cmpstr(bytes, ==, whole);
    }
}

/* A reply with @count times @unit between @head and @tail. */
static char *parse_long(const char *head, const char *unit, size_t count,
                        const char *tail)
{
    g_autoptr(GString) in = g_string_new(head);

    for (size_t i = 0; i < count; i++) {
        g_string_append(in, unit);
    }
    g_string_append(in, tail);
    return parse(in->str, in->len, 0, 16384);
}

static void test_long(void)
{
    g_autofree char *string = parse_long("{\"return\": \"", "x", MiB,
                                         "\", \"id\": 1}");
    g_autofree char *objects = parse_long("{\"return\": [{}", ",{}", 16000,
                                          "], \"id\": 1}");
    g_autofree char *many = parse_long("", "{\"return\": 1, \"id\": 5}\r\n",
                                       200000, "");

    g_assert_true(g_str_has_prefix(string, "return 1 \"xxxx"));
    g_assert_true(g_str_has_prefix(objects, "return 1 [{}, {}"));
    g_assert_true(g_str_has_suffix(objects, "\nend\n"));
    /* 4 MiB, but each message is small. */
    g_assert_true(g_str_has_suffix(many, "return 5 1\nend\n"));
    g_assert_cmpint(strlen(many), ==, 200000 * 11 + 4);
}

static void test_too_long(void)
{
    static const struct {
        const char *head, *unit;
        size_t count;
        const char *error;
    } bombs[] = {
        { "{\"return\": \"", "x", 3 * MiB, "*more than 2097152 bytes*" },
        { "", " ", 3 * MiB, "*more than 2097152 bytes*" },
        { "{\"return\": ", "1", 3 * MiB, "*more than 2097152 bytes*" },
        { "{\"return\": [1", ",1", 2 * MiB, "*more than 2097152 bytes*" },
        { "", "a", 3 * MiB, "*more than 2097152 bytes*" },
        { "{\"return\": [{}", ",{}", 17000, "*more than*16384 objects*" },
        { "{\"return\": ", "[", 2000, "*nesting depth*" },
        { "", "{\"a\":", 2000, "*nesting depth*" },
        { "", "[", 2000, "*nesting depth*" },
        { "", "\\", 3 * MiB, "*not JSON*" },
    };

    for (int i = 0; i < ARRAY_SIZE(bombs); i++) {
        g_autofree char *out = parse_long(bombs[i].head, bombs[i].unit,
                                          bombs[i].count, "");

        if (!g_pattern_match_simple(bombs[i].error, out)) {
            g_error("bomb %d: %.200s", i, out);
        }
        /* Nobody wants to read the bomb. */
        g_assert_cmpint(strlen(out), <, 600);
    }
}

static void test_excerpt(void)
{
    g_autofree char *controls = qmp_excerpt("a\n\033[1mb\"\xff");
    g_autofree char *lots = g_strnfill(1000, 'x');
    g_autofree char *little = qmp_excerpt(lots);

    g_assert_cmpstr(controls, ==, "a\\n\\033[1mb\"\\377");
    g_assert_cmpint(strlen(little), ==, 123);
    g_assert_true(g_str_has_suffix(little, "xxx..."));
}

/*
 * Valid streams with bytes changed, dropped and doubled: nothing may be
 * touched that is not ours (for the sanitizers to see), and the outcome must
 * not depend on how the bytes are cut.
 */
static void test_mutations(void)
{
    static const char alphabet[] = "{}[]\",:\\'0-9.eE+tfnu%\n \x01\x80\xff";
    GRand *rnd = g_rand_new_with_seed(20260101);
    g_autoptr(GString) seed = g_string_new(NULL);

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        if (g_str_has_suffix(cases[i].out, "end\n")) {
            g_autofree char *in = g_strdelimit(g_strdup(cases[i].in), "'",
                                               '"');

            g_string_append(seed, in);
        }
    }
    for (int round = 0; round < 3000; round++) {
        gsize from = g_rand_int_range(rnd, 0, seed->len / 2);
        g_autoptr(GString) in = g_string_new_len(seed->str + from,
                                                 seed->len - from);
        g_autofree char *whole = NULL, *parts = NULL;
        int changes = g_rand_int_range(rnd, 1, 8);

        for (int i = 0; i < changes; i++) {
            gssize at = g_rand_int_range(rnd, 0, in->len);
            char c = alphabet[g_rand_int_range(rnd, 0, sizeof(alphabet))];

            switch (g_rand_int_range(rnd, 0, 3)) {
            case 0:
                in->str[at] = c;
                break;
            case 1:
                g_string_erase(in, at, 1);
                break;
            case 2:
                g_string_insert_c(in, at, c);
                break;
            }
        }
        whole = parse(in->str, in->len, in->len, 1);
        parts = parse(in->str, in->len, 0,
                      g_rand_int_range(rnd, 1, 40));
        g_assert_cmpstr(whole, ==, parts);
    }
    g_rand_free(rnd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strconcat("/colo/qmp-message/",
                                            cases[i].name, NULL);

        g_test_add_data_func(path, &cases[i], test_case);
    }
    g_test_add_func("/colo/qmp-message/long", test_long);
    g_test_add_func("/colo/qmp-message/too-long", test_too_long);
    g_test_add_func("/colo/qmp-message/excerpt", test_excerpt);
    g_test_add_func("/colo/qmp-message/mutations", test_mutations);
    return g_test_run();
}
