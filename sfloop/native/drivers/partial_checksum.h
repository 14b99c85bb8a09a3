/*
 * Checksums that the sender has left to hardware. On a virtual link there is no hardware, so such a frame arrives with no more
 * than the sum of the pseudo-header in its UDP or TCP checksum. XDP programs and AF_XDP sockets are not told which frames
 * these are, so the sum itself has to tell: a full sum equals the pseudo-header's once in 65,536.
 */
#ifndef SF_DRIVERS_PARTIAL_CHECKSUM_H
#define SF_DRIVERS_PARTIAL_CHECKSUM_H

#include <stdbool.h>
#include <stdint.h>

/* `data` begins with the Ethernet header, up to one VLAN tag follows; the frame may go on in further pieces. */
bool sf_checksum_is_partial(const uint8_t *data, uint32_t len);

#endif
