/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Stands in for libFuzzer where there is none: gives every file named, or lying in a folder named, to the target once.
 */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path);

static int replay_folder(const char *path)
{
    char file[4096];
    DIR *folder = opendir(path);
    int count = 0;

    if (!folder)
        return perror(path), -1;
    for (struct dirent *entry; count >= 0 && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        const int more = replay(file);
        count = more < 0 ? -1 : count + more;
    }
    closedir(folder);
    return count;
}

static int replay_file(const char *path, size_t size)
{
    uint8_t *data = malloc(size ? size : 1); /* of the exact size: a sanitizer sees every read past the end */
    FILE *file = fopen(path, "rb");
    int count = -1;

    if (data && file && fread(data, 1, size, file) == size) {
        LLVMFuzzerTestOneInput(data, size);
        count = 1;
    } else {
        perror(path);
    }
    if (file)
        fclose(file);
    free(data);
    return count;
}

/* Returns: how many inputs it replayed, -1 when one could not be read. */
static int replay(const char *path)
{
    struct stat status;

    if (stat(path, &status))
        return perror(path), -1;
    return S_ISDIR(status.st_mode) ? replay_folder(path) : replay_file(path, (size_t)status.st_size);
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        const int count = replay(argv[i]);
        if (count < 0)
            return EXIT_FAILURE;
        total += count;
    }
    printf("%d inputs\n", total);
    return total > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
