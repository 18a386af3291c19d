/* abide.h: everything a C program needs to be a machine. The interface it speaks is described in docs/abi.md.
 *
 * Include it and write one function:
 *
 *     #include "abide.h"
 *     static uint64_t count;
 *     void abide_main(const abide_input *in, abide_output *out) {
 *         if (in->kind == ABIDE_MESSAGE) abide_answer_text(out, in->reply, abide_decimal(++count));
 *     }
 *
 * `abide_main` runs once for every input. Whatever it leaves in variables and in allocated memory is still there at the next input,
 * and after a crash, and on another host: there is nothing to open, save or load.
 *
 * A program of several source files defines ABIDE_PART before including this in all of them but one.
 *
 * The file has two halves: what you call, then how it works. It builds
 *   - with wasi-libc:    clang --target=wasm32-wasi -mexec-model=reactor -O2 program.c
 *   - with no libc:      clang --target=wasm32-unknown-unknown -nostdlib -Wl,--no-entry -O2 program.c
 * Nothing here needs an import, and a machine may have none besides the pure functions at the end of the first half: with wasi-libc,
 * keep away from files, stdio streams, time() and getenv().
 *
 * When memory runs out in here, the machine traps: the step is aborted and everything is as it was before the input. */
#ifndef ABIDE_H
#define ABIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Bytes --------------------------------------------------------------------------------------------------------------------- */

/* Bytes that somebody else owns. Those in an input are gone when abide_main returns; copy what you keep. No zero byte follows them. */
typedef struct {
    const uint8_t *data;
    size_t size;
} abide_bytes;

static inline abide_bytes abide_text(const char *text);                     /* the bytes of a C string */
static inline bool abide_equal(abide_bytes bytes, const char *text);        /* are they exactly this text? */
static inline bool abide_number(abide_bytes text, uint64_t *number);        /* reads a decimal number; false if it is not one */
static inline const char *abide_decimal(uint64_t number);                   /* writes one; good until the next call */
static inline size_t abide_utf8(const uint8_t *at, size_t left);            /* length of the character at `at`; 0: not valid UTF-8 */

/* Bytes of our own, growing as needed. All zero is an empty buffer. Setting `size` to 0 empties it and keeps its memory; without a
 * libc that is also the only way to use the memory again. */
typedef struct {
    uint8_t *data;
    size_t size;
    size_t capacity;
} abide_buffer;

static inline abide_bytes abide_view(const abide_buffer *buffer);
static inline void abide_append(abide_buffer *buffer, const void *data, size_t size);
static inline void abide_append_bytes(abide_buffer *buffer, abide_bytes bytes);
static inline void abide_append_text(abide_buffer *buffer, const char *text);
static inline void abide_append_decimal(abide_buffer *buffer, uint64_t number);
static inline void abide_free(abide_buffer *buffer);

/* ---- Inputs -------------------------------------------------------------------------------------------------------------------- */

enum {                   /* input.kind, and the fields that it fills; the others are zero or empty */
    ABIDE_BOOT = 0,      /* genesis, upgraded, handover: the first input of a machine's life */
    ABIDE_MESSAGE = 1,   /* port, from, reply, payload */
    ABIDE_KEPT = 2,      /* request, more, payload: what was asked for */
    ABIDE_BROKEN = 3,    /* request, code, text: it will not come, and why */
    ABIDE_CONTINUE = 4,  /* budget: abide_again() was called */
    ABIDE_GONE = 5,      /* reply: nobody waits for this answer any more; forget the number */
    ABIDE_GRANTS = 6,    /* the grants have changed; abide_port() knows them already */
    ABIDE_QUERY = 7,     /* port, payload: answer reply 0; whatever the step changes is thrown away */
};

enum { /* why a request was broken */
    ABIDE_REFUSED = 1,
    ABIDE_ABORTED = 2,
    ABIDE_LOST = 3,
    ABIDE_NOT_GRANTED = 4,
    ABIDE_LIMIT = 5,
    ABIDE_MALFORMED = 6,
    ABIDE_CLOSED = 7,
    ABIDE_FAILED = 8,
    ABIDE_CANCELLED = 9,
    ABIDE_OWN_CODE = 64, /* codes from here on are the machine's own, for abide_refuse() */
};

typedef struct {
    uint64_t kind;
    uint64_t port;
    uint64_t request;
    uint64_t reply;        /* what to hand to abide_answer(); 0 in a message: no answer is wanted */
    uint64_t code;
    uint64_t budget;       /* nanoseconds of CPU time, a hint */
    bool more;             /* further parts of this answer follow */
    bool upgraded;         /* this boot continues the life of another program, which left `handover` */
    abide_bytes from;      /* the sender; empty: the owner */
    abide_bytes payload;
    abide_bytes text;
    abide_bytes genesis;
    abide_bytes handover;
} abide_input;

/* ---- Outputs ------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    abide_buffer items;    /* room for the list's head, then the items so far */
    uint64_t count;
    bool query;
} abide_output;

/* The one function a program writes. */
void abide_main(const abide_input *in, abide_output *out);

/* Answering. A reply is owed until it has had a last answer or a refusal. Answering reply 0 does nothing, except in a query, where the
 * first answer counts and every other output is dropped: the same code can serve messages and queries. */
static inline void abide_answer(abide_output *out, uint64_t reply, abide_bytes payload);
static inline void abide_answer_text(abide_output *out, uint64_t reply, const char *text);
static inline void abide_answer_part(abide_output *out, uint64_t reply, abide_bytes payload); /* more follow; not in a query */
static inline void abide_refuse(abide_output *out, uint64_t reply, uint64_t code, const char *text);

/* Asking. The result is the number of the new request, by which its answer will be known; it is never used twice. (In a query: 0.)
 * Asking a port that is not granted is no mistake: the request is broken, with ABIDE_NOT_GRANTED. */
#define ABIDE_NO_PORT UINT64_MAX
static inline uint64_t abide_port(const char *name);                                         /* ABIDE_NO_PORT: not granted */
static inline uint64_t abide_port_of(const char *kind);                                      /* "http": the first http:... granted */
static inline uint64_t abide_ask(abide_output *out, uint64_t port, abide_bytes payload);
static inline uint64_t abide_ask_time(abide_output *out);                                    /* what time is it? */
static inline uint64_t abide_ask_wait(abide_output *out, uint64_t until);                    /* tell me when it is `until` */
static inline uint64_t abide_ask_random(abide_output *out, uint64_t size);                   /* 1 to 65536 bytes */
static inline void abide_cancel(abide_output *out, uint64_t request);

/* The clock's answer: nanoseconds since 1970. False if the payload is anything else. */
#define ABIDE_SECOND UINT64_C(1000000000)
static inline bool abide_time(abide_bytes payload, uint64_t *time);

/* Effects: things done that nobody answers. */
static inline void abide_effect(abide_output *out, uint64_t port, abide_bytes payload);
static inline void abide_print(abide_output *out, const char *line);                         /* a line on the console */
static inline void abide_trace(abide_output *out, const char *text);                         /* shown to the owner, not kept */

static inline void abide_again(abide_output *out);                                           /* call me with ABIDE_CONTINUE */
static inline void abide_become(abide_output *out, abide_bytes seed, abide_bytes handover);  /* the last thing in an output */

/* ---- HTTP ---------------------------------------------------------------------------------------------------------------------- */

/* Requests to an http port are messages, and their answers responses: docs/ports.md. */
typedef struct {
    abide_bytes method;
    abide_bytes target;  /* path, and query if there is one */
    abide_bytes headers; /* as they came: an array of [name, value] */
    abide_bytes body;
} abide_http_request;

static inline bool abide_http_read(abide_bytes payload, abide_http_request *request);
static inline void abide_http_answer(abide_output *out, uint64_t reply, uint64_t status, const char *type, abide_bytes body);

/* Marks routes as pure, which are absolute paths, or all paths below one if they end with / and a star: GET and HEAD of them come as queries and run in
 * parallel, beside whatever the machine does. This is a request that is never answered; cancelling it ends it. */
static inline uint64_t abide_http_pure(abide_output *out, uint64_t port, const char *const *routes, size_t count);

/* ---- CBOR ---------------------------------------------------------------------------------------------------------------------- */

/* For payloads, which are CBOR by custom: integers, byte strings, texts and arrays, each in its only allowed form. */
static inline void abide_put_uint(abide_buffer *to, uint64_t number);
static inline void abide_put_bytes(abide_buffer *to, abide_bytes bytes);
static inline void abide_put_text(abide_buffer *to, abide_bytes text); /* what is not UTF-8 becomes U+FFFD */
static inline void abide_put_array(abide_buffer *to, uint64_t length); /* then put that many items */

/* A reader remembers its first failure and gives zeros from there on, so one look at the end is enough. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
} abide_reader;

static inline abide_reader abide_read(abide_bytes bytes);
static inline uint64_t abide_read_uint(abide_reader *reader);
static inline abide_bytes abide_read_bytes(abide_reader *reader);
static inline abide_bytes abide_read_text(abide_reader *reader);
static inline uint64_t abide_read_array(abide_reader *reader); /* then read that many items */
static inline bool abide_read_end(abide_reader *reader);       /* nothing was wrong and nothing is left */

/* ---- Pure imports -------------------------------------------------------------------------------------------------------------- */

/* BLAKE3-256 of `size` bytes into the 32 bytes at `out`. Only imported if used. */
__attribute__((import_module("abide"), import_name("blake3_256"))) void abide_blake3_256(const void *data, size_t size, void *out);

/* ================================================================================================================================ */
/* The second half: how it works.                                                                                                   */
/* ================================================================================================================================ */

extern struct abide_state {
    abide_buffer input;    /* the host writes inputs here */
    abide_buffer grants;   /* the list of grants as it came, still encoded */
    abide_output output;   /* stays in place until the next abide_alloc, as the interface demands */
    uint64_t last_request; /* request numbers only go up, so none is ever open twice */
    uint8_t *heap_end;     /* only without a libc: how far memory has been handed out */
} abide_state;

/* ---- Memory -------------------------------------------------------------------------------------------------------------------- */

#if defined(__wasi__)

#include <stdlib.h>
#include <string.h>

/* One large input or output should not make the machine larger for ever. */
#define ABIDE_KEEP_CAPACITY ((size_t)64 * 1024)

static inline void *abide_resize(void *old, size_t old_size, size_t size) {
    (void)old_size;
    return realloc(old, size);
}
static inline void abide_release(void *data) { free(data); }

#else

/* Without a libc, memory is handed out from the end of the program's data upwards and never taken back; only the youngest block can
 * grow in place. Buffers double when they grow, so what they leave behind is less than what they hold. */
#define ABIDE_KEEP_CAPACITY SIZE_MAX
extern uint8_t __heap_base;

/* The compiler may turn loops and assignments into calls of these. A program that brings its own is free to. */
__attribute__((weak, no_builtin)) void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}
__attribute__((weak, no_builtin)) void *memset(void *to, int byte, size_t size) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)to)[i] = (uint8_t)byte;
    return to;
}
__attribute__((weak, no_builtin)) int memcmp(const void *left, const void *right, size_t size) {
    const uint8_t *l = left, *r = right;
    for (size_t i = 0; i < size; i++) {
        if (l[i] != r[i]) return l[i] < r[i] ? -1 : 1;
    }
    return 0;
}
__attribute__((weak, no_builtin)) size_t strlen(const char *text) {
    size_t size = 0;
    while (text[size] != 0) size++;
    return size;
}

static inline void *abide_resize(void *old, size_t old_size, size_t size) {
    const uintptr_t wasm_page = 65536;
    uint8_t *heap_end = abide_state.heap_end != NULL ? abide_state.heap_end : &__heap_base;
    bool youngest = old != NULL && (uint8_t *)old + ((old_size + 15) & ~(size_t)15) == heap_end;
    uint8_t *start = youngest ? old : heap_end;
    uint64_t end = (uint64_t)(uintptr_t)start + (((uint64_t)size + 15) & ~UINT64_C(15));
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * wasm_page;
    if (end > UINT32_MAX) return NULL;
    if (end > have && __builtin_wasm_memory_grow(0, (size_t)((end - have + wasm_page - 1) / wasm_page)) == SIZE_MAX) return NULL;
    abide_state.heap_end = (uint8_t *)(uintptr_t)end;
    if (old != NULL && !youngest) memcpy(start, old, old_size);
    return start;
}
static inline void abide_release(void *data) { (void)data; }

#endif

static inline void abide_reserve(abide_buffer *buffer, size_t more) {
    if (more > SIZE_MAX / 2 - buffer->size) __builtin_trap();
    size_t need = buffer->size + more;
    if (need <= buffer->capacity) return;
    size_t capacity = buffer->capacity < 128 ? 256 : buffer->capacity * 2;
    if (capacity < need) capacity = need;
    uint8_t *data = abide_resize(buffer->data, buffer->capacity, capacity);
    if (data == NULL) __builtin_trap();
    buffer->data = data;
    buffer->capacity = capacity;
}

static inline void abide_free(abide_buffer *buffer) {
    abide_release(buffer->data);
    *buffer = (abide_buffer){0};
}

/* ---- Bytes --------------------------------------------------------------------------------------------------------------------- */

static inline abide_bytes abide_text(const char *text) { return (abide_bytes){(const uint8_t *)text, strlen(text)}; }

static inline abide_bytes abide_view(const abide_buffer *buffer) { return (abide_bytes){buffer->data, buffer->size}; }

static inline bool abide_equal(abide_bytes bytes, const char *text) {
    return bytes.size == strlen(text) && (bytes.size == 0 || memcmp(bytes.data, text, bytes.size) == 0);
}

static inline void abide_append(abide_buffer *buffer, const void *data, size_t size) {
    if (size == 0) return;
    abide_reserve(buffer, size);
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

static inline void abide_append_bytes(abide_buffer *buffer, abide_bytes bytes) { abide_append(buffer, bytes.data, bytes.size); }

static inline void abide_append_text(abide_buffer *buffer, const char *text) { abide_append(buffer, text, strlen(text)); }

static inline void abide_append_decimal(abide_buffer *buffer, uint64_t number) { abide_append_text(buffer, abide_decimal(number)); }

static inline const char *abide_decimal(uint64_t number) {
    static char digits[21]; /* 2^64 has 20 of them */
    char *at = digits + 20;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return at;
}

static inline bool abide_number(abide_bytes text, uint64_t *number) {
    uint64_t n = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        uint64_t digit = (uint64_t)text.data[i] - '0';
        if (n > (UINT64_MAX - digit) / 10) return false;
        n = n * 10 + digit;
    }
    *number = n;
    return text.size != 0;
}

/* The second byte of a character is where overlong forms, surrogates and what lies beyond U+10FFFF show. */
static inline size_t abide_utf8(const uint8_t *at, size_t left) {
    if (left == 0) return 0;
    uint8_t first = at[0], low = 0x80, high = 0xbf;
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return 0;
    size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < size) return 0;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    if (at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < size; i++) {
        if (at[i] >> 6 != 2) return 0;
    }
    return size;
}

/* ---- CBOR ---------------------------------------------------------------------------------------------------------------------- */

enum { ABIDE_CBOR_UINT = 0, ABIDE_CBOR_BYTES = 2, ABIDE_CBOR_TEXT = 3, ABIDE_CBOR_ARRAY = 4, ABIDE_CBOR_HEAD_MAX = 9 };

/* An item's head: what it is and a number, in the shortest form. Returns its length. */
static inline size_t abide_cbor_head(uint8_t head[ABIDE_CBOR_HEAD_MAX], unsigned type, uint64_t number) {
    if (number < 24) {
        head[0] = (uint8_t)(type << 5 | number);
        return 1;
    }
    unsigned log = number <= UINT8_MAX ? 0 : number <= UINT16_MAX ? 1 : number <= UINT32_MAX ? 2 : 3;
    size_t size = (size_t)1 << log;
    head[0] = (uint8_t)(type << 5 | (24 + log));
    for (size_t i = size; i > 0; i--, number >>= 8) head[i] = (uint8_t)number;
    return 1 + size;
}

static inline void abide_put_head(abide_buffer *to, unsigned type, uint64_t number) {
    uint8_t head[ABIDE_CBOR_HEAD_MAX];
    abide_append(to, head, abide_cbor_head(head, type, number));
}

static inline void abide_put_uint(abide_buffer *to, uint64_t number) { abide_put_head(to, ABIDE_CBOR_UINT, number); }

static inline void abide_put_array(abide_buffer *to, uint64_t length) { abide_put_head(to, ABIDE_CBOR_ARRAY, length); }

static inline void abide_put_bytes(abide_buffer *to, abide_bytes bytes) {
    abide_put_head(to, ABIDE_CBOR_BYTES, bytes.size);
    abide_append_bytes(to, bytes);
}

/* Text in an output must be UTF-8, or the step is aborted; a message that quotes somebody's bytes should not come to that. */
static inline void abide_put_text(abide_buffer *to, abide_bytes text) {
    static const uint8_t replacement[] = {0xef, 0xbf, 0xbd};
    size_t size = 0;
    for (size_t i = 0; i < text.size;) {
        size_t valid = abide_utf8(text.data + i, text.size - i);
        size += valid != 0 ? valid : sizeof replacement;
        i += valid != 0 ? valid : 1;
    }
    abide_put_head(to, ABIDE_CBOR_TEXT, size);
    for (size_t i = 0; i < text.size;) {
        size_t valid = abide_utf8(text.data + i, text.size - i);
        if (valid != 0) {
            abide_append(to, text.data + i, valid);
        } else {
            abide_append(to, replacement, sizeof replacement);
        }
        i += valid != 0 ? valid : 1;
    }
}

static inline abide_reader abide_read(abide_bytes bytes) {
    return (abide_reader){.at = bytes.data, .end = bytes.data + bytes.size, .bad = false};
}

static inline uint64_t abide_read_fail(abide_reader *reader) {
    reader->bad = true;
    return 0;
}

static inline uint64_t abide_read_head(abide_reader *reader, unsigned type) {
    if (reader->bad || reader->at == reader->end || *reader->at >> 5 != type) return abide_read_fail(reader);
    unsigned info = *reader->at++ & 31;
    if (info < 24) return info;
    if (info > 27) return abide_read_fail(reader);
    size_t size = (size_t)1 << (info - 24);
    if ((size_t)(reader->end - reader->at) < size) return abide_read_fail(reader);
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++) number = number << 8 | *reader->at++;
    uint64_t least = size == 1 ? 24 : UINT64_C(1) << (size * 4); /* anything smaller has a shorter form */
    return number >= least ? number : abide_read_fail(reader);
}

static inline abide_bytes abide_read_string(abide_reader *reader, unsigned type) {
    uint64_t size = abide_read_head(reader, type);
    if (size > (uint64_t)(reader->end - reader->at)) size = abide_read_fail(reader);
    abide_bytes bytes = {reader->at, (size_t)size};
    reader->at += size;
    return bytes;
}

static inline uint64_t abide_read_uint(abide_reader *reader) { return abide_read_head(reader, ABIDE_CBOR_UINT); }
static inline uint64_t abide_read_array(abide_reader *reader) { return abide_read_head(reader, ABIDE_CBOR_ARRAY); }
static inline abide_bytes abide_read_bytes(abide_reader *reader) { return abide_read_string(reader, ABIDE_CBOR_BYTES); }
static inline abide_bytes abide_read_text(abide_reader *reader) { return abide_read_string(reader, ABIDE_CBOR_TEXT); }
static inline bool abide_read_end(abide_reader *reader) { return !reader->bad && reader->at == reader->end; }

/* ---- Outputs ------------------------------------------------------------------------------------------------------------------- */

/* Starts an item: an array of `length` things, of which the first says what it is. */
static inline abide_buffer *abide_item(abide_output *out, uint64_t length, uint64_t what) {
    out->count++;
    abide_put_array(&out->items, length);
    abide_put_uint(&out->items, what);
    return &out->items;
}

static inline bool abide_can_answer(const abide_output *out, uint64_t reply) {
    return out->query ? reply == 0 && out->count == 0 : reply != 0;
}

static inline void abide_put_answer(abide_output *out, uint64_t reply, uint64_t more, abide_bytes payload) {
    if (!abide_can_answer(out, reply)) return;
    abide_buffer *item = abide_item(out, 4, 1);
    abide_put_uint(item, reply);
    abide_put_uint(item, more);
    abide_put_bytes(item, payload);
}

static inline void abide_answer(abide_output *out, uint64_t reply, abide_bytes payload) { abide_put_answer(out, reply, 0, payload); }

static inline void abide_answer_text(abide_output *out, uint64_t reply, const char *text) {
    abide_put_answer(out, reply, 0, abide_text(text));
}

static inline void abide_answer_part(abide_output *out, uint64_t reply, abide_bytes payload) {
    abide_put_answer(out, reply, out->query ? 0 : 1, payload);
}

static inline void abide_refuse(abide_output *out, uint64_t reply, uint64_t code, const char *text) {
    if (!abide_can_answer(out, reply)) return;
    abide_buffer *item = abide_item(out, 4, 2);
    abide_put_uint(item, reply);
    abide_put_uint(item, code);
    abide_put_text(item, abide_text(text));
}

static inline void abide_put_ask(abide_output *out, uint64_t request, uint64_t port, abide_bytes payload) {
    abide_buffer *item = abide_item(out, 4, 0);
    abide_put_uint(item, request);
    abide_put_uint(item, port);
    abide_put_bytes(item, payload);
}

static inline uint64_t abide_ask(abide_output *out, uint64_t port, abide_bytes payload) {
    if (out->query) return 0;
    abide_put_ask(out, ++abide_state.last_request, port, payload);
    return abide_state.last_request;
}

static inline uint64_t abide_ask_time(abide_output *out) {
    static const uint8_t now[] = {0x81, 0x00}; /* [0] */
    return abide_ask(out, abide_port("clock"), (abide_bytes){now, sizeof now});
}

static inline uint64_t abide_ask_wait(abide_output *out, uint64_t until) {
    uint8_t payload[2 + ABIDE_CBOR_HEAD_MAX] = {0x82, 0x01}; /* [1, until] */
    size_t size = 2 + abide_cbor_head(payload + 2, ABIDE_CBOR_UINT, until);
    return abide_ask(out, abide_port("clock"), (abide_bytes){payload, size});
}

static inline uint64_t abide_ask_random(abide_output *out, uint64_t size) {
    uint8_t payload[ABIDE_CBOR_HEAD_MAX];
    size_t length = abide_cbor_head(payload, ABIDE_CBOR_UINT, size);
    return abide_ask(out, abide_port("random"), (abide_bytes){payload, length});
}

static inline bool abide_time(abide_bytes payload, uint64_t *time) {
    abide_reader reader = abide_read(payload);
    uint64_t value = abide_read_uint(&reader);
    if (!abide_read_end(&reader)) return false;
    *time = value;
    return true;
}

static inline void abide_cancel(abide_output *out, uint64_t request) {
    if (out->query) return;
    abide_put_uint(abide_item(out, 2, 3), request);
}

static inline void abide_effect(abide_output *out, uint64_t port, abide_bytes payload) {
    if (!out->query) abide_put_ask(out, 0, port, payload);
}

static inline void abide_print(abide_output *out, const char *line) { abide_effect(out, abide_port("console"), abide_text(line)); }

static inline void abide_trace(abide_output *out, const char *text) {
    if (!out->query) abide_put_text(abide_item(out, 2, 6), abide_text(text));
}

static inline void abide_again(abide_output *out) {
    if (!out->query) abide_item(out, 1, 4);
}

static inline void abide_become(abide_output *out, abide_bytes seed, abide_bytes handover) {
    if (out->query) return;
    abide_buffer *item = abide_item(out, 3, 5);
    abide_put_bytes(item, seed);
    abide_put_bytes(item, handover);
}

/* ---- Grants -------------------------------------------------------------------------------------------------------------------- */

static inline uint64_t abide_port(const char *name) {
    abide_reader reader = abide_read(abide_view(&abide_state.grants));
    for (uint64_t left = abide_read_array(&reader); left > 0 && !reader.bad; left--) {
        abide_read_array(&reader);
        uint64_t port = abide_read_uint(&reader);
        if (abide_equal(abide_read_text(&reader), name)) return port;
    }
    return ABIDE_NO_PORT;
}

static inline uint64_t abide_port_of(const char *kind) {
    size_t size = strlen(kind);
    abide_reader reader = abide_read(abide_view(&abide_state.grants));
    for (uint64_t left = abide_read_array(&reader); left > 0 && !reader.bad; left--) {
        abide_read_array(&reader);
        uint64_t port = abide_read_uint(&reader);
        abide_bytes name = abide_read_text(&reader);
        if (name.size > size && memcmp(name.data, kind, size) == 0 && name.data[size] == ':') return port;
    }
    return ABIDE_NO_PORT;
}

/* Checks a list of grants in an input and keeps it as it is. */
static inline void abide_keep_grants(abide_reader *reader) {
    const uint8_t *start = reader->at;
    for (uint64_t left = abide_read_array(reader); left > 0 && !reader->bad; left--) {
        if (abide_read_array(reader) != 2) abide_read_fail(reader);
        abide_read_uint(reader);
        abide_read_text(reader);
    }
    abide_state.grants.size = 0;
    abide_append(&abide_state.grants, start, (size_t)(reader->at - start));
}

/* ---- HTTP ---------------------------------------------------------------------------------------------------------------------- */

static inline bool abide_http_read(abide_bytes payload, abide_http_request *request) {
    abide_reader reader = abide_read(payload);
    if (abide_read_array(&reader) != 4) abide_read_fail(&reader);
    request->method = abide_read_bytes(&reader);
    request->target = abide_read_bytes(&reader);
    const uint8_t *start = reader.at;
    for (uint64_t left = abide_read_array(&reader); left > 0 && !reader.bad; left--) {
        if (abide_read_array(&reader) != 2) abide_read_fail(&reader);
        abide_read_bytes(&reader);
        abide_read_bytes(&reader);
    }
    request->headers = (abide_bytes){start, (size_t)(reader.at - start)};
    request->body = abide_read_bytes(&reader);
    return abide_read_end(&reader);
}

static inline void abide_http_answer(abide_output *out, uint64_t reply, uint64_t status, const char *type, abide_bytes body) {
    if (!abide_can_answer(out, reply)) return;
    static const char name[] = "content-type";
    uint8_t head[ABIDE_CBOR_HEAD_MAX];
    abide_bytes value = abide_text(type);
    /* The length of [status, [[name, value]], body] comes before it. */
    size_t size = 4 + abide_cbor_head(head, ABIDE_CBOR_UINT, status) + sizeof name - 1;
    size += abide_cbor_head(head, ABIDE_CBOR_BYTES, value.size) + value.size;
    size += abide_cbor_head(head, ABIDE_CBOR_BYTES, body.size) + body.size;
    abide_buffer *item = abide_item(out, 4, 1);
    abide_put_uint(item, reply);
    abide_put_uint(item, 0);
    abide_put_head(item, ABIDE_CBOR_BYTES, size);
    abide_put_array(item, 3);
    abide_put_uint(item, status);
    abide_put_array(item, 1);
    abide_put_array(item, 2);
    abide_put_bytes(item, abide_text(name));
    abide_put_bytes(item, value);
    abide_put_bytes(item, body);
}

static inline uint64_t abide_http_pure(abide_output *out, uint64_t port, const char *const *routes, size_t count) {
    if (out->query) return 0;
    uint8_t head[ABIDE_CBOR_HEAD_MAX];
    size_t size = 2 + abide_cbor_head(head, ABIDE_CBOR_ARRAY, count); /* [0, [route, ...]] */
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(routes[i]);
        size += abide_cbor_head(head, ABIDE_CBOR_BYTES, length) + length;
    }
    abide_buffer *item = abide_item(out, 4, 0);
    abide_put_uint(item, ++abide_state.last_request);
    abide_put_uint(item, port);
    abide_put_head(item, ABIDE_CBOR_BYTES, size);
    abide_put_array(item, 2);
    abide_put_uint(item, 0);
    abide_put_array(item, count);
    for (size_t i = 0; i < count; i++) abide_put_bytes(item, abide_text(routes[i]));
    return abide_state.last_request;
}

/* ---- The exports --------------------------------------------------------------------------------------------------------------- */

#ifndef ABIDE_PART

struct abide_state abide_state;

static inline bool abide_decode(abide_bytes bytes, abide_input *in) {
    static const uint8_t lengths[] = {3, 5, 4, 4, 2, 2, 2, 3};
    abide_reader reader = abide_read(bytes);
    uint64_t length = abide_read_array(&reader);
    in->kind = abide_read_uint(&reader);
    if (reader.bad || in->kind >= sizeof lengths) return false;
    in->upgraded = in->kind == ABIDE_BOOT && length == 4;
    if (length != lengths[in->kind] && !in->upgraded) return false;
    switch (in->kind) {
    case ABIDE_BOOT:
        in->genesis = abide_read_bytes(&reader);
        abide_keep_grants(&reader);
        if (in->upgraded) in->handover = abide_read_bytes(&reader);
        break;
    case ABIDE_MESSAGE:
        in->port = abide_read_uint(&reader);
        in->from = abide_read_bytes(&reader);
        in->reply = abide_read_uint(&reader);
        in->payload = abide_read_bytes(&reader);
        break;
    case ABIDE_KEPT:
        in->request = abide_read_uint(&reader);
        in->more = abide_read_uint(&reader) != 0;
        in->payload = abide_read_bytes(&reader);
        break;
    case ABIDE_BROKEN:
        in->request = abide_read_uint(&reader);
        in->code = abide_read_uint(&reader);
        in->text = abide_read_text(&reader);
        break;
    case ABIDE_CONTINUE: in->budget = abide_read_uint(&reader); break;
    case ABIDE_GONE: in->reply = abide_read_uint(&reader); break;
    case ABIDE_GRANTS: abide_keep_grants(&reader); break;
    case ABIDE_QUERY:
        in->port = abide_read_uint(&reader);
        in->payload = abide_read_bytes(&reader);
        break;
    }
    return abide_read_end(&reader);
}

__attribute__((export_name("abide_alloc"))) void *abide_alloc(size_t size);
void *abide_alloc(size_t size) {
    if (abide_state.output.items.capacity > ABIDE_KEEP_CAPACITY) abide_free(&abide_state.output.items);
    if (abide_state.input.capacity > ABIDE_KEEP_CAPACITY) abide_free(&abide_state.input);
    abide_reserve(&abide_state.input, size);
    return abide_state.input.data;
}

/* Returns where the output is and how long: (address << 32 | length). */
__attribute__((export_name("abide_step"))) uint64_t abide_step(const uint8_t *data, size_t size);
uint64_t abide_step(const uint8_t *data, size_t size) {
    abide_input in = {0};
    if (!abide_decode((abide_bytes){data, size}, &in)) __builtin_trap(); /* not a host that speaks this version of the interface */

    /* The list's head depends on how many items there will be: leave room for the longest, write the real one just before the items. */
    abide_output *out = &abide_state.output;
    out->items.size = 0;
    out->count = 0;
    out->query = in.kind == ABIDE_QUERY;
    abide_reserve(&out->items, ABIDE_CBOR_HEAD_MAX);
    out->items.size = ABIDE_CBOR_HEAD_MAX;

    abide_main(&in, out);

    uint8_t head[ABIDE_CBOR_HEAD_MAX];
    size_t head_size = abide_cbor_head(head, ABIDE_CBOR_ARRAY, out->count);
    uint8_t *start = out->items.data + ABIDE_CBOR_HEAD_MAX - head_size;
    memcpy(start, head, head_size);
    return (uint64_t)(uintptr_t)start << 32 | (out->items.size - ABIDE_CBOR_HEAD_MAX + head_size);
}

#endif /* ABIDE_PART */

#endif /* ABIDE_H */
