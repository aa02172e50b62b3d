/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The JSON check on any text: in steps it says the same as at once, and what it accepts cJSON parses to the values
 * whose text the walk finds. The first byte is the steps' length. */

#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json_check.h"
#include "wire/json_text.h"
#include <rankcall/error.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
    if (!truth)
        abort();
}

static int check_in_steps(const char *text, size_t size, size_t budget)
{
    struct rk_json_check *check = rk_json_check_new(text, size);
    int code;

    while ((code = rk_json_check_step(check, budget)) == RANKCALL_EAGAIN)
        ;
    rk_json_check_free(check);
    return code;
}

/* The value at `text` is what cJSON made of it. */
static void compare(const char *text, const cJSON *item)
{
    const cJSON *child;
    size_t index = 0;
    int64_t integer;

    if (cJSON_IsNumber(item)) {
        require(strtod(text, NULL) == item->valuedouble);
        if (rk_json_integer(text, &integer) == RK_INTEGER)
            require((double)integer == item->valuedouble && (int64_t)(double)integer == integer);
    }
    if (cJSON_IsString(item))
        require(*text == '"' && (rk_json_has_nul(text) || rk_utf8_ok(item->valuestring, strlen(item->valuestring))));
    cJSON_ArrayForEach(child, item)
    {
        if (index < 8) /* each one is found from the start */
            compare(rk_json_child(text, index++), child);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;
    cJSON *parsed;
    int code;

    if (size == 0)
        return 0;
    text = malloc(size); /* one byte less, and NUL */
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    code = rk_json_check(text, size - 1);
    require(code == check_in_steps(text, size - 1, data[0] + 1u));
    require(rk_json_check_value(text, size - 1) == RANKCALL_OK || code || size > 128);
    if (code == RANKCALL_OK) {
        parsed = cJSON_ParseWithLength(text, size - 1);
        require(cJSON_IsObject(parsed));
        compare(rk_json_space(text), parsed);
        cJSON_Delete(parsed);
    }
    free(text);
    return 0;
}
