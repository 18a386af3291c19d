/* A keyed store of short texts: an ordinary hash table in ordinary memory, from malloc and free. There is no code that stores or loads
 * anything, and nothing is ever lost. The commands are in README.md; those that begin with "test" misbehave on purpose. */
#include "abide.h"

#include <stdlib.h>
#include <string.h>

/* ---- The table ----------------------------------------------------------------------------------------------------------------- */

typedef struct note note;
struct note {
    note *next;          /* in the same bucket */
    uint32_t hash;
    uint32_t key_size;
    uint32_t text_size;
    uint8_t bytes[];     /* the key, then the text */
};

static note **buckets;
static size_t bucket_count; /* 0 or a power of two */
static size_t note_count;

static abide_bytes note_key(const note *n) { return (abide_bytes){n->bytes, n->key_size}; }
static abide_bytes note_text(const note *n) { return (abide_bytes){n->bytes + n->key_size, n->text_size}; }

/* FNV-1a. */
static uint32_t hash_of(abide_bytes key) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < key.size; i++) hash = (hash ^ key.data[i]) * 16777619u;
    return hash;
}

/* The pointer that points to the note with this key, or to nothing where it would be. */
static note **find(abide_bytes key) {
    static note *nothing;
    if (bucket_count == 0) return &nothing;
    uint32_t hash = hash_of(key);
    note **at = &buckets[hash & (bucket_count - 1)];
    while (*at != NULL) {
        if ((*at)->hash == hash && (*at)->key_size == key.size && memcmp((*at)->bytes, key.data, key.size) == 0) break;
        at = &(*at)->next;
    }
    return at;
}

/* Twice as many buckets, or as many as before if there is no memory: the table gets slower then, not wrong. */
static void grow_table(void) {
    size_t count = bucket_count == 0 ? 16 : bucket_count * 2;
    note **larger = calloc(count, sizeof *larger);
    if (larger == NULL) return;
    for (size_t i = 0; i < bucket_count; i++) {
        for (note *n = buckets[i], *next; n != NULL; n = next) {
            next = n->next;
            note **head = &larger[n->hash & (count - 1)];
            n->next = *head;
            *head = n;
        }
    }
    free(buckets);
    buckets = larger;
    bucket_count = count;
}

static void drop(note **at) {
    note *gone = *at;
    *at = gone->next;
    free(gone);
    note_count--;
}

/* False: no memory, and nothing has changed. */
static bool put(abide_bytes key, abide_bytes text) {
    if (note_count >= bucket_count) grow_table();
    if (bucket_count == 0) return false;
    note *n = malloc(sizeof *n + key.size + text.size);
    if (n == NULL) return false;
    n->hash = hash_of(key);
    n->key_size = (uint32_t)key.size;
    n->text_size = (uint32_t)text.size;
    memcpy(n->bytes, key.data, key.size);
    if (text.size != 0) memcpy(n->bytes + key.size, text.data, text.size);

    note **at = find(key);
    if (*at != NULL) drop(at);
    note **head = &buckets[n->hash & (bucket_count - 1)];
    n->next = *head;
    *head = n;
    note_count++;
    return true;
}

static int compare_keys(const void *left, const void *right) {
    abide_bytes l = note_key(*(note *const *)left), r = note_key(*(note *const *)right);
    int order = memcmp(l.data, r.data, l.size < r.size ? l.size : r.size);
    return order != 0 ? order : (l.size > r.size) - (l.size < r.size);
}

/* ---- Commands ------------------------------------------------------------------------------------------------------------------ */

/* A command returns NULL, or why it is refused. */
typedef const char *complaint;

/* Cuts the first word off a line. What is left begins after the single blank that ends the word, so texts keep their own blanks. */
static abide_bytes cut_word(abide_bytes *line) {
    abide_bytes word = {line->data, 0};
    while (word.size < line->size && line->data[word.size] != ' ') word.size++;
    size_t cut = word.size < line->size ? word.size + 1 : word.size;
    line->data += cut;
    line->size -= cut;
    return word;
}

static complaint answer_missing(abide_output *out, uint64_t reply, abide_bytes key) {
    abide_buffer text = {0};
    abide_append_text(&text, "no such note: ");
    abide_append_bytes(&text, key);
    abide_answer(out, reply, abide_view(&text));
    abide_free(&text);
    return NULL;
}

static complaint do_put(const abide_input *in, abide_output *out, abide_bytes line) {
    abide_bytes key = cut_word(&line);
    if (in->kind == ABIDE_QUERY) return "a query changes nothing; send put as a message";
    if (key.size == 0) return "put what? usage: put KEY TEXT";
    for (size_t i = 0; i < line.size; i++) {
        if (line.data[i] == '\n') return "a note is a single line";
    }
    if (!put(key, line)) return "no memory left for this note";
    abide_answer_text(out, in->reply, "ok");
    return NULL;
}

static complaint do_get(const abide_input *in, abide_output *out, abide_bytes line) {
    if (line.size == 0) return "get what? usage: get KEY";
    note *n = *find(line);
    if (n == NULL) return answer_missing(out, in->reply, line);
    abide_answer(out, in->reply, note_text(n));
    return NULL;
}

static complaint do_del(const abide_input *in, abide_output *out, abide_bytes line) {
    if (in->kind == ABIDE_QUERY) return "a query changes nothing; send del as a message";
    if (line.size == 0) return "delete what? usage: del KEY";
    note **at = find(line);
    if (*at == NULL) return answer_missing(out, in->reply, line);
    drop(at);
    abide_answer_text(out, in->reply, "ok");
    return NULL;
}

/* "KEY TEXT" lines, sorted, without an end of line after the last. */
static complaint do_list(const abide_input *in, abide_output *out) {
    note **sorted = malloc((note_count + 1) * sizeof *sorted);
    if (sorted == NULL) return "no memory left to sort the notes";
    size_t count = 0;
    for (size_t i = 0; i < bucket_count; i++) {
        for (note *n = buckets[i]; n != NULL; n = n->next) sorted[count++] = n;
    }
    qsort(sorted, count, sizeof *sorted, compare_keys);

    abide_buffer lines = {0};
    for (size_t i = 0; i < count; i++) {
        if (i != 0) abide_append_text(&lines, "\n");
        abide_append_bytes(&lines, note_key(sorted[i]));
        abide_append_text(&lines, " ");
        abide_append_bytes(&lines, note_text(sorted[i]));
    }
    abide_answer(out, in->reply, abide_view(&lines));
    abide_free(&lines);
    free(sorted);
    return NULL;
}

static complaint do_count(const abide_input *in, abide_output *out) {
    abide_answer_text(out, in->reply, abide_decimal(note_count));
    return NULL;
}

/* ---- Misbehaviour -------------------------------------------------------------------------------------------------------------- */

/* What "test slices" has put off, oldest first. */
typedef struct job job;
struct job {
    job *next;
    uint64_t reply;
    uint64_t total;
    uint64_t left;
};
static job *jobs;
static bool called_again; /* [4] is given out once at a time, however many jobs there are */

static void answer_slices(abide_output *out, uint64_t reply, uint64_t total) {
    abide_buffer text = {0};
    abide_append_text(&text, "done in ");
    abide_append_decimal(&text, total);
    abide_append_text(&text, total == 1 ? " slice" : " slices");
    abide_answer(out, reply, abide_view(&text));
    abide_free(&text);
}

static void call_again(abide_output *out) {
    if (jobs == NULL || called_again) return;
    abide_again(out);
    called_again = true;
}

static complaint start_slices(const abide_input *in, abide_output *out, uint64_t total) {
    if (in->kind == ABIDE_QUERY) return "a query cannot be put off; send test slices as a message";
    if (total == 0) {
        answer_slices(out, in->reply, total);
        return NULL;
    }
    job *new = malloc(sizeof *new);
    if (new == NULL) return "no memory left for this job";
    *new = (job){.reply = in->reply, .total = total, .left = total};
    job **last = &jobs;
    while (*last != NULL) last = &(*last)->next;
    *last = new;
    call_again(out);
    return NULL;
}

static void next_slice(abide_output *out) {
    called_again = false;
    job *first = jobs;
    if (first == NULL) return; /* its asker has gone meanwhile */
    if (--first->left == 0) {
        answer_slices(out, first->reply, first->total);
        jobs = first->next;
        free(first);
    }
    call_again(out);
}

static void asker_gone(uint64_t reply) {
    for (job **at = &jobs; *at != NULL; at = &(*at)->next) {
        if ((*at)->reply != reply) continue;
        job *gone = *at;
        *at = gone->next;
        free(gone);
        return;
    }
}

/* Without end in any practical sense. The frame is filled and its content used after the call, so that no loop can be made of it. */
static uint64_t recurse(uint64_t depth) {
    volatile uint64_t frame[16];
    for (size_t i = 0; i < 16; i++) frame[i] = depth + i;
    return depth == UINT64_MAX ? 0 : recurse(depth + 1) + frame[depth & 15];
}

static complaint do_recurse(const abide_input *in, abide_output *out) {
    abide_answer_text(out, in->reply, abide_decimal(recurse(0)));
    return NULL;
}

static complaint do_malformed(abide_output *out) {
    abide_append_text(&out->items, "\xff"); /* ends something that has not begun */
    out->count++;
    return NULL;
}

/* All the memory there is, in blocks of one MiB that the memory.grow instruction has to provide; then all of it given back. */
static complaint do_bomb(const abide_input *in, abide_output *out) {
    const size_t mib = (size_t)1 << 20;
    void **blocks = NULL;
    uint64_t count = 0;
    for (void **block; (block = malloc(mib - 64)) != NULL; count++) {
        *block = blocks;
        blocks = block;
    }
    while (blocks != NULL) {
        void **next = *blocks;
        free(blocks);
        blocks = next;
    }
    abide_buffer text = {0};
    abide_append_decimal(&text, count);
    abide_append_text(&text, " MiB, then no more");
    abide_answer(out, in->reply, abide_view(&text));
    abide_free(&text);
    return NULL;
}

static complaint do_flood(const abide_input *in, abide_output *out, uint64_t size) {
    uint8_t *bytes = size < UINT32_MAX / 2 ? malloc((size_t)size + 1) : NULL;
    if (bytes == NULL) return "no memory left for an answer of this size";
    memset(bytes, '.', (size_t)size);
    abide_answer(out, in->reply, (abide_bytes){bytes, (size_t)size});
    free(bytes);
    return NULL;
}

/* About a millisecond for each unit. Every step needs the one before and mixes multiplication with shifts, so that no compiler can
 * take several at once. */
static complaint do_spin(const abide_input *in, abide_output *out, uint64_t units) {
    uint64_t state = 1;
    for (uint64_t unit = 0; unit < units; unit++) {
        for (uint32_t i = 0; i < 500000; i++) state = (state ^ state >> 29) * UINT64_C(6364136223846793005) + 1;
    }
    abide_answer_text(out, in->reply, abide_decimal(state));
    return NULL;
}

static complaint do_test(const abide_input *in, abide_output *out, abide_bytes line) {
    abide_bytes what = cut_word(&line);
    uint64_t n = 0;
    bool counted = abide_number(line, &n);
    if (abide_equal(what, "trap")) __builtin_trap();
    if (abide_equal(what, "loop")) {
        for (volatile uint32_t i = 0;; i++) {}
    }
    if (abide_equal(what, "recurse")) return do_recurse(in, out);
    if (abide_equal(what, "bomb")) return do_bomb(in, out);
    if (abide_equal(what, "malformed")) return do_malformed(out);
    if (abide_equal(what, "flood") && counted) return do_flood(in, out, n);
    if (abide_equal(what, "slices") && counted) return start_slices(in, out, n);
    if (abide_equal(what, "spin") && counted) return do_spin(in, out, n);
    return "tests are: trap, loop, recurse, bomb, malformed, flood BYTES, slices N, spin N";
}

/* ---- The machine --------------------------------------------------------------------------------------------------------------- */

static complaint command(const abide_input *in, abide_output *out) {
    abide_bytes line = in->payload;
    if (line.size != 0 && line.data[line.size - 1] == '\n') line.size--;
    abide_bytes verb = cut_word(&line);
    if (abide_equal(verb, "put")) return do_put(in, out, line);
    if (abide_equal(verb, "get")) return do_get(in, out, line);
    if (abide_equal(verb, "del")) return do_del(in, out, line);
    if (abide_equal(verb, "list") && line.size == 0) return do_list(in, out);
    if (abide_equal(verb, "count") && line.size == 0) return do_count(in, out);
    if (abide_equal(verb, "test")) return do_test(in, out, line);
    return "commands are: put KEY TEXT, get KEY, del KEY, list, count";
}

void abide_main(const abide_input *in, abide_output *out) {
    complaint why = NULL;
    switch (in->kind) {
    case ABIDE_MESSAGE:
    case ABIDE_QUERY: why = command(in, out); break;
    case ABIDE_CONTINUE: next_slice(out); break;
    case ABIDE_GONE: asker_gone(in->reply); break;
    default: break; /* nothing is ever asked, and grants do not matter here */
    }
    if (why != NULL) abide_refuse(out, in->reply, ABIDE_OWN_CODE, why);
}
