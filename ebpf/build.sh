#!/usr/bin/env bash
# Builds the programs into ebpf/loader/object/twinpath.o, where the loader embeds them, installing what
# is missing. The only place that knows about the BPF toolchain.
#
#   TWINPATH_BPF_TOOLCHAIN   a rustup toolchain to build with (default: nightly)
set -euo pipefail
cd "$(dirname "$0")/.."

toolchain=${TWINPATH_BPF_TOOLCHAIN:-nightly}
linker_version=0.10.3
say() { echo "ebpf/build.sh: $*" >&2; }

if ! command -v rustup >/dev/null; then
    say "rustup not found; install it from https://rustup.rs, or build with a distribution's compiler as docs/toolchain.md says"
    exit 3
fi
if ! rustup run "$toolchain" rustc --version >/dev/null 2>&1; then
    say "installing the $toolchain toolchain"
    rustup toolchain install "$toolchain" --profile minimal
fi
if ! [ -d "$(rustup run "$toolchain" rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
    say "installing rust-src for $toolchain"
    rustup component add rust-src --toolchain "$toolchain"
fi
if [ "$(bpf-linker --version 2>/dev/null)" != "bpf-linker $linker_version" ]; then
    say "installing bpf-linker $linker_version"
    cargo install bpf-linker --version "$linker_version" --locked
fi

target_dir=${CARGO_TARGET_DIR:-target}
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' \
    '--cfg=bpf_target_arch="x86_64"' '-Cdebuginfo=2' '-Clink-arg=--btf' '-Ctarget-cpu=v3' \
    "--remap-path-prefix=$PWD=." "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo")
export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
rustup run "$toolchain" cargo build --locked -Z build-std=core --target bpfel-unknown-none \
    --profile bpf -p twinpath-ebpf -p twinpath-bare
for name in ebpf:twinpath bare:bare; do
    built="$target_dir/bpfel-unknown-none/bpf/twinpath-${name%:*}"
    object="ebpf/loader/object/${name#*:}.o"
    # Only touched when it changed, so that what embeds it is not built again for nothing.
    cmp -s "$built" "$object" || cp "$built" "$object"
    say "built $object"
done
{ rustup run "$toolchain" rustc --version; bpf-linker --version; } | paste -sd, >ebpf/loader/object/compiler.txt
