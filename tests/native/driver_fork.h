/*
 * A part of the driver contract: a forked child abandons both drivers. The parent's drivers work on, while the child lives and
 * afterwards. The child keeps nothing that the next drivers need.
 */
#ifndef SF_TEST_DRIVER_FORK_H
#define SF_TEST_DRIVER_FORK_H

#include "driver_contract.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* In the child: abandons the drivers. Lent frames stay readable, and the drivers' descriptors are closed. */
static void contract_abandon(const struct contract_pair *pair, const struct sf_frame *lent, int n, int descriptors)
{
    pair->a->fast.control->abandon(pair->a);
    pair->b->fast.control->abandon(pair->b);
    for (int i = 0; i < n; i++)
        memcpy(contract_received, lent[i].data, lent[i].len);
    CHECK(contract_descriptors() == descriptors);
    pause();
}

static pid_t contract_fork(const struct contract_pair *pair, const struct sf_frame *lent, int n, int descriptors)
{
    pid_t child;

    fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    contract_abandon(pair, lent, n, descriptors);
    _exit(0);
}

static void contract_check_traffic(const struct contract_pair *pair, uint32_t frames)
{
    uint32_t number;

    for (uint32_t i = 0; i < frames; i++) {
        contract_send_surely(pair, 100, i);
        CHECK(contract_receive(pair, &number, contract_patience(pair)) == 100 && number == i);
    }
}

static void contract_end_child(pid_t child)
{
    int status;

    CHECK(waitpid(child, &status, WNOHANG) == 0); /* the child has not failed */
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
}

static void contract_check_abandon(const struct driver_contract *contract, int descriptors)
{
    struct contract_pair pair;
    struct sf_frame lent[4];
    sf_ns end;
    pid_t child;
    int n;

    contract_open(contract, &pair);
    end = sf_now() + contract_patience(&pair);
    contract_send_surely(&pair, 100, 0);
    while ((n = pair.b->fast.rx_burst(pair.b, lent, 4)) == 0)
        CHECK(sf_now() < end);
    child = contract_fork(&pair, lent, n, descriptors);
    pair.b->fast.rx_release(pair.b, lent, n);
    contract_check_traffic(&pair, 2000);
    contract_check_arm(&pair);
    contract_end_child(child);
    contract_check_traffic(&pair, 100);
    /* The next pair is opened while a child of the last pair lives, which may not hold anything that the pair needs. */
    child = contract_fork(&pair, NULL, 0, descriptors);
    nanosleep(&(struct timespec){.tv_nsec = 50 * SF_MS}, NULL);
    contract_close(contract, &pair);
    contract_open(contract, &pair);
    contract_check_traffic(&pair, 100);
    contract_end_child(child);
    contract_check_traffic(&pair, 100);
    contract_close(contract, &pair);
}

#endif
