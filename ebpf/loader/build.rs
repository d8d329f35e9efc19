//! Embeds the compiled programs, if they were built beforehand by `ebpf/build.sh`.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=object");
    let object =
        Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("object/twinpath.o");
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("object.rs");
    let code = if object.exists() {
        format!(
            "/// The programs.\npub(crate) static OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!({object:?}));"
        )
    } else {
        "/// The programs.\npub(crate) static OBJECT: Option<&[u8]> = None;".to_owned()
    };
    fs::write(out, code).expect("cargo's output folder can be written");
}
