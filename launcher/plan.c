/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The mpirun line of a job. */

#include "launcher/plan.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rankcall/payload.h>

#include "base/defaults.h"
#include "base/error.h"
#include "base/fd.h"
#include "device/placement.h"
#include "launcher/attach.h"
#include "launcher/leftovers.h"
#include "launcher/program.h"

#define SETUP_INLINE 32768 /* bytes of setup's arguments that go on the command line */

/* Variables that tell of a scheduler's allocation: mpirun then knows itself how many ranks go where. */
static const char *const allocations[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "PE_HOSTFILE", "COBALT_JOBID"};

static int append(struct rk_list *list, const char *text)
{
    const char **items = reallocarray(list->items, list->count + 2, sizeof(*items));
    if (!items)
        return rk_error(RANKCALL_EINTERNAL, "no memory for a command line");
    list->items = items;
    items[list->count++] = text;
    items[list->count] = NULL;
    return RANKCALL_OK;
}

/* Appends arguments up to a NULL. */
static int add(struct rk_plan *plan, ...)
{
    va_list arguments;
    const char *text;
    int code = RANKCALL_OK;
    va_start(arguments, plan);
    while (!code && (text = va_arg(arguments, const char *)))
        code = append(&plan->argv, text);
    va_end(arguments);
    return code;
}

/* A text of the plan's own; NULL with an error when memory is out. */
__attribute__((format(printf, 2, 3))) static const char *own(struct rk_plan *plan, const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size >= 0 && !append(&plan->owned, text))
        return text;
    if (size >= 0)
        free(text);
    rk_error(RANKCALL_EINTERNAL, "no memory for a command line");
    return NULL;
}

const char *rk_plan_keep(struct rk_plan *plan, char *text)
{
    if (text && !append(&plan->owned, text))
        return text;
    free(text);
    rk_error(RANKCALL_EINTERNAL, "no memory for a command line");
    return NULL;
}

static int add_option(struct rk_plan *plan, const char *option, const char *value)
{
    return value ? add(plan, option, value, NULL) : rankcall_last_error()->code;
}

static int set_variable(struct rk_plan *plan, const char *name, const char *value)
{
    if (getenv(name))
        return RANKCALL_OK; /* the user knows better */
    const char *text = own(plan, "%s=%s", name, value);
    return text ? append(&plan->environment, text) : RANKCALL_EINTERNAL;
}

static bool has_allocation(void)
{
    for (size_t i = 0; i < sizeof(allocations) / sizeof(allocations[0]); i++)
        if (getenv(allocations[i]))
            return true;
    return false;
}

/* The first CPU of the core that a CPU belongs to. */
static int first_sibling(int cpu)
{
    char path[96];
    int first = cpu;
    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%d", &first) != 1)
        first = cpu;
    if (file)
        fclose(file);
    return first;
}

/* The cores that this process may use: mpirun counts cores, not their threads. */
static int usable_cores(void)
{
    cpu_set_t set;
    int cores = 0;
    if (sched_getaffinity(0, sizeof(set), &set))
        return 1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        int first = CPU_ISSET(cpu, &set) ? first_sibling(cpu) : -1;
        cores += first == cpu || (first >= 0 && !CPU_ISSET(first, &set));
    }
    return cores;
}

/* Tells the ranks which command started them: a worker that is no C program finds the libraries beside it. */
static int name_command(struct rk_plan *plan)
{
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (size <= 0)
        return RANKCALL_OK;
    path[size] = '\0';
    return set_variable(plan, "RANKCALL_COMMAND", path);
}

/* mpirun reaches the other nodes through an srun, which is to know the component. */
static int set_component(const struct rk_run_values *values, struct rk_plan *plan)
{
    const char *option = own(plan, "--het-group=%d", values->het_group);
    if (values->het_group < 0 || !option)
        return option ? RANKCALL_OK : RANKCALL_EINTERNAL;
    int code = set_variable(plan, "OMPI_MCA_plm_slurm_args", option);
    return code ? code : set_variable(plan, "PRTE_MCA_plm_slurm_args", option);
}

/* mpirun's PMIx is not made for deaths. Of a dead process it may close the socket and keep the event: with epoll it
 * would then hear nothing of a later one whose socket gets the same number, with poll it finds that out at once. It
 * waits for ever for one that dies while it reads the memory that PMIx would share with all processes. And its sensors,
 * for which nobody here asks, may take a lock in what PMIx 5 has freed when it finds out. */
static int set_for_deaths(struct rk_plan *plan)
{
    int code = set_variable(plan, RK_NO_EPOLL, RK_NO_EPOLL_OURS);
    if (!code)
        code = set_variable(plan, "PMIX_MCA_gds", "hash");
    return code ? code : set_variable(plan, "PMIX_MCA_psensor", "^file,heartbeat");
}

static int set_environment(const struct rk_run_values *values, struct rk_plan *plan)
{
    int code = RANKCALL_OK;
    if (geteuid() == 0 && ((code = set_variable(plan, "OMPI_ALLOW_RUN_AS_ROOT", "1")) ||
                           (code = set_variable(plan, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")) ||
                           (code = set_variable(plan, "PRTE_ALLOW_RUN_AS_ROOT", "1")) ||
                           (code = set_variable(plan, "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1"))))
        return code;
    /* When a rank has died, the others cannot go on: mpirun need not wait for them. */
    if ((code = set_variable(plan, "OMPI_MCA_odls_base_sigkill_timeout", "0")) ||
        (code = set_variable(plan, "PRTE_MCA_odls_base_sigkill_timeout", "0")))
        return code;
    /* mpirun 5 takes the replacements of ranks for a job of its own: it tags their output only when they inherit that,
     * and lets one live on without the other only by this default. */
    if ((code = set_variable(plan, "PRTE_MCA_rmaps_default_inherit", "1")) ||
        (rk_plan_recovers(values) && (code = set_variable(plan, "PRTE_MCA_state_base_recoverable", "1"))))
        return code;
    if ((code = set_for_deaths(plan)))
        return code;
    if ((code = name_command(plan)) || (code = set_component(values, plan)))
        return code;
    if (has_allocation() ? !values->crowded : values->ranks <= usable_cores())
        return RANKCALL_OK;
    /* By variables, which both lines of Open MPI take without a warning and an option of the user's overrides. */
    code = set_variable(plan, "OMPI_MCA_rmaps_base_oversubscribe", "1");
    return code ? code : set_variable(plan, "PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
}

/* The name of a job that was given none: its program's, as far as that is fit for one. */
static void default_name(const char *program, char name[65])
{
    const char *base = strrchr(program, '/') ? strrchr(program, '/') + 1 : program;
    size_t size = 0;
    for (; *base && size < 64; base++)
        if (size || isalnum((unsigned char)*base))
            name[size++] = isalnum((unsigned char)*base) || strchr("._-", *base) ? *base : '-';
    name[size] = '\0';
    if (!size)
        strcpy(name, "job");
}

static int choose_socket(const struct rk_run_values *values, struct rk_plan *plan)
{
    char path[PATH_MAX];
    if (values->name && values->socket)
        return rk_error(RANKCALL_EINVAL, "--name and --socket exclude each other");
    if (values->socket) {
        snprintf(path, sizeof(path), "%s%s", strchr(values->socket, '/') ? "" : "./", values->socket);
        return rk_path_socket(path, plan->socket);
    }
    if (values->name && strchr(values->name, '/'))
        return rk_error(RANKCALL_EINVAL, "the name %s has a /: --socket takes a path", values->name);
    if (values->name && !rk_path_name_ok(values->name))
        return rk_path_socket(values->name, plan->socket); /* says what names may be */
    if (values->name)
        snprintf(plan->name, sizeof(plan->name), "%s", values->name);
    else
        default_name(values->program[0], plan->name);
    return rk_path_socket(plan->name, plan->socket);
}

static int refuse_live(const struct rk_plan *plan)
{
    int fd;
    if (rk_path_connect(plan->socket, &fd))
        return RANKCALL_OK; /* what else may be wrong there, the job will say */
    rk_fd_close(&fd);
    if (plan->name[0])
        return rk_error(RANKCALL_EEXIST,
                        "a live job is named %s already: stop it (`rankcall stop -j %s`) or choose "
                        "another --name",
                        plan->name, plan->name);
    return rk_error(RANKCALL_EEXIST, "a live job listens at %s already", plan->socket);
}

/* A path in the runtime folder that bears this process's number. */
static int private_path(const char *what, char path[RK_PATH_MAX])
{
    char folder[RK_PATH_MAX], wanted[RK_PATH_MAX + 40];
    int code = rk_path_folder(true, folder);
    if (code)
        return code;
    int size = snprintf(wanted, sizeof(wanted), "%s/.%d.%s", folder, (int)getpid(), what);
    if (size >= (int)RK_PATH_MAX)
        return rk_error(RANKCALL_EINVAL, "the folder %s has too long a path: choose a shorter RANKCALL_RUNTIME_DIR",
                        folder);
    memcpy(path, wanted, (size_t)size + 1);
    return RANKCALL_OK;
}

static int write_setup(const char *json, size_t size, char path[RK_PATH_MAX])
{
    int code = private_path("setup", path);
    if (code)
        return code;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (file)
        fwrite(json, 1, size, file);
    if (!file || fclose(file))
        return rk_error_system("cannot write %s", path);
    return RANKCALL_OK;
}

static int add_setup(const char *argument, struct rk_plan *plan)
{
    struct rankcall_payload *setup;
    size_t size;
    int code = rk_attach_json(argument, &setup);
    if (code)
        return rk_error(code, "--setup: %s", rankcall_last_error()->message);
    const char *json = rankcall_payload_json(setup, &size);
    if (size <= SETUP_INLINE) {
        code = add_option(plan, "--setup", own(plan, "%s", json));
    } else {
        code = write_setup(json, size, plan->setup);
        if (!code)
            code = add_option(plan, "--setup", own(plan, "@%s", plan->setup));
    }
    rankcall_payload_free(setup);
    return code;
}

static int add_options(const struct rk_run_values *values, struct rk_plan *plan)
{
    int code = add(plan, plan->name[0] ? "--name" : "--socket", plan->name[0] ? plan->name : plan->socket, "--launcher",
                   plan->launcher, NULL);
    if (!code && values->queue)
        code = add_option(plan, "--queue", own(plan, "%d", values->queue));
    if (!code && values->restarts != RK_RESTARTS_DEFAULT)
        code = add_option(plan, "--restarts", own(plan, "%d", values->restarts));
    if (!code && values->grace >= 0)
        code = add_option(plan, "--grace", own(plan, "%.6f", values->grace));
    if (!code && values->payload_cap)
        code = add_option(plan, "--payload-cap", own(plan, "%llu", (unsigned long long)values->payload_cap));
    if (!code && values->client_stall >= 0)
        code = add_option(plan, "--client-stall", own(plan, "%.6f", values->client_stall));
    if (!code && values->walltime_drain >= 0)
        code = add_option(plan, "--walltime-drain", own(plan, "%.6f", values->walltime_drain));
    if (!code && values->call_log)
        code = add(plan, "--call-log", values->call_log, NULL);
    if (!code && values->bind)
        code = add(plan, "--bind", values->bind, NULL);
    if (!code && values->gpus)
        code = add(plan, "--gpus", values->gpus, NULL);
    if (!code && values->setup)
        code = add_setup(values->setup, plan);
    if (!code && values->debug)
        code = add(plan, "--debug", NULL);
    return code;
}

/* Where the worker's options go: behind the program, or at an argument "{}". */
static size_t options_place(const struct rk_run_values *values)
{
    for (size_t i = 1; values->program[i]; i++)
        if (!strcmp(values->program[i], "{}"))
            return i;
    return 0;
}

static int add_worker(const struct rk_run_values *values, const char *program, struct rk_plan *plan)
{
    size_t place = options_place(values);
    plan->worker = plan->argv.count;
    int code = append(&plan->argv, program);
    for (size_t i = 1; !code && i < place; i++)
        code = append(&plan->argv, values->program[i]);
    if (!code)
        code = add_options(values, plan);
    if (!code && values->program[place + 1])
        code = append(&plan->argv, "--");
    for (char *const *argument = values->program + place + 1; !code && *argument; argument++)
        code = append(&plan->argv, *argument);
    return code;
}

/* Whether one of mpirun's arguments has a text in it: "host" may bring other machines in. */
static bool has_argument(const struct rk_list *arguments, const char *text)
{
    for (size_t i = 0; i < arguments->count; i++)
        if (strstr(arguments->items[i], text))
            return true;
    return false;
}

bool rk_plan_spreads(const struct rk_run_values *values)
{
    return has_allocation() || has_argument(&values->launcher_arguments, "host");
}

bool rk_plan_recovers(const struct rk_run_values *values)
{
    return values->restarts > 0 && values->ranks > 1 && values->method == RK_MPIRUN && !values->plain;
}

void rk_plan_make_plain(struct rk_plan *plan)
{
    struct rk_list *argv = &plan->argv;
    for (size_t i = 1; i < argv->count; i++)
        if (!strcmp(argv->items[i], "--enable-recovery")) {
            size_t gone = plan->line >= 5 ? 3 : 1; /* --with-ft ulfm */
            memmove(argv->items + i, argv->items + i + gone, (argv->count + 1 - i - gone) * sizeof(*argv->items));
            argv->count -= gone;
            plan->worker -= gone;
            return;
        }
}

static int add_mpirun(const struct rk_run_values *values, const char *mpirun, struct rk_plan *plan)
{
    const char *ranks = own(plan, "%d", values->ranks);
    int code = ranks ? add(plan, mpirun, "-n", ranks, "--tag-output", NULL) : RANKCALL_EINTERNAL;
    if (!code && values->ranks_per_node)
        code = add_option(plan, "--map-by", own(plan, "ppr:%d:node:oversubscribe", values->ranks_per_node));
    if (!code && !has_argument(&values->launcher_arguments, "bind-to")) /* Open MPI 5 takes it once */
        code = add(plan, "--bind-to", "none", NULL);
    if (!code && rk_plan_recovers(values)) /* then a rank's death is not the others' */
        code = add(plan, "--enable-recovery", plan->line >= 5 ? "--with-ft" : NULL, "ulfm", NULL);
    for (size_t i = 0; !code && i < values->launcher_arguments.count; i++)
        code = add(plan, values->launcher_arguments.items[i], NULL);
    return code;
}

/* srun leaves the CPUs to rankcall, names each line's rank, ends all ranks with the first that fails, and the step at
 * SIGINT. */
static int add_srun(const struct rk_run_values *values, struct rk_plan *plan)
{
    int code = add(plan, "srun", "--mpi=pmix", "--label", "--cpu-bind=none", "--kill-on-bad-exit=0",
                   "--quit-on-interrupt", "--quiet", NULL);
    if (!code)
        code = add_option(plan, "-n", own(plan, "%d", values->ranks));
    if (!code && values->ranks_per_node)
        code = add_option(plan, "--ntasks-per-node", own(plan, "%d", values->ranks_per_node));
    if (!code && values->crowded)
        code = add(plan, "--overcommit", NULL);
    if (!code && values->het_group >= 0)
        code = add_option(plan, "--het-group", own(plan, "%d", values->het_group));
    if (!code && getenv("SLURM_STEP_ID")) /* the step that this process is in holds the CPUs */
        code = add(plan, "--overlap", NULL);
    for (size_t i = 0; !code && i < values->launcher_arguments.count; i++)
        code = add(plan, values->launcher_arguments.items[i], NULL);
    return code;
}

static int add_method(const struct rk_run_values *values, struct rk_plan *plan)
{
    char path[PATH_MAX];
    if (values->method == RK_SRUN)
        return add_srun(values, plan);
    int code = rk_program_mpirun(path, &plan->line);
    const char *mpirun = code ? NULL : own(plan, "%s", path);
    return mpirun ? add_mpirun(values, mpirun, plan) : rankcall_last_error()->code;
}

int rk_plan_make(const struct rk_run_values *values, struct rk_plan *plan)
{
    char path[PATH_MAX];
    const char *program;
    int code;
    *plan = (struct rk_plan){0};
    rk_leftovers_of_others();
    if ((code = append(&plan->environment, NULL)))
        return code;
    plan->environment.count = 0;
    enum rk_bind bind;
    if ((values->bind && (code = rk_bind_read(values->bind, &bind))) ||
        (values->gpus && (code = rk_gpu_choice_check(values->gpus))))
        return code;
    if ((code = rk_plan_check_loss(values)))
        return code;
    if ((code = rk_program_find(values->program[0], path)))
        return code;
    program = own(plan, "%s", path);
    if (!program || (code = choose_socket(values, plan)) || (code = refuse_live(plan)) ||
        (code = private_path("launcher", plan->launcher)) || (code = private_path("leftovers", plan->leftovers)) ||
        (code = set_environment(values, plan)) || (code = add_method(values, plan)))
        return rankcall_last_error()->code;
    return add_worker(values, program, plan);
}

static void print_quoted(FILE *out, const char *text)
{
    bool plain = *text != '\0';
    for (const char *c = text; *c; c++)
        plain = plain && (isalnum((unsigned char)*c) || strchr("%+,-./:=@_", *c));
    if (plain) {
        fputs(text, out);
        return;
    }
    putc('\'', out);
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", out);
        else
            putc(*text, out);
    putc('\'', out);
}

char *rk_plan_text(const struct rk_plan *plan)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    for (size_t i = 0; i < plan->environment.count; i++)
        fprintf(out, "%s ", plan->environment.items[i]);
    for (size_t i = 0; i < plan->argv.count; i++) {
        fputs(i ? " " : "", out);
        print_quoted(out, plan->argv.items[i]);
    }
    fclose(out);
    return text;
}

void rk_plan_free(struct rk_plan *plan)
{
    if (plan->setup[0])
        unlink(plan->setup);
    for (size_t i = 0; i < plan->owned.count; i++)
        free((void *)plan->owned.items[i]);
    free(plan->owned.items);
    free(plan->argv.items);
    free(plan->environment.items);
    *plan = (struct rk_plan){0};
}
