/* Integer: CRC-32 of 64 KiB by a table of 256 entries. */
#include "kernel.h"

static u32 table[256];
static u8 data[65536];

static u64 run(u32 rounds) {
    u32 noise = 1, crc = ~0u;
    for (u32 i = 0; i < 256; i++) {
        u32 entry = i;
        for (int bit = 0; bit < 8; bit++)
            entry = entry & 1 ? entry >> 1 ^ 0xedb88320 : entry >> 1;
        table[i] = entry;
    }
    for (u32 i = 0; i < sizeof data; i++)
        data[i] = next_random(&noise) >> 24;
    for (u32 round = 0; round < rounds; round++)
        for (u32 i = 0; i < sizeof data; i++)
            crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
    return ~crc;
}
