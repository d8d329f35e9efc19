//! Embeds the compiled programs, if they were built beforehand by `ebpf/build.sh`, and the table of the
//! instruction gauge: that of the repository or, where this crate is on its own, the copy beside the programs.

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
    let tables = [folder.join("../../programs/gauge.txt"), folder.join("gauge.txt")];
    let table = tables.into_iter().find(|table| table.exists());
    let text = table.map_or_else(
        || "\"\"".to_owned(),
        |table| {
            println!("cargo:rerun-if-changed={}", table.display());
            format!("include_str!({table:?})")
        },
    );
    let code = format!("{code}static GAUGE: &str = {text};\n");
    fs::write(out, code).expect("cargo's output folder can be written");
}
