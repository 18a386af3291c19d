#!/usr/bin/env bash
# Rebuilds the machine modules that are kept in the repository.
#
#   build.sh           builds them anew, in place
#   build.sh --check   builds them elsewhere and compares: exit 1 if a committed module is not what its source makes
#
# The committed bytes come from Debian 12's clang-14, lld-14, wasi-libc and libclang-rt-14-dev-wasm32; another compiler makes other ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

examples=(board notes sqlite tally)

build_all() {
    local name
    for name in "${examples[@]}"; do
        echo "building $name.wasm" >&2
        "./$name/build.sh"
    done
}

check_all() {
    local folder name result=0
    folder=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder's name is known now and not when the script ends
    trap "rm -rf '$folder'" EXIT
    for name in "${examples[@]}"; do
        echo "building $name.wasm" >&2
        "./$name/build.sh" "$folder/$name.wasm"
        if ! cmp "$folder/$name.wasm" "$name/$name.wasm" >&2; then
            echo "error: $name/$name.wasm is not what its source makes" >&2
            echo "hint: examples/build.sh, then commit the module with its source" >&2
            result=1
        fi
    done
    return "$result"
}

case ${1:-} in
'') build_all ;;
--check) check_all ;;
*)
    echo "usage: build.sh [--check]" >&2
    exit 2
    ;;
esac
