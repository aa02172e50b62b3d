/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where rank 0 will run on another node, the whole command moves there: what starts the job then stands beside its
 * socket, as everywhere else. srun carries it; what srun makes of the environment is undone. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "launcher/launch.h"
#include "launcher/say.h"

#define SAVED     "RANKCALL_ALLOCATION" /* Slurm's variables as they were, one a line */
#define GPUS_HERE "SLURM_GPUS_ON_NODE"
#define ARGUMENTS 16 /* that srun gets before the command */

extern char **environ;

static bool is_slurms(const char *variable)
{
    return !strncmp(variable, "SLURM_", 6) && strncmp(variable, "SLURM_CONF=", 11) != 0;
}

static void forget_slurms(void)
{
    char name[256];
    for (char **at = environ; *at;) {
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*at, "="), *at);
        if (is_slurms(*at) && !unsetenv(name))
            at = environ;
        else
            at++;
    }
}

static int save_environment(void)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (char **at = environ; out && *at; at++)
        if (is_slurms(*at) && !strchr(*at, '\n'))
            fprintf(out, "%s\n", *at);
    if (!out || fclose(out) || setenv(SAVED, text, 1)) {
        free(text);
        return rk_error(RANKCALL_EINTERNAL, "no memory for the environment");
    }
    free(text);
    return RANKCALL_OK;
}

bool rk_launch_arrive(void)
{
    char *saved = getenv(SAVED) ? strdup(getenv(SAVED)) : NULL, gpus[32];
    if (!saved)
        return false;
    snprintf(gpus, sizeof(gpus), "%s", getenv(GPUS_HERE) ? getenv(GPUS_HERE) : "");
    unsetenv(SAVED);
    forget_slurms();
    if (*gpus) /* which nobody knew where it came from */
        setenv(GPUS_HERE, gpus, 1);
    for (char *line, *rest = saved; (line = strsep(&rest, "\n"));) {
        char *value = strchr(line, '=');
        if (value) {
            *value++ = '\0';
            setenv(line, value, 1);
        }
    }
    free(saved);
    return true;
}

/* Slurm's older names, which mpirun wants. */
static const char *const aliases[][2] = {{"SLURM_JOB_NODELIST", "SLURM_NODELIST"},
                                         {"SLURM_JOB_NUM_NODES", "SLURM_NNODES"},
                                         {"SLURM_NTASKS", "SLURM_NPROCS"}};

/* SLURM_NTASKS_HET_GROUP_1 becomes SLURM_NTASKS, and so on; what the first component alone has said goes. */
int rk_launch_component(int component)
{
    char suffix[32], **kept = NULL, *whole = getenv("SLURM_JOB_ID_HET_GROUP_0");
    size_t count = 0;
    whole = whole ? strdup(whole) : NULL;
    snprintf(suffix, sizeof(suffix), "_HET_GROUP_%d=", component);
    for (char **at = environ; *at; at++)
        if (is_slurms(*at) && strstr(*at, suffix)) {
            char **more = reallocarray(kept, count + 1, sizeof(*kept));
            if (!more)
                break;
            kept = more;
            kept[count] = strdup(*at);
            count += kept[count] != NULL;
        }
    if (!count || !whole)
        return rk_error(RANKCALL_EINVAL, "--het-group is %d, but this job has no component of that number", component);
    forget_slurms();
    for (size_t i = 0; i < count; i++) {
        char *end = strstr(kept[i], suffix);
        *end = '\0';
        setenv(kept[i], end + strlen(suffix), 1);
        free(kept[i]);
    }
    free(kept);
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (getenv(aliases[i][0]))
            setenv(aliases[i][1], getenv(aliases[i][0]), 1);
    setenv("SLURM_JOB_ID", whole, 1);
    setenv("SLURM_JOBID", whole, 1);
    free(whole);
    return RANKCALL_OK;
}

bool rk_launch_elsewhere(const struct rk_allocation *allocation)
{
    return allocation->scheduler == RK_SLURM && !allocation->here;
}

static void explain(const struct rk_allocation *allocation, const struct rk_run_values *values)
{
    char host[RK_HOST_MAX] = "";
    const char *job = values->name ? values->name : values->socket ? values->socket : "JOB";
    gethostname(host, sizeof(host) - 1);
    if (allocation->among)
        rk_say("rank 0 of Slurm job %s will run on %s, not on this node (%s):", allocation->job, allocation->first,
               host);
    else
        rk_say("this host (%s) is not one of Slurm job %s's (%s):", host, allocation->job, allocation->hosts);
    rk_say("the job is started from %s, where its socket will be; to reach it from here:", allocation->first);
    char component[16] = "";
    if (values->het_group >= 0)
        snprintf(component, sizeof(component), "+%d", values->het_group);
    rk_say("    rankcall invoke -j %s --via srun:%s%s …    or, where ssh gets there, --via ssh:%s", job,
           allocation->job, component, allocation->first);
}

static volatile sig_atomic_t child, orders = -1;

/* srun ends its step at most signals, and what it passes on reaches every process there: so the command there is told
 * to end the job by the end of its standard input. The second time srun ends the step. */
static void pass_on(int number)
{
    int saved = errno;
    bool end = number != SIGUSR1 && number != SIGUSR2;
    if (end && orders >= 0) {
        close(orders);
        orders = -1;
    } else if (child > 0) {
        kill((pid_t)child, end ? SIGINT : number);
    }
    errno = saved;
}

bool rk_launch_reads(const struct rk_run_values *values)
{
    return values->setup && !strcmp(values->setup, "-");
}

_Noreturn static void become_srun(const struct rk_allocation *allocation, const struct rk_run_values *values,
                                  char **argv)
{
    char job[64], node[RK_HOST_MAX + 16], group[32], self[PATH_MAX];
    const char *words[ARGUMENTS] = {"srun",
                                    job,
                                    node,
                                    "--nodes=1",
                                    "--ntasks=1",
                                    "--overlap",
                                    "--mpi=none",
                                    "--cpu-bind=none",
                                    "--quit-on-interrupt",
                                    "--kill-on-bad-exit=0",
                                    "--export=ALL"};
    size_t count = 11, more = 0;
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    snprintf(job, sizeof(job), "--jobid=%s", allocation->job);
    snprintf(node, sizeof(node), "--nodelist=%s", allocation->first);
    self[size > 0 ? size : 0] = '\0';
    snprintf(group, sizeof(group), "--het-group=%d", values->het_group);
    if (values->het_group >= 0)
        words[count++] = group;
    while (argv[more])
        more++;
    rk_launch_settle_one_step(allocation);
    const char **line = calloc(count + more + 2, sizeof(*line));
    if (line) {
        memcpy(line, words, count * sizeof(*line));
        line[count] = self;
        memcpy(line + count + 1, argv, more * sizeof(*line));
        setpgid(0, 0);
        execvp(line[0], (char *const *)line);
    }
    rk_say("cannot run srun: %s", strerror(errno));
    _exit(127);
}

int rk_launch_there(const struct rk_allocation *allocation, const struct rk_run_values *values, char **argv)
{
    static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
    int status = 0, ends[2] = {-1, -1};
    if (save_environment())
        return rk_say_error();
    explain(allocation, values);
    if (!rk_launch_reads(values) && pipe2(ends, O_CLOEXEC)) {
        rk_error_system("cannot make a pipe");
        return rk_say_error();
    }
    pid_t pid = fork();
    if (pid == 0) {
        if (ends[0] >= 0)
            dup2(ends[0], STDIN_FILENO);
        become_srun(allocation, values, argv);
    }
    child = pid;
    orders = ends[1];
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        sigaction(passed[i], &action, NULL);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (pid < 0) {
        rk_error_system("cannot start a process");
        return rk_say_error();
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
