/* A board of notes on the web, in C: an array of pointers in ordinary memory, from malloc and realloc. There is no code that stores or
 * loads anything, and a note is on disk before its sender hears of it. What can be asked is in README.md. */
#include "abide.h"

#include <stdlib.h>
#include <string.h>

#define NOTE_BYTES_MAX 4096
#define SHOWN 20

typedef struct {
    uint32_t size;
    uint8_t bytes[];
} note;

static note **notes;
static size_t note_count, note_room;

/* False: no memory, and nothing has changed. */
static bool add(abide_bytes text) {
    if (note_count == note_room) {
        size_t room = note_room == 0 ? 64 : note_room * 2;
        note **larger = realloc(notes, room * sizeof *larger);
        if (larger == NULL) return false;
        notes = larger;
        note_room = room;
    }
    note *n = malloc(sizeof *n + text.size);
    if (n == NULL) return false;
    n->size = (uint32_t)text.size;
    memcpy(n->bytes, text.data, text.size);
    notes[note_count++] = n;
    return true;
}

static void answer(abide_output *out, uint64_t reply, uint64_t status, const char *text) {
    abide_http_answer(out, reply, status, "text/plain; charset=utf-8", abide_text(text));
}

static void post(const abide_input *in, abide_output *out, abide_bytes text) {
    if (text.size == 0 || text.size > NOTE_BYTES_MAX) {
        answer(out, in->reply, 400, "a note has 1 to 4096 bytes\n");
    } else if (!add(text)) {
        answer(out, in->reply, 507, "there is no room for another note\n");
    } else {
        answer(out, in->reply, 201, abide_decimal(note_count));
    }
}

static void get_one(abide_output *out, uint64_t reply, abide_bytes number) {
    uint64_t n;
    if (!abide_number(number, &n) || n == 0 || n > note_count) {
        answer(out, reply, 404, "there is no such note\n");
        return;
    }
    abide_bytes text = {notes[n - 1]->bytes, notes[n - 1]->size};
    abide_http_answer(out, reply, 200, "application/octet-stream", text);
}

static void get_all(abide_output *out, uint64_t reply) {
    static abide_buffer list;
    list.size = 0;
    size_t first = note_count > SHOWN ? note_count - SHOWN : 0;
    for (size_t i = first; i < note_count; i++) {
        abide_append_decimal(&list, i + 1);
        abide_append_text(&list, " ");
        abide_append(&list, notes[i]->bytes, notes[i]->size);
        abide_append_text(&list, "\n");
    }
    abide_http_answer(out, reply, 200, "application/octet-stream", abide_view(&list));
}

/* Reading is a query, at whichever port of http there is. */
static void mark(abide_output *out) {
    static const char *const pure[] = {"/notes", "/notes/*"};
    static uint64_t marked = ABIDE_NO_PORT;
    uint64_t port = abide_port_of("http");
    if (port != marked && port != ABIDE_NO_PORT) abide_http_pure(out, port, pure, sizeof pure / sizeof *pure);
    marked = port;
}

void abide_main(const abide_input *in, abide_output *out) {
    if (in->kind == ABIDE_BOOT || in->kind == ABIDE_GRANTS) mark(out);
    if (in->kind != ABIDE_MESSAGE && in->kind != ABIDE_QUERY) return;
    abide_http_request request;
    if (!abide_http_read(in->payload, &request)) {
        abide_refuse(out, in->reply, ABIDE_REFUSED, "this is no request of HTTP");
        return;
    }
    static const char under[] = "/notes/";
    size_t length = sizeof under - 1;
    bool is_get = abide_equal(request.method, "GET");
    if (is_get && request.target.size > length && memcmp(request.target.data, under, length) == 0) {
        get_one(out, in->reply, (abide_bytes){request.target.data + length, request.target.size - length});
    } else if (!abide_equal(request.target, "/notes")) {
        answer(out, in->reply, 404, "here are only /notes and /notes/NUMBER\n");
    } else if (is_get) {
        get_all(out, in->reply);
    } else if (abide_equal(request.method, "POST") && in->kind == ABIDE_MESSAGE) {
        post(in, out, request.body);
    } else {
        answer(out, in->reply, 405, "GET the notes, or POST another\n");
    }
}
