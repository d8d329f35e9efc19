#!/usr/bin/env bash
# Loads and attaches every program on the running kernel, and on Debian's 6.1 and 6.12 in emulated guests,
# where random scripts are compared with the simulator as well. docs/kernels.md says more.
#
#   ebpf/guest.sh             installs what is missing (as root, on Debian), fetches the kernels
#   ebpf/guest.sh --no-setup  the same with what is there
#   ebpf/guest.sh 6.12        these guests alone
#
#   TWINPATH_GUEST_CACHE      where kernels are kept (default: guest/ in cargo's build folder)
#   TWINPATH_DEBIAN_MIRROR    where they are fetched (default: http://deb.debian.org)
#
# What cannot run is said by name, and listed in the file that TWINPATH_SKIPPED names.
# Exit codes: 0 fine; 1 something failed; 3 something could not run, and nobody keeps a list.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60   # for a boot, by the clock
packets=3000 # for a guest to compare
modules=(veth sch_ingress cls_bpf)

setup=yes
if [ "${1:-}" = --no-setup ]; then
    setup=no
    shift
fi
series=("$@")
[ $# != 0 ] || series=(6.1 6.12)
. ebpf/guest/lib.sh

furnish() {
    put "$target/release/twinpath" bin/twinpath "$1"
    put "$target/release/examples/load_all" bin/load_all "$1"
}

commands() {
    echo "load_all && twinpath verify --oracle twin --cases $packets 2>errors"
}

# check PACKAGE: whether everything went well in a guest with that kernel.
check() {
    local ended=0
    initramfs "$1" "$scratch/initramfs"
    boot "$1" $seconds -accel tcg || ended=$?
    cat "$scratch/log"
    [ $ended = 0 ] && grep -q "^all [0-9]* programs loaded on ${1#linux-image-}" "$scratch/log"
}

guests() {
    local version package missing
    mapfile -t missing < <(missing_packages)
    for version in "${series[@]}"; do
        if [ ${#missing[@]} != 0 ]; then
            skip "kernels, $version" "not installed: ${missing[*]}"
            continue
        fi
        package=$(newest "$version")
        if [ -z "$package" ]; then
            skip "kernels, $version" "Debian's packages cannot be had"
        elif ! fetch "$package" "$version"; then
            skip "kernels, $version" "$package cannot be fetched"
        else
            check "$package" || fail "$package"
        fi
    done
}

if ! [ -e ebpf/loader/object/twinpath.o ]; then
    skip "kernels" "the programs are not built: run ebpf/build.sh"
elif [ "$(uname -sm)" != "Linux x86_64" ]; then
    skip "kernels" "absent: guests for $(uname -sm)"
else
    [ $setup = no ] || install_packages
    cargo build --locked --release --quiet -p twinpath -p twinpath-kernel --bin twinpath --example load_all
    if [ "$(id -u)" = 0 ]; then
        "$target/release/examples/load_all" || fail "this kernel"
    else
        skip "kernels, this one" "loading programs needs root"
    fi
    guests
fi
finish
