/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What must outlive rank 0. Rank 0's IO thread writes, the launcher reads when it is gone. */

#include "base/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
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
    _Atomic uint32_t times;
};

/* What a rank has printed: the last bytes, in a ring. */
struct words {
    _Atomic int32_t group, member;    /* of mpirun's process that has the rank */
    _Atomic int32_t pid;              /* of the same; 0: not known yet */
    _Atomic uint64_t written, behind; /* bytes so far; those of another process as this rank */
    char text[RK_WORDS_SIZE];
};

struct rk_journal {
    uint64_t magic;
    _Atomic bool ready, stopping;
    _Atomic uint64_t tokens; /* given so far */
    _Atomic int64_t hour_begun_us;
    _Atomic uint32_t mended; /* in this hour */
    _Atomic uint32_t row;    /* deaths since a call has succeeded */
    _Atomic int32_t left;    /* how rank 0 has exited, if it tells */
    pthread_mutex_t alive;   /* rank 0 holds it; robust */
    _Atomic bool held;
    _Atomic uint32_t lost_count;
    char lost[RK_LOST_MAX][72];
    struct entry entries[RK_JOURNAL_CLIENTS];
    int32_t ranks;
    int32_t launcher; /* its pid; 0: there is none */
    struct words words[];
};

static size_t size_for(int ranks)
{
    return sizeof(struct rk_journal) + (size_t)ranks * sizeof(struct words);
}

static int map(int fd, size_t size, int flags, struct rk_journal **out)
{
    *out = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (*out != MAP_FAILED)
        return RANKCALL_OK;
    *out = NULL;
    return rk_error_system("cannot map the journal of calls");
}

static int make_alive(pthread_mutex_t *alive)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    errno = pthread_mutex_init(alive, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return errno ? rk_error_system("cannot make a robust mutex") : RANKCALL_OK;
}

int rk_journal_make(int ranks, int *fd, struct rk_journal **out)
{
    int made = -1, code;
    uint64_t first = 0;
    *out = NULL;
    if (fd && ((made = memfd_create("rankcall-journal", MFD_CLOEXEC)) < 0 || ftruncate(made, (off_t)size_for(ranks))))
        code = rk_error_system("cannot make the journal of calls");
    else
        code = map(made, size_for(ranks), fd ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, out);
    if (!code && (code = make_alive(&(*out)->alive))) {
        munmap(*out, size_for(ranks));
        *out = NULL;
    }
    if (code) {
        rk_fd_close(&made);
        return code;
    }
    (*out)->magic = MAGIC;
    (*out)->ranks = ranks;
    (*out)->launcher = fd ? getpid() : 0;
    atomic_store(&(*out)->left, -1);
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
    int code = map(fd, (size_t)file.st_size, MAP_SHARED, out);
    if (!code && ((*out)->magic != MAGIC || (*out)->ranks < 0 || (off_t)size_for((*out)->ranks) != file.st_size)) {
        munmap(*out, (size_t)file.st_size);
        *out = NULL;
        code = rk_error(RANKCALL_EPROTOCOL, "the launcher's journal of calls is another version's");
    }
    return code;
}

void rk_journal_close(struct rk_journal *journal)
{
    if (journal)
        munmap(journal, size_for(journal->ranks));
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

void rk_journal_begin(struct rk_journal *journal, uint64_t token, uint64_t id, uint32_t times)
{
    struct entry *entry = entry_of(journal, token);
    if (atomic_load_explicit(&entry->token, memory_order_relaxed) != token)
        return;
    atomic_store_explicit(&entry->times, times, memory_order_relaxed);
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

uint32_t rk_journal_times(const struct rk_journal *journal, uint64_t token)
{
    return atomic_load(&entry_of(journal, token)->times);
}

static bool hour_is_over(const struct rk_journal *journal)
{
    return rk_now_us() - atomic_load(&journal->hour_begun_us) > HOUR_US;
}

bool rk_journal_may_mend(const struct rk_journal *journal, unsigned allowed)
{
    return allowed && (hour_is_over(journal) || atomic_load(&journal->mended) < allowed);
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
    if (hour_is_over(journal)) {
        atomic_store(&journal->hour_begun_us, rk_now_us());
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

void rk_journal_live(struct rk_journal *journal)
{
    if (pthread_mutex_lock(&journal->alive) == EOWNERDEAD) /* nobody waited for the one before */
        pthread_mutex_consistent(&journal->alive);
    atomic_store(&journal->held, true);
}

void rk_journal_leave(struct rk_journal *journal)
{
    atomic_store(&journal->held, false);
    pthread_mutex_unlock(&journal->alive);
}

bool rk_journal_lives(const struct rk_journal *journal)
{
    return atomic_load(&journal->held);
}

bool rk_journal_await_death(struct rk_journal *journal)
{
    int code = pthread_mutex_lock(&journal->alive);
    if (code == EOWNERDEAD) {
        atomic_store(&journal->held, false);
        pthread_mutex_consistent(&journal->alive); /* for the next rank 0 */
    }
    if (code == 0 || code == EOWNERDEAD)
        pthread_mutex_unlock(&journal->alive);
    return code == EOWNERDEAD;
}

_Atomic int32_t *rk_journal_left(struct rk_journal *journal)
{
    return &journal->left;
}

void rk_journal_succeeded(struct rk_journal *journal)
{
    if (atomic_load_explicit(&journal->row, memory_order_relaxed))
        atomic_store(&journal->row, 0);
}

void rk_journal_lose(struct rk_journal *journal, const char *node)
{
    uint32_t count = atomic_load(&journal->lost_count);
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(journal->lost[i], node))
            return;
    if (count == RK_LOST_MAX)
        return;
    strncpy(journal->lost[count], node, sizeof journal->lost[count] - 1);
    atomic_store(&journal->lost_count, count + 1);
}

size_t rk_journal_lost(const struct rk_journal *journal, const char *nodes[RK_LOST_MAX])
{
    uint32_t count = atomic_load(&journal->lost_count);
    for (uint32_t i = 0; i < count && i < RK_LOST_MAX; i++)
        nodes[i] = journal->lost[i];
    return count;
}

void rk_journal_seat(struct rk_journal *journal, int rank, int group, int member, int pid)
{
    struct words *words = &journal->words[rank];
    if (rank >= journal->ranks || atomic_load(&words->pid) == pid)
        return;
    atomic_store(&words->behind, atomic_load(&words->written));
    atomic_store(&words->member, member);
    atomic_store(&words->group, group);
    atomic_store(&words->pid, pid);
}

void rk_journal_unseat(struct rk_journal *journal, int rank)
{
    if (rank < journal->ranks)
        atomic_store(&journal->words[rank].pid, 0);
}

int rk_journal_pid(const struct rk_journal *journal, int rank)
{
    return rank < journal->ranks ? atomic_load(&journal->words[rank].pid) : 0;
}

int rk_journal_seated(const struct rk_journal *journal, int group, int member)
{
    for (int rank = 0; rank < journal->ranks; rank++)
        if (atomic_load(&journal->words[rank].group) == group && atomic_load(&journal->words[rank].member) == member)
            return rank;
    return group == 1 && member < journal->ranks ? member : -1;
}

void rk_journal_said(struct rk_journal *journal, int rank, const char *line, size_t size)
{
    if (rank < 0 || rank >= journal->ranks)
        return;
    struct words *words = &journal->words[rank];
    uint64_t written = atomic_load(&words->written);
    if (size > RK_WORDS_SIZE / 2)
        size = RK_WORDS_SIZE / 2;
    for (size_t i = 0; i < size; i++)
        words->text[(written + i) % RK_WORDS_SIZE] = line[i];
    words->text[(written + size) % RK_WORDS_SIZE] = '\n';
    atomic_store(&words->written, written + size + 1);
}

int rk_journal_launcher(const struct rk_journal *journal)
{
    return journal->launcher;
}

uint64_t rk_journal_written(const struct rk_journal *journal, int rank)
{
    return rank < 0 || rank >= journal->ranks ? 0 : atomic_load(&journal->words[rank].written);
}

void rk_journal_last_words(const struct rk_journal *journal, int rank, char *text)
{
    const struct words *words = &journal->words[rank];
    text[0] = '\0';
    if (rank < 0 || rank >= journal->ranks)
        return;
    uint64_t end = atomic_load(&words->written), begin = atomic_load(&words->behind);
    bool cut = end - begin > RK_WORDS_SIZE;
    if (cut)
        begin = end - RK_WORDS_SIZE;
    size_t size = (size_t)(end - begin);
    for (size_t i = 0; i < size; i++)
        text[i] = words->text[(begin + i) % RK_WORDS_SIZE];
    text[size] = '\0';
    char *first = cut ? strchr(text, '\n') : NULL; /* a line of which the beginning is gone */
    if (first)
        memmove(text, first + 1, strlen(first));
}
