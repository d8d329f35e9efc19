#!/usr/bin/env bash
# The core's tests and those of the map models in miri, which sees undefined behaviour: the core reads
# headers and table entries as bytes (core/src/bytes.rs), in a few lines of unsafe code.
#
#   core/miri.sh        tests of bytes, headers, tuples, entries and maps
#   core/miri.sh --all  every test that ends within the day, and headers on a big-endian machine
#
# Needs a nightly compiler with miri: rustup toolchain install nightly --component miri --component rust-src
set -euo pipefail
cd "$(dirname "$0")/.."

# Isolation is off since proptest looks for a file of earlier failures.
export MIRIFLAGS="-Zmiri-strict-provenance -Zmiri-disable-isolation"
export PROPTEST_CASES=${PROPTEST_CASES:-1}

bytes=(address:: bytes:: dsr:: endpoint:: fragment:: range:: state:: tuple:: wire:: drop_reason::
    checksum::tests::fold_ checksum::tests::sum_ checksum::tests::zero_ conntrack::tests::open_
    conntrack::tests::the_ hash::tests::every_part parse::tests::ipv4 parse::tests::transport)

# Each walks through tens of thousands of numbers.
endless=(--skip every_value_of_one_word --skip draws_are_spread_evenly)

if [ "${1:-}" = --all ]; then
    cargo +nightly miri test --locked -p twinpath-core --lib -- "${endless[@]}"
    cargo +nightly miri test --locked -p twinpath-core --lib --target s390x-unknown-linux-gnu -- "${bytes[@]}"
else
    cargo +nightly miri test --locked -p twinpath-core --lib -- "${bytes[@]}"
fi
cargo +nightly miri test --locked -p twinpath-sim --lib -- map::
