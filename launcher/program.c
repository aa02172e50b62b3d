/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Finding programs. */

#include "launcher/program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

static bool is_program(const char *path)
{
    struct stat status;
    return !stat(path, &status) && S_ISREG(status.st_mode) && !access(path, X_OK);
}

static int absolute(const char *name, char path[PATH_MAX])
{
    char folder[PATH_MAX] = "";
    if (name[0] != '/' && !getcwd(folder, sizeof(folder)))
        return rk_error_system("cannot tell the current folder");
    if (snprintf(path, PATH_MAX, "%s%s%s", folder, folder[0] ? "/" : "", name) >= PATH_MAX)
        return rk_error(RANKCALL_EINVAL, "the path %s is too long", name);
    return RANKCALL_OK;
}

/* Looks in the folders of a list like PATH. */
static bool find_in(const char *folders, const char *name, char path[PATH_MAX])
{
    while (folders && *folders) {
        size_t size = strcspn(folders, ":");
        char found[PATH_MAX];
        int length = snprintf(found, sizeof(found), "%.*s%s%s", (int)size, folders, size ? "/" : "./", name);
        if (length < PATH_MAX && is_program(found) && !absolute(found, path))
            return true;
        folders += size + (folders[size] == ':');
    }
    return false;
}

bool rk_program_on_path(const char *name)
{
    char path[PATH_MAX];
    return find_in(getenv("PATH"), name, path);
}

static int refuse(const char *name)
{
    struct stat status;
    if (!strchr(name, '/'))
        return rk_error(RANKCALL_ELAUNCH, "there is no program %s on PATH nor in %s (a path needs a /: ./%s)", name,
                        RANKCALL_EXAMPLES_DIR, name);
    if (stat(name, &status))
        return rk_error(RANKCALL_ELAUNCH, "the program %s cannot be run: %s", name, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return rk_error(RANKCALL_ELAUNCH, "the program %s is a folder", name);
    return rk_error(RANKCALL_ELAUNCH, "the program %s may not be executed: chmod +x it", name);
}

int rk_program_find(const char *name, char path[PATH_MAX])
{
    if (strchr(name, '/'))
        return is_program(name) ? absolute(name, path) : refuse(name);
    if (find_in(getenv("PATH"), name, path) || find_in(getenv("RANKCALL_EXAMPLES_DIR"), name, path) ||
        find_in(RANKCALL_EXAMPLES_DIR, name, path))
        return RANKCALL_OK;
    return refuse(name);
}

/* The line of Open MPI that a version's text tells; 0 when it is another MPI's. Under a name other than mpirun, line 4
 * calls itself OpenRTE and line 5 PRRTE, whose own versions are others. */
static int parse_line(const char *text)
{
    int line = 0;
    if (strstr(text, "(PRRTE)"))
        return 5;
    if (sscanf(text, "%*s (Open MPI) %d.", &line) != 1 && sscanf(text, "%*s (OpenRTE) %d.", &line) != 1)
        return 0;
    return line;
}

static int line_of(const char *mpirun)
{
    char command[PATH_MAX + 32], text[256] = "", rest[256];
    if (strchr(mpirun, '\'') || snprintf(command, sizeof(command), "'%s' --version 2>&1", mpirun) < 0)
        return 0;
    FILE *pipe = popen(command, "re");
    if (!pipe || !fgets(text, sizeof(text), pipe))
        text[0] = '\0';
    while (pipe && fgets(rest, sizeof(rest), pipe))
        continue;
    if (pipe)
        pclose(pipe);
    return parse_line(text);
}

int rk_program_mpirun(char path[PATH_MAX], int *line)
{
    const char *chosen = getenv("RANKCALL_MPIRUN");
    bool found;
    if (chosen && chosen[0])
        found =
            strchr(chosen, '/') ? is_program(chosen) && !absolute(chosen, path) : find_in(getenv("PATH"), chosen, path);
    else
        found = (is_program(RANKCALL_MPIRUN) && !absolute(RANKCALL_MPIRUN, path)) ||
                find_in(getenv("PATH"), "mpirun", path);
    if (!found)
        return rk_error(RANKCALL_ELAUNCH, "there is no program %s: install Open MPI, or set RANKCALL_MPIRUN",
                        chosen && chosen[0] ? chosen : "mpirun");
    *line = line_of(path);
    if (*line < 3)
        return rk_error(RANKCALL_ELAUNCH, "%s is not Open MPI's: set RANKCALL_MPIRUN to one that is", path);
    return RANKCALL_OK;
}
