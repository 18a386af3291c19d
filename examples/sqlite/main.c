/* SQLite as a machine: a message is SQL, the answer its rows. The database is an ordinary one in memory; that the machine's memory outlives
 * everything makes it a durable one, without a file, a journal on disk or a line of storage code. */
#include <stdlib.h>
#include <string.h>

#include "abide.h"
#include "os.h"
#include "sqlite3.h"
#include "text.h"

static const char help[] =
    "Send SQL, one statement or several; the answer is their rows.\n"
    ".json SQL        rows as JSON, one array for each statement that has rows to give\n"
    ".headers on|off  column names before the rows\n"
    ".dump            the whole database as SQL\n"
    ".help            this text";

static sqlite3 *db;
static bool headers;

/* ---- Jobs ---------------------------------------------------------------------------------------------------------------------- */

/* Messages are dealt with one after the other. Almost always at once, in the step that brings the message; but a statement that wants to know
 * the time has to wait for the clock's answer, and whatever comes meanwhile waits behind it. */
typedef struct job job;
struct job {
    job *next;
    uint64_t reply;
    bool query;
    bool json;
    bool time_asked;       /* the clock has answered; it is asked once for a message */
    int statement_number;
    sqlite3_str *rows;
    const char *rest;      /* what of `text` has not been run */
    size_t size;
    char text[];           /* with a zero byte after it */
};

static job *jobs;
static uint64_t waiting_for; /* the request that the first job waits for; 0: none, and then there are no jobs either */
static bool waiting_for_time;

static void ask_time(abide_output *out) {
    waiting_for = abide_ask_time(out);
    waiting_for_time = true;
}

static job *new_job(const abide_input *in) {
    job *new = malloc(sizeof *new + in->payload.size + 1);
    if (new == NULL) return NULL;
    *new = (job){.reply = in->reply, .query = in->kind == ABIDE_QUERY, .size = in->payload.size};
    new->rest = new->text;
    memcpy(new->text, in->payload.data, in->payload.size);
    new->text[in->payload.size] = 0;
    return new;
}

static void free_job(job *gone) {
    sqlite3_free(sqlite3_str_finish(gone->rows));
    free(gone);
}

/* How far a job has come. */
typedef enum { JOB_DONE, JOB_WAITS } progress;

static void refuse(const job *j, abide_output *out, const char *why) {
    abide_refuse(out, j->reply, ABIDE_OWN_CODE, why);
    if (j->reply == 0) abide_trace(out, why); /* a message that wants no answer should still not fail in silence */
}

static progress fail(const job *j, abide_output *out, const char *why) {
    char *text = sqlite3_mprintf("statement %d: %s", j->statement_number, why);
    refuse(j, out, text != NULL ? text : why);
    sqlite3_free(text);
    return JOB_DONE;
}

/* The end of the last line is left out: it is the answer's end. */
static progress answer_rows(const job *j, abide_output *out) {
    if (sqlite3_str_errcode(j->rows) != SQLITE_OK) {
        refuse(j, out, "no memory left for the answer");
        return JOB_DONE;
    }
    const char *rows = sqlite3_str_value(j->rows);
    size_t size = (size_t)sqlite3_str_length(j->rows);
    abide_answer(out, j->reply, (abide_bytes){(const uint8_t *)rows, size > 0 ? size - 1 : 0});
    return JOB_DONE;
}

/* ---- SQL ----------------------------------------------------------------------------------------------------------------------- */

/* Whether a statement may look at the clock, be it in a default, a view or a trigger: its byte code names every function it calls. */
static bool wants_time(sqlite3_stmt *statement) {
    static const char *const functions[] = {"current_date(", "current_time(", "current_timestamp(", "date(", "datetime(", "julianday(",
        "strftime(", "time(", "timediff(", "unixepoch("};
    enum { OPCODE = 1, P4 = 5 };
    bool found = false;
    if (sqlite3_stmt_isexplain(statement) != 0 || sqlite3_stmt_explain(statement, 1) != SQLITE_OK) return false;
    while (!found && sqlite3_step(statement) == SQLITE_ROW) {
        const char *opcode = (const char *)sqlite3_column_text(statement, OPCODE);
        if (opcode == NULL || strstr(opcode, "Func") == NULL) continue;
        const char *called = (const char *)sqlite3_column_text(statement, P4);
        for (size_t i = 0; called != NULL && i < sizeof functions / sizeof *functions; i++) {
            found = found || strncmp(called, functions[i], strlen(functions[i])) == 0;
        }
    }
    sqlite3_reset(statement);
    sqlite3_stmt_explain(statement, 0);
    return found;
}

static int run_statement(job *j, sqlite3_stmt *statement) {
    bool has_rows = sqlite3_column_count(statement) > 0;
    bool first = true;
    int result;
    if (has_rows && j->json) sqlite3_str_appendchar(j->rows, 1, '[');
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        if (j->json) {
            if (!first) sqlite3_str_appendchar(j->rows, 1, ',');
            text_json_row(j->rows, statement);
        } else {
            if (first && headers) text_list_header(j->rows, statement);
            text_list_row(j->rows, statement);
        }
        first = false;
    }
    if (has_rows && j->json) sqlite3_str_appendall(j->rows, "]\n");
    return result;
}

/* Statements are done one by one, as in the sqlite3 shell: if one fails, those before it stay done, unless a transaction says otherwise. */
static progress run_sql(job *j, abide_output *out) {
    while (*j->rest != 0) {
        sqlite3_stmt *statement;
        const char *rest;
        j->statement_number++;
        if (sqlite3_prepare_v2(db, j->rest, -1, &statement, &rest) != SQLITE_OK) return fail(j, out, sqlite3_errmsg(db));
        if (statement == NULL) { /* blanks or a comment */
            j->statement_number--;
            j->rest = rest;
            continue;
        }
        if (j->query && !sqlite3_stmt_readonly(statement)) {
            sqlite3_finalize(statement);
            return fail(j, out, "a query changes nothing; send this as a message");
        }
        if (!j->query && !j->time_asked && abide_port("clock") != ABIDE_NO_PORT && wants_time(statement)) {
            sqlite3_finalize(statement);
            j->statement_number--;
            ask_time(out);
            return JOB_WAITS;
        }
        int result = run_statement(j, statement);
        sqlite3_finalize(statement); /* leaves the message of a failed step in place */
        if (result != SQLITE_DONE) return fail(j, out, sqlite3_errmsg(db));
        j->rest = rest;
    }
    return answer_rows(j, out);
}

/* ---- Commands ------------------------------------------------------------------------------------------------------------------ */

static progress run_dump(job *j, abide_output *out) {
    if (text_dump(j->rows, db) != SQLITE_OK) {
        refuse(j, out, sqlite3_errmsg(db));
        return JOB_DONE;
    }
    return answer_rows(j, out);
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Whether the job's text is this command; if so, `rest` is what follows it. */
static bool is_command(job *j, const char *name) {
    size_t size = strlen(name);
    if (strncmp(j->text, name, size) != 0 || (j->text[size] != 0 && !is_blank(j->text[size]))) return false;
    j->rest = j->text + size;
    while (is_blank(*j->rest)) j->rest++;
    return true;
}

/* Whether nothing but this word is left. */
static bool rest_is(const job *j, const char *word) {
    size_t size = strlen(word);
    return strncmp(j->rest, word, size) == 0 && strspn(j->rest + size, " \t\r\n") == strlen(j->rest + size);
}

static progress start(job *j, abide_output *out) {
    j->rows = sqlite3_str_new(db);
    if (memchr(j->text, 0, j->size) != NULL) {
        refuse(j, out, "this is not SQL: there is a zero byte in it");
        return JOB_DONE;
    }
    j->json = is_command(j, ".json");
    if (j->json || j->text[0] != '.') return run_sql(j, out);
    if (is_command(j, ".dump") && rest_is(j, "")) return run_dump(j, out);
    if (is_command(j, ".help") && rest_is(j, "")) {
        abide_answer_text(out, j->reply, help);
        return JOB_DONE;
    }
    if (is_command(j, ".headers") && (rest_is(j, "on") || rest_is(j, "off"))) {
        headers = rest_is(j, "on");
        abide_answer_text(out, j->reply, "");
        return JOB_DONE;
    }
    refuse(j, out, "no such command; .help lists them");
    return JOB_DONE;
}

/* ---- The machine --------------------------------------------------------------------------------------------------------------- */

static bool seeded;

static void drop_first(void) {
    job *first = jobs;
    jobs = first->next;
    free_job(first);
}

static void run_first(abide_output *out) {
    if ((jobs->rows == NULL ? start(jobs, out) : run_sql(jobs, out)) == JOB_DONE) drop_first();
    os_forget_time();
}

static void refuse_first(const abide_input *in, abide_output *out) {
    char *text = sqlite3_mprintf("from statement %d on: %.*s", jobs->statement_number + 1, (int)in->text.size, in->text.data);
    refuse(jobs, out, text != NULL ? text : "not done");
    sqlite3_free(text);
    drop_first();
}

/* Jobs that had to wait are run one in a step, and only in steps that settle a request. If such a step is aborted, the request is broken, the
 * first job is known to be the culprit, and the rest goes on; whereas an abort while dealing with a broken request would halt the machine. */
static void wait_for_next(abide_output *out) {
    if (jobs == NULL || waiting_for != 0) return;
    if (abide_port("clock") != ABIDE_NO_PORT) {
        ask_time(out);
    } else {
        waiting_for = abide_ask_random(out, 1); /* any answer will do */
    }
}

static void message(const abide_input *in, abide_output *out) {
    job *new = new_job(in);
    if (new == NULL) {
        abide_refuse(out, in->reply, ABIDE_OWN_CODE, "no memory left for this message");
        return;
    }
    job **last = &jobs;
    while (*last != NULL) last = &(*last)->next;
    *last = new;
    if (waiting_for == 0) run_first(out);
}

/* Queries cannot ask the clock, so for them 'now' is NULL. They see the database as it is, between two jobs or in the middle of one. */
static void query(const abide_input *in, abide_output *out) {
    job *j = new_job(in);
    if (j != NULL) start(j, out); /* never freed: this memory is thrown away */
}

/* Without genesis data, random numbers start from the random port's answer, and nothing runs before it is here. With genesis data they start
 * from that, and all that the database ever does follows from what it is sent. */
static void boot(const abide_input *in, abide_output *out) {
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) __builtin_trap();
    seeded = in->genesis.size != 0 || abide_port("random") == ABIDE_NO_PORT;
    if (seeded) {
        os_seed(in->genesis.data, in->genesis.size);
    } else {
        waiting_for = abide_ask_random(out, 64);
    }
}

static void kept(const abide_input *in, abide_output *out) {
    uint64_t time;
    bool timed = waiting_for_time && abide_time(in->payload, &time);
    waiting_for = 0;
    waiting_for_time = false;
    if (!seeded) {
        os_seed(in->payload.data, in->payload.size);
        seeded = true;
    } else if (jobs != NULL) {
        if (timed) os_set_time(time);
        jobs->time_asked = timed;
        run_first(out);
    }
    wait_for_next(out);
}

/* No seed: random numbers start from a fixed value. Nothing else to go on with: the job that waited for it is refused, and if it was the port that
 * is missing, so is the next one, until none is left. */
static void broken(const abide_input *in, abide_output *out) {
    waiting_for = 0;
    waiting_for_time = false;
    if (seeded && jobs != NULL) refuse_first(in, out);
    seeded = true;
    wait_for_next(out);
}

static void asker_gone(uint64_t reply) {
    for (job *j = jobs; j != NULL; j = j->next) {
        if (j->reply == reply) j->reply = 0; /* what it asked for is done all the same */
    }
}

void abide_main(const abide_input *in, abide_output *out) {
    switch (in->kind) {
    case ABIDE_BOOT: boot(in, out); break;
    case ABIDE_MESSAGE: message(in, out); break;
    case ABIDE_QUERY: query(in, out); break;
    case ABIDE_KEPT: kept(in, out); break;
    case ABIDE_BROKEN: broken(in, out); break;
    case ABIDE_GONE: asker_gone(in->reply); break;
    default: break;
    }
}
