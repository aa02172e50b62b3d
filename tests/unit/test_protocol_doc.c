/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* doc/protocol.md against the code: its tables, and its conversation in hex, which is read and written anew. */

#include "unit.h"

#include "base/error.h"
#include "wire/frame.h"
#include "wire/payload.h"

#define EXAMPLES    7
#define EXAMPLE_CAP 1024

struct example {
    uint8_t bytes[EXAMPLE_CAP];
    size_t size;
};

/* The whole document. */
static char *document;

static int read_document(void **state)
{
    const char *root = getenv("abs_top_srcdir");
    char path[4096];
    FILE *file;
    size_t size;

    (void)state;
    snprintf(path, sizeof path, "%s/doc/protocol.md", root ? root : ".");
    file = fopen(path, "r");
    if (!file) {
        print_error("%s cannot be read: run this from the source tree, or set abs_top_srcdir\n", path);
        return -1;
    }
    document = calloc(1, 1 << 20);
    size = fread(document, 1, (1 << 20) - 1, file);
    fclose(file);
    return size > 0 ? 0 : -1;
}

static int free_document(void **state)
{
    (void)state;
    free(document);
    return 0;
}

static void expect(const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (!strstr(document, text))
        fail_msg("doc/protocol.md lacks: %s", text);
}

static void the_document_lists_every_error_code(void **state)
{
    (void)state;
#define ROW(constant, number, name, status, text) expect("| %d | `%s` | %d | %s |\n", number, name, status, text);
    RANKCALL_ERROR_TABLE(ROW)
#undef ROW
}

static void the_document_lists_every_frame_type(void **state)
{
    static const struct {
        int type;
        const char *row;
    } rows[] = {{RK_HELLO, "HELLO | client | 16 | yes"},
                {RK_WELCOME, "WELCOME | job | 24 | yes"},
                {RK_CALL, "CALL | client | 24 | yes"},
                {RK_CANCEL, "CANCEL | client | 0 | no"},
                {RK_EVENT, "EVENT | job | 16 | yes"},
                {RK_RESULT, "RESULT | job | 0 | yes"},
                {RK_ERROR, "ERROR | job | 8 | yes"},
                {RK_STATUS, "STATUS | client | 8 | no"},
                {RK_STATUS_REPLY, "STATUS_REPLY | job | 0 | yes"},
                {RK_PING, "PING | client | 0 | no"},
                {RK_PONG, "PONG | job | 0 | no"},
                {RK_STOP, "STOP | client | 8 | no"},
                {RK_STOPPING, "STOPPING | job | 0 | no"},
                {RK_CANCEL_CALL, "CANCEL_CALL | client | 8 | no"},
                {RK_AWAY, "AWAY | job | 16 | yes"},
                {RK_RESUMED, "RESUMED | client | 0 | no"},
                {RK_CANCELLED, "CANCELLED | job | 8 | no"}};

    (void)state;
    assert_int_equal(COUNT(rows), RK_FRAME_TYPES - 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool payload = strstr(rows[i].row, "yes");
        struct rk_header header = {.version = 1, .type = (uint8_t)rows[i].type, .id = 1, .payload_size = payload};
        uint8_t bytes[RK_HEADER_SIZE];

        expect("| %d | %s |", rows[i].type, rows[i].row);
        sscanf(strrchr(rows[i].row, '|') - 3, "%u", &header.head_size); /* the code agrees with the row */
        rk_header_encode(&header, bytes);
        assert_ok(rk_header_decode(bytes, 1, &header));
        if (header.head_size > 0) {
            header.head_size--;
            rk_header_encode(&header, bytes);
            assert_fails(rk_header_decode(bytes, 1, &header), RANKCALL_EPROTOCOL, "head_size");
        }
        header.head_size = RK_HEAD_CAP;
        header.payload_size = 1;
        rk_header_encode(&header, bytes);
        assert_int_equal(rk_header_decode(bytes, 1, &header), payload ? RANKCALL_OK : RANKCALL_EPROTOCOL);
    }
}

static void the_document_lists_every_type_of_attachment(void **state)
{
    (void)state;
    for (int type = 0; *rankcall_type_name(type); type++)
        expect("| %d | %s |", type, rankcall_type_name(type));
    for (int dtype = 1; *rankcall_dtype_name(dtype); dtype++)
        expect("| %d | %s | %zu |", dtype, rankcall_dtype_name(dtype), rankcall_dtype_size(dtype));
}

static void the_document_has_the_limits(void **state)
{
    (void)state;
    assert_int_equal(RK_HEAD_CAP, 4096);
    expect("| head_size | 4,096 bytes |");
    assert_int_equal(RK_JSON_CAP, 64 << 20);
    expect("| JSON text | 64 MiB |");
    expect("| nesting of JSON | %d |", RK_JSON_DEPTH);
    assert_int_equal(RANKCALL_MAX_ATTACHMENTS, 1024);
    expect("| attachments of a payload | 1,024 |");
    expect("| name of an attachment or handler | %d bytes |", RANKCALL_MAX_NAME);
    expect("| dimensions | %d |", RANKCALL_MAX_DIMS);
    assert_true(RK_PAYLOAD_CAP_DEFAULT == 1ull << 30);
}

/* Reads one line of a hex block: offset, bytes, perhaps a ';' and words. */
static void read_line(const char *line, struct example *example)
{
    const char *at = line;
    unsigned value;
    int used;

    if (sscanf(at, "%x%n", &value, &used) != 1 || value != example->size)
        fail_msg("the offset is not %04zx: %.60s", example->size, line);
    for (at += used, at += strspn(at, " "); sscanf(at, "%2x%n", &value, &used) == 1; at += strspn(at, " ")) {
        assert_true(example->size < EXAMPLE_CAP);
        example->bytes[example->size++] = (uint8_t)value;
        at += used;
        if (*at != ' ')
            break;
    }
    if (*at != ';' && *at != '\n')
        fail_msg("neither bytes nor a comment: %.60s", line);
}

static size_t read_examples(struct example *examples)
{
    size_t count = 0;

    memset(examples, 0, EXAMPLES * sizeof *examples);
    for (const char *block = document; (block = strstr(block, "\n```hex\n")); count++) {
        assert_true(count < EXAMPLES);
        for (block += 8; strncmp(block, "```", 3) != 0; block = strchr(block, '\n') + 1)
            read_line(block, &examples[count]);
    }
    return count;
}

struct decoded {
    struct rk_header header;
    const uint8_t *head;
    struct rankcall_payload *payload;
};

static void decode(const struct example *example, struct decoded *out)
{
    size_t front;
    uint8_t *bytes;
    const char *text;
    size_t size;

    assert_ok(rk_header_decode(example->bytes, RK_PAYLOAD_CAP_DEFAULT, &out->header));
    front = RK_HEADER_SIZE + out->header.head_size;
    assert_int_equal(front + out->header.payload_size, example->size);
    out->head = example->bytes + RK_HEADER_SIZE;
    bytes = rk_payload_alloc(out->header.payload_size);
    memcpy(bytes, example->bytes + front, out->header.payload_size);
    assert_ok(rk_payload_decode(bytes, out->header.payload_size, &out->payload));
    text = rankcall_payload_json(out->payload, &size);
    assert_ok(rk_json_check(text, size));
}

/* Writes the same frame anew, from what was decoded, and compares. */
static void encode_and_compare(const struct example *example, const struct decoded *decoded, size_t head_size,
                               const uint8_t *head)
{
    struct rankcall_payload *payload;
    struct rankcall_attachment attachment;
    struct example again = {.size = RK_HEADER_SIZE + head_size};

    assert_ok(rankcall_payload_from_json(rankcall_payload_json(decoded->payload, NULL), SIZE_MAX, &payload));
    for (size_t i = 0; i < rankcall_attachment_count(decoded->payload); i++) {
        assert_ok(rankcall_attachment_at(decoded->payload, i, &attachment));
        assert_ok(rankcall_attach(payload, &attachment, NULL, NULL));
    }
    assert_ok(rk_payload_freeze(payload));
    rk_header_encode(&decoded->header, again.bytes);
    memcpy(again.bytes + RK_HEADER_SIZE, head, head_size);
    rk_payload_copy(payload, again.bytes + again.size);
    again.size += rk_payload_size(payload);
    assert_int_equal(again.size, example->size);
    assert_memory_equal(again.bytes, example->bytes, example->size);
    rankcall_payload_free(payload);
}

static void hello_is_right(const struct decoded *decoded, uint8_t *head, size_t *size)
{
    struct rk_hello hello;

    assert_ok(rk_hello_decode(decoded->head, decoded->header.head_size, &hello));
    assert_true(hello.min_version == 1 && hello.max_version == 1 && hello.features == 0);
    *size = rk_hello_encode(&hello, head);
}

static void welcome_is_right(const struct decoded *decoded, uint8_t *head, size_t *size)
{
    struct rk_welcome welcome;
    const char *handler;

    assert_ok(rk_welcome_decode(decoded->head, decoded->header.head_size, &welcome));
    assert_true(welcome.version == 1 && welcome.world_size == 2 && welcome.payload_cap == 1 << 30);
    assert_ok(rankcall_get_string(decoded->payload, "/handlers/0/name", &handler));
    assert_string_equal(handler, "brighten");
    *size = rk_welcome_encode(&welcome, head);
}

static void call_is_right(const struct decoded *decoded, uint8_t *head, size_t *size)
{
    struct rankcall_attachment image;
    struct rk_call_head call;

    assert_ok(rk_call_decode(decoded->head, decoded->header.head_size, &call));
    if (decoded->header.id == 1) {
        assert_true(call.kind == RK_STREAM && call.timeout_us == 30000000 && call.streaming_timeout_us == 0);
        assert_string_equal(call.handler, "brighten");
        assert_ok(rankcall_attachment_of(decoded->payload, "image", RANKCALL_NDARRAY, RANKCALL_UINT8, &image));
        assert_true(image.ndim == 2 && image.shape[0] == 2 && image.shape[1] == 3);
        assert_memory_equal(image.data, "\1\2\3\4\5\6", 6);
    } else {
        assert_int_equal(call.kind, RK_INVOKE);
        assert_string_equal(call.handler, "dark");
    }
    *size = rk_call_encode(&call, head);
}

static void event_is_right(const struct decoded *decoded, uint8_t *head, size_t *size)
{
    struct rk_event_head event;
    double progress;

    assert_ok(rk_event_decode(decoded->head, decoded->header.head_size, &event));
    assert_true(event.rank == 1 && event.sequence == 0);
    assert_ok(rankcall_get_double(decoded->payload, "progress", &progress));
    *size = rk_event_encode(&event, head);
}

static void result_is_right(const struct decoded *decoded, uint8_t *head, size_t *size)
{
    struct rk_result_head result;
    double mean;

    assert_ok(rk_result_decode(decoded->head, decoded->header.head_size, &result));
    assert_true(result.queued_us == 14 && result.broadcast_us == 9 && result.handler_min_us == 5200 &&
                result.handler_max_us == 5741 && result.reply_us == 6 && result.call == 17 && result.slowest_rank == 1);
    assert_ok(rankcall_get_double(decoded->payload, "mean", &mean));
    assert_true(mean == 5.5);
    *size = rk_result_encode(&result, head);
}

static void error_is_right(const struct decoded *decoded, uint8_t *head, size_t *size)
{
    struct rk_error_head error;

    assert_ok(rk_error_decode(decoded->head, decoded->header.head_size, &error));
    assert_int_equal(rk_error_from_payload(&error, decoded->payload), RANKCALL_ENOHANDLER);
    assert_string_equal(rankcall_last_error()->message, "the job has no handler \"dark\"");
    *size = rk_error_encode(&error, head);
}

static void the_conversation_in_hex_is_what_this_code_reads_and_writes(void **state)
{
    static const struct {
        uint8_t type, id;
        void (*check)(const struct decoded *decoded, uint8_t *head, size_t *size);
    } frames[EXAMPLES] = {{RK_HELLO, 0, hello_is_right}, {RK_WELCOME, 0, welcome_is_right}, {RK_CALL, 1, call_is_right},
                          {RK_EVENT, 1, event_is_right}, {RK_RESULT, 1, result_is_right},   {RK_CALL, 2, call_is_right},
                          {RK_ERROR, 2, error_is_right}};
    static struct example examples[EXAMPLES];

    (void)state;
    assert_int_equal(read_examples(examples), EXAMPLES);
    for (size_t i = 0; i < EXAMPLES; i++) {
        struct decoded decoded;
        uint8_t head[RK_HEAD_CAP];
        size_t size = 0;

        decode(&examples[i], &decoded);
        assert_int_equal(decoded.header.type, frames[i].type);
        assert_int_equal(decoded.header.id, frames[i].id);
        frames[i].check(&decoded, head, &size);
        encode_and_compare(&examples[i], &decoded, size, head);
        rankcall_payload_free(decoded.payload);
    }
}

#define ON_DOCUMENT(test) cmocka_unit_test_setup_teardown(test, read_document, free_document)

UNIT_MAIN(ON_DOCUMENT(the_document_lists_every_error_code), ON_DOCUMENT(the_document_lists_every_frame_type),
          ON_DOCUMENT(the_document_lists_every_type_of_attachment), ON_DOCUMENT(the_document_has_the_limits),
          ON_DOCUMENT(the_conversation_in_hex_is_what_this_code_reads_and_writes))
