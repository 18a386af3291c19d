/* What every kernel shares: a machine that is given a number of rounds and answers with a checksum. Not the machine interface's encoding:
   kernels are called by the bench, prepared and plain, and never become machines. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

static u64 run(u32 rounds);

static u8 buffer[64];
static u64 sum;

__attribute__((export_name("abide_alloc"))) u8 *kernel_alloc(u32 bytes) {
    return buffer;
}

__attribute__((export_name("abide_step"))) u64 kernel_step(const u32 *rounds, u32 bytes) {
    sum = run(*rounds);
    return (u64)(u32)&sum << 32 | sizeof sum;
}

static u64 bits(double number) {
    u64 bits;
    __builtin_memcpy(&bits, &number, sizeof bits);
    return bits;
}

static u32 next_random(u32 *state) {
    return *state = *state * 1664525 + 1013904223;
}
