/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where jobs live: the folder of sockets, and the path of a job's socket from its name.
 *
 * The folder is RANKCALL_RUNTIME_DIR, or /tmp/rankcall-UID; a job named NAME listens at FOLDER/NAME.sock. */

#ifndef RK_BASE_PATH_H
#define RK_BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#define RK_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path) /* with the NUL: 108 */

/* A name: 1 to 64 of [A-Za-z0-9._-], not beginning with '.' or '-'. */
bool rk_path_name_ok(const char *name);

/* Writes the folder's path. `create`: makes it (mode 0700) when it is missing. It must be a real folder, ours (root may
 * choose anyone's with RANKCALL_RUNTIME_DIR) and closed to others, else RANKCALL_ESYSTEM naming what is wrong and the
 * fix. A missing folder with create false is RANKCALL_OK. Errors: also RANKCALL_EINVAL (RANKCALL_RUNTIME_DIR is
 * relative or too long). */
int rk_path_folder(bool create, char folder[RK_PATH_MAX]);

/* Makes that folder when a job is to listen there; other folders are their owners' affair. Errors: as above. */
int rk_path_make_folder_of(const char *path);

/* The socket's path of a job given by name, or by path when it holds a '/'. Errors: RANKCALL_EINVAL (bad name; a path
 * over 107 bytes, which is quoted with its length). */
int rk_path_socket(const char *job, char path[RK_PATH_MAX]);

/* Fills a socket address. Errors: RANKCALL_EINVAL: too long. */
int rk_path_address(const char *path, struct sockaddr_un *address, socklen_t *size);

/* Binds and listens at `path` with mode 0600. A stale socket (nobody accepts) is replaced, a live one is
 * RANKCALL_EEXIST; something that is not a socket is RANKCALL_EEXIST too and never removed. The socket appears at
 * `path` only when it listens. Two callers at once: one wins. *fd is non-blocking and close-on-exec.
 * Errors: RANKCALL_EEXIST, RANKCALL_EINVAL, RANKCALL_ESYSTEM (disk full, read-only, no such folder: says so). */
int rk_path_listen(const char *path, int *fd);

/* Removes the temporary name that a listener at `path` leaves when it is killed in the middle of rk_path_listen. */
void rk_path_tidy(const char *path);

/* Connects to a socket at `path`, blocking connect on a then non-blocking, close-on-exec descriptor.
 * Errors: RANKCALL_ENOJOB (missing, refused), RANKCALL_EFORBIDDEN (EACCES), RANKCALL_ETIMEOUT (its backlog has been
 * full for 10 s), RANKCALL_ESYSTEM. */
int rk_path_connect(const char *path, int *fd);

#endif
