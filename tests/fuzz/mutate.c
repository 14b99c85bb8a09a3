/*
 * Stands in for libFuzzer on machines that have only gcc. It changes, cuts, grows or crosses the seeds at random, from a
 * given random seed, without guidance by coverage. usage: mutate seconds random-seed folder-of-seeds file-for-failures
 */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_set_death_callback(void (*callback)(void));

enum { SEEDS_MAX = 256, INPUT_MAX = 4096 };

struct input {
    size_t len;
    uint8_t data[INPUT_MAX];
};

static struct input seeds[SEEDS_MAX], current;
static unsigned seed_count;
static const char *failure_path;

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void save_failure(void)
{
    FILE *file = fopen(failure_path, "wb");

    if (file) {
        fwrite(current.data, 1, current.len, file);
        fclose(file);
    }
}

static void on_abort(int number)
{
    save_failure();
    signal(number, SIG_DFL);
    raise(number);
}

static void load_seeds(const char *folder)
{
    struct dirent *entry;
    DIR *dir = opendir(folder);

    while (dir && seed_count < SEEDS_MAX && (entry = readdir(dir))) {
        char path[4096];
        FILE *file;

        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!file)
            continue;
        seeds[seed_count].len = fread(seeds[seed_count].data, 1, INPUT_MAX, file);
        seed_count++;
        fclose(file);
    }
    if (dir)
        closedir(dir);
}

/* Returns a byte that is often a boundary of comparisons in the parsers. */
static uint8_t interesting(uint64_t *state)
{
    static const uint8_t values[] = {0,  1,    4,    7,    8,    9,    20,   27,   28,
                                     0x45, 0x46, 0x4f, 0x7f, 0x80, 0x81, 0x88, 0xa8, 0xff};

    return draw(state) % 2 ? values[draw(state) % sizeof values] : (uint8_t)draw(state);
}

static void change(uint64_t *state)
{
    const struct input *other = &seeds[draw(state) % seed_count];
    size_t at = current.len ? draw(state) % current.len : 0, len;

    switch (current.len ? draw(state) % 5 : 0) {
    case 0: /* grow by bytes that earlier inputs left behind */
        len = draw(state) % 64;
        current.len = current.len + len <= INPUT_MAX ? current.len + len : current.len;
        break;
    case 1:
        current.len = at;
        break;
    case 2:
        current.data[at] ^= (uint8_t)(1 << draw(state) % 8);
        break;
    case 3:
        current.data[at % 64 % current.len] = interesting(state); /* headers matter most */
        break;
    default:
        len = other->len < current.len ? other->len : current.len;
        if (at < len)
            memcpy(current.data + at, other->data + at, len - at);
    }
}

int main(int argc, char **argv)
{
    uint64_t state, runs = 0;
    time_t end;

    if (argc != 5) {
        fprintf(stderr, "usage: %s seconds random-seed folder-of-seeds file-for-failures\n", argv[0]);
        return 2;
    }
    end = time(NULL) + atol(argv[1]);
    state = strtoull(argv[2], NULL, 0) | 1;
    load_seeds(argv[3]);
    failure_path = argv[4];
    if (!seed_count) {
        fprintf(stderr, "%s has no seeds\n", argv[3]);
        return 2;
    }
    __sanitizer_set_death_callback(save_failure);
    signal(SIGABRT, on_abort);
    for (unsigned i = 0; i < seed_count; i++) {
        current = seeds[i];
        LLVMFuzzerTestOneInput(current.data, current.len);
    }
    while (runs % 1024 || time(NULL) < end) {
        const struct input *from = &seeds[draw(&state) % seed_count];

        current.len = from->len;
        memcpy(current.data, from->data, from->len);
        for (uint64_t n = 1 + draw(&state) % 6; n; n--)
            change(&state);
        LLVMFuzzerTestOneInput(current.data, current.len);
        runs++;
    }
    printf("%llu inputs\n", (unsigned long long)runs);
    return 0;
}
