/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* One attempt to put the mesh together again: the calls of MPI that make the replacements and connect everybody. None
 * of them returns when one of those who take part dies, so a thread of its own makes them, on a mesh of its own, and is
 * left where it is when the attempt is given up. */

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "mesh/internal.h"

#include <mpi-ext.h> /* needs mpi.h before it */

#define ARGS_MAX 65536 /* bytes of a command line */

struct rk_attempt {
    struct rk_mesh *draft;
    MPI_Comm before, tagged; /* the communicators that the living leave: one for those who hear of deaths, one else */
    int tag, count, nodes;
    int *dead;
    pthread_mutex_t lock;
    _Atomic bool abandoned; /* set with the lock held */
    enum rk_attempt_state state;
    pthread_t thread;
    struct rk_bell *bell; /* rung at the end */
    char why[256];
};

bool rk_mpi_hears_deaths(void)
{
    return rk_mesh_is_set("OMPI_MCA_mpi_ft_enable");
}

/* For tests: RANKCALL_TEST_DIE="STEP,WHO,FILE": while the file is there, the rank WHO dies at that step, or a process
 * that is not yet a rank: "new". */
static void moment(const char *step, int rank)
{
    const char *wanted = getenv("RANKCALL_TEST_DIE");
    char at[16], who[16], file[PATH_MAX], self[16] = "new";
    if (!wanted || sscanf(wanted, "%15[^,],%15[^,],%4095s", at, who, file) != 3)
        return;
    if (rank >= 0)
        snprintf(self, sizeof self, "%d", rank);
    if (!strcmp(at, step) && !strcmp(who, self) && !unlink(file))
        raise(SIGKILL);
}

/* ---- Replacements ---- */

/* This process's own command line, which is theirs too. argv[0] is not passed on: MPI adds it. */
static char **own_arguments(char *bytes, size_t room)
{
    FILE *file = fopen("/proc/self/cmdline", "re");
    size_t size = file ? fread(bytes, 1, room - 1, file) : 0, count = 0;
    if (file)
        fclose(file);
    bytes[size] = '\0';
    char **arguments = calloc(size + 2, sizeof *arguments);
    for (size_t at = strlen(bytes) + 1; arguments && at < size; at += strlen(bytes + at) + 1)
        arguments[count++] = bytes + at;
    return arguments;
}

/* This process's program, by the absolute name under which it was started, if that still leads to it: an interpreter
 * may find its libraries by it. */
static bool own_program(const char *name, char path[PATH_MAX])
{
    char found[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (size <= 0)
        return false;
    path[size] = '\0';
    if (*name == '/' && strlen(name) < PATH_MAX && realpath(name, found) && !strcmp(found, path))
        strcpy(path, name);
    return true;
}

static MPI_Info where_to_start(void)
{
    char folder[PATH_MAX];
    MPI_Info info;
    MPI_Info_create(&info);
#if OMPI_MAJOR_VERSION >= 5
    /* Else the job's own policy is inherited, limits and all. */
    MPI_Info_set(info, "map_by", "slot:OVERSUBSCRIBE");
    MPI_Info_set(info, "rank_by", "slot");
#else
    MPI_Info_set(info, "map_by", ":OVERSUBSCRIBE");
#endif
    MPI_Info_set(info, "bind_to", "none");
    if (getcwd(folder, sizeof folder))
        MPI_Info_set(info, "wdir", folder);
    return info;
}

/* Each where the dead one was. */
static int spawn_on_nodes(MPI_Comm living, const struct rk_attempt *attempt, char *program, char **arguments,
                          MPI_Comm *between, int *codes)
{
    size_t count = (size_t)attempt->count;
    char **programs = calloc(count, sizeof *programs), ***all = calloc(count, sizeof *all);
    MPI_Info *infos = calloc(count, sizeof(MPI_Info));
    int *ones = calloc(count, sizeof *ones), failure = MPI_ERR_OTHER;
    bool room = programs && all && infos && ones;
    for (size_t i = 0; room && i < count; i++) {
        programs[i] = program;
        all[i] = arguments;
        infos[i] = where_to_start();
        ones[i] = 1;
        MPI_Info_set(infos[i], "host", attempt->draft->ranks[attempt->dead[i]].place);
    }
    if (room && count == 1)
        failure = MPI_Comm_spawn(program, arguments, 1, infos[0], 0, living, between, codes);
    else if (room)
        failure = MPI_Comm_spawn_multiple((int)count, programs, all, ones, infos, 0, living, between, codes);
    for (size_t i = 0; room && i < count; i++)
        MPI_Info_free(&infos[i]);
    free(programs);
    free(all);
    free(infos);
    free(ones);
    return failure;
}

/* As many processes as have died. Only the root's arguments count. */
static int spawn(MPI_Comm living, const struct rk_attempt *attempt, MPI_Comm *between)
{
    char program[PATH_MAX] = "", bytes[ARGS_MAX];
    int rank, count = attempt->count, failure = MPI_ERR_OTHER;
    int *codes = calloc((size_t)count, sizeof *codes);
    char **arguments = own_arguments(bytes, sizeof bytes);
    MPI_Info info = where_to_start();
    MPI_Comm_rank(living, &rank);
    if (!codes || (rank == 0 && (!arguments || !own_program(bytes, program))))
        failure = MPI_ERR_OTHER;
    else if (attempt->nodes > 1)
        failure = spawn_on_nodes(living, attempt, program, arguments, between, codes);
    else
        failure = MPI_Comm_spawn(program, arguments, count, info, 0, living, between, codes);
    MPI_Info_free(&info);
    free(arguments);
    free(codes);
    return failure;
}

/* ---- Communicators ---- */

/* Where MPI hears of deaths, it refuses every other way of leaving a communicator as soon as it has heard, which each
 * rank does at a moment of its own. This one waits until all have. */
static MPI_Comm shrunk(MPI_Comm world, int wanted)
{
    MPI_Comm living = MPI_COMM_NULL;
    int size = 0;
#ifdef OMPI_HAVE_MPI_EXT_FTMPI
    if (MPIX_Comm_shrink(world, &living))
        return MPI_COMM_NULL;
    MPI_Comm_size(living, &size);
#else
    (void)world;
#endif
    return size == wanted ? living : MPI_COMM_NULL;
}

static MPI_Comm without(MPI_Comm comm, const int *dead, int count, int tag)
{
    MPI_Group all, rest;
    MPI_Comm living = MPI_COMM_NULL;
    MPI_Comm_group(comm, &all);
    MPI_Group_excl(all, count, dead, &rest);
    if (MPI_Comm_create_group(comm, rest, tag, &living))
        living = MPI_COMM_NULL;
    MPI_Group_free(&all);
    MPI_Group_free(&rest);
    return living;
}

/* Both sides: all in the order of the old numbers. The lowest living rank tells who is missing. */
static MPI_Comm restore_order(MPI_Comm between, bool replacement, int rank, int *dead, int count)
{
    MPI_Comm members = MPI_COMM_NULL, world = MPI_COMM_NULL;
    int index = 0;
    MPI_Comm_set_errhandler(between, MPI_ERRORS_RETURN);
    moment("merge", rank);
    if (MPI_Intercomm_merge(between, replacement, &members))
        return MPI_COMM_NULL;
    MPI_Comm_set_errhandler(members, MPI_ERRORS_RETURN);
    if (MPI_Bcast(dead, count, MPI_INT, 0, members))
        return MPI_COMM_NULL;
    if (replacement)
        MPI_Comm_rank(MPI_COMM_WORLD, &index);
    moment("split", rank);
    if (MPI_Comm_split(members, 0, replacement ? dead[index] : rank, &world))
        return MPI_COMM_NULL;
    MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
    MPI_Comm_free(&members);
    moment("attach", rank);
    return world;
}

bool rk_mesh_join_survivors(MPI_Comm *world)
{
    MPI_Comm parent = MPI_COMM_NULL;
    int count = 0;
    MPI_Comm_get_parent(&parent);
    if (parent == MPI_COMM_NULL)
        return false;
    MPI_Comm_size(MPI_COMM_WORLD, &count); /* those who were started together */
    int *dead = calloc((size_t)count, sizeof *dead);
    *world = dead ? restore_order(parent, true, -1, dead, count) : MPI_COMM_NULL;
    if (*world == MPI_COMM_NULL)
        _exit(1); /* the living see that */
    free(dead);
    return true;
}

/* ---- The thread ---- */

static const char *go(struct rk_attempt *attempt)
{
    struct rk_mesh *draft = attempt->draft;
    MPI_Comm between = MPI_COMM_NULL;
    moment("group", draft->rank);
    if (atomic_load(&attempt->abandoned))
        return "given up before it began";
    MPI_Comm living = rk_mpi_hears_deaths() ? shrunk(attempt->before, draft->size - attempt->count)
                                            : without(attempt->tagged, attempt->dead, attempt->count, attempt->tag);
    if (living == MPI_COMM_NULL || atomic_load(&attempt->abandoned))
        return "no communicator without the dead";
    MPI_Comm_set_errhandler(living, MPI_ERRORS_RETURN);
    moment("spawn", draft->rank);
    if (spawn(living, attempt, &between) || atomic_load(&attempt->abandoned))
        return "MPI_Comm_spawn failed";
    draft->world = restore_order(between, false, draft->rank, attempt->dead, attempt->count);
    MPI_Comm_free(&living);
    if (draft->world == MPI_COMM_NULL || atomic_load(&attempt->abandoned))
        return "no communicator with the replacements";
    return rk_mesh_attach(draft) ? rankcall_last_error()->message : NULL;
}

static void attempt_free(struct rk_attempt *attempt)
{
    free(attempt->dead);
    pthread_mutex_destroy(&attempt->lock);
    free(attempt);
}

static void *attempt_main(void *context)
{
    struct rk_attempt *attempt = context;
    pthread_setname_np(pthread_self(), "rankcall-group");
    rk_rest_here(&attempt->abandoned);
    const char *why = go(attempt);
    rk_rest_here(NULL);
    pthread_mutex_lock(&attempt->lock);
    bool abandoned = atomic_load(&attempt->abandoned);
    snprintf(attempt->why, sizeof attempt->why, "%s", why ? why : "");
    attempt->state = why ? RK_ATTEMPT_FAILED : RK_ATTEMPT_DONE;
    if (!abandoned)
        rk_bell_ring(attempt->bell);
    pthread_mutex_unlock(&attempt->lock);
    if (abandoned)
        attempt_free(attempt);
    return NULL;
}

/* What the new mesh has of the old one. */
static struct rk_mesh *make_draft(const struct rk_mesh *mesh)
{
    struct rk_mesh *draft = calloc(1, sizeof *draft);
    struct rk_rank_info *ranks = calloc((size_t)mesh->size, sizeof *ranks);
    if (!draft || !ranks) {
        free(draft);
        free(ranks);
        return NULL;
    }
    memcpy(ranks, mesh->ranks, (size_t)mesh->size * sizeof *ranks); /* a replacement inherits from those */
    draft->ranks = ranks;
    draft->given = mesh->given;
    draft->io_fifo = draft->link_fifo = -1;
    draft->world = draft->control = draft->events = draft->user = draft->local = MPI_COMM_NULL;
    return draft;
}

static void free_draft(struct rk_mesh *draft)
{
    if (draft)
        free(draft->ranks);
    free(draft);
}

struct rk_attempt *rk_attempt_begin(const struct rk_mesh *mesh, const int *dead, int count, int tag,
                                    struct rk_bell *bell)
{
    sigset_t all, before;
    struct rk_attempt *attempt = calloc(1, sizeof *attempt);
    if (!attempt)
        return NULL;
    attempt->draft = make_draft(mesh);
    attempt->dead = calloc((size_t)count, sizeof *dead);
    attempt->before = mesh->world;
    attempt->tagged = mesh->control;
    attempt->count = count;
    attempt->nodes = mesh->nodes;
    attempt->tag = tag;
    attempt->bell = bell;
    pthread_mutex_init(&attempt->lock, NULL);
    if (attempt->dead)
        memcpy(attempt->dead, dead, (size_t)count * sizeof *dead);
    sigfillset(&all); /* signals are the worker's threads' */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool begun = attempt->draft && attempt->dead && !pthread_create(&attempt->thread, NULL, attempt_main, attempt);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (begun)
        return attempt;
    free_draft(attempt->draft);
    attempt_free(attempt);
    return NULL;
}

enum rk_attempt_state rk_attempt_state(struct rk_attempt *attempt)
{
    pthread_mutex_lock(&attempt->lock);
    enum rk_attempt_state state = attempt->state;
    pthread_mutex_unlock(&attempt->lock);
    return state;
}

const char *rk_attempt_why(const struct rk_attempt *attempt)
{
    return attempt->why;
}

static _Atomic bool left_some; /* threads, in MPI */

/* A communicator that was half made keeps MPI from making others until one is made from one of a lower number: that of
 * this process alone. */
void rk_attempt_make_way(void)
{
    MPI_Comm alone;
    if (atomic_load(&left_some) && !MPI_Comm_dup(MPI_COMM_SELF, &alone))
        MPI_Comm_free(&alone);
}

void rk_attempt_abandon(struct rk_attempt *attempt)
{
    pthread_mutex_lock(&attempt->lock);
    atomic_store(&attempt->abandoned, true);
    bool runs = attempt->state == RK_ATTEMPT_RUNS;
    pthread_mutex_unlock(&attempt->lock);
    rk_segment_sweep((int)getpid());
    if (runs) {
        pthread_detach(attempt->thread);
        rk_rest_begin();
        atomic_store(&left_some, true);
        rk_attempt_make_way();
        return;
    }
    pthread_join(attempt->thread, NULL);
    attempt_free(attempt);
}

/* The draft's parts become the mesh's. */
void rk_attempt_take(struct rk_attempt *attempt, struct rk_mesh *mesh)
{
    struct rk_mesh *draft = attempt->draft;
    pthread_join(attempt->thread, NULL);
    mesh->made = draft->made;
    mesh->info = draft->info; /* attaching may have changed it */
    free(mesh->ranks_before);
    mesh->ranks_before = mesh->ranks;
    mesh->ranks = draft->ranks;
    draft->ranks = NULL;
    free_draft(draft);
    attempt_free(attempt);
}
