/*
 * Sleeping in epoll.
 *
 * Onload replaces libc's functions, not system calls. It tells the kernel about an accelerated socket only before one of its own
 * calls blocks. So a plain system call on the epoll descriptor would sleep through everything that such a socket receives. Onload
 * has epoll_pwait2() only if glibc had it when Onload was built. Without it, use epoll_wait() with whole milliseconds, because
 * glibc's epoll_pwait2() is that plain system call.
 *
 * Under Onload the loop spins with epoll_wait() and a timeout of 0, which polls the accelerated stacks once at user level and
 * returns. That is one pass of the loop's own spin, with its timers and wake-ups. But a pass skips a stack whose interrupt is
 * armed, as it is after a sleep, unless the thread's epoll spinning is on. So that option is on for the loop's
 * thread (sfloop/native/libraries/onload_library.py). During a sleep the option is off, because the loop sleeps only if other
 * threads want this CPU or the user has chosen to sleep.
 */
#define _GNU_SOURCE
#include "sleep.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441 /* the same number on every architecture */
#endif

#define ONLOAD_SPIN_EPOLL_WAIT 11 /* enum onload_spin_type of <onload/extensions.h> */

void kernel_sleep_init(struct kernel_sleep *sleep)
{
    int (*present)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "onload_is_present");
    void *pwait2 = dlsym(RTLD_DEFAULT, "epoll_pwait2");
    Dl_info onload, owner;

    memset(sleep, 0, sizeof(*sleep));
    /* libonload_ext has onload_is_present() too, which returns 0. */
    if (!present || !present())
        return;
    sleep->set_spin = (int (*)(int, int))dlsym(RTLD_DEFAULT, "onload_thread_set_spin");
    if (pwait2 && dladdr((void *)(uintptr_t)present, &onload) && dladdr(pwait2, &owner) &&
        onload.dli_fbase == owner.dli_fbase)
        sleep->pwait2 = (int (*)(int, struct epoll_event *, int, const struct timespec *, const void *))pwait2;
    else
        sleep->no_pwait2 = true;
}

static int wait_nanoseconds(struct kernel_sleep *sleep, int epoll_fd, struct epoll_event *events, int max, sf_ns timeout)
{
    struct timespec ts = {.tv_sec = timeout / SF_SEC, .tv_nsec = timeout % SF_SEC};
    const struct timespec *limit = timeout == SF_NEVER ? NULL : &ts;

    if (sleep->pwait2)
        return sleep->pwait2(epoll_fd, events, max, limit, NULL);
    return (int)syscall(SYS_epoll_pwait2, epoll_fd, events, max, limit, NULL, 0);
}

/* Before Linux 5.11 only whole milliseconds exist. Rounds up, because a timer may be late but not early. */
static int wait_milliseconds(int epoll_fd, struct epoll_event *events, int max, sf_ns timeout)
{
    int ms = -1;

    if (timeout != SF_NEVER)
        ms = timeout >= INT32_MAX * SF_MS ? INT32_MAX : (int)((timeout + SF_MS - 1) / SF_MS);
    return epoll_wait(epoll_fd, events, max, ms);
}

int kernel_sleep(struct kernel_sleep *sleep, int epoll_fd, struct epoll_event *events, int max, sf_ns timeout)
{
    int n = -1;

    if (sleep->set_spin)
        sleep->set_spin(ONLOAD_SPIN_EPOLL_WAIT, 0);
    if (!sleep->no_pwait2) {
        n = wait_nanoseconds(sleep, epoll_fd, events, max, timeout);
        if (n < 0 && (errno == ENOSYS || errno == EPERM)) /* EPERM: a seccomp filter older than the call */
            sleep->no_pwait2 = true;
    }
    if (sleep->no_pwait2)
        n = wait_milliseconds(epoll_fd, events, max, timeout);
    if (sleep->set_spin) {
        int error = errno;

        sleep->set_spin(ONLOAD_SPIN_EPOLL_WAIT, 1);
        errno = error;
    }
    return n;
}
