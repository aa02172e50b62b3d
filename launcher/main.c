/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The `rankcall` command: its table of subcommands, and the help that belongs to none of them. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launcher/commands.h"
#include "launcher/say.h"

static const struct rk_command *const commands[] = {
    &rk_command_run,  &rk_command_invoke, &rk_command_stream, &rk_command_ps,     &rk_command_status,
    &rk_command_topo, &rk_command_cancel, &rk_command_stop,   &rk_command_doctor, &rk_command_forward,
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *to)
{
    fputs("Usage: rankcall COMMAND [OPTION…] …\n\n"
          "Keeps an SPMD job resident under mpirun and calls it.\n\nCommands:\n",
          to);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-8s%.*s\n", commands[i]->name, (int)strcspn(commands[i]->help, "\n"), commands[i]->help);
    fputs("\n`rankcall COMMAND --help` tells more of each, `rankcall help exit-codes` lists the exit codes,\n"
          "`rankcall --version` prints the version. RANKCALL_JOB names the job where -j does not.\n",
          to);
}

static void print_exit_codes(void)
{
    puts("The command's exit codes, and the errors that they stand for:\n");
#define ROW(constant, number, name, status, text) printf("%5d  %-18s %s\n", status, name, text);
    RANKCALL_ERROR_TABLE(ROW)
#undef ROW
    puts("  129  (hang-up)          ended by SIGHUP\n"
         "  130  (interrupt)        ended by SIGINT: Ctrl-C\n"
         "  143  (terminated)       ended by SIGTERM\n\n"
         "`rankcall run` ends with 0 after an orderly stop, also when Ctrl-C or SIGTERM asked for it.");
}

static const struct rk_command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int help(const char *topic)
{
    const struct rk_command *command = topic ? find(topic) : NULL;
    if (command)
        rk_options_help(command);
    else if (topic && strcmp(topic, "exit-codes") == 0)
        print_exit_codes();
    else
        print_help(stdout);
    return rk_finish_stdout(0);
}

/* Whoever started this process may have closed standard descriptors: nothing else must get their numbers. */
static void hold_descriptors(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        continue;
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    hold_descriptors();
    const char *name = argc > 1 ? argv[1] : "";
    const struct rk_command *command = find(name);
    if (command)
        return command->run(argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("rankcall %s\n", rankcall_version());
        return rk_finish_stdout(0);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    if (name[0])
        rk_say("there is no command \"%s\"; `rankcall --help` lists them", name);
    else
        print_help(stderr);
    return rankcall_code_exit_status(RANKCALL_EINVAL);
}
