#!/usr/bin/env bash
# Builds sqlite.wasm: build.sh [OUT.wasm]
#
# SQLite's source is not in this repository. Cargo fetches the crate that carries it, in the version and with the checksum that
# amalgamation/Cargo.lock names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

command -v cargo >/dev/null || { echo "error: cargo is needed to fetch SQLite's source" >&2; exit 1; }
manifest=$(cd amalgamation && cargo metadata --format-version 1 --locked --quiet |
    grep -o '"manifest_path":"[^"]*/libsqlite3-sys-[0-9.]*/Cargo.toml"' | cut -d'"' -f4)
source=${manifest%/Cargo.toml}/sqlite3
[[ -e $source/sqlite3.c ]] || { echo "error: no sqlite3.c in $source" >&2; exit 1; }

# shellcheck disable=SC2054  # the commas are clang's
options=(
    # A machine has no files, threads, shared libraries or time zone.
    -DSQLITE_OS_OTHER=1
    -DSQLITE_THREADSAFE=0
    -DSQLITE_TEMP_STORE=3
    -DSQLITE_OMIT_LOAD_EXTENSION
    -DSQLITE_OMIT_WAL
    -DHAVE_LOCALTIME_R=1                   # wasi-libc's: local time is UTC
    -DSQLITE_OMIT_SHARED_CACHE
    -DSQLITE_OMIT_DESERIALIZE
    -DSQLITE_MAX_MMAP_SIZE=0
    # Less to keep count of, and less to carry along.
    -DSQLITE_DEFAULT_MEMSTATUS=0
    -DSQLITE_LIKE_DOESNT_MATCH_BLOBS
    -DSQLITE_OMIT_DEPRECATED
    -DSQLITE_OMIT_PROGRESS_CALLBACK
    -DSQLITE_OMIT_TRACE
    # What people expect to be there.
    -DSQLITE_ENABLE_MATH_FUNCTIONS
    # Nested expressions use the stack, of which a machine has 1 MiB unless its seed says otherwise.
    -DSQLITE_MAX_EXPR_DEPTH=500
    -Wl,-z,stack-size=524288
    -isystem "$source"
    "-ffile-prefix-map=$source=sqlite3"
)
../sdk/abide-cc -o "${1:-sqlite.wasm}" "${options[@]}" main.c os.c text.c library.c
