/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A machine as hwloc sees it. */

#include "device/machine.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define NVIDIA      0x10de
#define PCI_DISPLAY 0x03       /* the upper byte of a PCI class */
#define HEAD_SIZE   4096       /* of a file: its version stands in the first lines */
#define FILE_MAX    (64 << 20) /* of one that is read by us */

static int out_of_memory(void)
{
    return rk_error(RANKCALL_EINTERNAL, "no memory for the machine's topology");
}

/* ---- Loading ---- */

/* Discovery by libraries of GPU vendors would start their run times in every rank. */
static void leave_out_libraries(hwloc_topology_t topology)
{
    static const char *const names[] = {"cuda", "nvml", "opencl", "gl", "rsmi", "levelzero"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, names[i]);
}

static void set_filters(hwloc_topology_t topology, enum rk_machine_parts parts)
{
    enum hwloc_type_filter_e devices =
        parts == RK_CORES_AND_GPUS ? HWLOC_TYPE_FILTER_KEEP_IMPORTANT : HWLOC_TYPE_FILTER_KEEP_NONE;
    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_cache_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_icache_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_io_types_filter(topology, devices);
    hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
}

static int unreadable(const char *path)
{
    return rk_error(RANKCALL_EINVAL, "hwloc cannot read %s: it is damaged, or cut off", path);
}

/* Where the number of the form stands in the text of a file; NULL: it is no topology, or of the first form. */
static char *find_version(char *text)
{
    char *root = strstr(text, "<topology"), *end = root ? strchr(root, '>') : NULL;
    char *version = root ? strstr(root, "version=\"") : NULL;
    return version && end && version < end ? version + strlen("version=\"") : NULL;
}

/* hwloc's own message for a file that it cannot read is none, or goes to standard error. */
static int check_file(const char *path, int *form)
{
    char head[HEAD_SIZE];
    FILE *file = fopen(path, "re");
    if (!file)
        return rk_error_system("cannot read %s", path);
    size_t size = fread(head, 1, sizeof head - 1, file);
    bool failed = ferror(file);
    fclose(file);
    if (failed)
        return rk_error_system("cannot read %s", path);
    head[size] = '\0';
    if (!strstr(head, "<topology"))
        return rk_error(RANKCALL_EINVAL, "%s is not a topology that hwloc has written as XML", path);
    const char *version = find_version(head);
    *form = version ? atoi(version) : 1;
    return RANKCALL_OK;
}

static unsigned own_form(void)
{
    return hwloc_get_api_version() >> 16;
}

static int too_new(const char *path, int form)
{
    return rk_error(RANKCALL_EINVAL,
                    "%s was written by hwloc %d, in a form that the hwloc %u of this rankcall cannot read: write "
                    "it there with `lstopo --export-xml-flags v2 FILE.xml`",
                    path, form, own_form());
}

/* The form of hwloc 3 adds to that of hwloc 2 what placement does not need, and hwloc 2 overlooks what it does not
 * know; it only refuses the number. */
static int set_newer(hwloc_topology_t topology, const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = file ? malloc(FILE_MAX) : NULL;
    size_t size = text ? fread(text, 1, FILE_MAX - 1, file) : 0;
    if (file)
        fclose(file);
    if (!text)
        return rk_error_system("cannot read %s", path);
    text[size] = '\0';
    char *version = find_version(text);
    if (version)
        *version = '2';
    int failed = !version || hwloc_topology_set_xmlbuffer(topology, text, (int)size + 1);
    free(text);
    return failed ? unreadable(path) : RANKCALL_OK;
}

static int set_file(hwloc_topology_t topology, const char *path)
{
    int form, code = check_file(path, &form);
    if (code)
        return code;
    if (form == 3 && own_form() == 2)
        return set_newer(topology, path);
    if (form > (int)own_form())
        return too_new(path, form);
    return hwloc_topology_set_xml(topology, path) ? unreadable(path) : RANKCALL_OK;
}

static int load(hwloc_topology_t topology, const char *xml, const char *synthetic, enum rk_machine_parts parts)
{
    leave_out_libraries(topology);
    set_filters(topology, parts);
    int code = xml ? set_file(topology, xml) : RANKCALL_OK;
    if (code)
        return code;
    if (synthetic && hwloc_topology_set_synthetic(topology, synthetic))
        return rk_error(RANKCALL_EINVAL, "\"%s\" does not describe a machine", synthetic);
    if (!hwloc_topology_load(topology))
        return RANKCALL_OK;
    if (xml)
        return unreadable(xml);
    return rk_error_system("hwloc cannot look at this machine");
}

/* ---- Taking over ---- */

static struct rk_cpus from_bitmap(hwloc_const_bitmap_t bitmap)
{
    struct rk_cpus set = {0};
    for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0 && cpu < RK_CPUS_MAX; cpu = hwloc_bitmap_next(bitmap, cpu))
        rk_cpus_add(&set, (unsigned)cpu);
    return set;
}

/* Of the memories at one place the one for everything: not that of GPUs, and not the small fast one. */
static int number_of_memory(hwloc_obj_t place)
{
    hwloc_obj_t found = NULL;
    for (hwloc_obj_t memory = place->memory_first_child; memory; memory = memory->next_sibling) {
        hwloc_obj_t node = memory;
        while (node && node->type != HWLOC_OBJ_NUMANODE)
            node = node->memory_first_child;
        if (node && (!found || (found->subtype && (!node->subtype || !strcmp(node->subtype, "DRAM")))))
            found = node;
    }
    return found ? (int)found->os_index : 0;
}

/* The index of the locality that a core lies in, which is made when it is the first there. */
static int locality_of(struct rk_machine *machine, hwloc_obj_t core)
{
    hwloc_obj_t place = core->parent;
    while (place->parent && !place->memory_arity)
        place = place->parent;
    struct rk_cpus cpus = from_bitmap(place->cpuset);
    for (int i = 0; i < machine->locality_count; i++)
        if (rk_cpus_equal(&machine->localities[i].cpus, &cpus))
            return i;
    machine->localities[machine->locality_count] = (struct rk_locality){number_of_memory(place), cpus};
    return machine->locality_count++;
}

/* Some machines do not tell of cores: there every CPU counts as one. */
static int take_cores(struct rk_machine *machine, hwloc_topology_t topology)
{
    hwloc_obj_type_t type = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    int count = hwloc_get_nbobjs_by_type(topology, type);
    machine->cores = calloc((size_t)count + 1, sizeof *machine->cores);
    machine->localities = calloc((size_t)count + 1, sizeof *machine->localities);
    if (!machine->cores || !machine->localities)
        return out_of_memory();
    for (int i = 0; i < count; i++) {
        hwloc_obj_t object = hwloc_get_obj_by_type(topology, type, (unsigned)i);
        struct rk_core *core = &machine->cores[machine->core_count];
        core->cpus = from_bitmap(object->cpuset);
        if (rk_cpus_empty(&core->cpus))
            continue;
        core->locality = locality_of(machine, object);
        machine->core_count++;
    }
    return machine->core_count ? RANKCALL_OK : rk_error(RANKCALL_EINVAL, "the topology has no CPU");
}

static bool is_gpu(hwloc_obj_t device)
{
    return device->attr->pcidev.vendor_id == NVIDIA && device->attr->pcidev.class_id >> 8 == PCI_DISPLAY;
}

static void copy_info(hwloc_obj_t object, const char *name, char *text, size_t size)
{
    const char *value = hwloc_obj_get_info_by_name(object, name);
    if (value && !*text)
        snprintf(text, size, "%s", value);
}

static void take_gpu(struct rk_machine *machine, hwloc_topology_t topology, hwloc_obj_t device)
{
    struct rk_gpu *gpu = &machine->gpus[machine->gpu_count++];
    const struct hwloc_pcidev_attr_s *pci = &device->attr->pcidev;
    hwloc_obj_t place = hwloc_get_non_io_ancestor_obj(topology, device);
    *gpu = (struct rk_gpu){.minor = -1, .usable = true};
    snprintf(gpu->address, sizeof gpu->address, "%04x:%02x:%02x.%01x", (unsigned)pci->domain & 0xffffffffu, pci->bus,
             pci->dev & 31u, pci->func & 7u);
    if (place && place->cpuset)
        gpu->near = from_bitmap(place->cpuset);
    for (hwloc_obj_t os = device->io_first_child; os; os = os->next_sibling) {
        copy_info(os, "NVIDIAUUID", gpu->uuid, sizeof gpu->uuid);
        copy_info(os, "GPUModel", gpu->model, sizeof gpu->model);
    }
    copy_info(device, "PCIDevice", gpu->model, sizeof gpu->model);
    if (machine->locality_count > 1 && rk_cpus_within(&machine->cpus, &gpu->near))
        gpu->near = (struct rk_cpus){0}; /* the firmware does not tell where it is */
}

static int by_address(const void *one, const void *other)
{
    return strcmp(((const struct rk_gpu *)one)->address, ((const struct rk_gpu *)other)->address);
}

static int take_gpus(struct rk_machine *machine, hwloc_topology_t topology)
{
    hwloc_obj_t device = NULL;
    machine->gpus = calloc(RK_GPUS_MAX, sizeof *machine->gpus);
    if (!machine->gpus)
        return out_of_memory();
    while ((device = hwloc_get_next_pcidev(topology, device)) && machine->gpu_count < RK_GPUS_MAX)
        if (is_gpu(device))
            take_gpu(machine, topology, device);
    qsort(machine->gpus, (size_t)machine->gpu_count, sizeof *machine->gpus, by_address);
    return RANKCALL_OK;
}

/* On this machine the driver knows the UUIDs, and which GPUs this process may open; what it does not know is of no use
 * to CUDA. */
static void ask_driver(struct rk_machine *machine)
{
    struct rk_gpu known[RK_GPUS_MAX];
    int count = rk_gpus_of_driver(known);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < machine->gpu_count; j++)
            if (!strcmp(known[i].address, machine->gpus[j].address))
                known[i].near = machine->gpus[j].near;
    memcpy(machine->gpus, known, (size_t)count * sizeof *known);
    machine->gpu_count = count;
}

static int take(struct rk_machine *machine, hwloc_topology_t topology)
{
    hwloc_obj_t root = hwloc_get_root_obj(topology);
    machine->cpus = from_bitmap(root->cpuset);
    machine->allowed = from_bitmap(hwloc_topology_get_allowed_cpuset(topology));
    copy_info(root, "HostName", machine->name, sizeof machine->name);
    int code = take_cores(machine, topology);
    return code ? code : take_gpus(machine, topology);
}

static int open_machine(const char *xml, const char *synthetic, enum rk_machine_parts parts, struct rk_machine **out)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology))
        return rk_error_system("hwloc does not start");
    struct rk_machine *machine = calloc(1, sizeof *machine);
    int code = machine ? load(topology, xml, synthetic, parts) : out_of_memory();
    if (!code)
        code = take(machine, topology);
    if (!code && !xml && !synthetic)
        ask_driver(machine);
    hwloc_topology_destroy(topology);
    if (code)
        rk_machine_free(machine);
    else
        *out = machine;
    return code;
}

int rk_machine_open(const char *xml, enum rk_machine_parts parts, struct rk_machine **out)
{
    return open_machine(xml, NULL, parts, out);
}

int rk_machine_synthetic(const char *description, struct rk_machine **out)
{
    return open_machine(NULL, description, RK_CORES_ALONE, out);
}

void rk_machine_free(struct rk_machine *machine)
{
    int saved = errno;
    if (machine) {
        free(machine->localities);
        free(machine->cores);
        free(machine->gpus);
    }
    free(machine);
    errno = saved;
}
