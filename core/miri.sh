#!/usr/bin/env bash
# The core's tests and those of the map models in miri, which sees undefined behaviour: the core reads
# headers and table entries as bytes (core/src/bytes.rs), in a few lines of unsafe code.
#
#   core/miri.sh        all but those of the hooks and a few long ones; headers on a big-endian machine as well
#   core/miri.sh --all  every test that ends within the day
#
# Needs a nightly compiler with miri: rustup component add --toolchain nightly miri rust-src
set -euo pipefail
cd "$(dirname "$0")/.."

# Isolation is off since proptest looks for a file of earlier failures.
export MIRIFLAGS="-Zmiri-strict-provenance -Zmiri-disable-isolation"
export PROPTEST_CASES=${PROPTEST_CASES:-1}

# Each walks through tens of thousands of numbers.
skip=(--skip every_value_of_one_word --skip draws_are_spread_evenly)
# Each of the hooks' tests takes seconds, some more than a minute; the others walk through every sum or
# every length, draw packets, or make some of 64 KiB.
[ "${1:-}" = --all ] ||
    skip+=(--skip hook:: --skip zero_of_a_partial_udp --skip super_packet --skip what_is_not_plain --skip random::)
bytes=(address:: bytes:: dsr:: quote:: tuple:: wire:: drop_reason:: hash::tests::the_same
    checksum::tests::fold_ checksum::tests::zero_of_udp conntrack::tests::the_ parse::tests::ipv)

cargo +nightly miri test --locked -p twinpath-core --lib -- "${skip[@]}"
cargo +nightly miri test --locked -p twinpath-sim --lib -- map::
cargo +nightly miri test --locked -p twinpath-core --lib --target s390x-unknown-linux-gnu -- "${skip[@]}" "${bytes[@]}"
