/* Memory: bulk copies and fills of 1 MiB and of 64 bytes, and a walk of a linked list that jumps about. */
#include "kernel.h"

void *memcpy(void *to, const void *from, unsigned long bytes) {
    return __builtin_memcpy(to, from, bytes);
}

void *memset(void *to, int byte, unsigned long bytes) {
    return __builtin_memset(to, byte, bytes);
}

static u8 from[1 << 20], to[1 << 20];
static u32 next[1 << 16];

static u64 run(u32 rounds) {
    u32 at = 0;
    for (u32 i = 0; i < 1 << 16; i++)
        next[i] = (i * 40503 + 12829) & 0xffff;
    for (u32 round = 0; round < rounds; round++) {
        __builtin_memset(from, (int)round, sizeof from);
        __builtin_memcpy(to, from, sizeof to);
        for (u32 i = 0; i < sizeof to; i += 64)
            __builtin_memcpy(to + i, from + (i * 17 & (sizeof from - 64)), 64);
        for (u32 i = 0; i < 1 << 16; i++)
            at = next[at];
    }
    return (u64)at << 8 | to[sizeof to - 1];
}
