/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Names of jobs, the folder of sockets, listening and connecting. */

#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/path.h"

/* A folder of the test's own, which is RANKCALL_RUNTIME_DIR. */
static int make_folder(void **state)
{
    char *folder = strdup("/tmp/rankcall-test-XXXXXX");

    *state = mkdtemp(folder);
    return !*state || setenv("RANKCALL_RUNTIME_DIR", folder, 1);
}

static int remove_folder(void **state)
{
    DIR *folder = opendir(*state);

    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (unlinkat(dirfd(folder), entry->d_name, 0) < 0)
            unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR);
    closedir(folder);
    rmdir(*state);
    free(*state);
    return 0;
}

static size_t count_entries(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;

    while (readdir(folder))
        count++;
    closedir(folder);
    return count - 2; /* . and .. */
}

static void in_folder(const char *folder, const char *name, char path[RK_PATH_MAX])
{
    snprintf(path, RK_PATH_MAX, "%.80s/%.25s", folder, name);
}

static void names_of_jobs_are_plain(void **state)
{
    static const char *const good[] = {"a", "demo", "A-9_z.b", "0",
                                       "1234567890123456789012345678901234567890123456789012345678901234"};
    static const char *const bad[] = {
        "",    ".",   "..",   ".hidden",     "-option",
        "a b", "a/b", "a\nb", "d\xc3\xa9mo", "12345678901234567890123456789012345678901234567890123456789012345"};

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(rk_path_name_ok(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(rk_path_name_ok(bad[i]));
}

static void a_name_becomes_a_socket_in_the_folder(void **state)
{
    char path[RK_PATH_MAX], expected[RK_PATH_MAX];

    assert_ok(rk_path_socket("demo", path));
    in_folder(*state, "demo.sock", expected);
    assert_string_equal(path, expected);
    assert_ok(rk_path_socket("./x", path));
    assert_string_equal(path, "./x");
    assert_fails(rk_path_socket("a b", path), RANKCALL_EINVAL, "\"a b\"");
    assert_fails(rk_path_socket("", path), RANKCALL_EINVAL, "empty");
}

static void a_path_beyond_107_bytes_is_refused_with_its_length(void **state)
{
    char longest[RK_PATH_MAX], longer[RK_PATH_MAX + 1], path[RK_PATH_MAX], folder[101];
    struct sockaddr_un address;
    socklen_t size;

    (void)state;
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[107] = '\0';
    memset(longer, 'x', sizeof longer);
    longer[0] = '/';
    longer[108] = '\0';
    assert_ok(rk_path_socket(longest, path));
    assert_ok(rk_path_address(longest, &address, &size));
    assert_fails(rk_path_socket(longer, path), RANKCALL_EINVAL, "108 bytes");
    assert_fails(rk_path_address(longer, &address, &size), RANKCALL_EINVAL, longer);

    memset(folder, 'y', sizeof folder);
    folder[0] = '/';
    folder[100] = '\0';
    setenv("RANKCALL_RUNTIME_DIR", folder, 1);
    assert_fails(rk_path_socket("demo", path), RANKCALL_EINVAL, "/demo.sock\" has 110 bytes");
}

static void the_folder_is_made_private(void **state)
{
    char wanted[RK_PATH_MAX], folder[RK_PATH_MAX];
    struct stat made;

    in_folder(*state, "sub", wanted);
    setenv("RANKCALL_RUNTIME_DIR", wanted, 1);
    assert_ok(rk_path_folder(false, folder)); /* missing is all right */
    assert_string_equal(folder, wanted);
    assert_int_equal(access(folder, F_OK), -1);
    assert_ok(rk_path_folder(true, folder));
    assert_int_equal(stat(folder, &made), 0);
    assert_int_equal(made.st_mode & 0777, 0700);
    assert_ok(rk_path_folder(true, folder));
    strcat(wanted, "//");
    setenv("RANKCALL_RUNTIME_DIR", wanted, 1);
    assert_ok(rk_path_folder(false, folder));
    assert_int_equal(folder[strlen(folder) - 1], 'b');
}

static void a_folder_that_others_could_use_is_refused(void **state)
{
    char path[RK_PATH_MAX], folder[RK_PATH_MAX];

    assert_int_equal(chmod(*state, 0750), 0);
    assert_fails(rk_path_folder(false, folder), RANKCALL_ESYSTEM, "chmod 700");
    assert_int_equal(chmod(*state, 0700), 0);

    in_folder(*state, "link", path);
    assert_int_equal(symlink(*state, path), 0);
    setenv("RANKCALL_RUNTIME_DIR", path, 1);
    assert_fails(rk_path_folder(true, folder), RANKCALL_ESYSTEM, "symbolic link");

    setenv("RANKCALL_RUNTIME_DIR", "relative", 1);
    assert_fails(rk_path_folder(true, folder), RANKCALL_EINVAL, "absolute");
    setenv("RANKCALL_RUNTIME_DIR", "/nowhere/at/all", 1);
    assert_fails(rk_path_folder(true, folder), RANKCALL_ESYSTEM, "RANKCALL_RUNTIME_DIR");
}

static void without_a_choice_the_folder_is_the_users_own(void **state)
{
    char folder[RK_PATH_MAX], expected[RK_PATH_MAX], path[RK_PATH_MAX];

    (void)state;
    setenv("RANKCALL_RUNTIME_DIR", "", 1);
    snprintf(expected, sizeof expected, "/tmp/rankcall-%lu/demo.sock", (unsigned long)geteuid());
    if (rk_path_folder(false, folder) == RANKCALL_OK) { /* else this machine's own is not private */
        assert_ok(rk_path_socket("demo", path));
        assert_string_equal(path, expected);
    }
}

static void a_socket_appears_ready_and_private(void **state)
{
    char path[RK_PATH_MAX];
    struct stat found;
    int listener, client, server;

    in_folder(*state, "demo.sock", path);
    assert_ok(rk_path_listen(path, &listener));
    assert_int_equal(count_entries(*state), 1);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0600);
    assert_true(fcntl(listener, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(listener, F_GETFD) & FD_CLOEXEC);
    assert_ok(rk_path_connect(path, &client));
    assert_true(fcntl(client, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(client, F_GETFD) & FD_CLOEXEC);
    server = accept(listener, NULL, NULL);
    assert_true(server >= 0);
    close(server);
    close(client);
    close(listener);
}

static void a_live_socket_is_kept_and_a_stale_one_replaced(void **state)
{
    char path[RK_PATH_MAX];
    int first, second, client;

    in_folder(*state, "demo.sock", path);
    assert_ok(rk_path_listen(path, &first));
    assert_fails(rk_path_listen(path, &second), RANKCALL_EEXIST, "a live job listens at");
    close(first);
    assert_fails(rk_path_connect(path, &client), RANKCALL_ENOJOB, "nobody listens");
    assert_ok(rk_path_listen(path, &second));
    assert_ok(rk_path_connect(path, &client));
    assert_int_equal(count_entries(*state), 1);
    close(client);
    close(second);
}

static void what_is_no_socket_is_never_removed(void **state)
{
    char path[RK_PATH_MAX], target[RK_PATH_MAX];
    int fd;

    in_folder(*state, "demo.sock", path);
    in_folder(*state, "target", target);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_fails(rk_path_listen(path, &fd), RANKCALL_EEXIST, "not a socket");
    assert_int_equal(access(path, F_OK), 0);
    assert_fails(rk_path_connect(path, &fd), RANKCALL_ENOJOB, path);
    unlink(path);
    assert_int_equal(symlink(target, path), 0);
    assert_fails(rk_path_listen(path, &fd), RANKCALL_EEXIST, "not a socket");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_fails(rk_path_listen(path, &fd), RANKCALL_EEXIST, "not a socket");
    assert_int_equal(count_entries(*state), 1);
}

static void a_leftover_of_a_killed_process_is_cleared(void **state)
{
    char path[RK_PATH_MAX], leftover[RK_PATH_MAX], name[32];
    int fd;

    in_folder(*state, "demo.sock", path);
    snprintf(name, sizeof name, ".rankcall-%lu.new", (unsigned long)geteuid());
    in_folder(*state, name, leftover);
    close(open(leftover, O_CREAT | O_WRONLY, 0600));
    assert_ok(rk_path_listen(path, &fd));
    assert_int_equal(count_entries(*state), 1);
    close(fd);
}

static void paths_that_cannot_be_say_why(void **state)
{
    char path[RK_PATH_MAX];
    int fd;

    in_folder(*state, "no/demo.sock", path);
    assert_fails(rk_path_listen(path, &fd), RANKCALL_ESYSTEM, "there is no folder");
    assert_fails(rk_path_connect(path, &fd), RANKCALL_ENOJOB, "no such socket");
    in_folder(*state, "", path);
    assert_fails(rk_path_listen(path, &fd), RANKCALL_EINVAL, "names a folder");
    assert_fails(rk_path_listen("", &fd), RANKCALL_EINVAL, "empty");
    assert_fails(rk_path_connect("", &fd), RANKCALL_EINVAL, "empty");
    assert_fails(rk_path_listen("/proc/demo.sock", &fd), RANKCALL_ESYSTEM, "/proc");
}

static void the_longest_path_can_be_listened_at(void **state)
{
    char path[RK_PATH_MAX];
    int fd, client;

    for (size_t base = 1; base < 80; base += 39) {
        snprintf(path, sizeof path, "%s", (char *)*state);
        while (strlen(path) < sizeof path - 1 - base)
            strcat(path, "/");
        while (strlen(path) < sizeof path - 1)
            strcat(path, "x");
        assert_ok(rk_path_listen(path, &fd));
        assert_ok(rk_path_connect(path, &client));
        close(client);
        close(fd);
        unlink(path);
    }
}

static void a_socket_beside_the_current_folder_needs_no_slash(void **state)
{
    char here[4096];
    int fd;

    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(*state), 0);
    assert_ok(rk_path_listen("plain", &fd));
    assert_int_equal(access("plain", F_OK), 0);
    close(fd);
    assert_int_equal(chdir(here), 0);
}

struct racer {
    const char *path;
    int fd, code;
};

static void *race(void *context)
{
    struct racer *racer = context;

    racer->code = rk_path_listen(racer->path, &racer->fd);
    return NULL;
}

static void of_many_who_listen_at_once_one_wins(void **state)
{
    enum { RACERS = 8 };
    char path[RK_PATH_MAX];
    pthread_t threads[RACERS];
    struct racer racers[RACERS];
    int winners = 0, stale;

    in_folder(*state, "demo.sock", path);
    assert_ok(rk_path_listen(path, &stale));
    close(stale);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){path, -1, -1};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < RACERS; i++) {
        assert_true(racers[i].code == RANKCALL_OK || racers[i].code == RANKCALL_EEXIST);
        winners += racers[i].code == RANKCALL_OK;
        rk_fd_close(&racers[i].fd);
    }
    assert_int_equal(winners, 1);
    assert_int_equal(count_entries(*state), 1);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

UNIT_MAIN(cmocka_unit_test(names_of_jobs_are_plain), IN_FOLDER(a_name_becomes_a_socket_in_the_folder),
          IN_FOLDER(a_path_beyond_107_bytes_is_refused_with_its_length), IN_FOLDER(the_folder_is_made_private),
          IN_FOLDER(a_folder_that_others_could_use_is_refused), IN_FOLDER(without_a_choice_the_folder_is_the_users_own),
          IN_FOLDER(a_socket_appears_ready_and_private), IN_FOLDER(a_live_socket_is_kept_and_a_stale_one_replaced),
          IN_FOLDER(what_is_no_socket_is_never_removed), IN_FOLDER(a_leftover_of_a_killed_process_is_cleared),
          IN_FOLDER(paths_that_cannot_be_say_why), IN_FOLDER(the_longest_path_can_be_listened_at),
          IN_FOLDER(a_socket_beside_the_current_folder_needs_no_slash), IN_FOLDER(of_many_who_listen_at_once_one_wins))
