#include "checksum.h"

uint64_t sf_sum_piece(uint64_t sum, size_t offset, const void *data, size_t len)
{
    uint16_t piece = sf_sum_fold(sf_sum_bytes(0, data, len));

    return sf_sum_add(sum, offset & 1 ? __builtin_bswap16(piece) : piece);
}

uint16_t sf_checksum(const void *data, size_t len)
{
    return (uint16_t)~sf_sum_fold(sf_sum_bytes(0, data, len));
}
