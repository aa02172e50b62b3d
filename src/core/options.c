/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker program's command line. */

#include "core/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "wire/frame.h"

enum {
    OPTION_NAME = 'n',
    OPTION_SOCKET = 's',
    OPTION_SETUP = 'S',
    OPTION_QUEUE = 'q',
    OPTION_CAP = 'c',
    OPTION_CALL_LOG = 'C',
    OPTION_CLIENT_STALL = 'k',
    OPTION_RESTARTS = 'r',
    OPTION_GRACE = 'g',
    OPTION_LAUNCHER = 'l',
    OPTION_BIND = 'b',
    OPTION_GPUS = 'G',
    OPTION_DRAIN = 'w',
    OPTION_DEBUG = 'd',
    OPTION_HELP = 'h',
    OPTION_VERSION = 'V'
};

static const struct option table[] = {
    {"name", required_argument, NULL, OPTION_NAME},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"setup", required_argument, NULL, OPTION_SETUP},
    {"queue", required_argument, NULL, OPTION_QUEUE},
    {"payload-cap", required_argument, NULL, OPTION_CAP},
    {"client-stall", required_argument, NULL, OPTION_CLIENT_STALL},
    {"call-log", required_argument, NULL, OPTION_CALL_LOG},
    {"bind", required_argument, NULL, OPTION_BIND},
    {"gpus", required_argument, NULL, OPTION_GPUS},
    {"launcher", required_argument, NULL, OPTION_LAUNCHER},
    {"restarts", required_argument, NULL, OPTION_RESTARTS},
    {"grace", required_argument, NULL, OPTION_GRACE},
    {"walltime-drain", required_argument, NULL, OPTION_DRAIN},
    {"debug", no_argument, NULL, OPTION_DEBUG},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {0},
};

static const char help_text[] =
    "An SPMD worker program: every rank of an MPI job runs it and serves calls.\n\n"
    "      --name NAME          name of the job; it listens in the folder of jobs (default: the worker's name)\n"
    "      --socket PATH        listen at PATH instead\n"
    "      --setup JSON|@FILE   arguments of every rank's setup (default: {})\n"
    "      --queue N            calls that may wait (default: 256); further ones are answered \"busy\"\n"
    "      --payload-cap SIZE   largest payload, result or event, with K, M or G (default: 1G)\n"
    "      --client-stall SECONDS\n"
    "                           how long calls wait for a client that reads nothing (default: 60); 0: for ever\n"
    "      --call-log FILE      append a line a call, of key=value pairs, to FILE (-: standard error)\n"
    "      --restarts N         how often in an hour dead ranks are replaced, where mpirun allows it (default: 10)\n"
    "      --grace SECONDS      for ranks to come back from a call before they are killed (default: 30; 0: no limit)\n"
    "      --bind POLICY        where ranks run: auto, on cores of their own next to their GPUs (default); numa, on\n"
    "                           those of a NUMA node; none, wherever the system puts them\n"
    "      --gpus LIST          the GPUs of each node that ranks may use: numbers, UUIDs or PCI addresses; none; all\n"
    "                           (default)\n"
    "      --walltime-drain SECONDS\n"
    "                           before the allocation of a batch job ends, in which no further call begins\n"
    "                           (default: 60)\n"
    "      --debug              print debug lines\n"
    "  -h, --help               this text\n"
    "  -V, --version            the version\n"
    "  -- ARGUMENTS             the worker's own\n";

static void print_help(const char *program, const struct rankcall_worker *worker)
{
    printf("Usage: mpirun -n RANKS %s [OPTIONS] [-- ARGUMENTS]\n"
           "       rankcall run -n RANKS -- %s [ARGUMENTS]\n%s\nHandlers:\n",
           program, program, help_text);
    for (const struct rankcall_handler *handler = worker->handlers; handler->name; handler++)
        printf("  %-20s %s%s\n", handler->name, handler->help ? handler->help : "",
               handler == worker->handlers ? " (default)" : "");
}

/* A whole number with a K, M, G or T behind it. */
static int read_size(const char *option, const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    static const char units[] = "KMGT";
    const char *unit = *end ? strchr(units, *end) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (errno || end == text || *text == '-' || end[unit ? 1 : 0] || value == 0 || value > (UINT64_MAX >> 1 >> shift))
        return rk_error(RANKCALL_EINVAL, "%s: \"%s\" is not a size such as 4096, 64M or 1G", option, text);
    *out = (uint64_t)value << shift;
    return RANKCALL_OK;
}

static int read_queue(const char *text, unsigned *out)
{
    uint64_t value = 0;
    if (read_size("--queue", text, &value) || value > 1000000)
        return rk_error(RANKCALL_EINVAL, "--queue: \"%s\" is not a number from 1 to 1000000", text);
    *out = (unsigned)value;
    return RANKCALL_OK;
}

static int read_seconds(const char *option, const char *text, int64_t *out_us)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end || !(seconds >= 0 && seconds <= 1e9))
        return rk_error(RANKCALL_EINVAL, "%s: \"%s\" is not a number of seconds such as 60 or 0.5", option, text);
    *out_us = seconds > 0 && seconds < 1e-6 ? 1 : (int64_t)(seconds * 1e6);
    return RANKCALL_OK;
}

static int read_restarts(const char *text, unsigned *out)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value > 1000000)
        return rk_error(RANKCALL_EINVAL, "--restarts: \"%s\" is not a number from 0 to 1000000", text);
    *out = (unsigned)value;
    return RANKCALL_OK;
}

static int read_file(const char *path, char **text, size_t *size)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return rk_error_system("--setup: cannot read %s", path);
    *text = NULL;
    *size = 0;
    size_t room = 0;
    if (getdelim(text, &room, EOF, file) >= 0)
        *size = (size_t)ftell(file);
    fclose(file);
    return RANKCALL_OK;
}

static int read_setup(const char *text, struct rankcall_payload **out)
{
    char *contents = NULL;
    size_t size = strlen(text);
    int code = *text == '@' ? read_file(text + 1, &contents, &size) : RANKCALL_OK;
    rankcall_payload_free(*out);
    *out = NULL;
    if (!code)
        code = rankcall_payload_from_json(*text == '@' ? (contents ? contents : "") : text, size, out);
    if (code == RANKCALL_EPAYLOAD || code == RANKCALL_ETOOLARGE)
        code = rk_error(code, "--setup: %s", rankcall_last_error()->message);
    free(contents);
    return code;
}

static int set_name(const char *name, struct rk_options *options)
{
    if (!rk_path_name_ok(name))
        return rk_error(RANKCALL_EINVAL, "--name: \"%s\" is not 1 to 64 of A-Z a-z 0-9 . _ -", name);
    snprintf(options->name, sizeof options->name, "%s", name);
    return RANKCALL_OK;
}

static int set_socket(const char *path, struct rk_options *options)
{
    char relative[RK_PATH_MAX + 2];
    if (!strchr(path, '/')) { /* a path is meant, also without a slash */
        snprintf(relative, sizeof relative, "./%s", path);
        path = relative;
    }
    return rk_path_socket(path, options->socket);
}

static int read_drain(const char *text, struct rk_options *options)
{
    int64_t us = 0;
    int code = read_seconds("--walltime-drain", text, &us);
    options->walltime_drain_s = (double)us / 1e6;
    return code;
}

static int read_option(int option, struct rk_options *options)
{
    switch (option) {
    case OPTION_NAME: return set_name(optarg, options);
    case OPTION_SOCKET: return set_socket(optarg, options);
    case OPTION_SETUP: return read_setup(optarg, &options->setup);
    case OPTION_RESTARTS: return read_restarts(optarg, &options->restarts);
    case OPTION_GRACE: return read_seconds("--grace", optarg, &options->grace_us);
    case OPTION_QUEUE: return read_queue(optarg, &options->queue);
    case OPTION_CAP: return read_size("--payload-cap", optarg, &options->payload_cap);
    case OPTION_CLIENT_STALL: return read_seconds("--client-stall", optarg, &options->client_stall_us);
    case OPTION_CALL_LOG: options->call_log = optarg; return RANKCALL_OK;
    case OPTION_LAUNCHER: options->launcher = optarg; return RANKCALL_OK;
    case OPTION_DRAIN: return read_drain(optarg, options);
    case OPTION_BIND: return rk_bind_read(optarg, &options->bind);
    case OPTION_GPUS: options->gpus = optarg; return rk_gpu_choice_check(optarg);
    case OPTION_DEBUG: options->debug = true; return RANKCALL_OK;
    default: return rk_error(RANKCALL_EINVAL, "see --help");
    }
}

/* The job's name where none was given: the worker's, or the program's, made fit. */
static void default_name(const char *program, const struct rankcall_worker *worker, struct rk_options *options)
{
    const char *slash = strrchr(program, '/');
    const char *name = worker->name ? worker->name : slash ? slash + 1 : program;
    if (*options->name)
        return;
    if (*name == 'l' && !strncmp(name, "lt-", 3)) /* libtool's wrapper */
        name += 3;
    snprintf(options->name, sizeof options->name, "%s", name);
    for (char *at = options->name; *at; at++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *at))
            *at = '_';
    if (!rk_path_name_ok(options->name))
        snprintf(options->name, sizeof options->name, "job");
}

static int complete(int argc, char **argv, const struct rankcall_worker *worker, struct rk_options *options)
{
    if (optind < argc && strcmp(argv[optind - 1], "--"))
        return rk_error(RANKCALL_EINVAL, "\"%s\" is unexpected: the worker's own arguments follow \"--\"",
                        argv[optind]);
    options->argc = argc - optind;
    options->argv = argv + optind;
    default_name(argv[0], worker, options);
    int code = RANKCALL_OK;
    if (!*options->socket)
        code = rk_path_socket(options->name, options->socket);
    if (!code && !options->setup)
        code = rankcall_payload_from_json("{}", 2, &options->setup);
    return code;
}

enum rk_options_end rk_options_read(int argc, char **argv, const struct rankcall_worker *worker, bool chief,
                                    struct rk_options *options)
{
    int code = RANKCALL_OK, option;
    *options = (struct rk_options){.client_stall_us = RK_CLIENT_STALL_S * INT64_C(1000000),
                                   .walltime_drain_s = -1,
                                   .grace_us = RK_GRACE_DEFAULT_S * INT64_C(1000000),
                                   .queue = RK_QUEUE_DEFAULT,
                                   .restarts = RK_RESTARTS_DEFAULT,
                                   .payload_cap = RK_PAYLOAD_CAP_DEFAULT};
    optind = 0; /* start anew, whoever used getopt before */
    opterr = chief;
    while (!code && (option = getopt_long(argc, argv, "+hV", table, NULL)) != -1) {
        if (option == OPTION_HELP && chief)
            print_help(argv[0], worker);
        if (option == OPTION_VERSION && chief)
            printf("%s (rankcall %s)\n", worker->name ? worker->name : argv[0], rankcall_version());
        if (option == OPTION_HELP || option == OPTION_VERSION)
            return RK_OPTIONS_EXIT;
        code = read_option(option, options);
    }
    if (!code)
        code = complete(argc, argv, worker, options);
    if (!code)
        return RK_OPTIONS_RUN;
    if (chief)
        rk_log(RK_LOG_ERROR, "%s: %s", argv[0], rankcall_last_error()->message);
    rk_options_free(options);
    return RK_OPTIONS_FAIL;
}

void rk_options_free(struct rk_options *options)
{
    rankcall_payload_free(options->setup);
    options->setup = NULL;
}
