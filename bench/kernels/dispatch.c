/* Calls: a small virtual machine whose instructions are called through a table. */
#include "kernel.h"

typedef struct {
    u32 a, b, pc, left;
} Machine;

typedef void (*Instruction)(Machine *);

static void add(Machine *m) {
    m->a += m->b;
}
static void mix(Machine *m) {
    m->b = (m->b << 7 | m->b >> 25) ^ m->a;
}
static void skip(Machine *m) {
    m->pc += m->a & 1;
}
static void count(Machine *m) {
    m->left--;
}
static void swap(Machine *m) {
    u32 a = m->a;
    m->a = m->b;
    m->b = a;
}

static Instruction program[16] = {add, mix, skip, swap, add, count, mix, swap, skip, add, add, mix, count, swap, mix, skip};

static u64 run(u32 rounds) {
    Machine m = {1, 2, 0, rounds * 1000};
    while (m.left < 0x80000000 && m.left > 0)
        program[m.pc++ & 15](&m);
    return (u64)m.a << 32 | m.b;
}
