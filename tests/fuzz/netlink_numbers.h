/* Numbers that must be the same in the messages of seeds_netlink.c and in the stack of fuzz_netlink.c. */
#ifndef SF_FUZZ_NETLINK_NUMBERS_H
#define SF_FUZZ_NETLINK_NUMBERS_H

enum { INTERFACE = 3, PORT = 4711, RUNNING = 9 };

#endif
