/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The command's option tables: what they take, refuse and show. */

#include "unit.h"

#include "launcher/options.h"
#include "launcher/say.h"

struct values {
    bool loud;
    const char *name;
    struct rk_list items;
    int ranks;
    double timeout;
    uint64_t cap;
};

static const struct rk_option options[] = {
    {"loud", 'l', NULL, RK_OPTION_FLAG, offsetof(struct values, loud), "says more"},
    {"name", 0, "NAME", RK_OPTION_TEXT, offsetof(struct values, name), "a name"},
    {"item", 'i', "ITEM", RK_OPTION_LIST, offsetof(struct values, items), "an item\nor another"},
    {"ranks", 'n', "N", RK_OPTION_COUNT, offsetof(struct values, ranks), "ranks"},
    {"timeout", 't', "SECONDS", RK_OPTION_SECONDS, offsetof(struct values, timeout), "time"},
    {"cap", 0, "SIZE", RK_OPTION_SIZE, offsetof(struct values, cap), NULL},
    {0},
};

static const struct rk_command plain = {
    .name = "plain", .usage = "", .help = "", .options = options, .max_arguments = 2};
static const struct rk_command greedy = {.name = "greedy",
                                         .usage = "",
                                         .help = "",
                                         .options = options,
                                         .greedy = true,
                                         .min_arguments = 1,
                                         .max_arguments = -1};

static char said[1024];

static void keep(void *context, const char *line, unsigned long size)
{
    (void)context;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%.*s", (int)size, line);
}

static struct values values;
static int status;

/* Parses the words of a line. */
static int parse(const struct rk_command *command, const char *line, char **argv)
{
    static char copy[256];
    int argc = 0;
    snprintf(copy, sizeof copy, "x %s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    free(values.items.items);
    values = (struct values){.ranks = 1};
    said[0] = '\0';
    rk_say_through(keep, NULL);
    int at = rk_options_parse(command, argc, argv, &values, &status);
    rk_say_through(NULL, NULL);
    return at;
}

static void options_and_arguments_may_mix(void **state)
{
    char *argv[32];
    (void)state;
    int at = parse(&plain, "--name demo one -li a --item=b two -n4 --timeout 0.5 --cap 2G", argv);
    assert_true(at > 0);
    assert_string_equal(argv[at], "one");
    assert_string_equal(argv[at + 1], "two");
    assert_null(argv[at + 2]);
    assert_true(values.loud);
    assert_string_equal(values.name, "demo");
    assert_int_equal(values.items.count, 2);
    assert_string_equal(values.items.items[1], "b");
    assert_int_equal(values.ranks, 4);
    assert_true(values.timeout == 0.5);
    assert_int_equal(values.cap, 2ull << 30);
}

static void a_greedy_command_leaves_its_programs_options_alone(void **state)
{
    char *argv[32];
    (void)state;
    int at = parse(&greedy, "-n 2 program --name x -l", argv);
    assert_string_equal(argv[at], "program");
    assert_string_equal(argv[at + 1], "--name");
    assert_null(values.name);
    at = parse(&greedy, "-n 3 -- -program -l", argv);
    assert_string_equal(argv[at], "-program");
    assert_false(values.loud);
    assert_int_equal(values.ranks, 3);
}

static void a_dash_alone_is_an_argument(void **state)
{
    char *argv[32];
    (void)state;
    int at = parse(&plain, "-l -", argv);
    assert_string_equal(argv[at], "-");
}

static void wrong_lines_are_refused_by_name(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"--nothing", "no option --nothing"},
        {"-x", "no option -x"},
        {"--name", "--name needs a value"},
        {"-n", "-n needs a value"},
        {"--loud=yes", "--loud takes no value"},
        {"-n 0", "--ranks is \"0\""},
        {"-n -1", "--ranks is \"-1\""},
        {"-n 4x", "--ranks is \"4x\""},
        {"-n 99999999999999999999", "--ranks is"},
        {"-t soon", "seconds"},
        {"-t nan", "seconds"},
        {"-t -1", "seconds"},
        {"--cap 1Q", "64K"},
        {"--cap 1KB", "64K"},
        {"--cap 99999999999G", "64K"},
        {"one two three", "too many"},
    };
    char *argv[32];
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse(&plain, cases[i].line, argv), -1);
        assert_int_equal(status, 2);
        assert_non_null(strstr(said, cases[i].text));
        assert_non_null(strstr(said, "`rankcall plain --help`"));
    }
    assert_int_equal(parse(&greedy, "-n 2", argv), -1);
    assert_non_null(strstr(said, "missing"));
}

static void sizes_have_powers_of_1024(void **state)
{
    uint64_t size;
    (void)state;
    assert_true(rk_parse_size("65536", &size) && size == 65536);
    assert_true(rk_parse_size("64K", &size) && size == 65536);
    assert_true(rk_parse_size("1m", &size) && size == 1 << 20);
    assert_true(rk_parse_size("3T", &size) && size == 3ull << 40);
    assert_false(rk_parse_size("", &size));
    assert_false(rk_parse_size("-1", &size));
    assert_false(rk_parse_size("1 ", &size));
}

static void help_shows_what_the_table_holds_and_no_more(void **state)
{
    char *argv[32], text[2048] = "";
    (void)state;
    fflush(stdout);
    FILE *real = stdout;
    stdout = fmemopen(text, sizeof text, "w");
    int at = parse(&plain, "--help", argv);
    fclose(stdout);
    stdout = real;
    assert_int_equal(at, -1);
    assert_int_equal(status, 0);
    assert_non_null(strstr(text, "Usage: rankcall plain"));
    assert_non_null(strstr(text, "  -i, --item ITEM           an item\n                            or another\n"));
    assert_non_null(strstr(text, "      --name NAME           a name\n"));
    assert_non_null(strstr(text, "  -h, --help"));
    assert_null(strstr(text, "--cap"));
}

UNIT_MAIN(cmocka_unit_test(options_and_arguments_may_mix),
          cmocka_unit_test(a_greedy_command_leaves_its_programs_options_alone),
          cmocka_unit_test(a_dash_alone_is_an_argument), cmocka_unit_test(wrong_lines_are_refused_by_name),
          cmocka_unit_test(sizes_have_powers_of_1024), cmocka_unit_test(help_shows_what_the_table_holds_and_no_more))
