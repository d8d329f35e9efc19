#!/usr/bin/env bash
# The core's tests and those of the map models in miri, which sees undefined behaviour: the core reads
# headers and table entries as bytes (core/src/bytes.rs), in a few lines of unsafe code.
#
#   core/miri.sh        the core's quick tests of bytes, headers, tuples and entries
#   core/miri.sh --all  every test that ends within the day, those of the map models, and headers on a
#                       big-endian machine
#
# Needs a nightly compiler with miri: rustup component add --toolchain nightly miri rust-src
set -euo pipefail
cd "$(dirname "$0")/.."

# Isolation is off since proptest looks for a file of earlier failures.
export MIRIFLAGS="-Zmiri-strict-provenance -Zmiri-disable-isolation"
export PROPTEST_CASES=${PROPTEST_CASES:-1}

quick=(address:: affinity:: backend:: checksum:: conntrack:: drop_reason:: dsr:: endpoint:: fault:: fragment::
    hash:: limit:: parse::tests::cut parse::tests::ipv parse::tests::link parse::tests::padding)
# Each walks through tens of thousands of numbers.
endless=(--skip every_value_of_one_word --skip draws_are_spread_evenly)
# Those of the hooks take from seconds to minutes each; the others walk through every sum or every
# length, or make packets of 64 KiB.
slow=(--skip hook:: --skip zero_of_a_partial_udp --skip super_packet --skip what_is_not_plain)

if [ "${1:-}" = --all ]; then
    cargo +nightly miri test --locked -p twinpath-core --lib -- "${endless[@]}"
    cargo +nightly miri test --locked -p twinpath-sim --lib -- map::
    cargo +nightly miri test --locked -p twinpath-core --lib --target s390x-unknown-linux-gnu -- \
        "${quick[@]}" "${endless[@]}" "${slow[@]}"
else
    cargo +nightly miri test --locked -p twinpath-core --lib -- "${quick[@]}" "${endless[@]}" "${slow[@]}"
fi
