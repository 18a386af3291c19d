/* Memory: quicksort of 100,000 numbers, compares and swaps in place. */
#include "kernel.h"

static u32 numbers[100000];

static void sort(u32 *a, int n) {
    while (n > 1) {
        u32 pivot = a[n / 2];
        int i = 0, j = n - 1;
        while (i <= j) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i <= j) {
                u32 swap = a[i];
                a[i++] = a[j];
                a[j--] = swap;
            }
        }
        sort(a, j + 1);
        a += i;
        n -= i;
    }
}

static u64 run(u32 rounds) {
    u32 noise = 7;
    for (u32 round = 0; round < rounds; round++) {
        for (int i = 0; i < 100000; i++)
            numbers[i] = next_random(&noise);
        sort(numbers, 100000);
    }
    return numbers[1000];
}
