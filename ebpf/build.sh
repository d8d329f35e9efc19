#!/usr/bin/env bash
# Builds the programs into ebpf/loader/object/, where the loader embeds them, installing what is missing.
# The only place that knows about the BPF toolchain; docs/toolchain.md says more.
#
#   TWINPATH_BPF_TOOLCHAIN   a rustup toolchain to build with (default: the active one)
set -euo pipefail
cd "$(dirname "$0")/.."

linker_version=0.10.3
say() { echo "ebpf/build.sh: $*" >&2; }

# The core for the BPF target is built from source, which a released compiler does only when told so.
export RUSTC_BOOTSTRAP=1
[ -n "${TWINPATH_BPF_TOOLCHAIN:-}" ] && export RUSTUP_TOOLCHAIN=$TWINPATH_BPF_TOOLCHAIN

if ! command -v cargo >/dev/null; then
    say "cargo not found: install Rust from https://rustup.rs"
    exit 3
fi
if ! [ -e "$(rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; then
    if ! command -v rustup >/dev/null; then
        say "the source of the standard library is missing: install your distribution's package of it (Debian: rust-src)"
        exit 3
    fi
    say "installing rust-src"
    rustup component add rust-src
fi
if [ "$(bpf-linker --version 2>/dev/null)" != "bpf-linker $linker_version" ]; then
    say "installing bpf-linker $linker_version"
    cargo install bpf-linker --version "$linker_version" --locked
fi

target_dir=${CARGO_TARGET_DIR:-target}
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' \
    '--cfg=bpf_target_arch="x86_64"' '-Cdebuginfo=2' '-Clink-arg=--btf' '-Ctarget-cpu=v3' '-Dwarnings' \
    "--remap-path-prefix=$PWD=." "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo")
export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
cargo build --locked -Z build-std=core --target bpfel-unknown-none --profile bpf -p twinpath-ebpf -p twinpath-bare
for name in ebpf:twinpath bare:bare; do
    built="$target_dir/bpfel-unknown-none/bpf/twinpath-${name%:*}"
    object="ebpf/loader/object/${name#*:}.o"
    # Only touched when it changed, so that what embeds it is not built again for nothing.
    cmp -s "$built" "$object" || cp "$built" "$object"
    say "built $object"
done
{ rustc --version; bpf-linker --version; } | paste -sd, >ebpf/loader/object/compiler.new
cmp -s ebpf/loader/object/compiler.new ebpf/loader/object/compiler.txt ||
    cp ebpf/loader/object/compiler.new ebpf/loader/object/compiler.txt
rm ebpf/loader/object/compiler.new
# For whoever has the loader's folder alone.
! [ -e ebpf/programs/gauge.txt ] || cp ebpf/programs/gauge.txt ebpf/loader/object/gauge.txt
