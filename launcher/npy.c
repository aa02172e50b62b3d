/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The headers of .npy files: a magic number, a length, and a Python dictionary with three keys. */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "launcher/npy.h"

#define MAGIC      "\x93NUMPY"
#define MAGIC_SIZE 6
#define ALIGN      64    /* of the data in files that are written */
#define HEADER_CAP 65536 /* bytes of a header */

/* NumPy's letters and sizes; '|' in a file is the same as '<' for one byte. */
static const struct {
    char code[4];
    int dtype;
} dtypes[] = {
    {"b1", RANKCALL_BOOL},      {"i1", RANKCALL_INT8},        {"i2", RANKCALL_INT16},   {"i4", RANKCALL_INT32},
    {"i8", RANKCALL_INT64},     {"u1", RANKCALL_UINT8},       {"u2", RANKCALL_UINT16},  {"u4", RANKCALL_UINT32},
    {"u8", RANKCALL_UINT64},    {"f2", RANKCALL_FLOAT16},     {"f4", RANKCALL_FLOAT32}, {"f8", RANKCALL_FLOAT64},
    {"c8", RANKCALL_COMPLEX64}, {"c16", RANKCALL_COMPLEX128},
};

bool rk_npy_is(const void *bytes, size_t size)
{
    return size >= MAGIC_SIZE && memcmp(bytes, MAGIC, MAGIC_SIZE) == 0;
}

/* Where the value of a key begins, NULL when the dictionary lacks it. */
static const char *value_of(const char *header, const char *key)
{
    char quoted[32];
    snprintf(quoted, sizeof(quoted), "'%s'", key);
    const char *at = strstr(header, quoted);
    if (!at)
        return NULL;
    at += strlen(quoted);
    at += strspn(at, " ");
    return *at == ':' ? at + 1 + strspn(at + 1, " ") : NULL;
}

static int read_dtype(const char *header, struct rankcall_attachment *array)
{
    const char *at = value_of(header, "descr");
    const char *end = at && *at == '\'' ? strchr(at + 1, '\'') : NULL;
    if (!end)
        return rk_error(RANKCALL_EPAYLOAD, "its elements are not plain numbers: only arrays of one number type travel");
    size_t size = (size_t)(end - at - 1);
    if (at[1] == '>')
        return rk_error(RANKCALL_EPAYLOAD, "it is big endian ('%.*s'): convert it to little endian", (int)size, at + 1);
    for (size_t i = 0; size > 1 && i < sizeof(dtypes) / sizeof(dtypes[0]); i++)
        if (strchr("<|=", at[1]) && strlen(dtypes[i].code) == size - 1 && !memcmp(dtypes[i].code, at + 2, size - 1)) {
            array->dtype = dtypes[i].dtype;
            return RANKCALL_OK;
        }
    return rk_error(RANKCALL_EPAYLOAD, "its dtype '%.*s' does not travel: bool, integers, floats and complex do",
                    (int)size, at + 1);
}

static int read_order(const char *header)
{
    const char *at = value_of(header, "fortran_order");
    if (at && strncmp(at, "False", 5) == 0)
        return RANKCALL_OK;
    if (at && strncmp(at, "True", 4) == 0)
        return rk_error(RANKCALL_EPAYLOAD, "it is in Fortran order: save numpy.ascontiguousarray of it");
    return rk_error(RANKCALL_EPAYLOAD, "its header does not tell the order of its elements");
}

static int read_shape(const char *header, struct rankcall_attachment *array)
{
    const char *at = value_of(header, "shape");
    if (!at || *at != '(')
        return rk_error(RANKCALL_EPAYLOAD, "its header has no shape");
    at += 1 + strspn(at + 1, " ");
    for (array->ndim = 0; *at != ')'; array->ndim++) {
        char *end;
        if (array->ndim == RANKCALL_MAX_DIMS)
            return rk_error(RANKCALL_EPAYLOAD, "it has more than %d dimensions", RANKCALL_MAX_DIMS);
        errno = 0;
        array->shape[array->ndim] = strtoull(at, &end, 10);
        if (end == at || errno || *at == '-')
            return rk_error(RANKCALL_EPAYLOAD, "its shape makes no sense");
        at = end + strspn(end, " ");
        if (*at != ',' && *at != ')')
            return rk_error(RANKCALL_EPAYLOAD, "its shape makes no sense");
        at += *at == ',';
        at += strspn(at, " ");
    }
    return RANKCALL_OK;
}

/* Compares the data's size with what dtype and shape ask for. */
static int check_size(struct rankcall_attachment *array, uint64_t have)
{
    uint64_t want = rankcall_dtype_size(array->dtype);
    for (int i = 0; i < array->ndim; i++)
        if (__builtin_mul_overflow(want, array->shape[i], &want))
            return rk_error(RANKCALL_EPAYLOAD, "its shape is too large to be true");
    if (want != have)
        return rk_error(RANKCALL_EPAYLOAD, "its header asks for %llu bytes of data, but %llu are there",
                        (unsigned long long)want, (unsigned long long)have);
    array->size = want;
    return RANKCALL_OK;
}

static int read_dictionary(const char *header, struct rankcall_attachment *array)
{
    int code = read_dtype(header, array);
    if (!code)
        code = read_order(header);
    return code ? code : read_shape(header, array);
}

int rk_npy_read(const void *bytes, size_t size, struct rankcall_attachment *array)
{
    struct rk_reader reader = rk_reader(bytes, size);
    rk_read_bytes(&reader, MAGIC_SIZE);
    uint8_t major = rk_read_u8(&reader);
    rk_read_u8(&reader);
    uint32_t length = major == 1 ? rk_read_u16(&reader) : rk_read_u32(&reader);
    if (!rk_npy_is(bytes, size) || major < 1 || major > 3)
        return rk_error(RANKCALL_EPAYLOAD, "it is not a .npy file of version 1 to 3");
    const uint8_t *text = length <= HEADER_CAP ? rk_read_bytes(&reader, length) : NULL;
    if (!text)
        return rk_error(RANKCALL_EPAYLOAD, "it is cut within its header");
    char *header = strndup((const char *)text, length);
    if (!header)
        return rk_error(RANKCALL_EINTERNAL, "no memory for a header");
    array->type = RANKCALL_NDARRAY;
    array->data = reader.at;
    int code = read_dictionary(header, array);
    free(header);
    return code ? code : check_size(array, (uint64_t)(reader.end - reader.at));
}

static const char *code_of(int dtype)
{
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].code;
    return NULL;
}

bool rk_npy_write_header(FILE *out, const struct rankcall_attachment *array)
{
    char text[1024];
    const char *code = code_of(array->dtype);
    if (!code)
        return false;
    int size = snprintf(text, sizeof(text), "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                        rankcall_dtype_size(array->dtype) == 1 ? '|' : '<', code);
    for (int i = 0; i < array->ndim; i++)
        size += snprintf(text + size, sizeof(text) - (size_t)size, "%s%llu%s", i ? " " : "",
                         (unsigned long long)array->shape[i], i + 1 < array->ndim || array->ndim == 1 ? "," : "");
    size += snprintf(text + size, sizeof(text) - (size_t)size, "), }");
    int whole = MAGIC_SIZE + 4 + size + 1;
    int padding = (ALIGN - whole % ALIGN) % ALIGN;
    int length = size + padding + 1;
    fwrite(MAGIC "\x01\x00", 1, MAGIC_SIZE + 2, out);
    putc(length & 0xff, out);
    putc(length >> 8, out);
    fprintf(out, "%s%*s\n", text, padding, "");
    return true;
}
