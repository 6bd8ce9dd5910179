/*
 * Pictures of the results: has gnuplot draw what bench-draw*.c describe
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <gio/gio.h>
#include <glib/gstdio.h>
#include "bench-draw.h"
#include "bench-plot.h"

#define GNUPLOT_S 60

typedef struct Picture {
    const char *name;
    int width, height;    /* SVG pixels; height 0: as the figures need */
    BenchDrawFunc *draw;
} Picture;

static const Picture pictures[] = {
    { "pauses", 1000, 560, bench_draw_pauses },
    { "latency-echo", 900, 500, bench_draw_echo },
    { "latency-connect", 900, 500, bench_draw_connect },
    { "latency-udp", 900, 500, bench_draw_udp },
    { "failover", 1000, 460, bench_draw_failover },
    { "throughput", 1000, 680, bench_draw_throughput },
    { "packets", 1000, 560, bench_draw_packets },
    { "ratios", 1000, 0, bench_draw_ratios },
};

/* The picture of ratios has a line for each of up to two figures. */
static int ratios_height(const BenchResults *results)
{
    int rows = 0;

    for (size_t i = 0; i < bench_metrics_count; i++) {
        int figures = MIN(bench_figures(&bench_metrics[i]), BENCH_MAX);

        for (int j = 0; j < figures; j++) {
            rows += bench_ratio(results, &bench_metrics[i], j).rounds > 0;
        }
    }
    return 160 + MAX(rows, 4) * 19;
}

typedef struct Run {
    GMainLoop *loop;
    bool late;
    bool done;
    char *output;         /* what gnuplot said */
    GError *gerr;
} Run;

static gboolean run_late(gpointer opaque)
{
    Run *run = opaque;

    run->late = true;
    g_main_loop_quit(run->loop);
    return G_SOURCE_REMOVE;
}

static void run_done(GObject *process, GAsyncResult *result, gpointer opaque)
{
    Run *run = opaque;

    g_subprocess_communicate_utf8_finish(G_SUBPROCESS(process), result,
                                         &run->output, NULL, &run->gerr);
    run->done = true;
    g_main_loop_quit(run->loop);
}

/* Takes what @process says and waits, in a main context of its own. */
static void run_wait(Run *run, GSubprocess *process)
{
    GMainContext *context = g_main_context_new();
    GSource *timer = g_timeout_source_new_seconds(GNUPLOT_S);

    g_main_context_push_thread_default(context);
    run->loop = g_main_loop_new(context, FALSE);
    g_source_set_callback(timer, run_late, run, NULL);
    g_source_attach(timer, context);
    g_subprocess_communicate_utf8_async(process, NULL, NULL, run_done, run);
    g_main_loop_run(run->loop);
    if (!run->done) {
        /* Then its end follows. */
        g_subprocess_force_exit(process);
        g_main_loop_run(run->loop);
    }
    g_source_destroy(timer);
    g_source_unref(timer);
    g_main_loop_unref(run->loop);
    g_main_context_pop_thread_default(context);
    g_main_context_unref(context);
}

/* @path is of the script, @name is for messages. */
static void gnuplot(const char *path, const char *name, Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    g_autoptr(GSubprocess) process = NULL;
    Run run = { };
    bool ok;

    process = g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                               G_SUBPROCESS_FLAGS_STDERR_MERGE, &gerr,
                               "gnuplot", path, NULL);
    if (!process) {
        if (g_error_matches(gerr, G_SPAWN_ERROR, G_SPAWN_ERROR_NOENT)) {
            error_setg(errp, "there are no pictures, for gnuplot is not "
                       "installed; as root: apt-get install gnuplot-nox");
        } else {
            error_setg(errp, "%s", gerr->message);
        }
        return;
    }
    run_wait(&run, process);
    ok = !run.late && !run.gerr && g_subprocess_get_successful(process);
    if (run.late) {
        error_setg(errp, "gnuplot took more than %d s for the picture '%s'",
                   GNUPLOT_S, name);
    } else if (!ok) {
        error_setg(errp, "gnuplot failed at the picture '%s': %s", name,
                   run.gerr ? run.gerr->message :
                   run.output ? g_strstrip(run.output) : "");
    }
    g_clear_error(&run.gerr);
    g_free(run.output);
}

/*
 * The script goes through a file: gnuplot stops reading at an error, and with
 * a pipe that would be all we learnt of it.
 */
static void run_script(const char *script, const char *name, Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("colo-XXXXXX.gp", &path, &gerr);

    if (fd < 0 || !g_close(fd, &gerr) ||
        !g_file_set_contents(path, script, -1, &gerr)) {
        error_setg(errp, "%s", gerr->message);
    } else {
        gnuplot(path, name, errp);
    }
    if (fd >= 0) {
        unlink(path);
    }
}

static void put_output(GString *script, const char *dir, const Picture *picture,
                       const char *suffix)
{
    g_autofree char *file = g_strdup_printf("%s.%s", picture->name, suffix);
    g_autofree char *path = g_build_filename(dir, file, NULL);
    g_autofree char *quoted = bench_quote(path);

    g_string_append_printf(script, "set output %s\n", quoted);
}

static void draw(const Picture *picture, const BenchResults *results,
                 const BenchReportInfo *info, const char *dir, Error **errp)
{
    g_autofree char *body = picture->draw(results, info);
    g_autoptr(GString) script = g_string_new(NULL);
    int height = picture->height ? picture->height : ratios_height(results);

    if (!body) {
        return;
    }
    g_string_append_printf(script, "set terminal svg size %d, %d noenhanced "
                           "font 'sans-serif,12' background '#ffffff'\n",
                           picture->width, height);
    put_output(script, dir, picture, "svg");
    g_string_append(script, body);
    /* Twice as many pixels, for screens that have them */
    g_string_append_printf(script, "unset output\nreset\n"
                           "set terminal pngcairo size %d, %d noenhanced "
                           "font 'sans-serif,9' fontscale 2 linewidth 2 "
                           "pointscale 2 background '#ffffff'\n",
                           picture->width * 2, height * 2);
    put_output(script, dir, picture, "png");
    g_string_append(script, body);
    g_string_append(script, "unset output\n");
    run_script(script->str, picture->name, errp);
}

bool bench_plot(const BenchResults *results, const BenchReportInfo *info,
                const char *dir, Error **errp)
{
    Error *first = NULL;

    for (int i = 0; i < ARRAY_SIZE(pictures); i++) {
        Error *err = NULL;

        draw(&pictures[i], results, info, dir, &err);
        error_propagate(&first, err);
    }
    if (first) {
        error_propagate(errp, first);
        return false;
    }
    return true;
}
