/* Writes the seeds of fuzz_wire into the given folder: one frame of each kind, made by the emitters. */
#include "wire/icmp.h"
#include "wire/tcp.h"
#include "wire/udp.h"

#include <stdio.h>
#include <stdlib.h>

static void save(const char *folder, const char *name, const uint8_t *data, size_t len)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "wb");
    if (!file || fputc(3, file) == EOF || fwrite(data, 1, len, file) != len || fclose(file)) {
        perror(path);
        exit(1);
    }
}

static size_t datagram(uint8_t *buffer, size_t room, uint8_t tags, size_t len, enum sf_udp_sum sum)
{
    static const uint8_t addr[8] = {10, 0, 0, 1, 239, 1, 2, 3};
    static uint8_t text[1472];
    struct sf_ip_peer peer = {
        .src_mac = {2, 0, 0, 0, 0, 1},
        .dst_mac = {1, 0, 0x5e, 1, 2, 3},
        .src_addr = sf_load32(addr),
        .dst_addr = sf_load32(addr + 4),
        .src_port = sf_be16(4000),
        .dst_port = sf_be16(5000),
        .ttl = SF_IPV4_TTL,
        .dont_fragment = true,
        .tags = tags,
        .tag = {{SF_ETH_TYPE_SERVICE_VLAN, 100}, {SF_ETH_TYPE_VLAN, 7}},
    };
    struct iovec piece = {text, len};
    struct sf_udp_template template;

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)i;
    if (sf_udp_template_init(&template, &peer))
        abort();
    return sf_udp_emit(&template, buffer, room, &piece, 1, 1, sum);
}

static void save_datagrams(const char *folder)
{
    static const size_t sizes[] = {0, 1, 18, 64, 1472};
    uint8_t frame[1600];
    char name[64];

    for (uint8_t tags = 0; tags <= SF_ETH_TAGS_MAX; tags++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int sum = 0; sum < 3; sum++) {
                snprintf(name, sizeof name, "udp-%u-tags-%zu-bytes-sum-%d", tags, sizes[i], sum);
                save(folder, name, frame, datagram(frame, sizeof frame, tags, sizes[i], (enum sf_udp_sum)sum));
            }
    /* A datagram with four bytes of IP options and without a UDP checksum. The fuzzer finds other options. */
    size_t len = datagram(frame, sizeof frame, 0, 18, SF_UDP_SUM_NONE);
    memmove(frame + 38, frame + 34, len - 34);
    memset(frame + 34, 1, 4);
    frame[14] = 0x46;
    sf_store16_be(frame + 16, (uint16_t)(len + 4 - 14));
    sf_store16(frame + 24, 0);
    sf_store16(frame + 24, sf_checksum(frame + 14, 24));
    save(folder, "udp-options", frame, len + 4);
}

static void save_messages(const char *folder)
{
    struct sf_icmp needed = {.type = SF_ICMP_UNREACHABLE, .code = SF_ICMP_FRAGMENTATION_NEEDED, .mtu = 576};
    struct sf_icmp port = {.type = SF_ICMP_UNREACHABLE, .code = SF_ICMP_PORT_UNREACHABLE};
    const uint8_t *ping = (const uint8_t *)"ping";
    struct sf_icmp echo = {.type = SF_ICMP_ECHO, .id = 1, .sequence = 2, .data = ping, .data_len = 4};
    uint8_t frame[200], message[200];
    size_t len = datagram(frame, sizeof frame, 0, 18, SF_UDP_SUM_FULL);

    save(folder, "icmp-needed", message, sf_icmp_emit_error(message, sizeof message, &needed, frame + 14, len - 14));
    save(folder, "icmp-port", message, sf_icmp_emit_error(message, sizeof message, &port, frame + 14, len - 14));
    frame[14 + 9] = SF_IPV4_TCP;
    save(folder, "icmp-tcp", message, sf_icmp_emit_error(message, sizeof message, &port, frame + 14, len - 14));
    save(folder, "icmp-echo", message, sf_icmp_emit_echo(message, sizeof message, &echo));
}

/* Writes TCP segments without their frames, with the options that `has` and n_sack choose. */
static void save_segments(const char *folder)
{
    struct sf_ip_peer peer = {.src_addr = 0x0100000a, .dst_addr = 0x0200000a, .src_port = 1, .dst_port = 2};
    struct iovec piece = {"some text", 9};
    struct sf_tcp_template template;
    uint8_t frame[200];
    char name[64];

    if (sf_tcp_template_init(&template, &peer))
        abort();
    for (uint8_t has = 0; has < 16; has++)
        for (uint8_t n_sack = 0; n_sack <= SF_TCP_SACK_MAX; n_sack++) {
            struct sf_tcp_segment segment = {
                .seq = 1, .ack = 2, .flags = SF_TCP_ACK, .has = has, .window = 1000, .mss = 1460, .window_scale = 7,
                .n_sack = n_sack, .ts_val = 3, .ts_ecr = 4, .sack = {{10, 20}, {30, 40}, {50, 60}, {70, 80}},
            };
            size_t len = sf_tcp_emit(&template, frame, sizeof frame, &segment, &piece, 1, 0);

            snprintf(name, sizeof name, "tcp-%u-sack-%u", has, n_sack);
            save(folder, name, frame + template.len, len - template.len);
        }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s folder\n", argv[0]);
        return 2;
    }
    save_datagrams(argv[1]);
    save_messages(argv[1]);
    save_segments(argv[1]);
    return 0;
}
