/*
 * The call `import` of a script: the host goes on with a connection that another TCP has opened. tests/segments/README.md describes
 * its words.
 */
#ifndef SF_TEST_SEGMENT_IMPORT_H
#define SF_TEST_SEGMENT_IMPORT_H

#include "segment_script.h"
#include "sf/tcp_image.h"

struct import_words {
    int64_t una, nxt, end, rcv, wup, unread, win, maxwin, rwin, ws, rws, mss, wl1, tsclock, tsrecent, rtt, cwnd, ssthresh;
    bool sack, timestamps;
    uint8_t state;
};

static inline uint8_t import_state(const struct script *s, const struct line *l, const char *word)
{
    static const struct {
        const char *name;
        uint8_t state;
    } states[] = {{"ESTABLISHED", 1}, {"CLOSE_WAIT", 8}, {"FIN_WAIT1", 4}, {"FIN_WAIT2", 5}}; /* netinet/tcp.h */

    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (!strcmp(word, states[i].name))
            return states[i].state;
    script_fail(s, l, "the state must be ESTABLISHED, CLOSE_WAIT, FIN_WAIT1 or FIN_WAIT2");
    return 0;
}

static inline int64_t *import_number(struct import_words *w, const char *word)
{
    const struct {
        const char *name;
        int64_t *number;
    } numbers[] = {
        {"una", &w->una},   {"nxt", &w->nxt},         {"end", &w->end},           {"rcv", &w->rcv}, {"wup", &w->wup}, {"unread", &w->unread},
        {"win", &w->win},   {"maxwin", &w->maxwin},   {"rwin", &w->rwin},         {"ws", &w->ws},   {"rws", &w->rws}, {"mss", &w->mss},
        {"wl1", &w->wl1},   {"tsclock", &w->tsclock}, {"tsrecent", &w->tsrecent}, {"rtt", &w->rtt}, {"cwnd", &w->cwnd},
        {"ssthresh", &w->ssthresh},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(word, numbers[i].name))
            return numbers[i].number;
    return NULL;
}

/* Reads the words, and replaces those that are missing. */
static inline struct import_words import_read(const struct script *s, const struct line *l)
{
    struct import_words w = {.una = 1, .nxt = -1, .end = -1, .rcv = 1, .wup = -1, .win = 65535, .maxwin = -1, .rwin = 65535,
                             .ws = -1, .rws = -1, .mss = 1000, .wl1 = -1, .tsclock = 5000, .tsrecent = -1};

    w.state = import_state(s, l, l->word[1]);
    for (int i = 2; i < l->n_words; i++) {
        int64_t *number = import_number(&w, l->word[i]);

        if (number)
            *number = strtoll(l->word[++i], NULL, 0);
        else if (!strcmp(l->word[i], "sackok"))
            w.sack = true;
        else if (!strcmp(l->word[i], "ts"))
            w.timestamps = true;
        else
            script_fail(s, l, "unknown word of an import");
    }
    w.nxt = w.nxt < 0 ? w.una : w.nxt;
    w.end = w.end < 0 ? w.nxt : w.end;
    w.wup = w.wup < 0 ? w.rcv : w.wup;
    w.wl1 = w.wl1 < 0 ? w.wup : w.wl1;
    w.maxwin = w.maxwin < 0 ? (w.win > 65535 || w.ws < 0 ? w.win : 65535) : w.maxwin;
    return w;
}

static inline uint8_t *import_bytes(uint32_t first, uint32_t n)
{
    uint8_t *bytes = n ? malloc(n) : NULL;

    for (uint32_t i = 0; i < n; i++)
        bytes[i] = script_byte(first + i - 1);
    return bytes;
}

/* The caller sets the addresses and ports, and frees the image. */
static inline struct sf_tcp_image import_image(const struct import_words *w, uint32_t isn, uint32_t peer_isn, uint32_t peer_ts,
                                               sf_ns now)
{
    bool fin = w->state == 8, fin_acked = w->state == 5;
    struct sf_tcp_image image = {
        .state = w->state,
        .scaling = w->ws >= 0 || w->rws >= 0,
        .sack = w->sack,
        .timestamps = w->timestamps,
        .snd_scale = (uint8_t)(w->ws < 0 ? 0 : w->ws),
        .rcv_scale = (uint8_t)(w->rws < 0 ? 0 : w->rws),
        .mss = (uint32_t)w->mss,
        .snd_una = isn + (uint32_t)w->una,
        .snd_nxt = isn + (uint32_t)w->nxt,
        .snd_end = isn + (uint32_t)w->end - fin_acked,
        .snd_wl1 = peer_isn + (uint32_t)w->wl1,
        .snd_wnd = (uint32_t)w->win,
        .max_window = (uint32_t)w->maxwin,
        .rcv_nxt = peer_isn + (uint32_t)w->rcv,
        .rcv_wup = peer_isn + (uint32_t)w->wup,
        .rcv_wnd = (uint32_t)w->rwin,
        .ts_clock = (uint32_t)w->tsclock,
        .ts_recent = w->tsrecent < 0 ? 0 : peer_ts - (uint32_t)w->tsrecent,
        .read_at = now,
        .rtt = w->rtt * SF_MS,
        .rtt_var = w->rtt * SF_MS / 2,
        .cwnd = (uint32_t)w->cwnd,
        .ssthresh = (uint32_t)w->ssthresh,
        .n_unread = (uint32_t)w->unread,
        .n_unacked = fin_acked ? 0 : (uint32_t)(w->end - w->una),
    };

    image.unread = import_bytes((uint32_t)(w->rcv - fin - w->unread), image.n_unread);
    image.unacked = import_bytes((uint32_t)w->una, image.n_unacked);
    return image;
}

#endif
