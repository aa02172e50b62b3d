/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A payload: one JSON object and its attachments. Arguments, results and events are payloads.
 *
 * Every function that returns int returns RANKCALL_OK (0) or a code of <rankcall/error.h>, whose message, which
 * names the key and what was found, is in rankcall_last_error().
 *
 * Keys: a key names a member of the top-level object; one that begins with '/' is a JSON Pointer (RFC 6901), so
 * "/grid/0/nx" reaches inside. */

#ifndef RANKCALL_PAYLOAD_H
#define RANKCALL_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rankcall/error.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

#define RANKCALL_MAX_DIMS        32   /* dimensions of an ndarray */
#define RANKCALL_MAX_ATTACHMENTS 1024 /* attachments of a payload */
#define RANKCALL_MAX_NAME        255  /* bytes of an attachment's or a handler's name */

/* The numbers are the protocol's. */
enum rankcall_type {
    RANKCALL_BYTES = 0,
    RANKCALL_IMAGE_PNG = 1,
    RANKCALL_IMAGE_JPEG = 2,
    RANKCALL_NDARRAY = 3, /* C order, little endian */
};

enum rankcall_dtype {
    RANKCALL_DTYPE_NONE = 0, /* not an ndarray */
    RANKCALL_BOOL = 1,
    RANKCALL_INT8 = 2,
    RANKCALL_INT16 = 3,
    RANKCALL_INT32 = 4,
    RANKCALL_INT64 = 5,
    RANKCALL_UINT8 = 6,
    RANKCALL_UINT16 = 7,
    RANKCALL_UINT32 = 8,
    RANKCALL_UINT64 = 9,
    RANKCALL_FLOAT16 = 10,
    RANKCALL_FLOAT32 = 11,
    RANKCALL_FLOAT64 = 12,
    RANKCALL_COMPLEX64 = 13,
    RANKCALL_COMPLEX128 = 14,
    RANKCALL_BFLOAT16 = 15,
};

/* The size of one element in bytes, 0 for RANKCALL_DTYPE_NONE and unknown numbers. */
size_t rankcall_dtype_size(int dtype);

/* The name as NumPy spells it ("float32"), "" for RANKCALL_DTYPE_NONE and unknown numbers. */
const char *rankcall_dtype_name(int dtype);

/* The media type or name of an attachment type ("bytes", "image/png", "image/jpeg", "ndarray"), "" when unknown. */
const char *rankcall_type_name(int type);

/* One attachment. As given to rankcall_attach: the caller's memory. As got from rankcall_attachment: the payload's
 * memory, valid as long as the payload; `data` is aligned to 64 bytes, unless it is the caller's own memory that
 * rankcall_attach or rankcall_attach_take was given. */
struct rankcall_attachment {
    const char *name;                  /* 1 to RANKCALL_MAX_NAME bytes of UTF-8, unique in the payload */
    int type;                          /* enum rankcall_type */
    int dtype;                         /* enum rankcall_dtype; RANKCALL_DTYPE_NONE unless type is RANKCALL_NDARRAY */
    int ndim;                          /* 0 to RANKCALL_MAX_DIMS; 0 for a scalar ndarray and for the other types */
    uint64_t shape[RANKCALL_MAX_DIMS]; /* elements per dimension, outermost first */
    const void *data;                  /* `size` bytes; may be NULL when size is 0 */
    uint64_t size;                     /* bytes; for an ndarray the product of shape times the element size */
};

struct rankcall_payload;

/* An empty payload: {} and no attachments.
 * Returns: NULL only when memory is out. Ownership: free with rankcall_payload_free. */
struct rankcall_payload *rankcall_payload_new(void);

/* A payload from JSON text, which must be one object of RFC 8259: no NaN, no duplicate key, no \u0000 in a key, valid
 * UTF-8, nesting of at most 64. The text is kept byte for byte. `size` is strlen(json) when SIZE_MAX is given.
 * Errors: RANKCALL_EPAYLOAD with the byte offset; RANKCALL_ETOOLARGE. Ownership: *out is the caller's. */
int rankcall_payload_from_json(const char *json, size_t size, struct rankcall_payload **out);

/* Frees a payload, or gives up one hold of rankcall_payload_ref; NULL is allowed; errno is kept. */
void rankcall_payload_free(struct rankcall_payload *payload);

/* One more hold on a payload that nobody changes any more: it lives until rankcall_payload_free was called for each. So
 * a handler keeps its arguments, or some of their attachments, longer than its call, without a copy.
 * Returns: the payload. Threads: any; look-ups in it, though, from one thread at a time. */
struct rankcall_payload *rankcall_payload_ref(const struct rankcall_payload *payload);

/* Building. A member that exists is replaced. A payload that came from the wire or that was given away is
 * read-only: RANKCALL_EINVAL. */
int rankcall_set_int(struct rankcall_payload *payload, const char *key, int64_t value);
int rankcall_set_double(struct rankcall_payload *payload, const char *key, double value); /* NaN, inf: ERANGE */
int rankcall_set_bool(struct rankcall_payload *payload, const char *key, bool value);
int rankcall_set_string(struct rankcall_payload *payload, const char *key, const char *value); /* UTF-8 */
int rankcall_set_doubles(struct rankcall_payload *payload, const char *key, const double *values, size_t count);
/* Any JSON value as text, checked as in rankcall_payload_from_json; keys here are member names, never pointers. */
int rankcall_set_json(struct rankcall_payload *payload, const char *key, const char *json);

/* Attaches the caller's memory without copying it.
 * `release` (may be NULL) is called with `data` and `context` when the payload no longer needs the bytes, also when
 * this function fails; it may be called from another thread. Those of rank 0's results and events may be needed until
 * the client has read them. With NULL the bytes are only borrowed: they must live
 * until the payload is freed or given away; rankcall_result and rankcall_emit copy them where they need them for
 * longer, and for rankcall_submit they must live until that call has ended.
 * Errors: RANKCALL_EPAYLOAD (name, type, dtype, shape and size must agree). */
int rankcall_attach(struct rankcall_payload *payload, const struct rankcall_attachment *attachment,
                    void (*release)(void *data, void *context), void *context);

/* A release for rankcall_attach that adds one to the uint64_t at `context`, atomically, and does nothing else: for
 * memory that may be freed on certain threads only, such as a garbage collector's. */
void rankcall_release_count(void *data, void *context);

/* Attaches a copy of the bytes. */
int rankcall_attach_copy(struct rankcall_payload *payload, const struct rankcall_attachment *attachment);

/* Attaches memory from malloc() and takes it: free() is called on it, also on failure. */
int rankcall_attach_take(struct rankcall_payload *payload, const struct rankcall_attachment *attachment);

/* The JSON text, byte for byte as it came, NUL-terminated; *size (may be NULL) gets its length without the NUL.
 * Returns: NULL only when memory is out. Ownership: the payload's; valid until it is changed or freed. */
const char *rankcall_payload_json(const struct rankcall_payload *payload, size_t *size);

/* Required look-ups: the key must be there with that type, else RANKCALL_ENOKEY, RANKCALL_ETYPE or RANKCALL_ERANGE and
 * *value is untouched. An integer is a number without fraction that both int64_t and a double hold exactly. A string is
 * the payload's memory, valid until it is changed or freed; one that holds \u0000 is RANKCALL_EPAYLOAD. */
int rankcall_get_int(const struct rankcall_payload *payload, const char *key, int64_t *value);
int rankcall_get_double(const struct rankcall_payload *payload, const char *key, double *value);
int rankcall_get_bool(const struct rankcall_payload *payload, const char *key, bool *value);
int rankcall_get_string(const struct rankcall_payload *payload, const char *key, const char **value);

/* Optional look-ups: as above, but a missing key (or null) leaves *value, the default, and is RANKCALL_OK. */
int rankcall_opt_int(const struct rankcall_payload *payload, const char *key, int64_t *value);
int rankcall_opt_double(const struct rankcall_payload *payload, const char *key, double *value);
int rankcall_opt_bool(const struct rankcall_payload *payload, const char *key, bool *value);
int rankcall_opt_string(const struct rankcall_payload *payload, const char *key, const char **value);

/* As the integer look-ups, and refuses a value outside [min, max] with RANKCALL_ERANGE. */
int rankcall_opt_int_in(const struct rankcall_payload *payload, const char *key, int64_t min, int64_t max,
                        int64_t *value);
int rankcall_opt_double_in(const struct rankcall_payload *payload, const char *key, double min, double max,
                           double *value);

/* An array of numbers. *values gets memory of the payload's, valid as long as it; *count its length. */
int rankcall_get_doubles(const struct rankcall_payload *payload, const char *key, const double **values, size_t *count);

/* Whether the key is there and not null. */
bool rankcall_has(const struct rankcall_payload *payload, const char *key);

/* Attachments by position and by name. Errors: RANKCALL_EINVAL (no such position), RANKCALL_ENOKEY. */
size_t rankcall_attachment_count(const struct rankcall_payload *payload);
int rankcall_attachment_at(const struct rankcall_payload *payload, size_t position, struct rankcall_attachment *out);
int rankcall_attachment(const struct rankcall_payload *payload, const char *name, struct rankcall_attachment *out);

/* As rankcall_attachment, and requires that type (and, unless RANKCALL_DTYPE_NONE, that dtype): RANKCALL_ETYPE. */
int rankcall_attachment_of(const struct rankcall_payload *payload, const char *name, int type, int dtype,
                           struct rankcall_attachment *out);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
