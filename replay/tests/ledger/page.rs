//! The page: `docs/compliance.md`.

use std::path::PathBuf;

use super::entry::{Differs, Entry};
use super::{Results, SECTIONS, ids, rows};

/// A file of the documentation.
pub(crate) fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// What a row comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passes,
    Deviates,
    Fails,
    NotApplicable,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Passes, Self::Deviates, Self::Fails, Self::NotApplicable];

    fn of(row: &Entry, results: &Results) -> Self {
        match row.differs {
            Differs::NotApplicable(_) => Self::NotApplicable,
            _ if results.of(row).is_err() => Self::Fails,
            Differs::Instead(..) => Self::Deviates,
            Differs::No | Differs::Beside(..) => Self::Passes,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Deviates => "deviates",
            Self::Fails => "FAILS",
            Self::NotApplicable => "n/a",
        }
    }
}

/// The page of these results.
pub(crate) fn text(results: &Results) -> String {
    let count = |verdict| rows().filter(|row| Verdict::of(row, results) == verdict).count();
    let [passes, deviates, fails, other] = Verdict::ALL.map(count);
    let mut text = format!(
        "# Compliance\n\n\
         What the RFCs ask of a NAT, and users of a service load balancer, requirement by requirement. This page is\n\
         written from the results of `replay/tests/ledger/`; do not edit it:\n\
         `TWINPATH_BLESS=1 cargo test -p twinpath --test ledger` writes it, and the tests fail where it is stale.\n\n\
         **{} requirements: {passes} pass, {deviates} deviate on purpose, {fails} fail, {other} do not apply.**\n\n\
         Every test sends packets through a cluster of three nodes with a router and clients outside, through all hooks\n\
         of all nodes, and compares what comes out byte for byte with packets that a library of others has built\n\
         (etherparse), checksums included. All ran in two worlds, which must agree to the byte: the simulator, and the\n\
         loaded programs by `BPF_PROG_TEST_RUN`.\n\n\
         *Scope*: A, all services; S, changed source addresses alone; D, something is done otherwise on purpose, by\n\
         twinpath or by Linux, and [deviations.md](deviations.md) says why under the number given; N, not applicable.\n\
         *Verdict*: `deviates` where the requirement is not met to the letter, and the tests hold what is done instead.\n",
        rows().count(),
    );
    for (title, file, rows) in SECTIONS {
        text += &format!(
            "\n## {title}\n\n| id | requirement | scope | verdict | test (`{file}`) |\n|---|---|---|---|---|\n"
        );
        for row in *rows {
            text += &line(row, results);
        }
    }
    text
}

fn line(row: &Entry, results: &Results) -> String {
    let scope = ids::IDS.iter().find(|(id, _)| *id == row.id).map_or("", |(_, scope)| scope);
    let mut statement = row.statement.to_owned();
    match row.differs {
        Differs::No => {}
        Differs::Beside(number, what) => statement += &format!(" *{what}* ({number})"),
        Differs::Instead(number, what) => statement += &format!(" *Instead: {what}* ({number})"),
        Differs::NotApplicable(why) => statement += &format!(" *{why}*"),
    }
    if let Ok(measured) = results.of(row)
        && !measured.is_empty()
    {
        statement += &format!(" **Measured: {}.**", measured.join("; "));
    }
    let tests: Vec<String> = row.tests.iter().map(|(name, _)| format!("`{name}`")).collect();
    let verdict = Verdict::of(row, results).name();
    format!("| {} | {statement} | {scope} | {verdict} | {} |\n", row.id, tests.join(" "))
}
