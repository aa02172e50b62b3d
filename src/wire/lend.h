/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Giving a socket pages instead of copies of them: its reader then copies out of the memory itself. So that memory must
 * stay as it is until the reader has read.
 *
 * Pages reach a socket through a pipe, which holds nothing between two calls. Belongs to one thread, in which SIGPIPE
 * is blocked by the first of them. */

#ifndef RK_WIRE_LEND_H
#define RK_WIRE_LEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RK_LEND_MIN (32u << 10) /* bytes below which a copy is cheaper */
#define RK_LEND_MAX (8u << 20)  /* ... and above which: it is made while the reader copies what came before */

struct rk_lending;

/* NULL: it can't be done here. */
struct rk_lending *rk_lending_open(void);

/* What is still unread stays for good. Takes NULL. */
void rk_lending_close(struct rk_lending *lending);

/* As send(2) without waiting: how many bytes `fd` has taken, not always all that would fit; or -1 and errno. ENOTSUP:
 * this memory can't be lent, copy it. */
ssize_t rk_lend(struct rk_lending *lending, int fd, const void *bytes, size_t size);

/* Bytes that the peer has not read yet, or more; SIZE_MAX when that can't be known. */
size_t rk_lent_unread(int fd);

/* Takes a connection's descriptor, whose peer sees an end behind what it has still to read, and the blocks that this
 * lies in, for rk_blocks_free. */
struct rk_block;
void rk_lending_inherit(struct rk_lending *lending, int fd, struct rk_block *first);

/* Frees what has been read of that. Returns whether some is left. */
bool rk_lending_settle(struct rk_lending *lending);

#endif
