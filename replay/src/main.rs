//! The `twinpath` command.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use twinpath::command;
use twinpath::failure;
use twinpath_control::plain::plain;

fn main() -> ExitCode {
    let arguments = command::parse(std::env::args_os());
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
        let what = info.payload_as_str().unwrap_or("a panic without words");
        // Nobody to tell where this fails too.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!(
                "twinpath: bug{}: {}; please report it with the input at {}/issues\n",
                place.unwrap_or_default(),
                what.replace('\n', " "),
                env!("CARGO_PKG_REPOSITORY")
            ),
        );
    }));
    match panic::catch_unwind(AssertUnwindSafe(|| command::run(arguments))) {
        Ok(Ok(ending)) => ending.into(),
        Ok(Err(failure)) => {
            if !failure.is_closed_pipe() {
                let _ = std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("twinpath: {}\n", plain(&failure.to_string())),
                );
            }
            failure.code()
        }
        Err(_) => ExitCode::from(failure::BUG),
    }
}
