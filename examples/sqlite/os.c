/* SQLite's view of the world, built with SQLITE_OS_OTHER: there are no files, nothing sleeps, and randomness and time are what the machine was
 * told in its inputs. So nothing that SQLite computes depends on anything outside the machine. */
#include "os.h"

#include <string.h>

#include "sqlite3.h"

/* ---- Randomness ---------------------------------------------------------------------------------------------------------------- */

/* SQLite draws from this once, to key its own ChaCha20, which is then part of the machine's memory like everything else. */
static uint8_t pool[64];

void os_seed(const uint8_t *bytes, size_t size) {
    memset(pool, 0, sizeof pool);
    for (size_t i = 0; i < size; i++) pool[i % sizeof pool] = (uint8_t)(pool[i % sizeof pool] * 31 + bytes[i]);
    sqlite3_randomness(0, NULL); /* forget the old key; the next use draws a new one */
}

static int os_randomness(sqlite3_vfs *vfs, int size, char *out) {
    (void)vfs;
    for (int i = 0; i < size; i++) out[i] = (char)pool[(size_t)i % sizeof pool];
    return size;
}

/* ---- Time ---------------------------------------------------------------------------------------------------------------------- */

static bool time_known;
static uint64_t time_now;

void os_set_time(uint64_t time) {
    time_known = true;
    time_now = time;
}

void os_forget_time(void) { time_known = false; }

/* In milliseconds since noon in Greenwich on November 24, 4714 B.C. An error makes 'now' NULL. */
static int os_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *out) {
    static const sqlite3_int64 julian_1970 = INT64_C(210866760000000);
    (void)vfs;
    *out = julian_1970 + (sqlite3_int64)(time_now / 1000000);
    return time_known ? SQLITE_OK : SQLITE_ERROR;
}

static int os_current_time(sqlite3_vfs *vfs, double *out) {
    sqlite3_int64 milliseconds;
    int result = os_current_time_int64(vfs, &milliseconds);
    *out = (double)milliseconds / 86400000.0;
    return result;
}

static int os_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs;
    return microseconds;
}

/* ---- No files ------------------------------------------------------------------------------------------------------------------ */

/* A database in memory needs none; this is for ATTACH and VACUUM INTO, which are told so. */
static int os_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags) {
    (void)vfs, (void)name, (void)flags, (void)out_flags;
    file->pMethods = NULL;
    return SQLITE_CANTOPEN;
}

static int os_delete(sqlite3_vfs *vfs, const char *name, int sync) {
    (void)vfs, (void)name, (void)sync;
    return SQLITE_IOERR_DELETE_NOENT;
}

static int os_access(sqlite3_vfs *vfs, const char *name, int flags, int *out) {
    (void)vfs, (void)name, (void)flags;
    *out = 0;
    return SQLITE_OK;
}

static int os_full_pathname(sqlite3_vfs *vfs, const char *name, int size, char *out) {
    (void)vfs;
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
}

static int os_last_error(sqlite3_vfs *vfs, int size, char *out) {
    (void)vfs;
    if (size > 0) out[0] = 0;
    return 0;
}

/* ---- What SQLite calls first and last ------------------------------------------------------------------------------------------ */

int sqlite3_os_init(void);
int sqlite3_os_end(void);

int sqlite3_os_init(void) {
    static sqlite3_vfs vfs = {
        .iVersion = 2,
        .szOsFile = sizeof(sqlite3_file),
        .mxPathname = 512,
        .zName = "abide",
        .xOpen = os_open,
        .xDelete = os_delete,
        .xAccess = os_access,
        .xFullPathname = os_full_pathname,
        .xRandomness = os_randomness,
        .xSleep = os_sleep,
        .xCurrentTime = os_current_time,
        .xGetLastError = os_last_error,
        .xCurrentTimeInt64 = os_current_time_int64,
    };
    return sqlite3_vfs_register(&vfs, 1);
}

int sqlite3_os_end(void) { return SQLITE_OK; }
