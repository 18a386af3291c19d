#!/usr/bin/env bash
# Builds the kernel module from this crate.
#
#   build.sh [OUT]     builds kernel.wasm (or OUT), and its hash beside it
#   build.sh --check   builds it elsewhere and compares: exit 1 if the committed module is not what its source makes
#
# Exit 75: the compiler cannot be had here.
#
# The committed bytes come from Debian's rustc-web 1.96, which compiles for wasm32 with its sources of the standard library. Nothing is
# installed: the packages are unpacked into a folder of the user's cache (ABIDE_RUST_WEB names another one), once.
# ABIDE_KERNEL_TARGET names the folder to build in; without it, one that is removed afterwards is used, so that nothing old is built upon.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source=$(cd .. && pwd)
# Exactly these: another compiler makes other bytes.
rust=1.96.0+dfsg1-1~deb12u2 llvm=1:22.1.8-1~deb12u1
packages=(rustc-web=$rust rust-web-src=$rust libstd-rust-web-dev=$rust libstd-rust-web-1.96=$rust libllvm22=$llvm lld-22=$llvm)

cache=${XDG_CACHE_HOME:-$HOME/.cache}/abide
toolchain=${ABIDE_RUST_WEB:-$cache/rust-web-1.96}

fetch() {
    local downloads
    echo "fetching ${packages[*]}" >&2
    downloads=$(mktemp -d)
    get() { (cd "$downloads" && apt-get download -qq "${packages[@]}"); }
    # Perhaps only the list of packages is lacking or old.
    if ! get && ! { [ "$(id -u)" = 0 ] && apt-get update -qq && get; }; then
        echo "error: the compiler that makes these bytes cannot be had: ${packages[*]}" >&2
        echo "hint: ABIDE_RUST_WEB names a folder that has it unpacked" >&2
        exit 75
    fi
    rm -rf "$toolchain.part"
    mkdir -p "$toolchain.part"
    for package in "$downloads"/*.deb; do dpkg -x "$package" "$toolchain.part"; done
    rm -rf "$downloads"
    mv "$toolchain.part" "$toolchain"
}

build() {
    local out=$1 target=${ABIDE_KERNEL_TARGET:-}
    [ -x "$toolchain/usr/bin/rustc" ] || fetch
    if [ -z "$target" ]; then
        target=$(mktemp -d)
        # shellcheck disable=SC2064  # the folder's name is known now and not when the script ends
        trap "rm -rf '$target'" EXIT
    fi
    # No name of a folder is in the module, nor anything that depends on one.
    local remap="--remap-path-prefix=$source=abide --remap-path-prefix=$toolchain=rust --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
    env -u RUSTUP_TOOLCHAIN -u CARGO_ENCODED_RUSTFLAGS \
        LD_LIBRARY_PATH="$toolchain/usr/lib/x86_64-linux-gnu:$toolchain/usr/lib/llvm-22/lib" \
        RUSTC="$toolchain/usr/bin/rustc" RUSTC_BOOTSTRAP=1 RUSTC_WRAPPER= \
        CARGO_TARGET_DIR="$target" CARGO_INCREMENTAL=0 \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$toolchain/usr/bin/wasm-ld-22" \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="$remap" \
        CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
        CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_RELEASE_DEBUG=false \
        cargo build --quiet --locked --release --package kernel --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort
    cp "$target/wasm32-unknown-unknown/release/kernel.wasm" "$out"
}

case ${1:-} in
--check)
    built=$(mktemp)
    build "$built"
    if ! cmp "$built" kernel.wasm >&2; then
        echo "error: kernel/kernel.wasm is not what its source makes" >&2
        echo "hint: kernel/build.sh, then commit the module and its hash with the source" >&2
        rm -f "$built"
        exit 1
    fi
    rm -f "$built"
    ;;
-*)
    echo "usage: build.sh [OUT | --check]" >&2
    exit 2
    ;;
*)
    build "${1:-kernel.wasm}"
    ;;
esac
