/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A double of an MPI that is CUDA-aware: the real one (Open MPI), to which it gives, for addresses of the double of
 * CUDA's run time, the memory that is there. Loaded before it (LD_PRELOAD). */

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "cudart_double.h"

typedef void *handle;

int MPIX_Query_cuda_support(void);
int MPI_Issend(const void *buffer, int count, handle type, int peer, int tag, handle comm, handle *request);
int MPI_Imrecv(void *buffer, int count, handle type, handle *message, handle *request);
int PMPI_Issend(const void *buffer, int count, handle type, int peer, int tag, handle comm, handle *request);
int PMPI_Imrecv(void *buffer, int count, handle type, handle *message, handle *request);

static _Atomic long sent;

int MPIX_Query_cuda_support(void)
{
    return 1;
}

/* Where the bytes really are; the same where CUDA's double does not know them. */
static void *real(const void *memory, size_t size)
{
    static void *(*ask)(const void *, size_t);
    const char *path = getenv("RANKCALL_TEST_CUDA_MODULE");
    void *module = ask || !path ? NULL : dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (module)
        *(void **)&ask = dlsym(module, "double_real");
    return ask ? ask(memory, size) : (void *)memory;
}

int MPI_Issend(const void *buffer, int count, handle type, int peer, int tag, handle comm, handle *request)
{
    void *bytes = real(buffer, (size_t)count);
    sent += bytes != buffer;
    return PMPI_Issend(bytes, count, type, peer, tag, comm, request);
}

int MPI_Imrecv(void *buffer, int count, handle type, handle *message, handle *request)
{
    return PMPI_Imrecv(real(buffer, (size_t)count), count, type, message, request);
}

__attribute__((destructor)) static void tell(void)
{
    if (sent)
        fprintf(stderr, "the double of MPI has sent %ld messages from devices\n", sent);
}
