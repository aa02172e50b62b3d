/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Attachments as files: .npy headers read and written, types told, names made harmless. */

#include "unit.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/attach.h"
#include "launcher/json_print.h"
#include "launcher/npy.h"
#include "launcher/save.h"
#include "launcher/say.h"

/* ---- .npy ---- */

static uint8_t file[8192];

/* Makes a file of version `major` from a dictionary and `data` bytes of data; returns its size. */
static size_t make(int major, const char *dictionary, size_t data)
{
    size_t text = strlen(dictionary), start = major == 1 ? 10 : 12;
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (uint8_t)major;
    file[7] = 0;
    file[8] = (uint8_t)text;
    file[9] = (uint8_t)(text >> 8);
    file[10] = file[11] = 0;
    memcpy(file + start, dictionary, text);
    for (size_t i = 0; i < data; i++)
        file[start + text + i] = (uint8_t)i;
    return start + text + data;
}

#define NPY(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }      \n"

static void arrays_of_all_number_types_are_read(void **state)
{
    static const struct {
        const char *header;
        size_t data;
        int dtype, ndim;
        uint64_t shape[3];
    } cases[] = {
        {NPY("'<f4'", "False", "(2, 3)"), 24, RANKCALL_FLOAT32, 2, {2, 3}},
        {NPY("'|b1'", "False", "(5,)"), 5, RANKCALL_BOOL, 1, {5}},
        {NPY("'|u1'", "False", "()"), 1, RANKCALL_UINT8, 0, {0}},
        {NPY("'<i8'", "False", "(0, 7)"), 0, RANKCALL_INT64, 2, {0, 7}},
        {NPY("'<c16'", "False", "(1, 1, 2)"), 32, RANKCALL_COMPLEX128, 3, {1, 1, 2}},
        {"{'shape': (2,), 'fortran_order': False, 'descr': '<f2'}\n", 4, RANKCALL_FLOAT16, 1, {2}},
    };
    (void)state;
    for (int major = 1; major <= 3; major++)
        for (size_t i = 0; i < COUNT(cases); i++) {
            struct rankcall_attachment array = {0};
            size_t size = make(major, cases[i].header, cases[i].data);
            assert_true(rk_npy_is(file, size));
            assert_ok(rk_npy_read(file, size, &array));
            assert_int_equal(array.type, RANKCALL_NDARRAY);
            assert_int_equal(array.dtype, cases[i].dtype);
            assert_int_equal(array.ndim, cases[i].ndim);
            assert_memory_equal(array.shape, cases[i].shape, sizeof(uint64_t) * (size_t)array.ndim);
            assert_int_equal(array.size, cases[i].data);
            assert_ptr_equal(array.data, file + size - cases[i].data);
        }
}

static void arrays_that_do_not_travel_are_refused(void **state)
{
    static const struct {
        const char *header;
        size_t data;
        const char *text;
    } cases[] = {
        {NPY("'>f4'", "False", "(2, 3)"), 24, "big endian"},
        {NPY("'<f4'", "True", "(2, 3)"), 24, "Fortran"},
        {NPY("'<f4'", "Maybe", "(2, 3)"), 24, "order"},
        {NPY("'|S5'", "False", "(2,)"), 10, "'|S5'"},
        {NPY("'|O'", "False", "(2,)"), 16, "'|O'"},
        {NPY("''", "False", "(2,)"), 16, "dtype"},
        {NPY("'<", "False", "(2,)"), 16, "dtype"},
        {NPY("[('x', '<i4')]", "False", "(2,)"), 8, "one number type"},
        {NPY("'<f4'", "False", "(2, 3)"), 23, "24 bytes"},
        {NPY("'<f4'", "False", "(2, 3)"), 25, "24 bytes"},
        {NPY("'<f4'", "False", "2"), 8, "shape"},
        {NPY("'<f4'", "False", "(2"), 8, "shape"},
        {NPY("'<f4'", "False", "(-2,)"), 8, "shape"},
        {NPY("'<f4'", "False", "(x,)"), 8, "shape"},
        {NPY("'<f4'", "False", "(99999999999999999999,)"), 8, "shape"},
        {NPY("'<f4'", "False", "(4294967296, 4294967296, 4)"), 0, "too large"},
        {"{}", 0, "number type"},
        {"", 0, "number type"},
    };
    struct rankcall_attachment array;
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_fails(rk_npy_read(file, make(1, cases[i].header, cases[i].data), &array), RANKCALL_EPAYLOAD,
                     cases[i].text);
}

static void too_many_dimensions_are_refused(void **state)
{
    char header[512] = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    struct rankcall_attachment array;
    (void)state;
    for (int i = 0; i <= RANKCALL_MAX_DIMS; i++)
        strcat(header, "1, ");
    strcat(header, ")}");
    assert_fails(rk_npy_read(file, make(1, header, 4), &array), RANKCALL_EPAYLOAD, "32 dimensions");
}

static void cut_files_are_refused(void **state)
{
    struct rankcall_attachment array;
    size_t size = make(1, NPY("'<f4'", "False", "(2, 3)"), 24);
    (void)state;
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut ? cut : 1); /* so that a sanitizer sees a step too far */
        memcpy(copy, file, cut);
        assert_int_equal(rk_npy_read(copy, cut, &array), RANKCALL_EPAYLOAD);
        free(copy);
    }
    file[6] = 4;
    assert_fails(rk_npy_read(file, size, &array), RANKCALL_EPAYLOAD, "version");
}

static void headers_that_are_written_are_read_again(void **state)
{
    (void)state;
    for (int dtype = RANKCALL_BOOL; dtype <= RANKCALL_COMPLEX128; dtype++)
        for (int ndim = 0; ndim <= RANKCALL_MAX_DIMS; ndim += ndim < 3 ? 1 : 29) {
            char text[4096];
            struct rankcall_attachment array = {.dtype = dtype, .ndim = ndim}, back = {0};
            for (int i = 0; i < ndim; i++)
                array.shape[i] = (uint64_t)(i % 2 + 1) % 2 + 1;
            uint64_t size = rankcall_dtype_size(dtype);
            for (int i = 0; i < ndim; i++)
                size *= array.shape[i];
            if (size > 2048)
                continue;
            FILE *out = fmemopen(text, sizeof text, "w");
            assert_true(rk_npy_write_header(out, &array));
            long start = ftell(out);
            fclose(out);
            assert_int_equal(start % 64, 0);
            assert_ok(rk_npy_read(text, (size_t)start + size, &back));
            assert_int_equal(back.dtype, dtype);
            assert_int_equal(back.ndim, ndim);
            assert_memory_equal(back.shape, array.shape, sizeof(uint64_t) * (size_t)ndim);
        }
    assert_false(rk_npy_write_header(stdout, &(struct rankcall_attachment){.dtype = RANKCALL_BFLOAT16}));
}

/* ---- Names ---- */

static void names_stay_in_their_folder_and_off_the_terminal(void **state)
{
    static const struct {
        const char *name;
        int type;
        const char *suffix;
        int count;
        const char *expected;
    } cases[] = {
        {"image", RANKCALL_IMAGE_PNG, "", 1, "image.png"},
        {"image.png", RANKCALL_IMAGE_PNG, "", 1, "image.png"},
        {"image.png", RANKCALL_IMAGE_JPEG, "", 1, "image.png.jpg"},
        {"w", RANKCALL_NDARRAY, "-r2-17", 1, "w-r2-17.npy"},
        {"w.npy", RANKCALL_NDARRAY, "-r2-17", 3, "w-3-r2-17.npy"},
        {"blob", RANKCALL_BYTES, "", 2, "blob-2.bin"},
        {"../../etc/passwd", RANKCALL_BYTES, "", 1, "_._.._etc_passwd.bin"},
        {"/etc/passwd", RANKCALL_BYTES, "", 1, "_etc_passwd.bin"},
        {"..", RANKCALL_BYTES, "", 1, "_..bin"},
        {".hidden", RANKCALL_BYTES, "", 1, "_hidden.bin"},
        {"-rf", RANKCALL_BYTES, "", 1, "_rf.bin"},
        {"a\\b\nc\x1b[31m\x7f", RANKCALL_BYTES, "", 1, "a_b_c_[31m_.bin"},
        {"\xc2\x9b"
         "31m",
         RANKCALL_BYTES, "", 1, "_31m.bin"},
        {"Bild \xc3\xa4", RANKCALL_BYTES, "", 1, "Bild \xc3\xa4.bin"},
        {".png", RANKCALL_IMAGE_PNG, "", 1, "_png.png"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char name[RK_SAVE_NAME_MAX];
        rk_save_name(cases[i].name, cases[i].type, cases[i].suffix, cases[i].count, name);
        assert_string_equal(name, cases[i].expected);
    }
}

static void long_names_are_cut_between_characters(void **state)
{
    char name[RANKCALL_MAX_NAME + 1] = "x", made[RK_SAVE_NAME_MAX];
    (void)state;
    while (strlen(name) < RANKCALL_MAX_NAME - 2)
        strcat(name, "\xc3\xa4");
    rk_save_name(name, RANKCALL_IMAGE_JPEG, "-r123456-18446744073709551615", 1024, made);
    assert_true(strlen(made) < RK_SAVE_NAME_MAX - 1);
    assert_non_null(strstr(made, "-1024-r123456-18446744073709551615.jpg"));
    assert_int_equal((strcspn(made, "-") - 1) % 2, 0);
}

/* ---- Files in and out ---- */

static char folder[] = "/tmp/rankcall-test-XXXXXX";
static char path[128];

static void drop(void *context, const char *line, unsigned long size)
{
    (void)context, (void)line, (void)size;
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    rk_say_through(drop, NULL);
    return !mkdtemp(folder);
}

static int remove_folder(void **state)
{
    char command[64];
    (void)state;
    rk_say_through(NULL, NULL);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *write_file(const char *name, const void *bytes, size_t size)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    fwrite(bytes, 1, size, out);
    fclose(out);
    return path;
}

/* Attaches a file under `as` ("x", "x:bytes"); the code, and its type in *type. */
static int attach(const char *as, const char *name, const void *bytes, size_t size, int *type)
{
    char argument[256];
    const char *items[] = {argument};
    struct rankcall_attachment attachment;
    struct rankcall_payload *payload = rankcall_payload_new();
    snprintf(argument, sizeof argument, "%s=%s", as, write_file(name, bytes, size));
    int code = rk_attach_files(payload, &(struct rk_list){items, 1});
    if (!code)
        code = rankcall_attachment_at(payload, 0, &attachment);
    if (!code)
        *type = attachment.type;
    rankcall_payload_free(payload);
    return code;
}

static void types_are_told_from_the_first_bytes(void **state)
{
    int type;
    (void)state;
    assert_ok(attach("x", "a.png", "\x89PNG\r\n\x1a\nrest", 12, &type));
    assert_int_equal(type, RANKCALL_IMAGE_PNG);
    assert_ok(attach("x", "picture", "\xff\xd8\xff\xe0", 4, &type));
    assert_int_equal(type, RANKCALL_IMAGE_JPEG);
    size_t size = make(1, NPY("'<f4'", "False", "(2, 3)"), 24);
    assert_ok(attach("x", "a.npy", file, size, &type));
    assert_int_equal(type, RANKCALL_NDARRAY);
    assert_ok(attach("x", "a.txt", "hello", 5, &type));
    assert_int_equal(type, RANKCALL_BYTES);
    assert_ok(attach("x", "empty", "", 0, &type));
    assert_int_equal(type, RANKCALL_BYTES);
    assert_fails(attach("x", "b.png", "hello", 5, &type), RANKCALL_EPAYLOAD, "x:bytes=");
    assert_ok(attach("x:bytes", "b.png", "hello", 5, &type));
    assert_int_equal(type, RANKCALL_BYTES);
    assert_ok(attach("a:b:png", "c", "hello", 5, &type));
    assert_int_equal(type, RANKCALL_IMAGE_PNG);
    assert_fails(attach("x:gif", "c", "hello", 5, &type), RANKCALL_EINVAL, "bytes, png, jpeg or npy");
    assert_fails(attach("", "c", "hello", 5, &type), RANKCALL_EINVAL, "name=file");
    assert_fails(attach("x:npy", "c", "hello", 5, &type), RANKCALL_EPAYLOAD, ".npy");
}

static void json_comes_from_the_line_or_a_file(void **state)
{
    struct rankcall_payload *payload;
    char argument[160];
    (void)state;
    assert_ok(rk_attach_json(NULL, &payload));
    assert_string_equal(rankcall_payload_json(payload, NULL), "{}");
    rankcall_payload_free(payload);
    snprintf(argument, sizeof argument, "@%s", write_file("a.json", "{\"a\":\n1}", 8));
    assert_ok(rk_attach_json(argument, &payload));
    assert_string_equal(rankcall_payload_json(payload, NULL), "{\"a\":\n1}");
    rankcall_payload_free(payload);
    snprintf(argument, sizeof argument, "@%s", write_file("b.json", "[1]", 3));
    assert_fails(rk_attach_json(argument, &payload), RANKCALL_EPAYLOAD, "b.json");
    assert_fails(rk_attach_json("@/nowhere", &payload), RANKCALL_ESYSTEM, "/nowhere");
}

static void attachments_are_written_whole_under_their_names(void **state)
{
    static const char *const names[] = {"a/b", "a_b", "../x"};
    static const char *const files[] = {"a_b-r1-2.bin", "a_b-2-r1-2.bin", "_._x-r1-2.bin"};
    struct rankcall_payload *payload = rankcall_payload_new();
    struct rk_saver saver;
    struct stat found;
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++)
        assert_ok(rankcall_attach_copy(
            payload, &(struct rankcall_attachment){.name = names[i], .data = "12345", .size = i + 1}));
    snprintf(path, sizeof path, "%s/deep/er/", folder);
    assert_ok(rk_saver_open(&saver, path));
    assert_ok(rk_save(&saver, payload, "-r1-2"));
    for (size_t i = 0; i < COUNT(files); i++) {
        assert_int_equal(fstatat(saver.fd, files[i], &found, 0), 0);
        assert_int_equal(found.st_size, i + 1);
    }
    rk_saver_close(&saver);
    rankcall_payload_free(payload);
}

static void a_folder_that_cannot_be_written_is_found_early(void **state)
{
    struct rk_saver saver;
    (void)state;
    assert_fails(rk_saver_open(&saver, write_file("plain", "", 0)), RANKCALL_ESYSTEM, "plain");
    rk_saver_close(&saver);
    assert_fails(rk_saver_open(&saver, "/proc/nowhere"), RANKCALL_ESYSTEM, "/proc/nowhere");
    rk_saver_close(&saver);
}

/* ---- JSON as printed ---- */

static void json_is_printed_on_one_line_and_safely(void **state)
{
    static const char text[] = "{\n  \"a\": 1.50,\r\n  \"b\": \"x\\ny\"\n}";
    char out[256] = "";
    (void)state;
    FILE *file_out = fmemopen(out, sizeof out, "w");
    rk_json_print_line(file_out, text, sizeof text - 1);
    putc('|', file_out);
    rk_json_print_string(file_out, "\"\\\n\x01\xc3\xa4\xff.");
    fclose(file_out);
    assert_string_equal(out, "{   \"a\": 1.50,    \"b\": \"x\\ny\" }|\"\\\"\\\\\\n\\u0001\xc3\xa4\xef\xbf\xbd.\"");
}

static void members_are_found_one_after_the_other(void **state)
{
    static const char *const expected[] = {"\"a\"", "1.5", "\"b\"", "{\"c\": [1, \"}\"]}", "\"d\\\"\"", "\"x,y\""};
    const char *at = " { \"a\" : 1.5 , \"b\": {\"c\": [1, \"}\"]}, \"d\\\"\":\"x,y\"} ";
    struct rk_json_member member;
    (void)state;
    for (size_t i = 0; i < COUNT(expected); i += 2) {
        assert_true(rk_json_next_member(&at, &member));
        assert_int_equal(member.key_size, strlen(expected[i]));
        assert_memory_equal(member.key, expected[i], member.key_size);
        assert_int_equal(member.value_size, strlen(expected[i + 1]));
        assert_memory_equal(member.value, expected[i + 1], member.value_size);
    }
    assert_false(rk_json_next_member(&at, &member));
    at = "{ }";
    assert_false(rk_json_next_member(&at, &member));
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

UNIT_MAIN(cmocka_unit_test(arrays_of_all_number_types_are_read),
          cmocka_unit_test(arrays_that_do_not_travel_are_refused), cmocka_unit_test(too_many_dimensions_are_refused),
          cmocka_unit_test(cut_files_are_refused), cmocka_unit_test(headers_that_are_written_are_read_again),
          cmocka_unit_test(names_stay_in_their_folder_and_off_the_terminal),
          cmocka_unit_test(long_names_are_cut_between_characters), WITH_FOLDER(types_are_told_from_the_first_bytes),
          WITH_FOLDER(json_comes_from_the_line_or_a_file), WITH_FOLDER(attachments_are_written_whole_under_their_names),
          WITH_FOLDER(a_folder_that_cannot_be_written_is_found_early),
          cmocka_unit_test(json_is_printed_on_one_line_and_safely),
          cmocka_unit_test(members_are_found_one_after_the_other))
