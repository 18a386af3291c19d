#!/usr/bin/env bash
# Rebuilds the kernels of the guest suite, in place or into the folder given.
#
# The committed bytes come from Debian 12's clang-14 and lld-14.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
to=${1:-.}
for source in *.c; do
    clang --target=wasm32 -O2 -mbulk-memory -ffreestanding -fno-builtin -nostdlib \
        -Wall -Werror -Wno-unused-function -Wl,--no-entry -Wl,-z,stack-size=65536 -Wl,--strip-all \
        -o "$to/${source%.c}.wasm" "$source"
done
