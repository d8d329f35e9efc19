//! The instruction gauge: what packets cost, in instructions, in a guest of `ebpf/gauge.sh`, whose clock
//! goes on by a nanosecond with each. Prints the rows; `docs/gauge.md` says more.
//!
//! ```text
//! gauge                              measures
//! gauge --check COMMITTED MEASURED   compares tables: exit code 1 where a limit is passed, 4 where the
//!                                    programs are of another compiler
//! gauge --table FILE                 prints a table, with its head
//! gauge --agree ONE OTHER            compares two runs of the same
//! ```

mod live;
mod node;
mod runs;

use std::fs;
use std::process::ExitCode;

use twinpath_benches::gauge::{Comparison, Row, Table};
use twinpath_benches::run::Failure;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => {
            let mut rows = Vec::new();
            let done = measure(&mut rows);
            // What there is until something fails helps to find out why.
            rows.iter().for_each(|row| println!("{row}"));
            done.map(|()| ExitCode::SUCCESS)
        }
        ["--table", file] => read(file).map(|table| {
            print!("{table}");
            ExitCode::SUCCESS
        }),
        ["--check", committed, measured] => compare(committed, measured, Table::compare),
        ["--agree", one, other] => compare(one, other, Table::disagreements),
        _ => {
            eprintln!("gauge [--table FILE | --check COMMITTED MEASURED | --agree ONE OTHER]");
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("gauge: {error}");
        ExitCode::from(3)
    })
}

fn measure(rows: &mut Vec<Row>) -> Result<(), Failure> {
    runs::measure(rows)?;
    live::measure(rows)
}

fn compare(
    a: &str,
    b: &str,
    how: impl FnOnce(&Table, &Table) -> Comparison,
) -> Result<ExitCode, Failure> {
    let all = how(&read(a)?, &read(b)?);
    all.lines.iter().for_each(|line| println!("{line}"));
    Ok(match all {
        Comparison { foreign: true, .. } => ExitCode::from(4),
        Comparison { failed: 0, .. } => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn read(path: &str) -> Result<Table, Failure> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?.parse()
}
