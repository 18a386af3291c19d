/* Calls: Takeuchi's function, deep recursion with three arguments. */
#include "kernel.h"

__attribute__((noinline)) static int tak(int x, int y, int z) {
    return y < x ? tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y)) : z;
}

static u64 run(u32 rounds) {
    u64 total = 0;
    for (u32 round = 0; round < rounds; round++)
        total += tak(15, 10, round & 3);
    return total;
}
