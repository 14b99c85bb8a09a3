/*
 * A preload library that behaves like Onload, without a NIC. Tests of a loop under Onload use it. The accelerated sockets
 * are the kernel's own. A program sees them by Onload's rules:
 *
 *  - An IPv4 socket is accelerated while it is unbound or bound to an address of 127.77.0.0/16, the "NIC's" addresses.
 *    Its stack is the one that its thread had named when it created the socket. Under the name NULL no socket is
 *    accelerated. An accepted socket has the listener's stack.
 *  - The kernel's epoll set has an accelerated member only while a blocking call of this library sleeps. A program that
 *    makes the system call directly sleeps through everything that the member receives.
 *  - A blocking call arms the stack's interrupt. While it is armed, a call with a timeout of 0 looks at accelerated members
 *    only if the thread's epoll spinning is on.
 *
 * The file ONLOAD_SIM_LOG gets a line for each call of the extensions API that changes a setting, and the counts of epoll
 * calls at the end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS 4096
#define MEMBERS 1024
#define NAME 32
#define SPIN_EPOLL_WAIT 11
#define SPIN_MAX 17

struct member {
    int epfd, fd; /* fd < 0: free */
    struct epoll_event event;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct member members[MEMBERS];
static char stack_of[DESCRIPTORS][NAME]; /* "": never accelerated */
static bool primed[DESCRIPTORS];         /* the interrupt is armed, for each epoll descriptor */
static long calls[2][2];                 /* [blocking][spinning] */

static __thread unsigned spin_state;
static __thread char stack_name[NAME] = "default", saved_name[NAME];
static __thread bool dont_accelerate, saved_dont;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (!found)
        abort();
    return found;
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    const char *path = getenv("ONLOAD_SIM_LOG");
    char line[128];
    va_list args;
    int fd, length;

    if (!path || (fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0)
        return;
    va_start(args, format);
    length = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (write(fd, line, (size_t)length) < 0)
        abort();
    REAL(close)(fd);
}

__attribute__((constructor)) static void begin(void)
{
    for (int i = 0; i < MEMBERS; i++)
        members[i].fd = -1;
}

__attribute__((destructor)) static void finish(void)
{
    say("calls zero=%ld zero_spinning=%ld blocking=%ld blocking_spinning=%ld\n", calls[0][0], calls[0][1], calls[1][0],
        calls[1][1]);
}

/* ---- accelerated sockets ---- */

static bool accelerated(int fd)
{
    struct sockaddr_storage local = {0};
    socklen_t length = sizeof(local);
    uint32_t address;

    if (fd < 0 || fd >= DESCRIPTORS || !stack_of[fd][0] || getsockname(fd, (struct sockaddr *)&local, &length) < 0)
        return false;
    if (local.ss_family != AF_INET)
        return false;
    address = ntohl(((struct sockaddr_in *)&local)->sin_addr.s_addr);
    return !address || address >> 16 == (127 << 8 | 77);
}

int socket(int domain, int type, int protocol)
{
    int fd = REAL(socket)(domain, type, protocol);

    if (fd >= 0 && fd < DESCRIPTORS) {
        bool ours = (domain == AF_INET || domain == AF_INET6) && !dont_accelerate;

        strcpy(stack_of[fd], ours ? stack_name : "");
    }
    return fd;
}

int accept4(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
    int fd = REAL(accept4)(listener, address, length, flags);

    if (fd >= 0 && fd < DESCRIPTORS && listener < DESCRIPTORS)
        memmove(stack_of[fd], stack_of[listener], NAME);
    return fd;
}

int close(int fd)
{
    if (fd >= 0 && fd < DESCRIPTORS) {
        pthread_mutex_lock(&lock);
        stack_of[fd][0] = '\0';
        primed[fd] = false;
        for (int i = 0; i < MEMBERS; i++)
            if (members[i].fd == fd || members[i].epfd == fd)
                members[i].fd = -1;
        pthread_mutex_unlock(&lock);
    }
    return REAL(close)(fd);
}

/* ---- epoll ---- */

static struct member *member_of(int epfd, int fd)
{
    for (int i = 0; i < MEMBERS; i++)
        if (members[i].fd == fd && (fd < 0 || members[i].epfd == epfd))
            return &members[i];
    return NULL;
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    struct member *member;
    int error = 0;

    pthread_mutex_lock(&lock);
    member = member_of(epfd, fd);
    if (!member && !accelerated(fd)) {
        pthread_mutex_unlock(&lock);
        return REAL(epoll_ctl)(epfd, op, fd, event);
    }
    if (op == EPOLL_CTL_ADD ? member != NULL : !member)
        error = member ? EEXIST : ENOENT;
    else if (!member && !(member = member_of(0, -1)))
        error = ENOSPC;
    else if (op == EPOLL_CTL_DEL)
        member->fd = -1;
    else
        *member = (struct member){.epfd = epfd, .fd = fd, .event = *event};
    pthread_mutex_unlock(&lock);
    errno = error;
    return error ? -1 : 0;
}

static int poll_members(int epfd, struct epoll_event *events, int max)
{
    int n = 0;

    for (int i = 0; i < MEMBERS && n < max; i++) {
        struct pollfd asked = {.fd = members[i].fd, .events = (short)members[i].event.events};

        if (members[i].fd < 0 || members[i].epfd != epfd || poll(&asked, 1, 0) <= 0)
            continue;
        events[n].events = (uint32_t)asked.revents;
        events[n++].data = members[i].event.data;
    }
    return n;
}

static void tell_kernel(int epfd, int op)
{
    for (int i = 0; i < MEMBERS; i++)
        if (members[i].fd >= 0 && members[i].epfd == epfd)
            REAL(epoll_ctl)(epfd, op, members[i].fd, &members[i].event);
}

static int wait_for(int epfd, struct epoll_event *events, int max, const struct timespec *timeout)
{
    bool blocks = !timeout || timeout->tv_sec || timeout->tv_nsec, spins = spin_state >> SPIN_EPOLL_WAIT & 1;
    struct pollfd set = {.fd = epfd, .events = POLLIN};
    int n = 0;

    pthread_mutex_lock(&lock);
    calls[blocks][spins]++;
    if (spins || !primed[epfd])
        n = poll_members(epfd, events, max);
    if (n < max) {
        int more = REAL(epoll_wait)(epfd, events + n, max - n, 0);

        n = more > 0 ? n + more : n;
    }
    if (n || !blocks) {
        pthread_mutex_unlock(&lock);
        return n;
    }
    primed[epfd] = true;
    tell_kernel(epfd, EPOLL_CTL_ADD);
    pthread_mutex_unlock(&lock);
    n = ppoll(&set, 1, timeout, NULL);
    pthread_mutex_lock(&lock);
    if (n > 0)
        n = REAL(epoll_wait)(epfd, events, max, 0);
    tell_kernel(epfd, EPOLL_CTL_DEL);
    pthread_mutex_unlock(&lock);
    return n;
}

int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
    struct timespec limit = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000L};

    return wait_for(epfd, events, max, timeout < 0 ? NULL : &limit);
}

#ifndef WITHOUT_PWAIT2 /* defined: stands for an Onload that was built with a glibc without epoll_pwait2() */
int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask)
{
    (void)mask;
    return wait_for(epfd, events, max, timeout);
}
#endif

/* ---- <onload/extensions.h> ---- */

struct onload_stat {
    int32_t stack_id;
    char *stack_name;
    int32_t endpoint_id;
    int32_t endpoint_state;
};

int onload_is_present(void)
{
    return 1;
}

int onload_fd_stat(int fd, struct onload_stat *stat)
{
    if (!accelerated(fd))
        return 0;
    *stat = (struct onload_stat){.stack_id = 1, .stack_name = strdup(stack_of[fd]), .endpoint_id = fd};
    return 1;
}

int onload_set_stackname(int who, int scope, const char *name)
{
    say("stackname %d %d %s\n", who, scope, name ? name : "(none)");
    if (name && strlen(name) >= NAME)
        return -EINVAL;
    dont_accelerate = !name;
    strcpy(stack_name, name ? name : "default");
    return 0;
}

int onload_stackname_save(void)
{
    say("save\n");
    strcpy(saved_name, stack_name);
    saved_dont = dont_accelerate;
    return 0;
}

int onload_stackname_restore(void)
{
    say("restore\n");
    strcpy(stack_name, saved_name);
    dont_accelerate = saved_dont;
    return 0;
}

int onload_thread_get_spin(unsigned *state)
{
    *state = spin_state;
    return 0;
}

int onload_thread_set_spin(int type, int spin)
{
    if (type < 0 || type >= SPIN_MAX)
        return -EINVAL;
    say("spin %d %d\n", type, spin);
    spin_state = spin ? spin_state | 1u << type : spin_state & ~(1u << type);
    return 0;
}
