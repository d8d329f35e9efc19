//! Instructions per packet from a guest: where the host's kernel has no IPVS, the committed table of the
//! instruction gauge says how twinpath compares with it.

use super::lab::Hook;
use super::result::{Figure, Guest, Measure, Unit};
use super::subject::Subject;

/// What the rows of whole ways through a node begin with.
const LIVE: &str = "live/";

/// The whole ways of a gauge's table, as far as they are of these measures; `None` where there is none.
///
/// A table is text: a head of lines `# kernel: ...` and `# programs: ...`, then a line per row with subject,
/// path, state (`new` or `established`) and instructions. Rows of anything else are passed over.
pub fn guest(table: &str, measures: &[Measure]) -> Option<Guest> {
    let head = |name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name));
        line.map_or_else(String::new, |rest| rest.trim().replace(",", ", ").replace("  ", " "))
    };
    let figures = table.lines().filter_map(row);
    let figures: Vec<Figure> =
        figures.filter(|figure| measures.contains(&figure.measure)).collect();
    (!figures.is_empty()).then(|| Guest {
        kernel: head("kernel:"),
        programs: head("programs:"),
        figures,
    })
}

fn row(line: &str) -> Option<Figure> {
    let mut words = line.split_whitespace();
    let (subject, path, state, count) =
        (words.next()?, words.next()?, words.next()?, words.next()?.parse::<u64>().ok()?);
    let measure = match state {
        "established" => Measure::Established,
        "new" => Measure::NewFlow,
        _ => return None,
    };
    let path = path.strip_prefix(LIVE)?;
    let placed = [Hook::Tc, Hook::Xdp].into_iter().find_map(|hook| {
        let rest = path.strip_prefix(hook.name())?.strip_prefix('/')?;
        Some((hook.name(), rest))
    });
    let (hook, path) = placed.unwrap_or(("", path));
    Some(Figure {
        measure,
        path: path.to_owned(),
        hook: hook.to_owned(),
        subject: Subject::ALL.into_iter().find(|known| known.name() == subject)?,
        services: 0,
        flows: 0,
        unit: Unit::Instructions,
        samples: vec![count as f64],
        quantiles: Vec::new(),
    })
}

impl Guest {
    /// Where it was counted, and how to do it again.
    pub fn words(&self) -> String {
        let Self { kernel, programs, .. } = self;
        let known = |what: &str, name: &str| match name {
            "" => String::new(),
            name => format!("{what} {name}; "),
        };
        format!(
            "Counted and not timed, by an emulated processor, which has no caches to miss; {}{}from the \
             table that this version of twinpath came with. The harness is in every figure: making the \
             packet, its way to the node and its end; less that, ratios are greater. IPVS alone is without \
             kube-proxy's rules and without netfilter's connections, as no node runs it. To do it again: \
             ebpf/gauge.sh.",
            known("kernel", kernel),
            known("programs compiled by", programs),
        )
    }

    /// Whether there is anything of a subject.
    pub fn has(&self, subject: Subject) -> bool {
        self.figures.iter().any(|figure| figure.subject == subject)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::GAUGE;
    use super::*;

    #[test]
    fn whole_ways_are_figures_and_all_else_is_passed_over() {
        let guest = guest(GAUGE, &Measure::ALL).unwrap();
        assert_eq!(guest.kernel, "6.12.0-test");
        assert_eq!(guest.programs, "rustc 1.95.0 (made up), bpf-linker 0.10.3");
        let all: Vec<_> = guest
            .figures
            .iter()
            .map(|figure| (figure.subject, figure.measure, &*figure.hook, &*figure.path))
            .collect();
        let (path, tc) = ("clusterip-local", "tc");
        let expected = [
            (Subject::Twinpath, Measure::NewFlow, tc, path),
            (Subject::Twinpath, Measure::Established, tc, path),
            (Subject::Ipvs, Measure::NewFlow, tc, path),
            (Subject::Ipvs, Measure::Established, tc, path),
        ];
        assert_eq!(all, expected);
        assert_eq!(guest.figures[3].samples, [5_000.0]);
        assert!(guest.has(Subject::Ipvs) && !guest.has(Subject::Nftables));
    }

    #[test]
    fn a_table_without_whole_ways_gives_nothing() {
        for table in ["", "# kernel: 6.12\n", "twinpath run/xdp/snat/v4 new 480\n", "live/ new"] {
            assert_eq!(guest(table, &Measure::ALL), None, "{table}");
        }
        assert_eq!(guest(GAUGE, &[Measure::Load]), None);
    }

    #[test]
    fn the_committed_table_has_a_kernel_if_it_has_whole_ways() {
        if let Some(guest) = guest(twinpath_kernel::object::gauge(), &Measure::ALL) {
            assert!(!guest.kernel.is_empty() && guest.has(Subject::Twinpath));
        }
    }
}
