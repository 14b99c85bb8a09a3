/*
 * Scripts of segments. Each line has a time, and a segment in, a segment out or a call of the program. tests/segments/README.md
 * describes the language.
 */
#ifndef SF_TEST_SEGMENT_SCRIPT_H
#define SF_TEST_SEGMENT_SCRIPT_H

#include "wire/icmp.h"
#include "wire/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCRIPT_LINES = 200, SCRIPT_WORDS = 24, WILL_NOT_SAY = -1 };

enum line_kind { LINE_IN, LINE_OUT, LINE_NOTHING, LINE_ICMP, LINE_CALL };

/* A segment, in relative sequence numbers. Only the fields that the script gives are compared with a segment out. */
struct expected {
    uint8_t flags;
    uint32_t seq, end;
    int64_t ack, window, mss, scale, ts_ago, ts_val, ts_ecr; /* WILL_NOT_SAY: not given */
    bool window_open, sack_permitted, timestamps, no_timestamps, no_sack, bad_sum;
    uint8_t n_sack;
    struct sf_tcp_range sack[SF_TCP_SACK_MAX];
};

struct line {
    int number;
    char text[160];
    enum line_kind kind;
    double after, until; /* ms since the line before */
    struct expected segment;
    uint16_t mtu; /* of an ICMP error */
    int n_words;
    char word[SCRIPT_WORDS][32];
};

struct script {
    const char *path;
    char not_linux[160]; /* why the script is not run against Linux; "": it is run */
    char not_ours[160];  /* the same for our stack */
    uint32_t mtu;
    int n;
    struct line line[SCRIPT_LINES];
};

static inline void script_fail(const struct script *s, const struct line *l, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n    %s\n", s->path, l->number, what, l->text);
    exit(1);
}

static inline uint8_t script_flags(const struct script *s, const struct line *l, const char *word)
{
    static const char letters[] = "FSRP.UEW";
    uint8_t flags = 0;

    for (; *word; word++) {
        const char *at = strchr(letters, *word);

        if (!at)
            script_fail(s, l, "flags must be letters of SFRPUEW, or . for ACK");
        flags |= (uint8_t)(1 << (at - letters));
    }
    return flags;
}

static inline struct sf_tcp_range script_range(const struct script *s, const struct line *l, const char *word)
{
    unsigned left, right;

    if (sscanf(word, "%u:%u", &left, &right) != 2)
        script_fail(s, l, "a range of sequence numbers must be left:right");
    return (struct sf_tcp_range){left, right};
}

static inline void script_segment(const struct script *s, struct line *l)
{
    struct expected *e = &l->segment;
    struct sf_tcp_range range;

    *e = (struct expected){.ack = WILL_NOT_SAY, .window = WILL_NOT_SAY, .mss = WILL_NOT_SAY, .scale = WILL_NOT_SAY,
                           .ts_ago = WILL_NOT_SAY, .ts_val = WILL_NOT_SAY, .ts_ecr = WILL_NOT_SAY};
    if (l->n_words < 3)
        script_fail(s, l, "flags and seq:end are missing");
    e->flags = script_flags(s, l, l->word[1]);
    range = script_range(s, l, l->word[2]);
    e->seq = range.left;
    e->end = range.right;
    for (int i = 3; i < l->n_words; i++) {
        const char *word = l->word[i], *next = i + 1 < l->n_words ? l->word[i + 1] : "";
        int64_t *number = !strcmp(word, "ack")     ? &e->ack
                          : !strcmp(word, "win")   ? &e->window
                          : !strcmp(word, "mss")   ? &e->mss
                          : !strcmp(word, "ws")    ? &e->scale
                          : !strcmp(word, "tsago") ? &e->ts_ago
                          : !strcmp(word, "tsval") ? &e->ts_val
                          : !strcmp(word, "tsecr") ? &e->ts_ecr
                                                   : NULL;

        if (number && !strcmp(next, "open"))
            e->window_open = true;
        else if (number)
            *number = strtoll(next, NULL, 0);
        else if (!strcmp(word, "sack") && e->n_sack < SF_TCP_SACK_MAX)
            e->sack[e->n_sack++] = script_range(s, l, next);
        else if (!strcmp(word, "sackok"))
            e->sack_permitted = true;
        else if (!strcmp(word, "ts"))
            e->timestamps = true;
        else if (!strcmp(word, "nots"))
            e->no_timestamps = true;
        else if (!strcmp(word, "nosack"))
            e->no_sack = true;
        else if (!strcmp(word, "badsum"))
            e->bad_sum = true;
        else
            script_fail(s, l, "unknown word in a segment");
        i += number || !strcmp(word, "sack");
    }
}

static inline void script_line(struct script *s, struct line *l)
{
    char copy[160], *save, *word;

    strcpy(copy, l->text);
    for (word = strtok_r(copy, " \t", &save); word && l->n_words < SCRIPT_WORDS; word = strtok_r(NULL, " \t", &save)) {
        if (*word == '#')
            break;
        snprintf(l->word[l->n_words++], sizeof l->word[0], "%s", word);
    }
    if (l->n_words < 2 || sscanf(l->word[0], "+%lf-%lf", &l->after, &l->until) < 1)
        script_fail(s, l, "a line must be +milliseconds, then a segment, a call or nothing");
    if (l->until < l->after)
        l->until = l->after;
    memmove(l->word[0], l->word[1], (size_t)--l->n_words * sizeof l->word[0]);
    l->word[l->n_words][0] = 0;
    if (!strcmp(l->word[0], "nothing"))
        l->kind = LINE_NOTHING;
    else if (!strcmp(l->word[0], "<") && !strcmp(l->word[1], "icmp"))
        l->kind = LINE_ICMP;
    else if (!strcmp(l->word[0], "<") || !strcmp(l->word[0], ">"))
        l->kind = *l->word[0] == '<' ? LINE_IN : LINE_OUT;
    else
        l->kind = LINE_CALL;
    if (l->kind == LINE_ICMP)
        l->mtu = (uint16_t)atoi(l->word[2]);
    else if (l->kind != LINE_NOTHING && l->kind != LINE_CALL)
        script_segment(s, l);
}

static inline void script_load(struct script *s, const char *path)
{
    FILE *file = fopen(path, "r");
    char text[160];

    *s = (struct script){.path = path, .mtu = 1500};
    if (!file) {
        perror(path);
        exit(1);
    }
    for (int number = 1; fgets(text, sizeof text, file); number++) {
        struct line *l = &s->line[s->n];

        text[strcspn(text, "\n")] = 0;
        if (!*text || *text == '#' || sscanf(text, "mtu %u", &s->mtu) == 1 ||
            sscanf(text, "not-linux: %159[^\n]", s->not_linux) == 1 ||
            sscanf(text, "not-ours: %159[^\n]", s->not_ours) == 1)
            continue;
        *l = (struct line){.number = number};
        snprintf(l->text, sizeof l->text, "%s", text);
        if (s->n++ == SCRIPT_LINES - 1)
            script_fail(s, l, "too many lines");
        script_line(s, l);
    }
    fclose(file);
}

/* The byte at an offset of either stream. */
static inline uint8_t script_byte(uint32_t offset)
{
    return (uint8_t)(offset * 7 + offset / 251);
}

#endif
