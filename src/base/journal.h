/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What must outlive rank 0: which calls have begun, how often the job was mended, and what each rank said last.
 *
 * The launcher makes the journal in memory without a name and hands it to every rank 0 that comes. A client that comes
 * back after rank 0's death shows the token that it got when it greeted; the journal says which of its calls had begun.
 * A job without a launcher has a journal of its own, which ends with it. */

#ifndef RK_BASE_JOURNAL_H
#define RK_BASE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RK_JOURNAL_CLIENTS 16384      /* the newest connections that are remembered */
#define RK_BEGUN_UNKNOWN   UINT64_MAX /* any call of that client may have begun */

struct rk_journal;

/* A new one for so many ranks. `fd`: gets a descriptor to hand on, the caller's; NULL: it is for this process alone.
 * Errors: RANKCALL_ESYSTEM. */
int rk_journal_make(int ranks, int *fd, struct rk_journal **out);

/* That of another process. Errors: RANKCALL_ESYSTEM, RANKCALL_EPROTOCOL (it is none). */
int rk_journal_open(int fd, struct rk_journal **out);

/* Takes NULL. */
void rk_journal_close(struct rk_journal *journal);

/* A new connection's token: not 0, and never given twice. */
uint64_t rk_journal_enter(struct rk_journal *journal);

/* A call of that connection begins, for the how-manieth time; the ids of a connection's calls rise. */
void rk_journal_begin(struct rk_journal *journal, uint64_t token, uint64_t id, uint32_t times);

/* The highest id of a call of that connection that has begun; 0: none; RK_BEGUN_UNKNOWN. */
uint64_t rk_journal_begun(const struct rk_journal *journal, uint64_t token);
uint32_t rk_journal_times(const struct rk_journal *journal, uint64_t token); /* how often that one has begun */

/* ---- Mending ---- */

/* The job has been READY once: from now on its end is made good. */
void rk_journal_ready(struct rk_journal *journal);
bool rk_journal_was_ready(const struct rk_journal *journal);

/* The job was asked to stop: what dies from now on is not made good. */
void rk_journal_stop(struct rk_journal *journal);
bool rk_journal_stopping(const struct rk_journal *journal);

/* Counts one more death that is to be made good. False when `allowed` of them have been within this hour. */
bool rk_journal_mend(struct rk_journal *journal, unsigned allowed);
bool rk_journal_may_mend(const struct rk_journal *journal, unsigned allowed); /* whether one more would be */
unsigned rk_journal_mended(const struct rk_journal *journal);                 /* within this hour */

/* A node does not answer any more, and what is started anew keeps off it: by the name that the launch method has for
 * it.
 */
#define RK_LOST_MAX 32 /* nodes that are remembered */
void rk_journal_lose(struct rk_journal *journal, const char *node);
size_t rk_journal_lost(const struct rk_journal *journal, const char *nodes[RK_LOST_MAX]);

/* How long to wait before the job goes on, in microseconds: more with each death, until a call has succeeded. */
int64_t rk_journal_pause_us(const struct rk_journal *journal);
void rk_journal_succeeded(struct rk_journal *journal);

/* ---- Rank 0's life, as far as the kernel tells it at once: before it takes the memory of a dying process down ---- */

/* This process is rank 0, until it dies or leaves in order; the same thread, which lives as long as the process. */
void rk_journal_live(struct rk_journal *journal);
void rk_journal_leave(struct rk_journal *journal);

/* There is a rank 0 whose end can be waited for. */
bool rk_journal_lives(const struct rk_journal *journal);

/* Waits for that end. Blocking, for as long as rank 0 lives. Returns whether it has died. */
bool rk_journal_await_death(struct rk_journal *journal);

/* How rank 0 has ended where it hides that from mpirun, as waitpid(2) says; -1: it doesn't. Rank 0 writes. */
_Atomic int32_t *rk_journal_left(struct rk_journal *journal);

/* ---- Last words: the launcher sees what ranks print, rank 0 tells clients why one has died ---- */

#define RK_WORDS_SIZE     1024  /* bytes of a rank's last lines that are kept */
#define RK_WORDS_US       2000  /* when it has died and so long no more of them has come through mpirun, that was all */
#define RK_WORDS_LIMIT_US 50000 /* how long they may take */

/* Which process has a rank: mpirun counts the groups that it has started in a job, from 1, and processes in a group
 * from 0. What another process said as that rank is forgotten. */
void rk_journal_seat(struct rk_journal *journal, int rank, int group, int member, int pid);
/* It is dead: none has the rank until the next is seated. */
void rk_journal_unseat(struct rk_journal *journal, int rank);
/* Of the process that has it; 0: not known; negative: it is on another node. */
int rk_journal_pid(const struct rk_journal *journal, int rank);
int rk_journal_seated(const struct rk_journal *journal, int group, int member); /* its rank; -1: not known */

/* A line that a rank has printed; the launcher alone calls this. */
void rk_journal_said(struct rk_journal *journal, int rank, const char *line, size_t size);

/* How many bytes of them there have been. */
uint64_t rk_journal_written(const struct rk_journal *journal, int rank);

int rk_journal_launcher(const struct rk_journal *journal); /* its pid; 0: the job has none */

/* Its last lines, each with a newline; "" when there are none. `text` has RK_WORDS_SIZE + 1 bytes. */
void rk_journal_last_words(const struct rk_journal *journal, int rank, char *text);

#endif
