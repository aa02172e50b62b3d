/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What must outlive rank 0. Rank 0's IO thread writes, the launcher reads when it is gone. */

#include "base/journal.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

#define MAGIC        UINT64_C(0x6c616e72756f6a72)
#define HOUR_US      INT64_C(3600000000)
#define FREE_DEATHS  2        /* in a row that cost no pause */
#define PAUSE_US     250000   /* the first one; then twice as long each time ... */
#define PAUSE_US_MAX 10000000 /* ... up to this */

struct entry {
    _Atomic uint64_t token, begun;
};

struct rk_journal {
    uint64_t magic;
    _Atomic bool ready, stopping;
    _Atomic uint64_t tokens; /* given so far */
    _Atomic int64_t hour_begun_us;
    _Atomic uint32_t mended; /* in this hour */
    _Atomic uint32_t row;    /* deaths since a call has succeeded */
    struct entry entries[RK_JOURNAL_CLIENTS];
};

static int map(int fd, int flags, struct rk_journal **out)
{
    *out = mmap(NULL, sizeof **out, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (*out != MAP_FAILED)
        return RANKCALL_OK;
    *out = NULL;
    return rk_error_system("cannot map the journal of calls");
}

int rk_journal_make(int *fd, struct rk_journal **out)
{
    int made = -1, code;
    uint64_t first = 0;
    *out = NULL;
    if (fd && ((made = memfd_create("rankcall-journal", MFD_CLOEXEC)) < 0 || ftruncate(made, sizeof **out)))
        code = rk_error_system("cannot make the journal of calls");
    else
        code = map(made, fd ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, out);
    if (code) {
        rk_fd_close(&made);
        return code;
    }
    (*out)->magic = MAGIC;
    if (getrandom(&first, sizeof first, GRND_NONBLOCK) != sizeof first)
        first = (uint64_t)rk_now_us();
    atomic_store(&(*out)->tokens, first << 32); /* a client of another job of this name must not be taken for ours */
    if (fd)
        *fd = made;
    return RANKCALL_OK;
}

int rk_journal_open(int fd, struct rk_journal **out)
{
    struct stat file;
    *out = NULL;
    if (fstat(fd, &file) || file.st_size < (off_t)sizeof **out)
        return rk_error(RANKCALL_EPROTOCOL, "what the launcher hands over is no journal of calls");
    int code = map(fd, MAP_SHARED, out);
    if (!code && (*out)->magic != MAGIC) {
        rk_journal_close(*out);
        *out = NULL;
        code = rk_error(RANKCALL_EPROTOCOL, "the launcher's journal of calls is another version's");
    }
    return code;
}

void rk_journal_close(struct rk_journal *journal)
{
    if (journal)
        munmap(journal, sizeof *journal);
}

static struct entry *entry_of(const struct rk_journal *journal, uint64_t token)
{
    return (struct entry *)&journal->entries[token % RK_JOURNAL_CLIENTS];
}

uint64_t rk_journal_enter(struct rk_journal *journal)
{
    uint64_t token = atomic_fetch_add(&journal->tokens, 1) + 1;
    struct entry *entry = entry_of(journal, token);
    atomic_store(&entry->token, 0);
    atomic_store(&entry->begun, 0);
    atomic_store(&entry->token, token);
    return token;
}

void rk_journal_begin(struct rk_journal *journal, uint64_t token, uint64_t id)
{
    struct entry *entry = entry_of(journal, token);
    if (atomic_load_explicit(&entry->token, memory_order_relaxed) == token)
        atomic_store_explicit(&entry->begun, id, memory_order_release);
}

uint64_t rk_journal_begun(const struct rk_journal *journal, uint64_t token)
{
    const struct entry *entry = entry_of(journal, token);
    uint64_t begun = atomic_load(&entry->begun);
    return token && atomic_load(&entry->token) == token ? begun : RK_BEGUN_UNKNOWN;
}

void rk_journal_ready(struct rk_journal *journal)
{
    atomic_store(&journal->ready, true);
}

bool rk_journal_was_ready(const struct rk_journal *journal)
{
    return atomic_load(&journal->ready);
}

void rk_journal_stop(struct rk_journal *journal)
{
    atomic_store(&journal->stopping, true);
}

bool rk_journal_stopping(const struct rk_journal *journal)
{
    return atomic_load(&journal->stopping);
}

bool rk_journal_mend(struct rk_journal *journal, unsigned allowed)
{
    int64_t now = rk_now_us();
    if (now - atomic_load(&journal->hour_begun_us) > HOUR_US) {
        atomic_store(&journal->hour_begun_us, now);
        atomic_store(&journal->mended, 0);
    }
    if (atomic_load(&journal->mended) >= allowed)
        return false;
    atomic_fetch_add(&journal->mended, 1);
    atomic_fetch_add(&journal->row, 1);
    return true;
}

unsigned rk_journal_mended(const struct rk_journal *journal)
{
    return atomic_load(&journal->mended);
}

int64_t rk_journal_pause_us(const struct rk_journal *journal)
{
    uint32_t row = atomic_load(&journal->row);
    int64_t pause = PAUSE_US;
    if (row <= FREE_DEATHS)
        return 0;
    for (uint32_t i = FREE_DEATHS + 1; i < row && pause < PAUSE_US_MAX; i++)
        pause *= 2;
    return pause < PAUSE_US_MAX ? pause : PAUSE_US_MAX;
}

void rk_journal_succeeded(struct rk_journal *journal)
{
    if (atomic_load_explicit(&journal->row, memory_order_relaxed))
        atomic_store(&journal->row, 0);
}
