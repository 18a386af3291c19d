/* Calls: Fibonacci by itself, small direct calls and nothing else. */
#include "kernel.h"

__attribute__((noinline)) static u32 fib(u32 n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static u64 run(u32 rounds) {
    u64 total = 0;
    for (u32 round = 0; round < rounds; round++)
        total += fib(20 + (round & 1));
    return total;
}
