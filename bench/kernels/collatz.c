/* Integer: branches, 64-bit multiplication and shifts; the longest Collatz chain below 10,000. */
#include "kernel.h"

static u64 run(u32 rounds) {
    u64 longest = 0;
    for (u32 round = 0; round < rounds; round++)
        for (u64 start = 1; start < 10000; start++) {
            u64 steps = 0;
            for (u64 n = start + round; n > 1; steps++)
                n = n & 1 ? 3 * n + 1 : n >> 1;
            if (steps > longest)
                longest = steps;
        }
    return longest;
}
