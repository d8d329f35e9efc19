#!/usr/bin/env bash
# Coverage-guided fuzzing: what is fuzzed and what must hold is in src/.
#
#   replay/fuzz/run.sh [--seconds N] [--sanitizer NAME] [TARGET...]
#
# Every target for 10 seconds, or those named for so long. Needs a nightly compiler; installs cargo-fuzz if
# it is not there. What is found is left in artifacts/, where a run begins with the seeds and with what
# earlier ones left in corpus/. The sanitizer is none, since all but a few lines of the core is safe Rust,
# and miri runs those (see ci.sh).
set -euo pipefail
cd "$(dirname "$0")"

version=0.13.1
seconds=10
sanitizer=none
targets=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 && shift 2 ;;
    --sanitizer) sanitizer=$2 && shift 2 ;;
    -*) echo "usage: $0 [--seconds N] [--sanitizer NAME] [TARGET...]" >&2 && exit 2 ;;
    *) targets+=("$1") && shift ;;
    esac
done
[ ${#targets[@]} -gt 0 ] || targets=(parse pipeline capture kubernetes scenario)

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "no nightly compiler: rustup toolchain install nightly" >&2
    exit 3
fi
cargo fuzz --version 2>/dev/null | grep -q " $version" ||
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
    TWINPATH_FUZZ_SEEDS=corpus/$target cargo +nightly fuzz run --fuzz-dir . --sanitizer "$sanitizer" "$target" -- \
        -max_total_time="$seconds" -max_len="$longest" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 "${words[@]}"
done
