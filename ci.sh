#!/usr/bin/env bash
# Everything that must hold, in one command, for people and for CI.
#
#   ./ci.sh             installs what is missing, builds the programs, runs every check
#   ./ci.sh --no-setup  the same without installing anything
#   ./ci.sh --foreign   the suites of others, too, if ebpf/foreign.sh has fetched them (5 min)
#
# Without root, or on a kernel without BPF, what cannot run is listed by name at the end. With CI=true
# and as root, a check that does not run is a failure.
set -uo pipefail
cd "$(dirname "$0")"

setup=yes foreign=no
for option in "$@"; do
    case $option in
    --no-setup) setup=no ;;
    --foreign) foreign=yes ;;
    *) echo "ci.sh: there is no option $option" >&2 && exit 2 ;;
    esac
done
root=no
[ "$(id -u)" = 0 ] && root=yes
strict=no
[ "${CI:-}" = true ] && [ $root = yes ] && strict=yes
passed=0 failed=0
failures=()
skipped=$(mktemp)
readme_output=$(mktemp)
export TWINPATH_SKIPPED=$skipped
trap 'rm -f "$skipped" "$readme_output"' EXIT

# step NAME COMMAND...: runs it, says how long it took, remembers how it ended.
step() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
        echo "== $name: passed, $((SECONDS - start)) s"
    else
        failed=$((failed + 1))
        failures+=("$name")
        echo "== $name: FAILED, $((SECONDS - start)) s"
    fi
}

# skip NAME WHY: what does not run is a failure where it could.
skip() {
    echo "$1: $2" >>"$skipped"
}

# Debian's packages, by the command that shows whether they are there.
install_packages() {
    local missing=() pair
    for pair in ip:iproute2 ethtool:ethtool cc:gcc iptables-restore:iptables nft:nftables; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} = 0 ] && return 0
    if [ $root = no ] || ! command -v apt-get >/dev/null; then
        echo "not installed, and not root on Debian to install: ${missing[*]}" >&2
        return 0 # the tests that need them say so
    fi
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}"
}

install_components() {
    local component
    for component in rustfmt clippy; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component" || return 1
    done
    # Optional: what has no nightly, or cannot have miri, does without.
    has_miri || rustup component add --toolchain nightly miri rust-src || true
}

# Whether a nightly has miri, and builds its standard library.
has_miri() {
    [ -e "$(rustc +nightly --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/Cargo.lock" ] &&
        cargo +nightly miri setup </dev/null >/dev/null 2>&1
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
}

# The README's first command, as it stands there.
readme_command() {
    local command
    command=$(grep -m1 -o 'cargo run --release -- replay [^`]*' README.md) || return 1
    echo "\$ $command"
    $command >"$readme_output" && tail -n 4 "$readme_output"
}

# Every program on the running kernel, and on older ones in emulated guests.
kernels() {
    if [ $setup = yes ]; then
        ebpf/guest.sh
    else
        ebpf/guest.sh --no-setup
    fi
}

# Instructions per packet, against the committed table.
gauge() {
    if [ $setup = yes ]; then
        ebpf/gauge.sh --check
    else
        ebpf/gauge.sh --check --no-setup
    fi
}

if [ $setup = yes ]; then
    step "packages" install_packages
    step "rust components" install_components
fi
step "format" cargo fmt --all --check
if [ $setup = yes ]; then
    step "programs" ebpf/build.sh
elif [ -e ebpf/loader/object/twinpath.o ]; then
    echo "== programs: not built again (--no-setup)"
else
    skip "programs" "not built, and --no-setup given"
fi
# Benches and examples are among the targets, so that they compile is shown here.
step "lints" cargo clippy --locked --all-targets --quiet -- -D warnings
step "docs" documentation
step "tests" cargo test --locked
if has_miri; then
    step "miri" core/miri.sh
else
    skip "miri" "optional, and absent here (rustup component add --toolchain nightly miri rust-src)"
fi
step "mutants apply" fixtures/mutants/run.sh --check
step "readme" readme_command
step "kernels" kernels
step "gauge" gauge
if [ $foreign = yes ]; then
    step "foreign suites" ebpf/foreign.sh --cached
else
    echo "== foreign suites: not run (./ci.sh --foreign)"
fi
if command -v cargo-deny >/dev/null; then
    step "licences and bans" cargo deny --offline check licenses bans sources
else
    echo "== licences and bans: not checked here, cargo-deny is not installed (cargo install cargo-deny --locked)"
fi

echo
if [ -s "$skipped" ]; then
    echo "not run:"
    sort -u "$skipped" | sed 's/^/  /'
    if [ $strict = yes ] && grep -qv 'absent' "$skipped"; then
        failed=$((failed + 1))
        failures+=("a check that could not run, as root with CI=true")
    fi
fi
for name in "${failures[@]}"; do
    echo "failed: $name"
done
echo "$passed passed, $failed failed, $(sort -u "$skipped" | wc -l) skipped"
[ $failed = 0 ]
