/* Numbers that count up, one for each name, over HTTP: a POST of /count/NAME adds one and is answered when that is on disk; a GET reads it, and is a query,
 * answered beside whatever the machine does. README.md describes both. */

#include "abide.h"

enum { NAME_MAX = 256, BUCKETS = 1 << 14 };

typedef struct number {
    struct number *next;
    uint64_t value;
    size_t size;
    uint8_t name[];
} number;

static number *numbers[BUCKETS];

static const char *const pure[] = {"/count/*"};

static number **find(abide_bytes name) {
    uint32_t hash = 2166136261;
    for (size_t i = 0; i < name.size; i++) hash = (hash ^ name.data[i]) * 16777619;
    number **at = &numbers[hash % BUCKETS];
    while (*at != NULL && ((*at)->size != name.size || memcmp((*at)->name, name.data, name.size) != 0)) at = &(*at)->next;
    return at;
}

static uint64_t read_number(abide_bytes name) {
    number *found = *find(name);
    return found != NULL ? found->value : 0;
}

static uint64_t add_one(abide_bytes name) {
    number **at = find(name);
    if (*at == NULL) {
        number *new = malloc(sizeof *new + name.size);
        if (new == NULL) __builtin_trap();
        *new = (number){.size = name.size};
        memcpy(new->name, name.data, name.size);
        *at = new;
    }
    return ++(*at)->value;
}

/* Whether the target is a name's. */
static bool is_count(abide_bytes target, abide_bytes *name) {
    static const char path[] = "/count/";
    const size_t size = sizeof path - 1;
    if (target.size <= size || target.size > size + NAME_MAX || memcmp(target.data, path, size) != 0) return false;
    *name = (abide_bytes){target.data + size, target.size - size};
    return true;
}

static void serve(const abide_input *in, abide_output *out) {
    static const char text[] = "text/plain";
    abide_http_request request;
    abide_bytes name;
    if (!abide_http_read(in->payload, &request) || !is_count(request.target, &name)) {
        abide_http_answer(out, in->reply, 404, text, abide_text("no such path\n"));
    } else if (abide_equal(request.method, "GET") || abide_equal(request.method, "HEAD")) {
        abide_http_answer(out, in->reply, 200, text, abide_text(abide_decimal(read_number(name))));
    } else if (abide_equal(request.method, "POST") && in->kind == ABIDE_MESSAGE) {
        abide_http_answer(out, in->reply, 200, text, abide_text(abide_decimal(add_one(name))));
    } else {
        abide_http_answer(out, in->reply, 405, text, abide_text("GET or POST\n"));
    }
}

void abide_main(const abide_input *in, abide_output *out) {
    static uint64_t marked = ABIDE_NO_PORT;
    switch (in->kind) {
    case ABIDE_BOOT:
    case ABIDE_GRANTS: {
        /* What was asked of a port that has gone is broken: a new one is asked anew. */
        uint64_t http = abide_port_of("http");
        if (http != marked && http != ABIDE_NO_PORT) abide_http_pure(out, http, pure, sizeof pure / sizeof *pure);
        marked = http;
        break;
    }
    case ABIDE_MESSAGE:
    case ABIDE_QUERY:
        if (in->port != 0) {
            serve(in, out);
        } else if (in->payload.size == 0 || in->payload.size > NAME_MAX) {
            abide_refuse(out, in->reply, ABIDE_OWN_CODE, "a name has 1 to 256 bytes");
        } else {
            uint64_t value = in->kind == ABIDE_QUERY ? read_number(in->payload) : add_one(in->payload);
            abide_answer_text(out, in->reply, abide_decimal(value));
        }
        break;
    }
}
