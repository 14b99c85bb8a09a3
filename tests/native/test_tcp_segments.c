/*
 * Runs the scripts of tests/segments against our stack or against Linux. Both must do what the scripts say. On Linux all scripts
 * run at once, in real time, each in a network namespace, which needs root. usage: test_tcp_segments ours|linux
 * script-or-folder...
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>

#include "segment_ours.h"
#include "segment_linux.h"

#include <glob.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Returns the scripts that the arguments name. An argument may be a folder of scripts. */
static glob_t find_scripts(int n, char **arguments)
{
    glob_t found = {0};
    struct stat st;

    for (int i = 0; i < n; i++) {
        char pattern[4096];

        snprintf(pattern, sizeof pattern, "%s%s", arguments[i],
                 stat(arguments[i], &st) == 0 && S_ISDIR(st.st_mode) ? "/*.seg" : "");
        if (glob(pattern, i ? GLOB_APPEND : 0, NULL, &found)) {
            fprintf(stderr, "%s: no script found\n", arguments[i]);
            exit(2);
        }
    }
    return found;
}

static int run_one(const char *path, bool on_linux)
{
    static struct script script;
    struct segment_host host = on_linux ? linux_host() : our_host();
    int rc;

    script_load(&script, path);
    if (on_linux ? *script.not_linux : *script.not_ours)
        return 0;
    if (on_linux && (rc = linux_enter()) < 0) {
        fprintf(stderr, "cannot create a network namespace with a TUN device: %s\n", strerror(-rc));
        return 1;
    }
    clock_now = sf_now();
    runner_run(&script, &host);
    return 0;
}

static pid_t start(const char *path, bool on_linux)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0)
        exit(run_one(path, on_linux));
    return child;
}

static bool passes(const char *path, bool on_linux)
{
    int status;

    return waitpid(start(path, on_linux), &status, 0) > 0 && status == 0;
}

/* Runs all scripts on Linux at once. Scripts that fail run again, each alone and twice at most, because Linux's clock goes on
 * while a script waits for a CPU. Returns the number of scripts that failed. */
static int together(const glob_t *scripts)
{
    pid_t *children = calloc(scripts->gl_pathc, sizeof(*children));
    int failed = 0, status;

    CHECK(children);
    for (size_t i = 0; i < scripts->gl_pathc; i++)
        children[i] = start(scripts->gl_pathv[i], true);
    for (size_t i = 0; i < scripts->gl_pathc; i++)
        if (waitpid(children[i], &status, 0) > 0 && status == 0)
            children[i] = 0;
    for (size_t i = 0; i < scripts->gl_pathc; i++)
        failed += children[i] && !passes(scripts->gl_pathv[i], true) && !passes(scripts->gl_pathv[i], true);
    free(children);
    return failed;
}

int main(int argc, char **argv)
{
    bool on_linux = argc > 1 && !strcmp(argv[1], "linux");
    int failed = 0;
    glob_t scripts;

    if (argc < 3 || (!on_linux && strcmp(argv[1], "ours"))) {
        fprintf(stderr, "usage: %s ours|linux script...\n", argv[0]);
        return 2;
    }
    if (on_linux && geteuid() != 0) {
        fprintf(stderr, "skipped: a network namespace needs root\n");
        return 77;
    }
    scripts = find_scripts(argc - 2, argv + 2);
    if (on_linux)
        failed = together(&scripts);
    else /* one after the other, because their ports belong to one host */
        for (size_t i = 0; i < scripts.gl_pathc; i++)
            failed += !passes(scripts.gl_pathv[i], false);
    printf("%d of %zu scripts failed\n", failed, scripts.gl_pathc);
    globfree(&scripts);
    return failed ? 1 : 0;
}
