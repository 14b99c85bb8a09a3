/*
 * SYN cookies (RFC 4987, 3.6; D. J. Bernstein, 1996). Beyond the limit of half-open connections the stack keeps no record of a SYN. Our
 * initial sequence number encodes the facts about the connection, and comes back with the ACK. The layout is Linux's: 8 bits of a counter
 * that advances every 64 s, and 24 bits of a hash plus the index of one of the segment sizes below. If the peer has timestamps, the low
 * bits of our timestamp encode the other options.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#define PERIOD (64 * SF_SEC)
#define LIFE_PERIODS 2
#define NO_SCALE 15
#define SACK_BIT 16
#define OPTION_BITS 63u

static const uint16_t sizes[] = {536, 1220, 1360, 1440, 1460, 4312, 8960};

enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), FIXED = 3, COUNTED };

static uint32_t hash(struct sf_tcpip *t, const struct sf_flow_key *key, uint32_t tag, uint32_t count)
{
    uint64_t words[] = {(uint64_t)key->local_addr << 32 | key->remote_addr,
                        (uint64_t)tag << 32 | (uint32_t)key->local_port << 16 | key->remote_port, count};

    return (uint32_t)sf_siphash(t->tcp.key, words, 3);
}

static uint32_t count_now(const struct sf_tcpip *t)
{
    return (uint32_t)(t->now / PERIOD);
}

static uint32_t make(struct sf_tcpip *t, const struct sf_flow_key *key, uint32_t irs, uint32_t size)
{
    uint32_t count = count_now(t);

    return hash(t, key, FIXED, 0) + irs + (count << 24) + ((hash(t, key, COUNTED, count) + size) & 0xffffff);
}

/* Returns the index of the segment size, or SIZES if this is no cookie of ours. */
static uint32_t open_cookie(struct sf_tcpip *t, const struct sf_flow_key *key, uint32_t irs, uint32_t cookie)
{
    uint32_t rest = cookie - hash(t, key, FIXED, 0) - irs, count = count_now(t), age = (count - (rest >> 24)) & 0xff, size;

    if (age >= LIFE_PERIODS)
        return SIZES;
    size = (rest - hash(t, key, COUNTED, count - age)) & 0xffffff;
    return size < SIZES ? size : SIZES;
}

/* The timestamp is never later than now, because the next segment would seem older. */
static uint32_t timestamp_with(uint32_t now, uint32_t options)
{
    uint32_t ts = (now & ~OPTION_BITS) | options;

    return (int32_t)(ts - now) > 0 ? ts - OPTION_BITS - 1 : ts;
}

void sf_tcp_cookie_send(struct sf_tcp_listener *l, const struct sf_flow_key *key, const struct sf_tcp_segment *syn)
{
    struct sf_tcpip *t = l->tcpip;
    struct sf_tcp_agreed agreed = {
        .scaling = true,
        .sack = true,
        .timestamps = true,
        .rcv_scale = sf_tcp_window_scale(l->options.receive_buffer),
        .ts_offset = sf_tcp_ts_offset(t, key),
    };
    struct sf_tcp_bare bare = {.key = *key, .segment.flags = SF_TCP_ACK, .ttl = l->options.ttl, .tos = l->options.tos};
    uint32_t size = SIZES - 1, mtu = t->interface.mtu < t->caps.mtu ? t->interface.mtu : t->caps.mtu;

    sf_tcp_agree(&agreed, syn);
    if (!agreed.timestamps) /* There is no place for these options. */
        agreed.scaling = agreed.sack = false, agreed.rcv_scale = 0;
    while (size && sizes[size] > agreed.mss)
        size--;
    bare.segment.seq = make(t, key, syn->seq, size);
    bare.segment.ack = syn->seq + 1;
    sf_tcp_syn_options(t, &bare.segment, &agreed, mtu > SF_IPV4_MTU_MIN ? mtu : SF_IPV4_MTU_MIN, &l->options);
    if (agreed.timestamps)
        bare.segment.ts_val = timestamp_with(
            bare.segment.ts_val, (agreed.scaling ? agreed.snd_scale : NO_SCALE) | (agreed.sack ? SACK_BIT : 0));
    t->tcp.cookie_sent = t->now;
    sf_count(t, SF_COUNT_TCP_COOKIES_SENT);
    sf_tcp_send_bare(t, &bare);
}

bool sf_tcp_cookie_check(struct sf_tcp_listener *l, const struct sf_flow_key *key, const struct sf_tcp_segment *s,
                         struct sf_tcp_agreed *agreed)
{
    struct sf_tcpip *t = l->tcpip;
    uint32_t size, options = s->ts_ecr & OPTION_BITS;

    /* An attacker guesses a cookie once in about 2^24 attempts. So the check is made only while cookies may be under way. */
    if (!t->tcp.cookie_sent || t->now - t->tcp.cookie_sent > LIFE_PERIODS * PERIOD || s->flags & (SF_TCP_SYN | SF_TCP_RST))
        return false;
    size = open_cookie(t, key, s->seq - 1, s->ack - 1);
    if (size == SIZES) {
        sf_count(t, SF_COUNT_TCP_COOKIES_BAD);
        return false;
    }
    *agreed = (struct sf_tcp_agreed){.iss = s->ack - 1, .irs = s->seq - 1, .mss = sizes[size]};
    if (s->has & SF_TCP_HAS_TIMESTAMPS) {
        agreed->timestamps = true;
        agreed->ts_recent = s->ts_val;
        agreed->ts_offset = sf_tcp_ts_offset(t, key);
        agreed->sack = options & SACK_BIT;
        agreed->scaling = (options & NO_SCALE) != NO_SCALE;
    }
    if (agreed->scaling) {
        agreed->snd_scale = options & NO_SCALE;
        agreed->rcv_scale = sf_tcp_window_scale(l->options.receive_buffer);
    }
    sf_count(t, SF_COUNT_TCP_COOKIES_GOOD);
    return true;
}
