/* Writes the seeds of fuzz_tls into the given folder. For every kind of session (see fuzz_tls.c) there is one seed for each
 * command, some with garbage, and a long exchange. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSIONS = 16, COMMANDS = 8 };

static void save(const char *folder, const char *name, const uint8_t *data, size_t len)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "wb");
    if (!file || fwrite(data, 1, len, file) != len || fclose(file)) {
        perror(path);
        exit(1);
    }
}

/* Garbage that begins like a record: a handshake, data, an alert, SSL 2's hello, HTTP, a change of cipher. */
static const char *const garbage[] = {
    "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "\x17\x03\x03\x00\x20????????", "\x15\x03\x03\x00\x02\x02\x28",
    "\x80\x2e\x01\x00\x02",                     "GET / HTTP/1.1\r\n\r\n",      "\x14\x03\x03\x00\x01\x01",
};
static const size_t lengths[] = {10, 13, 7, 5, 18, 6};

int main(int argc, char **argv)
{
    static const uint8_t talk[] = {0x20, 100, 0x25, 50, 7, 5, 0x80, 255, 3, 1, 0x10, 9, 0xa5, 200, 7, 1, 0x08, 30, 0x85, 255, 3, 0, 4, 0};
    uint8_t input[256];
    char name[64];

    if (argc != 2)
        return 2;
    for (uint8_t session = 0; session < SESSIONS; session++) {
        for (uint8_t command = 0; command < COMMANDS; command++) {
            const uint8_t bytes[] = {session, 0, (uint8_t)(command | 0x40), 60, 0x20, 10, (uint8_t)(command | 0x88), 33};

            snprintf(name, sizeof name, "session-%u-command-%u", session, command);
            save(argv[1], name, bytes, sizeof bytes);
        }
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            input[0] = session;
            input[1] = 3;
            input[2] = 0x42;
            input[3] = (uint8_t)lengths[i];
            memcpy(input + 4, garbage[i], lengths[i]);
            snprintf(name, sizeof name, "session-%u-garbage-%zu", session, i);
            save(argv[1], name, input, 4 + lengths[i]);
        }
        input[0] = session;
        input[1] = 0;
        memcpy(input + 2, talk, sizeof talk);
        snprintf(name, sizeof name, "session-%u-talk", session);
        save(argv[1], name, input, 2 + sizeof talk);
    }
    return 0;
}
