/* Writes the seeds of fuzz_tcp: one for each state, followed by a few records. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static const uint8_t records[][12] = {
        {0, 0x10, 0x40, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0}, {11, 1, 2, 12, 3, 2, 8, 18, 11, 0, 7, 13},
        {6, 0, 0x10, 0, 8, 12, 13, 0, 8, 18, 6, 2},       {9, 4, 2, 0x40, 8, 20, 13, 9, 14, 13, 0, 8},
        {10, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    };

    for (int state = 0; argc == 2 && state < 256; state++) {
        char path[4096];
        FILE *file;

        snprintf(path, sizeof path, "%s/state-%d", argv[1], state);
        file = fopen(path, "wb");
        if (file)
            fputc(state, file);
        for (int i = 0; file && i < 48 && (state & 15) >= 14; i++) /* an image to import */
            fputc(i * 37 + state * 11, file);
        if (!file || fwrite(records[state % 5], 1, 12, file) + fwrite(records[state / 16 % 5], 1, 12, file) != 24 || fclose(file)) {
            perror(path);
            return 1;
        }
    }
    return argc == 2 ? 0 : 2;
}
