/*
 * One command to the guest's control service
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include "guest-proto.h"
#include "stream.h"
#include "wire.h"

static bool is_text(const char *bytes, size_t len)
{
    size_t i;

    for (i = 0; i < len && g_ascii_isprint(bytes[i]); i++) {
        /* all of them */
    }
    return i == len;
}

/*
 * Reads until the peer has sent a line, or what cannot become one, or
 * nothing in time.  Returns the line without its end; it is fit to print.
 */
static char *read_line(int fd, int64_t until_us, Error **errp)
{
    char buf[GUEST_LINE_MAX];
    g_autofree char *quoted = NULL;
    const char *why = NULL;
    size_t fill = 0;

    while (!why) {
        char *end;
        ssize_t n;

        if (!wire_wait(fd, G_IO_IN, until_us)) {
            why = wire_given_up() ?: "no answer in time";
            break;
        }
        n = recv(fd, buf + fill, sizeof(buf) - fill, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        } else if (n <= 0) {
            why = n ? strerror(errno) : "the guest closed the connection";
            break;
        }
        fill += n;
        end = memchr(buf, '\n', fill);
        if (end && end + 1 < buf + fill) {
            why = "the answer is more than one line";
        } else if (!is_text(buf, end ? fill - 1 : fill)) {
            why = "the answer is not text";
        } else if (end) {
            return g_strndup(buf, fill - 1);
        } else if (fill == sizeof(buf)) {
            why = "the answer is too long";
        }
    }
    quoted = wire_quote(buf, MIN(fill, 100));
    error_setg(errp, "%s; %s%s came", why, fill ? quoted : "nothing",
               fill > 100 ? " and more" : "");
    return NULL;
}

/* "ok", "ok TEXT" or "error TEXT" */
static char *parse_answer(const char *line, Error **errp)
{
    g_autofree char *quoted = NULL;

    if (g_str_equal(line, "ok")) {
        return g_strdup("");
    }
    if (g_str_has_prefix(line, "ok ")) {
        return g_strdup(line + strlen("ok "));
    }
    if (g_str_has_prefix(line, "error ")) {
        error_setg(errp, "%s", line + strlen("error "));
        return NULL;
    }
    quoted = wire_quote(line, MIN(strlen(line), 100));
    error_setg(errp, "neither \"ok\" nor \"error\"; %s came", quoted);
    return NULL;
}

char *guest_command_port(const char *address, uint16_t port,
                         const char *command, int timeout_ms, Error **errp)
{
    ERRP_GUARD();
    int64_t until = g_get_monotonic_time() + timeout_ms * 1000LL;
    g_autofree char *request = g_strdup_printf("%s\n", command);
    g_autofree char *line = NULL;
    char *answer = NULL;
    int fd = -1;

    if (strchr(command, '\n') || strlen(request) > GUEST_LINE_MAX) {
        error_setg(errp, "not one line of at most %d bytes", GUEST_LINE_MAX);
    } else {
        fd = wire_connect(address, port, until, errp);
    }
    if (fd >= 0) {
        if (wire_send(fd, request, strlen(request), errp)) {
            line = read_line(fd, until, errp);
        }
        close(fd);
    }
    if (line) {
        answer = parse_answer(line, errp);
    }
    if (!answer) {
        error_prepend(errp, "command '%s' to the guest at %s: ", command,
                      address);
    }
    return answer;
}

char *guest_command(const char *address, const char *command, int timeout_ms,
                    Error **errp)
{
    return guest_command_port(address, GUEST_CONTROL_PORT, command,
                              timeout_ms, errp);
}
