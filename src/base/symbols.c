/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Names for addresses: /proc tells which file's code lies there, and that file's table of symbols the function. Also
 * functions that a program does not export are found, unless it was stripped. */

#include "base/symbols.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* An ELF file in memory. Nothing in it is trusted. */
struct image {
    const uint8_t *bytes;
    size_t size;
};

struct place {
    char path[PATH_MAX];
    uint64_t offset; /* in the file */
};

/* Finds the file that is mapped at an address. */
static bool find_file(int pid, uint64_t address, struct place *place)
{
    char name[32], line[PATH_MAX + 128];
    bool found = false;
    snprintf(name, sizeof name, "/proc/%d/maps", pid);
    FILE *maps = fopen(name, "re");
    while (maps && !found && fgets(line, sizeof line, maps)) {
        uint64_t start, end, offset;
        int at = 0;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n", &start, &end, &offset, &at) < 3 || !at)
            continue;
        if (address < start || address >= end)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(place->path, sizeof place->path, "%s", line + at);
        place->offset = address - start + offset;
        found = place->path[0] == '/';
    }
    if (maps)
        fclose(maps);
    return found;
}

static bool map_image(const char *path, struct image *image)
{
    struct stat about;
    void *bytes = MAP_FAILED;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && !fstat(fd, &about) && about.st_size > (off_t)sizeof(ElfW(Ehdr)))
        bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0)
        close(fd);
    if (bytes == MAP_FAILED)
        return false;
    *image = (struct image){bytes, (size_t)about.st_size};
    return true;
}

/* `count` things of a size at an offset, or NULL: they don't lie within the file. */
static const void *within(const struct image *image, uint64_t offset, uint64_t count, uint64_t size)
{
    if (offset > image->size || offset % 8 || count > (image->size - offset) / size)
        return NULL;
    return image->bytes + offset;
}

static const ElfW(Ehdr) * header_of(const struct image *image)
{
    const ElfW(Ehdr) *header = within(image, 0, 1, sizeof *header);
    const unsigned char class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != class)
        return NULL;
    return header;
}

/* The address for which the file was linked, from the offset in it. */
static bool find_address(const struct image *image, uint64_t offset, uint64_t *address)
{
    const ElfW(Ehdr) *header = header_of(image);
    const ElfW(Phdr) *parts = header ? within(image, header->e_phoff, header->e_phnum, sizeof *parts) : NULL;
    for (unsigned i = 0; parts && i < header->e_phnum; i++)
        if (parts[i].p_type == PT_LOAD && offset >= parts[i].p_offset &&
            offset - parts[i].p_offset < parts[i].p_filesz) {
            *address = offset - parts[i].p_offset + parts[i].p_vaddr;
            return true;
        }
    return false;
}

/* The function of a table of symbols that an address lies in. */
static bool look_up(const struct image *image, const ElfW(Shdr) * table, const ElfW(Shdr) * strings, uint64_t address,
                    char *name, size_t size, uint64_t *distance)
{
    uint64_t count = table->sh_size / sizeof(ElfW(Sym));
    const ElfW(Sym) *symbols = within(image, table->sh_offset, count, sizeof *symbols);
    for (uint64_t i = 0; symbols && i < count; i++) {
        const ElfW(Sym) *symbol = &symbols[i];
        uint64_t text = strings->sh_offset + symbol->st_name;
        if ((symbol->st_info & 0xf) != STT_FUNC || symbol->st_shndx == SHN_UNDEF || address < symbol->st_value ||
            address - symbol->st_value >= symbol->st_size || text < strings->sh_offset || text >= image->size)
            continue;
        snprintf(name, size, "%.*s", (int)(image->size - text < 256 ? image->size - text : 256),
                 (const char *)image->bytes + text);
        *distance = address - symbol->st_value;
        return true;
    }
    return false;
}

/* In the full table where the file has one, else among what it exports. */
static bool find_function(const struct image *image, uint64_t address, char *name, size_t size, uint64_t *distance)
{
    const ElfW(Word) types[] = {SHT_SYMTAB, SHT_DYNSYM};
    const ElfW(Ehdr) *header = header_of(image);
    const ElfW(Shdr) *sections = header ? within(image, header->e_shoff, header->e_shnum, sizeof *sections) : NULL;
    for (int type = 0; sections && type < 2; type++)
        for (unsigned i = 0; i < header->e_shnum; i++)
            if (sections[i].sh_type == types[type] && sections[i].sh_link < header->e_shnum &&
                look_up(image, &sections[i], &sections[sections[i].sh_link], address, name, size, distance))
                return true;
    return false;
}

void rk_symbol(int pid, uint64_t address, bool behind_call, char *text, size_t size)
{
    struct place place;
    struct image image;
    uint64_t look = address - behind_call, linked, distance; /* what follows a call may be another function's */
    char name[256];
    if (!find_file(pid, look, &place)) {
        snprintf(text, size, "0x%" PRIx64, address);
        return;
    }
    const char *file = strrchr(place.path, '/') + 1;
    snprintf(text, size, "%.200s+0x%" PRIx64, file, place.offset + behind_call);
    if (!map_image(place.path, &image))
        return;
    if (find_address(&image, place.offset, &linked) && find_function(&image, linked, name, sizeof name, &distance))
        snprintf(text, size, "%s+0x%" PRIx64 " (%.200s)", name, distance + behind_call, file);
    munmap((void *)image.bytes, image.size);
}
