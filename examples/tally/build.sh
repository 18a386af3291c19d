#!/usr/bin/env bash
# Builds tally.wasm: build.sh [OUT.wasm]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
../sdk/abide-cc -o "${1:-tally.wasm}" tally.c
