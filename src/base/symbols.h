/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Names for addresses in the code of this or another process of the user's. */

#ifndef RK_BASE_SYMBOLS_H
#define RK_BASE_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where an address lies: "function+0x1f (program)", "program+0x1234", or just the number where nothing is known.
 * `behind_call`: it is where a call returns to. Takes a millisecond or so. Errors: none. */
void rk_symbol(int pid, uint64_t address, bool behind_call, char *text, size_t size);

#endif
