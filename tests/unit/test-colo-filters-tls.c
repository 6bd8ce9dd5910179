/*
 * filter-mirror on a connection with TLS whose peer does not read
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/sockets.h"
#include "qemu/units.h"
#include "qom/object.h"
#include "chardev/char.h"
#include "crypto/tlscreds.h"
#include "io/channel-socket.h"
#include "io/channel-tls.h"
#include "colo-filter-world.h"

static char *keys;

static Object *creds_new(const char *id, bool server)
{
    return object_new_with_props("tls-creds-psk", object_get_objects_root(), id,
                                 &error_abort, "dir", keys,
                                 "endpoint", server ? "server" : "client",
                                 server ? NULL : "username", "qemu", NULL);
}

static void shaken(QIOTask *task, void *opaque)
{
    g_assert_false(qio_task_propagate_error(task, NULL));
    *(bool *)opaque = true;
}

/* Little room for what it does not read */
static QIOChannel *peer_connect(void)
{
    const char *address = strstr(qemu_chr_find("chr")->filename, "127.0.0.1:");
    QIOChannelSocket *socket;
    QCryptoTLSCreds *creds = QCRYPTO_TLS_CREDS(
        object_resolve_path_component(object_get_objects_root(), "client"));
    int fd = inet_connect(address, &error_abort), room = 64 * KiB;
    QIOChannelTLS *tls;
    bool done = false;

    g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)),
                    ==, 0);
    socket = qio_channel_socket_new_fd(fd, &error_abort);
    qio_channel_set_blocking(QIO_CHANNEL(socket), false, &error_abort);
    tls = qio_channel_tls_new_client(QIO_CHANNEL(socket), creds, "localhost",
                                     &error_abort);
    object_unref(OBJECT(socket));
    qio_channel_tls_handshake(tls, shaken, &done, NULL, NULL);
    fw_wait_for(done && fw_stat("out-connections") == 1, "TLS");
    return QIO_CHANNEL(tls);
}

/* Until the connection takes no more, and frames wait: many fit into a record */
static void fill(void)
{
    g_autofree char *small = g_strnfill(1000, 'x');

    while (fw_stat("out-queue") < 1 * MiB) {
        for (int i = 0; i < 100; i++) {
            fw_receive(small);
        }
        fw_settle();
    }
    g_assert_cmpuint(fw_stat("out-dropped"), ==, 0);
}

static void mirror_new(void)
{
    fw_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    fw.channel = peer_connect();
    fill();
}

/* What TLS has taken in part must be given to it again. */
static void test_discard(void)
{
    mirror_new();
    fw_checkpoint(1);
    fw_receive("new");
    fw_wait_for((fw_peer_read(), g_str_has_suffix(fw.written->str, "x [1] new ")),
                "the new epoch");
    g_assert_cmpuint(fw_stat("out-connections"), ==, 1);
    fw_end();
}

/* The chardev's next user would send what this one began with. */
static void test_delete(void)
{
    mirror_new();
    g_assert_true(qemu_chr_find("chr")->be_open);
    fw_delete();
    g_assert_false(qemu_chr_find("chr")->be_open);
    fw_end();
}

int main(int argc, char **argv)
{
    g_autofree char *file = NULL;
    GError *err = NULL;
    int ret;

    fw_init(&argc, &argv);
    keys = g_dir_make_tmp("colo-keys-XXXXXX", &err);
    g_assert_no_error(err);
    file = g_build_filename(keys, "keys.psk", NULL);
    g_file_set_contents(file, "qemu:009d5638c40fde0c\n", -1, &err);
    g_assert_no_error(err);
    creds_new("server", true);
    creds_new("client", false);
    fw.chardev = "socket,id=chr,host=127.0.0.1,port=0,server=on,wait=off,"
                 "tls-creds=server";
    g_test_add_func("/colo/filters/tls/discard", test_discard);
    g_test_add_func("/colo/filters/tls/delete", test_delete);
    ret = fw_run();
    unlink(file);
    rmdir(keys);
    g_free(keys);
    return ret;
}
