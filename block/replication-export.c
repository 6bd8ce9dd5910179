/*
 * The NBD exports of a node: their connections are cut
 *
 * The replication driver is in the tools as well, which have no exports; so
 * this registers itself there.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-commands-block-export.h"
#include "block/export.h"
#include "block/replication-int.h"
#include "sysemu/block-backend.h"

static bool cut_exports(BlockDriverState *bs)
{
    BlockExportInfoList *list = qmp_query_block_exports(NULL), *at;
    bool any = false;

    for (at = list; at; at = at->next) {
        BlockExport *exp = at->value->shutting_down
                           ? NULL : blk_exp_find(at->value->id);

        if (exp && at->value->type == BLOCK_EXPORT_TYPE_NBD &&
            blk_bs(exp->blk) == bs) {
            blk_exp_request_shutdown(exp);
            any = true;
        }
    }
    qapi_free_BlockExportInfoList(list);
    return any;
}

static void replication_export_init(void)
{
    repl_cut_exports = cut_exports;
}

block_init(replication_export_init);
