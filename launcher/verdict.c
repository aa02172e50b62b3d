/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What mpirun's end means: by its status, and by its own account of the rank that ended it, which says more. */

#include "launcher/verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/error.h"

static const char too_early[] = "the job ended before it was READY: ";

/* A rank's end as mpirun tells it. */
struct account {
    int rank, number;
    char host[128];
    bool signal; /* `number` is a signal, else an exit status */
};

/* "… noticed that process rank 2 with PID 123 on node HOST exited on signal 9 …", perhaps in two lines */
static bool find_signal(const char *last, struct account *account)
{
    const char *line = strstr(last, "noticed that process rank ");
    account->signal = true;
    return line && sscanf(line, "noticed that process rank %d with PID %*d on node %127s exited on signal %d",
                          &account->rank, account->host, &account->number) == 3;
}

/* "Process name: [[123,1],2]" or "[prterun-HOST-123@1,2]", in the next line "Exit code: 3" */
static bool find_status(const char *last, struct account *account)
{
    const char *line = strstr(last, "Process name: ["), *code = line ? strstr(line, "Exit code:") : NULL;
    const char *comma = line ? memrchr(line, ',', strcspn(line, "\n")) : NULL;
    account->signal = false;
    account->host[0] = '\0';
    return code && comma && sscanf(comma, ",%d]", &account->rank) == 1 &&
           sscanf(code, "Exit code: %d", &account->number) == 1;
}

/* "rank 2 (pid 123) on HOST was killed by signal 9 (Killed)", as the other ranks tell it */
static bool find_death(const char *last, struct account *account)
{
    const char *line = strstr(last, "(pid ");
    while (line && line > last && line[-1] != '\n')
        line--;
    line = line ? strstr(line, "rank ") : NULL;
    account->signal = true;
    if (!line)
        return false;
    if (sscanf(line, "rank %d (pid %*d) on %127s was killed by signal %d", &account->rank, account->host,
               &account->number) == 3)
        return true;
    account->signal = false;
    return sscanf(line, "rank %d (pid %*d) on %127s ended with exit status %d", &account->rank, account->host,
                  &account->number) == 3;
}

/* "srun: error: node2: task 3: Killed", "srun: error: node[1-2]: tasks 0-2: Exited with exit code 3" */
static bool read_end(const char *line, struct account *account, char how[96])
{
    char host[128];
    int at = 0;
    if (sscanf(line, "srun: error: %127[^:]: task %d: %95[^\n]", host, &account->rank, how) != 3 &&
        (sscanf(line, "srun: error: %127[^:]: tasks %d%*[0-9,-]: %n%95[^\n]", host, &account->rank, &at, how) != 3 ||
         !at))
        return false;
    snprintf(account->host, sizeof(account->host), "%s", host);
    return true;
}

bool rk_verdict_is_end(const char *line, size_t size)
{
    char text[256], how[96];
    struct account account;
    snprintf(text, sizeof(text), "%.*s", size < sizeof(text) ? (int)size : (int)sizeof(text) - 1, line);
    return read_end(text, &account, how);
}

void rk_verdict_of_end(const char *line)
{
    char text[320], how[96] = "";
    struct account account = {.rank = -1};
    read_end(line, &account, how);
    snprintf(text, sizeof(text), "rank %d on %s has ended: %s, says srun", account.rank, account.host, how);
    rk_error_copy(&(struct rankcall_error){RANKCALL_ERANKDIED, account.rank, account.host, text, ""});
}

static int blame_rank(int code, const struct account *account, const char *lead)
{
    char text[160];
    if (account->signal)
        snprintf(text, sizeof(text), "%sthe rank was killed by signal %d (%s)", lead, account->number,
                 strsignal(account->number));
    else
        snprintf(text, sizeof(text), "%sthe rank ended with status %d", lead, account->number);
    const struct rankcall_error error = {code, account->rank, account->host, text, ""};
    return rk_error_copy(&error);
}

static int blame_mpirun(int code, int wait_status, const char *lead)
{
    int status = WEXITSTATUS(wait_status), number = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : status - 128;
    if (WIFSIGNALED(wait_status))
        return rk_error(code, "%smpirun was killed by signal %d (%s)", lead, number, strsignal(number));
    if (number > 0 && number < 32)
        return rk_error(code, "%smpirun ended with status %d: a rank got signal %d (%s)", lead, status, number,
                        strsignal(number));
    return rk_error(code, "%smpirun ended with status %d", lead, status);
}

int rk_verdict(int wait_status, const char *last, bool was_ready, bool lost)
{
    struct account account;
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    int code = was_ready ? RANKCALL_EJOBDIED : RANKCALL_ELAUNCH;
    const char *lead = was_ready ? "" : too_early;
    if (status == 0 && !lost)
        return was_ready ? RANKCALL_OK : rk_error(code, "%sis the program a rankcall worker?", lead);
    if (was_ready && status == rankcall_code_exit_status(RANKCALL_EWEDGED))
        return rk_error(RANKCALL_EWEDGED, "ranks did not come back and were killed");
    if (!was_ready && status == rankcall_code_exit_status(RANKCALL_EEXIST))
        return rk_error(RANKCALL_EEXIST, "another live job has taken its place meanwhile");
    if (find_death(last, &account) || find_signal(last, &account) || find_status(last, &account))
        return blame_rank(code, &account, lead);
    if (status == 0)
        return rk_error(code, "%sall ranks have ended", lead);
    return blame_mpirun(code, wait_status, lead);
}
