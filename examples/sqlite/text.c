#include "text.h"

#include <string.h>

#define ABIDE_PART
#include "abide.h"

static bool is_infinite(double value) { return value - value != 0.0; } /* SQLite has no NaN: it stores NULL instead */

static void append_text(sqlite3_str *out, const char *text) { sqlite3_str_appendall(out, text); }

static void append_hex(sqlite3_str *out, sqlite3_stmt *statement, int column) {
    const uint8_t *bytes = sqlite3_column_blob(statement, column);
    int size = sqlite3_column_bytes(statement, column);
    for (int i = 0; i < size; i++) sqlite3_str_appendf(out, "%02x", bytes[i]);
}

/* ---- List ---------------------------------------------------------------------------------------------------------------------- */

void text_list_row(sqlite3_str *out, sqlite3_stmt *statement) {
    int count = sqlite3_column_count(statement);
    for (int i = 0; i < count; i++) {
        if (i != 0) append_text(out, "|");
        const char *text = (const char *)sqlite3_column_text(statement, i);
        if (text != NULL) sqlite3_str_append(out, text, sqlite3_column_bytes(statement, i));
    }
    append_text(out, "\n");
}

void text_list_header(sqlite3_str *out, sqlite3_stmt *statement) {
    int count = sqlite3_column_count(statement);
    for (int i = 0; i < count; i++) sqlite3_str_appendf(out, "%s%s", i != 0 ? "|" : "", sqlite3_column_name(statement, i));
    append_text(out, "\n");
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------------------- */

static void append_json_string(sqlite3_str *out, const uint8_t *text, size_t size) {
    append_text(out, "\"");
    for (size_t i = 0; i < size;) {
        size_t valid = abide_utf8(text + i, size - i);
        if (valid == 0) {
            append_text(out, "\\ufffd");
            i++;
            continue;
        }
        if (text[i] == '"' || text[i] == '\\') append_text(out, "\\");
        if (text[i] == '\n') {
            append_text(out, "\\n");
        } else if (text[i] < 0x20) {
            sqlite3_str_appendf(out, "\\u%04x", text[i]);
        } else {
            sqlite3_str_append(out, (const char *)text + i, (int)valid);
        }
        i += valid;
    }
    append_text(out, "\"");
}

static void append_json_value(sqlite3_str *out, sqlite3_stmt *statement, int column) {
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL: append_text(out, "null"); break;
    case SQLITE_INTEGER: append_text(out, (const char *)sqlite3_column_text(statement, column)); break;
    case SQLITE_FLOAT: {
        double value = sqlite3_column_double(statement, column);
        if (is_infinite(value)) {
            append_text(out, value > 0 ? "9e999" : "-9e999"); /* as SQLite's own json functions write it */
        } else {
            append_text(out, (const char *)sqlite3_column_text(statement, column));
        }
        break;
    }
    case SQLITE_BLOB:
        append_text(out, "\"");
        append_hex(out, statement, column);
        append_text(out, "\"");
        break;
    default: {
        const uint8_t *text = sqlite3_column_text(statement, column);
        append_json_string(out, text, text != NULL ? (size_t)sqlite3_column_bytes(statement, column) : 0);
    }
    }
}

void text_json_row(sqlite3_str *out, sqlite3_stmt *statement) {
    int count = sqlite3_column_count(statement);
    for (int i = 0; i < count; i++) {
        const char *name = sqlite3_column_name(statement, i);
        append_text(out, i == 0 ? "{" : ",");
        append_json_string(out, (const uint8_t *)name, name != NULL ? strlen(name) : 0);
        append_text(out, ":");
        append_json_value(out, statement, i);
    }
    append_text(out, "}");
}

/* ---- Dump ---------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    sqlite3 *db;
    sqlite3_str *out;
    const char *table; /* whose rows are being written */
} dump_state;

/* Calls `row` for every row of a query, until it returns something else than SQLITE_OK. */
static int for_each_row(dump_state *dump, const char *sql, int (*row)(dump_state *, sqlite3_stmt *)) {
    sqlite3_stmt *statement;
    int result = sqlite3_prepare_v2(dump->db, sql, -1, &statement, NULL);
    if (result != SQLITE_OK) return result;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        result = row(dump, statement);
        if (result != SQLITE_OK) break;
    }
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

static bool needs_quotes(const char *name) {
    for (size_t i = 0; name[i] != 0; i++) {
        bool letter = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') || name[i] == '_';
        bool digit = name[i] >= '0' && name[i] <= '9';
        if (!letter && !(digit && i != 0)) return true;
    }
    return name[0] == 0 || sqlite3_keyword_check(name, (int)strlen(name));
}

/* A stand-in for a character that must not appear in the dump: one that the text itself does not contain. */
static void choose_stand_in(char stand_in[16], const char *text, char letter, unsigned character) {
    sqlite3_snprintf(16, stand_in, "\\%c", letter);
    if (strstr(text, stand_in) != NULL) sqlite3_snprintf(16, stand_in, "\\%03o", character);
    for (unsigned i = 0; strstr(text, stand_in) != NULL; i++) sqlite3_snprintf(16, stand_in, "(\\%c%u)", letter, i);
}

/* A text as an SQL expression on one line: ends of line are put back by replace(). */
static void append_sql_text(sqlite3_str *out, const char *text) {
    char newline[16], carriage[16];
    bool has_newline = strchr(text, '\n') != NULL, has_carriage = strchr(text, '\r') != NULL;
    if (!has_newline && !has_carriage) {
        sqlite3_str_appendf(out, "%Q", text);
        return;
    }
    choose_stand_in(newline, text, 'n', '\n');
    choose_stand_in(carriage, text, 'r', '\r');
    if (has_newline) append_text(out, "replace(");
    if (has_carriage) append_text(out, "replace(");
    append_text(out, "'");
    while (*text != 0) {
        size_t plain = strcspn(text, "'\n\r");
        sqlite3_str_append(out, text, (int)plain);
        text += plain;
        if (*text == '\'') append_text(out, "''");
        if (*text == '\n') append_text(out, newline);
        if (*text == '\r') append_text(out, carriage);
        if (*text != 0) text++;
    }
    append_text(out, "'");
    if (has_carriage) sqlite3_str_appendf(out, ",'%s',char(13))", carriage);
    if (has_newline) sqlite3_str_appendf(out, ",'%s',char(10))", newline);
}

static void append_sql_value(sqlite3_str *out, sqlite3_stmt *statement, int column) {
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL: append_text(out, "NULL"); break;
    case SQLITE_INTEGER: append_text(out, (const char *)sqlite3_column_text(statement, column)); break;
    case SQLITE_FLOAT: {
        double value = sqlite3_column_double(statement, column);
        if (is_infinite(value)) {
            append_text(out, value > 0 ? "1e999" : "-1e999");
        } else {
            sqlite3_str_appendf(out, "%!.20g", value);
        }
        break;
    }
    case SQLITE_BLOB:
        append_text(out, "X'");
        append_hex(out, statement, column);
        append_text(out, "'");
        break;
    default: {
        const char *text = (const char *)sqlite3_column_text(statement, column);
        if (text == NULL) break; /* out of memory, which `out` will notice too */
        if (strlen(text) == (size_t)sqlite3_column_bytes(statement, column)) {
            append_sql_text(out, text);
        } else { /* a zero byte inside, where the shell's text would end */
            append_text(out, "CAST(X'");
            append_hex(out, statement, column);
            append_text(out, "' AS TEXT)");
        }
    }
    }
}

static int dump_row(dump_state *dump, sqlite3_stmt *statement) {
    int count = sqlite3_column_count(statement);
    sqlite3_str_appendf(dump->out, needs_quotes(dump->table) ? "INSERT INTO \"%w\" VALUES(" : "INSERT INTO %s VALUES(", dump->table);
    for (int i = 0; i < count; i++) {
        if (i != 0) append_text(dump->out, ",");
        append_sql_value(dump->out, statement, i);
    }
    append_text(dump->out, ");\n");
    return sqlite3_str_errcode(dump->out);
}

/* The statement that made a table, index, view or trigger. If it ends in a comment, the semicolon must not become part of it. */
static int append_schema(sqlite3_str *out, const char *sql) {
    static const char *const ends[] = {";", "\n;", "*/;"};
    const char *end = ends[0];
    for (size_t i = 0; i < 3 && (strstr(sql, "--") != NULL || strstr(sql, "/*") != NULL); i++) {
        char *whole = sqlite3_mprintf("%s%s", sql, ends[i]);
        if (whole == NULL) return SQLITE_NOMEM;
        bool complete = sqlite3_complete(whole) != 0;
        sqlite3_free(whole);
        if (!complete) continue;
        end = ends[i];
        break;
    }
    sqlite3_str_appendf(out, "%s%s\n", sql, end);
    return sqlite3_str_errcode(out);
}

/* A list of the columns that can be inserted: generated ones cannot. */
static int append_column(dump_state *dump, sqlite3_stmt *statement) {
    const char *separator = sqlite3_str_length(dump->out) == 0 ? "SELECT " : ",";
    sqlite3_str_appendf(dump->out, "%s\"%w\"", separator, sqlite3_column_text(statement, 0));
    return sqlite3_str_errcode(dump->out);
}

static int dump_rows(dump_state *dump, const char *table) {
    dump_state columns = {.db = dump->db, .out = sqlite3_str_new(dump->db)};
    char *info = sqlite3_mprintf("SELECT name FROM pragma_table_info(%Q)", table);
    int result = info != NULL ? for_each_row(&columns, info, append_column) : SQLITE_NOMEM;
    sqlite3_free(info);
    sqlite3_str_appendf(columns.out, " FROM \"%w\"", table);
    char *query = sqlite3_str_finish(columns.out);
    if (result == SQLITE_OK && query == NULL) result = SQLITE_NOMEM;
    dump->table = table;
    if (result == SQLITE_OK) result = for_each_row(dump, query, dump_row);
    sqlite3_free(query);
    return result;
}

static int dump_table(dump_state *dump, sqlite3_stmt *statement) {
    const char *name = (const char *)sqlite3_column_text(statement, 0);
    const char *sql = (const char *)sqlite3_column_text(statement, 1);
    if (name == NULL || sql == NULL) return SQLITE_NOMEM;
    if (strcmp(name, "sqlite_sequence") == 0) {
        append_text(dump->out, "DELETE FROM sqlite_sequence;\n");
    } else if (sqlite3_strglob("sqlite_stat?", name) == 0) {
        append_text(dump->out, "ANALYZE sqlite_schema;\n");
    } else if (strncmp(name, "sqlite_", 7) == 0) {
        return SQLITE_OK;
    } else {
        bool quoted = sqlite3_strglob("CREATE TABLE ['\"]*", sql) == 0;
        if (quoted) append_text(dump->out, "CREATE TABLE IF NOT EXISTS ");
        int result = append_schema(dump->out, quoted ? sql + strlen("CREATE TABLE ") : sql);
        if (result != SQLITE_OK) return result;
    }
    return dump_rows(dump, name);
}

static int dump_other(dump_state *dump, sqlite3_stmt *statement) {
    const char *sql = (const char *)sqlite3_column_text(statement, 0);
    return sql != NULL ? append_schema(dump->out, sql) : SQLITE_NOMEM;
}

int text_dump(sqlite3_str *out, sqlite3 *db) {
    dump_state dump = {.db = db, .out = out};
    append_text(out, "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
    int result = for_each_row(&dump,
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql NOT NULL ORDER BY tbl_name = 'sqlite_sequence', rowid", dump_table);
    if (result != SQLITE_OK) return result;
    /* After the rows: no trigger must fire for them. */
    result = for_each_row(&dump,
        "SELECT sql FROM sqlite_schema WHERE sql NOT NULL AND type IN ('index', 'trigger', 'view') ORDER BY rowid", dump_other);
    append_text(out, "COMMIT;\n");
    return result;
}
