#!/usr/bin/env bash
# Coverage-guided fuzzing: what is fuzzed and what must hold is in src/.
#
#   replay/fuzz/run.sh [--seconds N] [--sanitizer NAME] [TARGET...]
#
# Every target for 10 seconds, or those named for so long; ends at the first finding. Installs a nightly
# compiler and cargo-fuzz if they are not there; a C++ compiler must be. A run begins with the seeds and with
# what earlier ones left in corpus/; what is found is left in artifacts/ (fixtures/fuzz/README.md says how to
# keep it). The sanitizer is none, since all but a few lines of the core is safe Rust, and miri runs those
# (core/miri.sh).
set -euo pipefail
cd "$(dirname "$0")"
trap 'exit 130' INT # not on to the next target

version=0.13.1
seconds=10
sanitizer=none
targets=()
usage() {
    echo "usage: $0 [--seconds N] [--sanitizer NAME] [TARGET...]" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) [ $# -gt 1 ] && seconds=$2 && shift 2 || usage ;;
    --sanitizer) [ $# -gt 1 ] && sanitizer=$2 && shift 2 || usage ;;
    -*) usage ;;
    *) [ -e "fuzz_targets/$1.rs" ] && targets+=("$1") && shift || usage ;;
    esac
done
[ ${#targets[@]} -gt 0 ] || targets=(parse pipeline capture kubernetes scenario)

if ! command -v c++ >/dev/null; then
    echo "no C++ compiler, which libFuzzer is built with (Debian: g++)" >&2
    exit 3
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    if ! command -v rustup >/dev/null; then
        echo "no nightly compiler, and no rustup to install it" >&2
        exit 3
    fi
    rustup toolchain install nightly --profile minimal
fi
[ "$(cargo fuzz --version 2>/dev/null)" = "cargo-fuzz $version" ] ||
    cargo install --quiet --locked cargo-fuzz --version "$version"

# Beside the target folder of the rest, so that neither builds anew what the other has.
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-../../target}")/fuzz
export CARGO_TARGET_DIR
cargo +nightly fuzz build --fuzz-dir . --sanitizer "$sanitizer"

for target in "${targets[@]}"; do
    echo "== $target"
    longest=4096
    [ "$target" = kubernetes ] && longest=8192
    words=()
    [ -e "words/$target.dict" ] && words=(-dict="words/$target.dict")
    mkdir -p "corpus/$target" "artifacts/$target"
    TWINPATH_FUZZ_SEEDS=$PWD/corpus/$target cargo +nightly fuzz run --fuzz-dir . --sanitizer "$sanitizer" "$target" -- \
        -max_total_time="$seconds" -max_len="$longest" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 "${words[@]}"
done
