/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What jobs need of this host. */

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "device/cuda.h"
#include "device/machine.h"
#include "launcher/allocation.h"
#include "launcher/doctor.h"
#include "launcher/program.h"

#define OUTPUT       (256 << 10)
#define SHARED_LEAST (UINT64_C(256) << 20) /* of shared memory: Open MPI's segments and ours, for some ranks */
#define FILES_LEAST  4096                  /* descriptors: a connection to each of many ranks and clients */

/* What a command prints; "" when it fails. Ownership: the caller's, free(). */
static char *output_of(const char *command)
{
    char *text = calloc(1, OUTPUT);
    FILE *pipe = text ? popen(command, "re") : NULL;
    size_t size = pipe ? fread(text, 1, OUTPUT - 1, pipe) : 0;
    if (text)
        text[size] = '\0';
    if (pipe && pclose(pipe) && text)
        text[0] = '\0';
    return text;
}

/* What ompi_info beside mpirun says, one fact a line. Ownership: the caller's. */
static char *ask_ompi(void)
{
    char path[PATH_MAX], command[PATH_MAX + 64], *slash;
    int line;
    if (rk_program_mpirun(path, &line) || strchr(path, '\'') || !(slash = strrchr(path, '/')))
        return NULL;
    snprintf(slash + 1, sizeof(path) - (size_t)(slash + 1 - path), "ompi_info");
    snprintf(command, sizeof(command), "'%s' --parsable 2>/dev/null", path);
    return output_of(command);
}

/* The rest of the line that begins so. */
static bool fact(const char *text, const char *begin, char value[128])
{
    const char *line = text ? strstr(text, begin) : NULL;
    if (line)
        snprintf(value, 128, "%.*s", (int)strcspn(line + strlen(begin), "\n"), line + strlen(begin));
    return line != NULL;
}

static void check_mpi(struct rk_finding *finding)
{
    char path[PATH_MAX], version[128] = "?";
    int line;
    char *text = ask_ompi();
    if (rk_program_mpirun(path, &line))
        rk_find(finding, RK_ILL, "install Open MPI 4.1 or 5.0, or name its mpirun in RANKCALL_MPIRUN", "%s",
                rankcall_last_error()->message);
    else if (fact(text, "ompi:version:full:", version) || line >= 4)
        rk_find(finding, line >= 4 ? RK_WELL : RK_ILL, line >= 4 ? NULL : "install Open MPI 4.1 or 5.0",
                "%s, version %s", path, version[0] == '?' ? (line >= 5 ? "5" : "4") : version);
    free(text);
}

static void check_threads(struct rk_finding *finding)
{
    char value[128];
    char *text = ask_ompi();
    if (!fact(text, "MPI_THREAD_MULTIPLE: ", value))
        rk_find(finding, RK_ABSENT, NULL, "ompi_info does not tell");
    else if (!strncmp(value, "yes", 3))
        rk_find(finding, RK_WELL, NULL, "MPI_THREAD_MULTIPLE");
    else
        rk_find(finding, RK_ILL, "build Open MPI with --enable-mpi-threads, or take another", "no MPI_THREAD_MULTIPLE");
    free(text);
}

static void check_pmix(struct rk_finding *finding)
{
    char *text = ask_ompi(), value[128] = "";
    bool ext = fact(text, "mca:pmix:ext", value), own = text && (strstr(text, "mca:pmix:pmix") || strstr(text, "prte"));
    if (!text || !text[0])
        rk_find(finding, RK_ABSENT, NULL, "ompi_info does not tell");
    else if (ext || own)
        rk_find(finding, RK_WELL, NULL, "%s", ext ? "the system's, which Slurm's plugin can share" : "Open MPI's own");
    else if (strstr(text, "ompi:version:full:5"))
        rk_find(finding, RK_WELL, NULL, "part of Open MPI 5");
    else
        rk_find(finding, RK_POOR, "use --launch mpirun, or an Open MPI with PMIx", "Open MPI has no PMIx: no srun");
    free(text);
}

static void check_plugin(struct rk_finding *finding)
{
    char *text = rk_program_on_path("srun") ? output_of("srun --mpi=list 2>&1") : NULL;
    if (!text)
        rk_find(finding, RK_ABSENT, NULL, "no srun on PATH: no Slurm here");
    else if (strstr(text, "pmix"))
        rk_find(finding, RK_WELL, NULL, "srun has mpi/pmix");
    else if (!text[0])
        rk_find(finding, RK_POOR, "look at /etc/slurm/slurm.conf or SLURM_CONF, and whether slurmctld answers",
                "srun does not answer");
    else
        rk_find(finding, RK_POOR, "use --launch mpirun; for srun build Slurm with PMIx, or install mpi_pmix.so",
                "srun lacks its plugin mpi/pmix");
    free(text);
}

/* mpirun that does not know Slurm goes to other nodes by ssh. */
static void check_support(struct rk_finding *finding)
{
    char *text = ask_ompi();
    if (!rk_program_on_path("srun"))
        rk_find(finding, RK_ABSENT, NULL, "no Slurm here");
    else if (text && (strstr(text, "mca:plm:slurm") || strstr(text, "ompi:version:full:5")))
        rk_find(finding, RK_WELL, NULL, "mpirun knows Slurm");
    else
        rk_find(finding, RK_POOR, "use --launch srun on several nodes, or build Open MPI with --with-slurm",
                "mpirun does not know Slurm");
    free(text);
}

static void check_hwloc(struct rk_finding *finding)
{
    struct rk_machine *machine = NULL;
    if (rk_machine_open(NULL, RK_CORES_AND_GPUS, &machine))
        rk_find(finding, RK_POOR, "install hwloc's own tools and try `lstopo`; --bind none does without", "%s",
                rankcall_last_error()->message);
    else
        rk_find(finding, RK_WELL, NULL, "%d core%s, %d NUMA node%s, %d GPU%s", machine->core_count,
                machine->core_count == 1 ? "" : "s", machine->locality_count, machine->locality_count == 1 ? "" : "s",
                machine->gpu_count, machine->gpu_count == 1 ? "" : "s");
    rk_machine_free(machine);
}

static int nccl_version(void)
{
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    int (*ask)(int *) = NULL, version = 0;
    if (library)
        *(void **)&ask = dlsym(library, "ncclGetVersion");
    if (ask && ask(&version))
        version = 0;
    return version;
}

/* The first GPU: its driver must know the CUDA that the module was built with, and NCCL be there for several. */
static void check_gpu(const struct rk_gpu *gpu, int count, struct rk_finding *finding)
{
    const struct rk_cuda_module *module;
    struct rk_cuda *cuda;
    char text[RK_CUDA_TEXT];
    int nccl = nccl_version();
    if (rk_cuda_load(&module)) {
        rk_find(finding, RK_ILL, "build rankcall where CUDA's toolkit is, and load CUDA's module here", "%s",
                rankcall_last_error()->message);
        return;
    }
    if (module->open(gpu->address, gpu->uuid, &cuda, text)) {
        rk_find(finding, RK_ILL, "compare `nvidia-smi` with the CUDA of the build: the driver must not be older", "%s",
                text);
        return;
    }
    const struct rk_cuda_facts facts = *module->facts(cuda);
    module->close(cuda);
    rk_find(
        finding, nccl || count < 2 ? RK_WELL : RK_POOR,
        nccl || count < 2 ? NULL : "install NCCL (libnccl.so.2) of the same CUDA: GPUs talk through host memory else",
        "%s, CUDA %d.%d, driver for %d.%d, NCCL %d.%d.%d", facts.name, facts.runtime / 1000, facts.runtime % 1000 / 10,
        facts.driver / 1000, facts.driver % 1000 / 10, nccl / 10000, nccl % 10000 / 100, nccl % 100);
}

static void check_cuda(struct rk_finding *finding)
{
    struct rk_machine *machine = NULL;
    if (rk_machine_open(NULL, RK_CORES_AND_GPUS, &machine) || !machine->gpu_count)
        rk_find(finding, RK_ABSENT, NULL, "no GPU that this process may use: ranks compute on CPUs");
    else
        check_gpu(&machine->gpus[0], machine->gpu_count, finding);
    rk_machine_free(machine);
}

static void check_shared(struct rk_finding *finding)
{
    struct statvfs status;
    if (statvfs("/dev/shm", &status)) {
        rk_find(finding, RK_ILL, "mount a tmpfs at /dev/shm", "/dev/shm: %s", strerror(errno));
        return;
    }
    uint64_t size = (uint64_t)status.f_blocks * status.f_frsize, left = (uint64_t)status.f_bavail * status.f_frsize;
    rk_find(
        finding, left < SHARED_LEAST ? RK_POOR : RK_WELL,
        left < SHARED_LEAST ? "remove what old jobs have left in /dev/shm, or make it larger (docker: --shm-size=1g)"
                            : NULL,
        "/dev/shm has %llu MiB, %llu of them free", (unsigned long long)(size >> 20), (unsigned long long)(left >> 20));
}

static void check_files(struct rk_finding *finding)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    rk_find(finding, files.rlim_cur < FILES_LEAST && files.rlim_max < FILES_LEAST ? RK_POOR : RK_WELL,
            files.rlim_max < FILES_LEAST
                ? "raise `nofile` in /etc/security/limits.conf: many ranks and clients need more"
                : NULL,
            "%llu files may be open (ulimit -n), %llu at most", (unsigned long long)files.rlim_cur,
            (unsigned long long)files.rlim_max);
}

static bool has_rdma(void)
{
    struct dirent *entry;
    bool found = false;
    DIR *list = opendir("/sys/class/infiniband");
    while (list && !found && (entry = readdir(list)))
        found = entry->d_name[0] != '.';
    if (list)
        closedir(list);
    return found;
}

static void check_locked(struct rk_finding *finding)
{
    struct rlimit locked = {0};
    bool rdma = has_rdma();
    getrlimit(RLIMIT_MEMLOCK, &locked);
    if (locked.rlim_cur == RLIM_INFINITY)
        rk_find(finding, RK_WELL, NULL, "memory may be locked without limit (ulimit -l)");
    else
        rk_find(finding, rdma ? RK_ILL : RK_WELL,
                rdma ? "set `memlock unlimited` in limits.conf, and LimitMEMLOCK=infinity for slurmd" : NULL,
                "%llu KiB may be locked (ulimit -l)%s", (unsigned long long)(locked.rlim_cur >> 10),
                rdma ? ": too little for the RDMA network" : "; there is no RDMA network that wants more");
}

static void check_folder(struct rk_finding *finding)
{
    char folder[RK_PATH_MAX];
    if (rk_path_folder(true, folder))
        rk_find(finding, RK_ILL, "set RANKCALL_RUNTIME_DIR to a folder of your own, on a local disk", "%s",
                rankcall_last_error()->message);
    else
        rk_find(finding, RK_WELL, NULL, "%s", folder);
}

static void check_job(struct rk_finding *finding)
{
    struct rk_allocation allocation;
    rk_allocation_read(&allocation);
    if (allocation.scheduler == RK_NO_SCHEDULER)
        rk_find(finding, RK_ABSENT, NULL, "this is no batch job");
    else
        rk_find(finding, RK_WELL, NULL, "%s job %s, %d node%s, %d task%s, %d GPU%s a node%s", allocation.name,
                allocation.job, allocation.nodes, allocation.nodes == 1 ? "" : "s", allocation.tasks,
                allocation.tasks == 1 ? "" : "s", allocation.gpus, allocation.gpus == 1 ? "" : "s",
                allocation.here ? "" : "; rank 0 will be on another host");
}

const struct rk_check rk_checks[] = {
    {"open-mpi", check_mpi},
    {"threads", check_threads},
    {"pmix", check_pmix},
    {"slurm-pmix", check_plugin},
    {"slurm-mpirun", check_support},
    {"hwloc", check_hwloc},
    {"cuda", check_cuda},
    {"shared-memory", check_shared},
    {"open-files", check_files},
    {"locked-memory", check_locked},
    {"sockets", check_folder},
    {"batch-job", check_job},
    {"nodes", rk_check_nodes},
    {"clock", rk_check_clock},
    {0},
};
