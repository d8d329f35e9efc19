//! Made-up results for tests of the reports: of no machine.

use super::result::{Figure, Machine, Measure, Missing, Results, Unit, VERSION};
use super::subject::Subject;

/// A figure of so many rounds around a value, each some thousandths apart.
pub(crate) fn figure(
    (measure, path, hook): (Measure, &str, &str),
    subject: Subject,
    (services, flows): (u32, u32),
    unit: Unit,
    value: f64,
) -> Figure {
    let off = [0.0, 4.0, -6.0, 9.0, -3.0, 2.0, -8.0, 5.0, 1.0, -4.0];
    // Not the same for all, or each ratio would be without spread.
    let shift = subject as usize * 3 + services as usize % 7;
    // Thousandths: what has few digits is the same after JSON.
    let sample = |round: usize| {
        let off = off.get((round + shift) % 10).unwrap_or(&0.0) / 200.0;
        (value * (1.0 + off) * 1e3).round() / 1e3
    };
    Figure {
        measure,
        path: path.into(),
        hook: hook.into(),
        subject,
        services,
        flows,
        unit,
        samples: (0..10).map(sample).collect(),
        quantiles: Vec::new(),
    }
}

/// A table of the instruction gauge.
pub(crate) const GAUGE: &str = "\
# kernel: 6.12.0-test
# programs: rustc 1.95.0 (made up),bpf-linker 0.10.3
# Anything.
subject  path                     state        instructions
bare     run/from-pod             established           624
twinpath live/tc/clusterip-local  new                  4000
twinpath live/tc/clusterip-local  established          2000
ipvs     live/tc/clusterip-local  new                  9000
ipvs     live/tc/clusterip-local  established          5000
other    live/tc/clusterip-local  established             1
ipvs     live/tc/clusterip-local  strange                 1
";

/// Something of every measure.
pub(crate) fn results() -> Results {
    use Measure::*;
    use Subject::{Bare, Forward, IptablesLegacy, Ipvs, Nftables, Twinpath};
    use Unit::{BitsPerSecond, Bytes, Nanoseconds, PerSecond};
    let mut figures = Vec::new();
    let mut add = |what, subject, setting, unit, value| {
        figures.push(figure(what, subject, setting, unit, value));
    };
    for services in [1_u32, 100, 10_000] {
        let many = f64::from(services);
        for flows in [1, 50_000] {
            let cold = if flows == 1 { 1.0 } else { 1.4 };
            let what = (Established, "clusterip-local", "tc");
            add(what, Twinpath, (services, flows), Nanoseconds, 420.0 * cold);
            add(what, Bare, (services, flows), Nanoseconds, 380.0 * cold);
            let what = (Established, "clusterip-local", "");
            add(what, Forward, (services, flows), Nanoseconds, 900.0 * cold);
            add(what, IptablesLegacy, (services, flows), Nanoseconds, 1_200.0 * cold);
            add(what, Nftables, (services, flows), Nanoseconds, 1_090.0 * cold);
        }
        let what = (Established, "nodeport-snat", "xdp");
        add(what, Twinpath, (services, 1), Nanoseconds, 290.0);
        let what = (Established, "nodeport-snat", "tc");
        add(what, Twinpath, (services, 1), Nanoseconds, 640.0);
        let what = (Established, "nodeport-snat", "");
        add(what, IptablesLegacy, (services, 1), Nanoseconds, 1_350.0);
        let what = (NewFlow, "clusterip-local", "tc");
        add(what, Twinpath, (services, 50_000), Nanoseconds, 1_300.0);
        let what = (NewFlow, "clusterip-local", "");
        add(what, IptablesLegacy, (services, 50_000), Nanoseconds, 3_400.0 + 5.4 * many);
        add(what, Nftables, (services, 50_000), Nanoseconds, 3_500.0);
        add((Load, "", ""), Twinpath, (services, 0), Nanoseconds, 2e6 + 9_000.0 * many);
        add((Load, "", ""), IptablesLegacy, (services, 0), Nanoseconds, 2.4e7 + 120_000.0 * many);
        add((Load, "", ""), Nftables, (services, 0), Nanoseconds, 8e6 + 900.0 * many * many);
        add((AddService, "", ""), Twinpath, (services, 0), Nanoseconds, 310_000.0);
        add(
            (AddService, "", ""),
            IptablesLegacy,
            (services, 0),
            Nanoseconds,
            6e6 + 80_000.0 * many,
        );
        add((AddService, "", ""), Nftables, (services, 0), Nanoseconds, 1.2e7 + 20_000.0 * many);
    }
    for (measure, ours, theirs) in [
        (ProgramTime, 101.0, 0.0),
        (Churn, 440.0, 1_600.0),
        (ChangeEndpoint, 250_000.0, 7.1e8),
        (UntilFirstPacket, 400_000.0, 8.2e8),
        (Resync, 3e7, 2.1e9),
    ] {
        let path = if matches!(measure, ProgramTime | Churn) { "clusterip-local" } else { "" };
        add((measure, path, ""), Twinpath, (10_000, 0), Nanoseconds, ours);
        if theirs > 0.0 {
            add((measure, path, ""), IptablesLegacy, (10_000, 0), Nanoseconds, theirs);
        }
    }
    add((Throughput, "clusterip-local", "tc"), Twinpath, (100, 1), BitsPerSecond, 12.9e9);
    add((Throughput, "clusterip-local", ""), IptablesLegacy, (100, 1), BitsPerSecond, 12.8e9);
    add((ConnectRate, "clusterip-local", "tc"), Twinpath, (100, 0), PerSecond, 19_500.0);
    add((ConnectRate, "clusterip-local", ""), IptablesLegacy, (100, 0), PerSecond, 14_100.0);
    add((ConnectRate, "clusterip-local", ""), Nftables, (100, 0), PerSecond, 20_600.0);
    for (measure, ours, theirs) in
        [(MemoryPerService, 620.0, 2_900.0), (MemoryPerConnection, 208.0, 320.0)]
    {
        add((measure, "", ""), Twinpath, (10_000, 0), Bytes, ours);
        add((measure, "", ""), IptablesLegacy, (10_000, 0), Bytes, theirs);
    }
    let parts = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999];
    let steps = [0.8, 0.9, 0.95, 1.0, 1.1, 1.4, 2.4, 6.0, 40.0];
    for (measure, ours, legacy, nftables) in [
        (FirstPacket, 4_300.0, 61_000.0, 7_400.0),
        (Connect, 18_000.0, 90_000.0, 26_000.0),
        (RoundTrip, 15_000.0, 16_500.0, 16_400.0),
    ] {
        for (subject, hook, value) in
            [(Twinpath, "tc", ours), (IptablesLegacy, "", legacy), (Nftables, "", nftables)]
        {
            let what = (measure, "clusterip-local", hook);
            let mut one = figure(what, subject, (10_000, 0), Nanoseconds, value);
            one.quantiles =
                parts.into_iter().zip(steps.map(|step| (step * value).round())).collect();
            figures.push(one);
        }
    }
    Results {
        v: VERSION,
        machine: Machine {
            processor: "Made-up <CPU> & \"Co\"".into(),
            processors: 2,
            governor: "performance".into(),
            kernel: "6.18.44".into(),
            mitigations: vec!["spectre_v2: Retpolines".into()],
            versions: vec![
                ("twinpath".into(), "0.1.0".into()),
                ("iptables".into(), "v1.8.9".into()),
            ],
            notes: vec!["a virtual machine".into()],
        },
        command: "twinpath bench --services 1,100,10000".into(),
        began: 1_767_225_600,
        took: 251.4,
        complete: true,
        figures,
        guest: None,
        missing: vec![Missing {
            what: Ipvs.name().into(),
            why: "the kernel has no module ip_vs; see --help".into(),
        }],
    }
}
