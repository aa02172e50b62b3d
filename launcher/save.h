/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Attachments of results and events, written as files of one folder. */

#ifndef RK_LAUNCHER_SAVE_H
#define RK_LAUNCHER_SAVE_H

#include <stdbool.h>
#include <stddef.h>

#include <rankcall/payload.h>

#define RK_SAVE_NAME_MAX 240 /* bytes of a file's name with its NUL */

struct rk_saver {
    const char *folder; /* NULL: attachments are not written */
    int fd;             /* of the folder; -1 */
    bool told;          /* that attachments were not written */
};

/* Makes the folder and those above it where they are missing, and checks that it can be written.
 * Errors: RANKCALL_ESYSTEM. `folder` may be NULL. */
int rk_saver_open(struct rk_saver *saver, const char *folder);
void rk_saver_close(struct rk_saver *saver);

/* Writes every attachment as NAME + `suffix` + the extension of its type, and says so; a file of that name is replaced
 * when the new one is whole. Without a folder it says once that nothing is written. Errors: RANKCALL_ESYSTEM. */
int rk_save(struct rk_saver *saver, const struct rankcall_payload *payload, const char *suffix);

/* A file's name for an attachment: nothing in it leads out of a folder, hides the file or reaches a terminal's
 * controls. `count` above 1 tells apart names that would be the same. */
void rk_save_name(const char *name, int type, const char *suffix, int count, char file[RK_SAVE_NAME_MAX]);

#endif
