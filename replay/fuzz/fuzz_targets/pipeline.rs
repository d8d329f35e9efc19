#![no_main]

use libfuzzer_sys::fuzz_target;

#[global_allocator]
static HEAP: twinpath_fuzz::heap::Counted = twinpath_fuzz::heap::Counted;

fuzz_target!(init: twinpath_fuzz::write_seeds("pipeline"), |data: &[u8]| twinpath_fuzz::pipeline::run(data));
