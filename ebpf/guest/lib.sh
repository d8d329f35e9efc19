# What ebpf/guest.sh and ebpf/gauge.sh share: Debian's kernels, emulated, with an initramfs and nothing
# else. To be sourced, in the repository's root, under `set -euo pipefail`. docs/kernels.md says more.
#
# The script that sources it may set before:
#   setup     no: install and fetch nothing
#   needed    pairs COMMAND:PACKAGE beyond those below
#   modules   the kernel's modules to load in a guest
# and defines after:
#   furnish ROOT   puts programs into an initramfs
#   commands       prints what a guest runs; its last status is the guest's
#
#   TWINPATH_GUEST_CACHE      where kernels are kept (default: guest/ in cargo's build folder)
#   TWINPATH_DEBIAN_MIRROR    where they are fetched (default: http://deb.debian.org)
#   TWINPATH_SKIPPED          a file to which what cannot run is added, by name
# shellcheck shell=bash

PATH=$PATH:/usr/sbin:/sbin
setup=${setup:-yes}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cache=$(realpath -m "${TWINPATH_GUEST_CACHE:-$target/guest}")
mirror=${TWINPATH_DEBIAN_MIRROR:-http://deb.debian.org}
scratch=$(mktemp -d)
guest=
failed=0 skipped=0

# Runs however the script ends; should it be killed outright, the kernel ends the guest (setpriv, below).
clean_up() {
    if [ -n "$guest" ]; then
        kill -KILL "$guest" 2>/dev/null || true
        wait "$guest" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { echo "ebpf/${0##*/}: $*" >&2; }

fail() {
    failed=$((failed + 1))
    say "FAILED: $*"
}

skip() {
    skipped=$((skipped + 1))
    say "skipped: $1: $2"
    [ -z "${TWINPATH_SKIPPED:-}" ] || echo "$1: $2" >>"$TWINPATH_SKIPPED"
}

# Ends the script: 0 fine; 1 something failed; 3 something could not run, and nobody keeps a list.
finish() {
    [ $failed = 0 ] || exit 1
    [ $skipped = 0 ] || [ -n "${TWINPATH_SKIPPED:-}" ] || exit 3
    exit 0
}

# Commands, and Debian's packages with them.
needed+=(qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio depmod:kmod ip:iproute2
    xz:xz-utils setpriv:util-linux)

missing_packages() {
    local pair
    for pair in "${needed[@]}"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} = 0 ] && return 0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0 # said by name later
    say "installing ${missing[*]}"
    apt-get update -q >&2 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}" >&2 ||
        say "that did not work"
}

# apt on lists of its own: any user may do it, and the machine's sources stay as they are.
private_apt() {
    local command=$1
    shift
    "$command" -q -o Dir::State="$cache/apt" -o Dir::State::status="$cache/apt/status" \
        -o Dir::Cache="$cache/apt/cache" -o Dir::Etc::sourcelist="$cache/apt/sources.list" \
        -o Dir::Etc::sourceparts=- -o APT::Architecture=amd64 -o APT::Sandbox::User="$(id -un)" "$@"
}

# Reads Debian's lists, once a day.
update_lists() {
    local key=/usr/share/keyrings/debian-archive-keyring.gpg suite
    [ -z "$(find "$cache/apt/updated" -mtime -1 2>/dev/null)" ] || return 0
    if ! command -v apt-get >/dev/null || ! [ -e $key ]; then
        say "no apt-get, or no debian-archive-keyring, to fetch packages with"
        return 1
    fi
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
    : >"$cache/apt/status"
    for suite in debian:bookworm debian:bookworm-backports debian-security:bookworm-security; do
        echo "deb [arch=amd64 signed-by=$key] $mirror/${suite%%:*} ${suite#*:} main"
    done >"$cache/apt/sources.list"
    private_apt apt-get update --error-on=any >&2 && touch "$cache/apt/updated"
}

# newest SERIES: the name of its newest kernel that Debian has, or of the one that was fetched last.
newest() {
    local pattern="^linux-image-${1//./\\.}\\.[0-9][^-]*(-[0-9]+)?-cloud-amd64$" name=
    if [ $setup = yes ] && update_lists; then
        name=$(private_apt apt-cache pkgnames "linux-image-$1." | grep -E "$pattern" | sort -V | tail -n 1)
    fi
    [ -n "$name" ] || name=$(ls "$cache/kernels" 2>/dev/null | grep -E "$pattern" | sort -V | tail -n 1)
    echo "$name"
}

# fetch PACKAGE SERIES: unpacked under the cache, in place of an older one, and nothing installed.
fetch() {
    local tree="$cache/kernels/$1"
    [ -d "$tree" ] && return 0
    say "fetching $1"
    mkdir -p "$cache/kernels" "$scratch/$1"
    (cd "$scratch" && private_apt apt-get download "$1" >&2) &&
        dpkg -x "$scratch/$1"_*.deb "$scratch/$1" &&
        depmod -b "$scratch/$1" "${1#linux-image-}" &&
        rm -rf "$cache/kernels/linux-image-$2."* &&
        mv "$scratch/$1" "$tree"
}

# fetch_tools PACKAGE...: these packages, unpacked together in the cache's tools/, and nothing installed.
fetch_tools() {
    local package tree="$cache/tools"
    [ "$(cat "$tree/packages" 2>/dev/null)" = "$*" ] && return 0
    [ $setup = yes ] && update_lists || return 1
    say "fetching $*"
    rm -rf "$scratch/tools" "$scratch/debs"
    mkdir -p "$scratch/tools" "$scratch/debs"
    (cd "$scratch/debs" && private_apt apt-get download "$@" >&2) || return 1
    for package in "$scratch"/debs/*.deb; do
        dpkg -x "$package" "$scratch/tools" || return 1
    done
    echo "$*" >"$scratch/tools/packages"
    rm -rf "$tree" && mkdir -p "$cache" && mv "$scratch/tools" "$tree"
}

# put FILE PLACE ROOT: a program, without debug information, and the libraries that it is linked with.
# Libraries of fetched tools are found beside them, and go where such libraries are.
put() {
    local library tools="$cache/tools"
    mkdir -p "$3/$(dirname "$2")"
    strip -o "$3/$2" "$1" 2>/dev/null || cp -L "$1" "$3/$2"
    { LD_LIBRARY_PATH="$tools/usr/lib/x86_64-linux-gnu:$tools/lib/x86_64-linux-gnu" ldd "$1" 2>/dev/null || true; } |
        sed -n 's|^[^/]*\(/[^ ]*\).*|\1|p' | while read -r library; do
        mkdir -p "$3$(dirname "${library#"$tools"}")"
        cp -L "$library" "$3${library#"$tools"}"
    done
}

# initramfs PACKAGE FILE
initramfs() {
    local root="$scratch/root" line name module
    rm -rf "$root"
    mkdir -p "$root"/{bin,dev,proc,sys,tmp,run,modules}
    put "$(command -v busybox)" bin/busybox "$root"
    put "$(command -v ip)" bin/ip "$root"
    furnish "$root"
    # In the order in which they are to be loaded; what is built in has no file.
    for name in "${modules[@]}"; do
        modprobe -d "$cache/kernels/$1" -S "${1#linux-image-}" --show-depends "$name"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r module; do
        name=$(basename "$module")
        case $name in
        *.xz) xz -dc "$module" >"$root/modules/${name%.xz}" ;;
        *) cp "$module" "$root/modules/$name" ;;
        esac
        echo "/modules/${name%.xz}" >>"$root/modules/order"
    done
    cat >"$root/init" <<END
#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in \$(busybox cat /modules/order); do busybox insmod \$module; done
busybox ip link set lo up
cd /tmp
$(commands)
status=\$?
busybox cat errors 2>/dev/null
echo "guest: ended with \$status after \$(busybox cut -d' ' -f1 /proc/uptime) s"
busybox reboot -f
END
    chmod +x "$root/init"
    (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$2"
}

# boot PACKAGE SECONDS OPTION...: a guest with that kernel and the initramfs in $scratch/initramfs, for so
# long at the most by the clock, and further options for QEMU. What it wrote is in $scratch/log then; fails
# where it did not end well.
boot() {
    local package=$1 seconds=$2 log="$scratch/log" start=$SECONDS end=$((SECONDS + $2))
    shift 2
    : >"$scratch/serial"
    setpriv --pdeathsig KILL qemu-system-x86_64 -machine q35 -cpu max -smp 1 -m 1024 "$@" \
        -nodefaults -display none -serial "file:$scratch/serial" -no-reboot \
        -kernel "$cache/kernels/$package/boot/vmlinuz-${package#linux-image-}" -initrd "$scratch/initramfs" \
        -append "console=ttyS0 panic=-1 quiet mitigations=off" </dev/null >&2 &
    guest=$!
    while kill -0 $guest 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.2; done
    kill -KILL $guest 2>/dev/null && echo "guest: stopped after $seconds s" >>"$scratch/serial"
    wait $guest 2>/dev/null || true
    guest=
    tr -d '\r' <"$scratch/serial" >"$log"
    echo "$package: $((SECONDS - start)) s" >>"$log"
    grep -q '^guest: ended with 0 ' "$log"
}
