/* Rows and databases as text. Everything is appended to an sqlite3_str, which remembers if memory ran out. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>

#include "sqlite3.h"

/* A row as the sqlite3 shell's list mode prints it, end of line included. */
void text_list_row(sqlite3_str *out, sqlite3_stmt *statement);
void text_list_header(sqlite3_str *out, sqlite3_stmt *statement);

/* A row as a JSON object. */
void text_json_row(sqlite3_str *out, sqlite3_stmt *statement);

/* The whole database as SQL that makes it anew, as the sqlite3 shell's .dump prints it. Returns an SQLite result code. */
int text_dump(sqlite3_str *out, sqlite3 *db);

#endif
