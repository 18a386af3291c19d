/* Floats: 64 lines of the Mandelbrot set, all in registers. */
#include "kernel.h"

static u64 run(u32 rounds) {
    u64 total = 0;
    for (u32 round = 0; round < rounds; round++)
        for (int y = 0; y < 64; y++)
            for (int x = 0; x < 64; x++) {
                double cr = x / 32.0 - 1.5, ci = y / 32.0 - 1, r = 0, i = 0;
                int k = 0;
                for (; k < 50 && r * r + i * i < 4; k++) {
                    double next = r * r - i * i + cr;
                    i = 2 * r * i + ci;
                    r = next;
                }
                total += k;
            }
    return total;
}
