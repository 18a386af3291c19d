/* What SQLite gets in place of an operating system. */
#ifndef OS_H
#define OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Seeds SQLite's random numbers. Until the first call they start from a fixed value. */
void os_seed(const uint8_t *bytes, size_t size);

/* What time it is for SQLite, in nanoseconds since 1970, until the next call. */
void os_set_time(uint64_t time);
void os_forget_time(void);

#endif
