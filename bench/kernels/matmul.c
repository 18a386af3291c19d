/* Floats: product of two matrices of 96 by 96 doubles. */
#include "kernel.h"

#define N 96
static double a[N][N], b[N][N], c[N][N];

static u64 run(u32 rounds) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = i + 0.5 * j;
            b[i][j] = i - 0.25 * j;
        }
    for (u32 round = 0; round < rounds; round++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double total = 0;
                for (int k = 0; k < N; k++)
                    total += a[i][k] * b[k][j];
                c[i][j] = total;
            }
    return bits(c[3][4]);
}
