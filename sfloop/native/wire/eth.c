#include "eth.h"

static bool is_tag(uint16_t type)
{
    return type == SF_ETH_TYPE_VLAN || type == SF_ETH_TYPE_SERVICE_VLAN;
}

/* Parses tags from out->type on, which is the first tag's type. Each tag has its TCI and then the type of what follows. */
enum sf_refusal sf_eth_parse_tags(const uint8_t *frame, size_t len, struct sf_eth *out)
{
    while (is_tag(out->type)) {
        const uint8_t *tag = frame + out->len;

        if (out->tags == SF_ETH_TAGS_MAX)
            return SF_REFUSED_ETH_TAGS;
        if (len < (size_t)out->len + SF_ETH_TAG)
            return SF_REFUSED_ETH_SHORT;
        out->tag[out->tags++] = (struct sf_eth_tag){.type = out->type, .tci = sf_load16_be(tag)};
        out->type = sf_load16_be(tag + 2);
        out->len += SF_ETH_TAG;
    }
    return SF_ACCEPTED;
}

size_t sf_eth_emit(uint8_t *buffer, size_t room, const struct sf_eth *header)
{
    uint8_t *at = buffer + 2 * SF_ETH_ADDR;

    if (header->tags > SF_ETH_TAGS_MAX || room < SF_ETH_HEADER + (size_t)header->tags * SF_ETH_TAG)
        return 0;
    memcpy(buffer, header->dst, SF_ETH_ADDR);
    memcpy(buffer + SF_ETH_ADDR, header->src, SF_ETH_ADDR);
    for (unsigned i = 0; i < header->tags; i++, at += SF_ETH_TAG) {
        sf_store16_be(at, header->tag[i].type);
        sf_store16_be(at + 2, header->tag[i].tci);
    }
    sf_store16_be(at, header->type);
    return (size_t)(at + 2 - buffer);
}

void sf_eth_multicast(uint32_t group, uint8_t addr[SF_ETH_ADDR])
{
    const uint8_t *bytes = (const uint8_t *)&group;

    addr[0] = 0x01;
    addr[1] = 0x00;
    addr[2] = 0x5e;
    addr[3] = bytes[1] & 0x7f;
    addr[4] = bytes[2];
    addr[5] = bytes[3];
}
