/*
 * The search for other programs never holds up a turn. Each poll makes a few system calls for it at most, however many processes
 * the machine has and however many sockets the stack serves. A process that holds a socket is found in the end. The test counts
 * system calls by functions that replace the C library's. It runs in a network namespace of its own, with a driver that does
 * nothing. It is skipped where it may not create namespaces.
 */
#define _GNU_SOURCE
#include "sf/driver.h"
#include "stacks/tcpip/config.h"

#include "namespaces.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 60, DESCRIPTORS = 100, SOCKETS = 40, FOREIGN = 400 };
/* The most calls and entries of one poll: for 16 names of a claim, or for three descriptors and opening and closing their list.
 * */
enum { MOST_CALLS = 20, MOST_ENTRIES = 60 };

/* ---- counting ---- */

static int calls, entries;

ssize_t readlinkat(int folder, const char *restrict path, char *restrict to, size_t size)
{
    calls++;
    return syscall(SYS_readlinkat, folder, path, to, size);
}

int connect(int fd, const struct sockaddr *name, socklen_t len)
{
    calls++;
    return (int)syscall(SYS_connect, fd, name, len);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    calls++;
    return sendto(fd, data, size, flags, NULL, 0);
}

/* Counts the kernel's answers about its sockets. Each takes at least 72 bytes. */
ssize_t recv(int fd, void *to, size_t size, int flags)
{
    ssize_t got = recvfrom(fd, to, size, flags, NULL, NULL);

    calls++;
    entries += got > 0 ? (int)(got / 72) : 0;
    return got;
}

/* Counts getdents64(), which is the only call that the stack makes by syscall() here. */
long int syscall(long int number, ...)
{
    static long int (*real)(long int, ...);
    long int a[4], got;
    va_list list;

    va_start(list, number);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(list, long int);
    va_end(list);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    got = real(number, a[0], a[1], a[2], a[3]);
    if (number == SYS_getdents64 && got > 0) {
        calls++;
        entries += (int)(got / 24); /* the most there can be: entries may be longer */
    }
    return got;
}

/* ---- a driver that does nothing ---- */

static struct sf_driver_caps its_caps = {.mtu = 1500, .rx_lent = 8};

static int in_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    (void)driver;
    (void)frames;
    (void)n;
    return 0;
}

static void in_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    (void)driver;
    (void)frames;
    (void)n;
}

static int in_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    (void)driver;
    (void)len;
    (void)pieces;
    (void)max;
    return -EAGAIN;
}

static void in_flush(struct sf_driver *driver)
{
    (void)driver;
}

static void in_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    (void)driver;
    *caps = its_caps;
}

static int n_flows;

static int in_add(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    n_flows++;
    return 0;
}

static int in_del(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    n_flows--;
    return 0;
}

static const struct sf_driver_control in_control = {
    .name = "stand-in", .close = in_flush, .caps = in_caps, .filter_add = in_add, .filter_del = in_del};

static struct sf_driver driver = {.fast = {in_burst, in_release, in_reserve, in_release, in_release, in_flush, &in_control}};

/* ---- the stack ---- */

static struct sf_stack *stack;
static sf_ns now;

static sf_ns read_clock(void)
{
    return now;
}

static void make_stack(void)
{
    struct sf_tcpip_config config = {.driver = &driver, .now = read_clock};
    char message[256];
    int error = 0;

    close(new_namespace());
    DO("ip link set lo up && ip addr add 10.77.0.1/24 dev lo");
    its_caps.ifindex = (int)if_nametoindex("lo");
    stack = sf_stack_tcpip_create(&config, &error, message);
    if (!stack)
        fprintf(stderr, "%s\n", message);
    CHECK(stack);
}

static int bind_socket(int port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = inet_addr("10.77.0.1")};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;

    CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
    CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    return fd;
}

/* Opens a socket of the stack. Other sockets may bind to its port, too. */
static int open_socket(int port, uint32_t slot)
{
    struct sf_sock *sock = NULL;
    int fd = bind_socket(port);

    CHECK(stack->ops->adopt(stack, fd, SF_KIND_DATAGRAM, slot, slot, &sock) == 0);
    return fd;
}

/* Polls the stack for `time` of its clock, as a spinning loop does. Records the most calls and entries of one poll. */
static void spin_for(sf_ns time, int *most_calls, int *most_entries)
{
    static struct sf_event events[16];

    for (sf_ns end = now + time; now < end; now += 20 * SF_US) {
        calls = entries = 0;
        stack->ops->poll(stack, now, events, 16);
        if (calls > *most_calls)
            *most_calls = calls;
        if (entries > *most_entries)
            *most_entries = entries;
    }
}

/* ---- the test ---- */

static pid_t start_process(int keeps)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < DESCRIPTORS; i++)
        fcntl(0, F_DUPFD, 100);
    if (keeps >= 0) /* sleep(1) inherits the socket and counts as another program, unlike a mere fork of ours */
        fcntl(keeps, F_SETFD, 0);
    execlp("sleep", "sleep", "60", (char *)NULL);
    _exit(1);
}

static void wait_for_exec(pid_t pid)
{
    char path[64], name[64] = "";

    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    for (int i = 0; i < 1000 && strcmp(name, "sleep\n") != 0; i++) {
        FILE *file = fopen(path, "r");

        if (file && !fgets(name, sizeof(name), file))
            name[0] = 0;
        if (file)
            fclose(file);
        usleep(5000);
    }
    CHECK(strcmp(name, "sleep\n") == 0);
}

int main(void)
{
    int most_calls = 0, most_entries = 0, fd = -1, foreign;
    pid_t pids[PROCESSES];

    make_stack();
    now = 10 * SF_SEC;
    for (int i = 0; i < PROCESSES; i++)
        pids[i] = start_process(-1);
    for (int i = 0; i < SOCKETS; i++)
        fd = open_socket(7000 + i, (uint32_t)i);
    CHECK(n_flows == SOCKETS);
    for (int i = 0; i < FOREIGN; i++)
        bind_socket(20000 + i);
    spin_for(2 * SF_SEC, &most_calls, &most_entries); /* the first search */
    CHECK(n_flows == SOCKETS);
    foreign = bind_socket(7000);
    spin_for(SF_SEC, &most_calls, &most_entries);
    CHECK(n_flows == SOCKETS - 1);
    close(foreign);
    spin_for(2 * SF_SEC, &most_calls, &most_entries);
    CHECK(n_flows == SOCKETS);
    spin_for(3 * SF_SEC, &most_calls, &most_entries);
    kill(pids[0], SIGKILL);
    waitpid(pids[0], NULL, 0);
    pids[0] = start_process(fd);
    wait_for_exec(pids[0]);
    spin_for(2 * SF_SEC, &most_calls, &most_entries); /* long after the start */
    CHECK(n_flows == SOCKETS - 1);
    kill(pids[0], SIGKILL);
    waitpid(pids[0], NULL, 0);
    spin_for(2 * SF_SEC, &most_calls, &most_entries);
    CHECK(n_flows == SOCKETS);
    for (int i = 1; i < PROCESSES; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    printf("at most %d calls and %d entries a poll\n", most_calls, most_entries);
    CHECK(most_calls <= MOST_CALLS);
    CHECK(most_entries <= MOST_ENTRIES);
    stack->ops->destroy(stack);
    return 0;
}
