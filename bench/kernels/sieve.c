/* Memory: the sieve of Eratosthenes over 1 MB, byte stores at growing strides. */
#include "kernel.h"

static u8 composite[1000000];

static u64 run(u32 rounds) {
    u64 primes = 0;
    for (u32 round = 0; round < rounds; round++) {
        primes = 0;
        for (u32 i = 2; i < sizeof composite; i++)
            composite[i] = 0;
        for (u32 i = 2; i < sizeof composite; i++)
            if (!composite[i]) {
                primes++;
                for (u32 j = 2 * i; j < sizeof composite; j += i)
                    composite[j] = 1;
            }
    }
    return primes;
}
