/* efvi_hardware LIBRARY A B: checks the driver contract between the interfaces A and B, with the driver of a shared object.
 * efvi_hardware.py builds and runs it. */
#define _GNU_SOURCE
#include "driver_contract.h"

#include <dlfcn.h>
#include <stdio.h>

struct ports {
    sf_driver_open open;
    const char *interface[2];
    const char *mode;
};

static int open_pair(struct contract_pair *pair, void *context)
{
    const struct ports *ports = context;
    struct sf_driver *driver[2];

    for (int side = 0; side < 2; side++) {
        struct sf_driver_config config = {.interface = ports->interface[side], .queue = -1, .mode = ports->mode};
        char message[SF_DRIVER_ERROR_SIZE];
        int error = 0;

        driver[side] = ports->open(&config, &error, message);
        if (!driver[side]) {
            fprintf(stderr, "%s\n", message);
            return -1;
        }
    }
    pair->a = driver[0];
    pair->b = driver[1];
    memcpy(pair->mac_a, contract_caps(pair->a).mac, 6);
    memcpy(pair->mac_b, contract_caps(pair->b).mac, 6);
    pair->addr_a = htonl(0xc6120001); /* 198.18.0.1: reserved for benchmarks (RFC 2544), so no interface needs it */
    pair->addr_b = htonl(0xc6120002);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *modes[] = {"auto", "dma", "pio", "merge"};
    void *object = argc == 4 ? dlopen(argv[1], RTLD_NOW) : NULL;
    struct ports ports = {0};
    int failed = 0;

    if (!object) {
        fprintf(stderr, "efvi_hardware LIBRARY A B: %s\n", argc == 4 ? dlerror() : "three arguments are needed");
        return 1;
    }
    *(void **)&ports.open = dlsym(object, "sf_driver_ef_vi_open");
    CHECK(ports.open);
    ports.interface[0] = argv[2];
    ports.interface[1] = argv[3];
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        const struct driver_contract contract = {.name = modes[i], .open = open_pair, .context = &ports, .flags = CONTRACT_LOSSY};

        ports.mode = modes[i];
        failed |= driver_contract(&contract) != 0;
    }
    return failed;
}
