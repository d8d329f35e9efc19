#!/usr/bin/env bash
# Builds what is released: one static binary per architecture, in a tarball with manual pages, completions,
# schemas and licences, and its sha256. Packing is reproducible; that the same commit and
# compiler build the same binary is meant, and not tested.
#
#   ./release.sh               x86_64 and, if its target is installed or can be, aarch64
#   ./release.sh x86_64        one of them
#
#   TWINPATH_DIST              where to (default: dist)
#   TWINPATH_RELEASE_BINARY    a binary to pack instead of building one; for tests of the packing
#
# The kernel programs are those that ebpf/build.sh has left in ebpf/loader/object/. Without them the
# binary has the simulator only, and a release is refused unless TWINPATH_WITHOUT_PROGRAMS=1.
set -euo pipefail
shopt -s inherit_errexit # what fails within $( ) ends the script, too
cd "$(dirname "$0")"

say() { echo "release.sh: $*" >&2; }
dist=${TWINPATH_DIST:-dist}
target_dir=${CARGO_TARGET_DIR:-target}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
TWINPATH_COMMIT=$(git rev-parse --short=12 HEAD 2>/dev/null || true)
[ -z "$(git status --porcelain 2>/dev/null)" ] || TWINPATH_COMMIT+=-changed
export SOURCE_DATE_EPOCH TWINPATH_COMMIT

if ! [ -s ebpf/loader/object/twinpath.o ] && [ "${TWINPATH_WITHOUT_PROGRAMS:-}" != 1 ]; then
    say "no kernel programs: run ebpf/build.sh first, or set TWINPATH_WITHOUT_PROGRAMS=1"
    exit 3
fi

# Whether an architecture's target is there; tries to install it.
has_target() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ] && return 0
    command -v rustup >/dev/null && rustup target add "$1" >&2
}

# build ARCH: the path of its binary, on standard output.
build() {
    local target=$1-unknown-linux-musl
    local prefix="--remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
    # No C is compiled, so the linker that comes with Rust is all that another architecture needs.
    RUSTFLAGS="$prefix -Cstrip=symbols -Clinker=rust-lld -Clink-self-contained=yes" \
        cargo build --locked --release --quiet -p twinpath --bin twinpath --target "$target" >&2
    echo "$target_dir/$target/release/twinpath"
}

# What must hold before it is packed: static, and a fixture replays where there is nothing else.
check() {
    local binary=$1 room
    # A static executable has no interpreter and no dynamic section.
    if readelf -lW "$binary" | grep -q INTERP || readelf -dW "$binary" | grep -q NEEDED; then
        say "$binary is not static"
        return 1
    fi
    [ "$2" = "$(uname -m)" ] || return 0
    room=$(mktemp -d)
    cp "$binary" fixtures/captures/clusterip.pcap fixtures/clusters/two-nodes.yaml "$room/"
    if [ "$(id -u)" = 0 ]; then
        chroot "$room" /twinpath replay clusterip.pcap -f two-nodes.yaml -q >"$room/out"
    else
        (cd "$room" && env -i ./twinpath replay clusterip.pcap -f two-nodes.yaml -q >out)
    fi
    grep -q '^386 packets, 63 flows: 386 translated$' "$room/out"
    rm -r "$room"
}

# pack ARCH BINARY: the tarball and its sum. Pages and completions come from a binary that runs here.
pack() {
    local name=twinpath-$version-$1-linux-musl tree speaker=$2
    [ "$1" = "$(uname -m)" ] || speaker=$native
    tree=$(mktemp -d)
    mkdir -p "$tree/$name"/{man/man1,completions,schema} "$dist"
    install -m 755 "$2" "$tree/$name/twinpath"
    ln -s twinpath "$tree/$name/kubectl-twinpath"
    cp README.md LICENSE-MIT LICENSE-APACHE "$tree/$name/"
    cp replay/schema/*.json "$tree/$name/schema/"
    "$speaker" man -o "$tree/$name/man/man1"
    "$speaker" completions bash >"$tree/$name/completions/twinpath.bash"
    "$speaker" completions zsh >"$tree/$name/completions/_twinpath"
    "$speaker" completions fish >"$tree/$name/completions/twinpath.fish"
    "$speaker" completions powershell >"$tree/$name/completions/twinpath.ps1"
    "$speaker" completions elvish >"$tree/$name/completions/twinpath.elv"
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode='go=rX,u+rw' \
        --format=ustar -C "$tree" -cf - "$name" | gzip -9n >"$dist/$name.tar.gz"
    (cd "$dist" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
    rm -r "$tree"
    say "$dist/$name.tar.gz, $(stat -c %s "$dist/$name.tar.gz") bytes, $(cut -c 1-64 "$dist/$name.tar.gz.sha256")"
}

architectures=("$@")
[ $# -gt 0 ] || architectures=(x86_64 aarch64)
native=""
for architecture in "${architectures[@]}"; do
    if [ -n "${TWINPATH_RELEASE_BINARY:-}" ]; then
        pack "$architecture" "$TWINPATH_RELEASE_BINARY"
        continue
    fi
    if ! has_target "$architecture-unknown-linux-musl"; then
        say "the target $architecture-unknown-linux-musl is missing: rustup target add $architecture-unknown-linux-musl"
        [ $# -gt 0 ] && exit 3
        say "$architecture is left out"
        continue
    fi
    binary=$(build "$architecture")
    [ "$architecture" = "$(uname -m)" ] && native=$binary
    if [ -z "$native" ]; then
        say "pages and completions come from a binary that runs here: name $(uname -m) first"
        exit 2
    fi
    check "$binary" "$architecture"
    pack "$architecture" "$binary"
done
