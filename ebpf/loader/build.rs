//! Embeds the compiled programs, if they were built beforehand by `ebpf/build.sh`.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=object");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("object");
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("object.rs");
    let code: String = [("OBJECT", "twinpath.o"), ("BARE", "bare.o")]
        .map(|(name, file)| {
            let object = folder.join(file);
            let value = if object.exists() {
                format!("Some(aya::include_bytes_aligned!({object:?}))")
            } else {
                "None".to_owned()
            };
            format!("static {name}: Option<&[u8]> = {value};\n")
        })
        .concat();
    fs::write(out, code).expect("cargo's output folder can be written");
}
