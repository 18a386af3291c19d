#!/usr/bin/env bash
# Builds board.wasm: build.sh [OUT.wasm]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
../sdk/abide-cc -o "${1:-board.wasm}" board.c
