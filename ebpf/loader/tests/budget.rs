//! What the programs cost before they run: instructions and stack, per program and function.
//!
//! The table is committed (`ebpf/programs/budget.txt`), so that a change of the core shows its cost in
//! the diff. `TWINPATH_BLESS=1 cargo test --test budget` writes it anew. Another compiler gives other
//! numbers; then only the limits are checked.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind};
use twinpath_core::hook::{Hook, Stage};
use twinpath_kernel::load::{Options, load};
use twinpath_kernel::testing::skip;

/// The kernel's limit for all frames of a call chain (`MAX_BPF_STACK`), and what it rounds each up to.
const STACK: u64 = 512;
const FRAME: u64 = 32;
/// The kernel's limit for the calls in a chain (`MAX_CALL_FRAMES`).
const DEPTH: usize = 8;

struct Function {
    section: SectionIndex,
    start: u64,
    code: Vec<[u8; 8]>,
    calls: Vec<String>,
}

impl Function {
    /// The deepest byte below the frame pointer that an instruction names.
    fn stack(&self) -> u64 {
        let mut deepest = 0;
        let mut frame_copies = [false; 16];
        for code in &self.code {
            let (opcode, class) = (code[0], code[0] & 7);
            let (destination, source) = (usize::from(code[1] & 15), usize::from(code[1] >> 4));
            let offset = i64::from(i16::from_le_bytes([code[2], code[3]]));
            let immediate = i64::from(i32::from_le_bytes([code[4], code[5], code[6], code[7]]));
            let depth = match (class, opcode) {
                (1, _) if source == 10 => offset,
                (2 | 3, _) if destination == 10 => offset,
                (7, 0xbf) => {
                    frame_copies[destination] = source == 10;
                    0
                }
                (7, 0x07) if frame_copies[destination] => immediate,
                _ => 0,
            };
            deepest = deepest.max(u64::try_from(-depth).unwrap_or(0));
        }
        deepest.div_ceil(8) * 8
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("object")
}

fn functions(bytes: &[u8]) -> BTreeMap<String, Function> {
    let file = object::File::parse(bytes).expect("an ELF object");
    let mut all = BTreeMap::new();
    for symbol in file.symbols().filter(|s| s.kind() == SymbolKind::Text && s.size() > 0) {
        let section = symbol.section_index().expect("a function is in a section");
        let data = file.section_by_index(section).expect("the section").data().expect("its bytes");
        let range = symbol.address() as usize..(symbol.address() + symbol.size()) as usize;
        let code = data[range].chunks_exact(8).map(|c| c.try_into().expect("8 bytes")).collect();
        let name = symbol.name().expect("a name").to_owned();
        all.insert(name, Function { section, start: symbol.address(), code, calls: Vec::new() });
    }
    let at = |section: SectionIndex, offset: u64, all: &BTreeMap<String, Function>| {
        all.iter()
            .find(|(_, f)| f.section == section && f.start == offset)
            .map(|(name, _)| name.clone())
    };
    let names: Vec<String> = all.keys().cloned().collect();
    for name in names {
        let function = &all[&name];
        let relocations: BTreeMap<u64, _> =
            file.section_by_index(function.section).expect("the section").relocations().collect();
        let mut calls = Vec::new();
        for (i, code) in function.code.iter().enumerate() {
            // A call of a function in this object, not of a helper.
            if code[0] != 0x85 || code[1] >> 4 != 1 {
                continue;
            }
            let place = function.start + 8 * i as u64;
            let immediate = i64::from(i32::from_le_bytes([code[4], code[5], code[6], code[7]]));
            let target = match relocations.get(&place).map(object::Relocation::target) {
                Some(RelocationTarget::Symbol(index)) => {
                    let symbol = file.symbol_by_index(index).expect("the symbol");
                    let section = symbol.section_index().expect("its section");
                    let offset = symbol.address() as i64 + 8 * (immediate + 1);
                    at(section, offset as u64, &all)
                }
                _ => at(function.section, (place as i64 + 8 * (immediate + 1)) as u64, &all),
            };
            calls.push(target.unwrap_or_else(|| panic!("{name}: call to nowhere at {place}")));
        }
        calls.sort();
        calls.dedup();
        all.get_mut(&name).expect("it is there").calls = calls;
    }
    all
}

/// The deepest chain of frames from a function down, in bytes and in calls.
fn chain(all: &BTreeMap<String, Function>, name: &str) -> (u64, usize) {
    let function = &all[name];
    let own = function.stack().max(1).div_ceil(FRAME) * FRAME;
    let below = function.calls.iter().map(|callee| chain(all, callee));
    let (stack, depth) = below.fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
    (own + stack, depth + 1)
}

/// A mangled name without the type parameters: `twinpath_core::hook::slow`, `Conntrack::insert`.
fn readable(name: &str) -> String {
    let text = format!("{:#}", rustc_demangle::demangle(name));
    match text.strip_prefix('<').and_then(|rest| rest.split_once(" as ")) {
        Some((path, rest)) => {
            let last = |path: &str| path.rsplit("::").next().unwrap_or_default().to_owned();
            format!("{}::{}", last(path), last(rest))
        }
        None => text.split("::<").next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn instructions_and_stack() {
    let Some(bytes) = twinpath_kernel::object::bytes() else {
        return skip("budget", twinpath_kernel::object::MISSING);
    };
    let all = functions(bytes);
    let hooks = Hook::ALL.iter().map(|hook| hook.program());
    let programs: Vec<&str> = hooks.chain(Stage::ALL.iter().map(|stage| stage.program())).collect();
    let mut table = String::new();
    let compiler = std::fs::read_to_string(folder().join("compiler.txt")).unwrap_or_default();
    writeln!(table, "# {}", compiler.trim()).unwrap();
    writeln!(
        table,
        "# Instructions and bytes of stack of each function; for a program also those of the"
    )
    .unwrap();
    writeln!(
        table,
        "# deepest chain of calls, of 512, each frame rounded up to 32 as older kernels do."
    )
    .unwrap();
    writeln!(table, "{:<44} {:>12} {:>6} {:>6}", "function", "instructions", "stack", "chain")
        .unwrap();
    for &name in &programs {
        let function = &all[name];
        let (stack, depth) = chain(&all, name);
        assert!(stack <= STACK, "{name}: {stack} bytes of stack in its deepest chain of calls");
        assert!(depth <= DEPTH, "{name}: {depth} calls deep");
        writeln!(
            table,
            "{name:<44} {:>12} {:>6} {stack:>6}",
            function.code.len(),
            function.stack()
        )
        .unwrap();
    }
    let mut rest: Vec<String> = all
        .iter()
        .filter(|(name, _)| !programs.contains(&name.as_str()))
        .map(|(name, f)| format!("{:<44} {:>12} {:>6}", readable(name), f.code.len(), f.stack()))
        .collect();
    rest.sort();
    writeln!(table, "{}", rest.join("\n")).unwrap();

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs/budget.txt");
    if std::env::var_os("TWINPATH_BLESS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    if first(&committed) != first(&table) {
        return skip("budget table", &format!("absent for this compiler ({})", first(&table)));
    }
    assert!(
        committed == table,
        "{}\nis not what is committed; TWINPATH_BLESS=1 writes it anew:\n{table}",
        path.display()
    );
}

#[test]
fn no_panic_path_is_left() {
    let Some(bytes) = twinpath_kernel::object::bytes() else {
        return skip("panic gate", twinpath_kernel::object::MISSING);
    };
    let file = object::File::parse(bytes).expect("an ELF object");
    let panics: Vec<&str> = file
        .symbols()
        .filter_map(|s| s.name().ok())
        .filter(|name| name.contains("panic"))
        .collect();
    assert!(panics.is_empty(), "{panics:?}");
}

/// The kernel's verifier gives up after a million instructions; loading takes it about a second for half
/// of that. Older ones remember less and walk more, so there is room to be kept.
#[test]
fn the_verifier_is_soon_done() {
    let ebpf = match load(&Options::default()) {
        Ok(ebpf) => ebpf,
        Err(error) => return skip("verifier's effort", &error.to_string()),
    };
    for (name, program) in ebpf.programs() {
        let info = program.info().unwrap();
        let Some(count) = info.verified_instruction_count() else {
            return skip("verifier's effort", "absent: this kernel does not tell");
        };
        println!("{name}: {count} instructions verified");
        if std::env::var_os("TWINPATH_BLESS").is_some() {
            continue;
        }
        assert!(count < 250_000, "{name}: {count} instructions verified");
    }
}
