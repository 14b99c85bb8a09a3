/* Writes the seeds of fuzz_drivers: the frames of seeds_wire.c, and descriptions of faults. */
#define main write_frames
#include "seeds_wire.c"
#undef main

#include <string.h>

int main(int argc, char **argv)
{
    static const char *texts[] = {
        "loss=1%", "loss=0.25%,seed=7", "rx.delay=50us..2ms", "tx.delay=1ms", "rate=100mbit,reorder=5%",
        "duplicate=100%,corrupt=0.001%", "rx.rate=64kbit,tx.rate=1gbit", "seed=18446744073709551615", "delay=10s..10s",
    };
    int status = write_frames(argc, argv);

    for (size_t i = 0; status == 0 && i < sizeof texts / sizeof texts[0]; i++) {
        char path[4096];
        FILE *file;

        snprintf(path, sizeof path, "%s/words-%zu", argv[1], i);
        file = fopen(path, "wb");
        if (!file || fputc(0x80, file) == EOF || fputs(texts[i], file) == EOF || fclose(file)) {
            perror(path);
            return 1;
        }
    }
    return status;
}
