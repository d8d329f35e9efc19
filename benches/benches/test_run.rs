//! What the programs cost in the kernel, in nanoseconds per packet, beside an empty program and beside
//! bare ones that do one lookup and one rewrite.
//!
//! `BPF_PROG_TEST_RUN` with a fresh packet each time (a program that rewrites must not see its own
//! output), the programs in turn for each packet, times as the kernel reports them. `cargo bench --bench
//! test_run` as root, after `ebpf/build.sh`.

use std::process::ExitCode;

use aya::Ebpf;
use aya::maps::HashMap;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use twinpath_benches::run::{self, Failure, load_bare};
use twinpath_benches::{CLIENT_DEVICE, Family, bare, fill, packet};
use twinpath_core::bytes::Pod;
use twinpath_core::conntrack::Flow;
use twinpath_core::hook::Hook;
use twinpath_core::wire::tcp;
use twinpath_kernel::load::{Options, load, program};
use twinpath_kernel::tables::KernelTables;
use twinpath_sim::node::Limits;

/// Packets per program and row.
const ROUNDS: usize = 200_000;
const FROM_POD: &str = Hook::FromPod.program();

fn main() -> ExitCode {
    // `cargo test` runs benches, too, to see that they start.
    if std::env::args().any(|arg| arg == "--test") {
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test_run: {error}");
            ExitCode::from(3)
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut bare = load_bare(&["empty", "bare16", "bare40", "lookup16", "lookup40"])?;
    let mut real = load(&Options::default())?;
    let mut tables = KernelTables::new(&mut real, &Limits::default())?;
    fill(&mut tables)?;
    bare::fill(&mut bare, &[packet(Family::V4, 0, tcp::ACK)])?;
    tuple_choice(&mut bare)?;
    steady(&mut bare, &mut real, &mut tables)?;
    println!("established, ns per packet             min   median     mean  /bare16");
    for flows in [1_u32, 50_000] {
        let packets = |family, flags| -> Vec<Vec<u8>> {
            (0..flows).map(|flow| packet(family, flow, flags)).collect()
        };
        let (v4, v6) = (packets(Family::V4, tcp::ACK), packets(Family::V6, tcp::ACK));
        bare::fill(&mut bare, &v4)?;
        for family in Family::ALL {
            for syn in packets(family, tcp::SYN) {
                once(&mut real, FROM_POD, &syn)?;
            }
        }
        let mut samples: [Vec<u64>; 5] = Default::default();
        for i in 0..ROUNDS {
            let (v4, v6) = (&v4[i % v4.len()], &v6[i % v6.len()]);
            let took = [
                once(&mut bare, "empty", v4)?,
                once(&mut bare, "bare16", v4)?,
                once(&mut bare, "bare40", v4)?,
                once(&mut real, FROM_POD, v4)?,
                once(&mut real, FROM_POD, v6)?,
            ];
            for (samples, took) in samples.iter_mut().zip(took) {
                samples.push(took);
            }
        }
        samples.iter_mut().for_each(|samples| samples.sort_unstable());
        let names =
            ["empty", "bare, 16-byte key", "bare, 40-byte key", "from-pod IPv4", "from-pod IPv6"];
        let bare16 = mean(&samples[1]);
        for (name, samples) in names.iter().zip(&samples) {
            let row = format!("{name}, {flows} flow(s)");
            let (min, median, mean) = (samples[0], samples[samples.len() / 2], mean(samples));
            println!("{row:<32} {min:>9} {median:>8} {mean:>8.1} {:>8.2}", mean / bare16);
        }
    }
    Ok(())
}

/// One lookup with the key of each layout, by the kernel's own repetition, the layouts in turn.
fn tuple_choice(bare: &mut Ebpf) -> Result<(), Failure> {
    let packet = packet(Family::V4, 0, tcp::ACK);
    println!("one lookup, ns                         min   median");
    let names = ["empty", "lookup16", "lookup40"];
    let mut samples: [Vec<u64>; 3] = Default::default();
    for _ in 0..15 {
        for (name, samples) in names.iter().zip(&mut samples) {
            let mut options = TestRunOptions::new();
            options.data_in = Some(&packet);
            options.repeat = 1_000_000;
            let took = classifier(bare, name)?.test_run(options)?.duration;
            samples.push(u64::try_from(took.as_nanos())?);
        }
    }
    for (name, samples) in names.iter().zip(&mut samples) {
        samples.sort_unstable();
        println!("{name:<32} {:>9} {:>8}", samples[0], samples[samples.len() / 2]);
    }
    Ok(())
}

/// The established path in a warm cache, by the kernel's own repetition: entries that translate a packet
/// to what it is already, with checksum changes of minus zero, so that all the work is done each time and
/// the next run meets the same packet. They leave by the stack, since a hop would count down to a drop.
fn steady(bare: &mut Ebpf, real: &mut Ebpf, tables: &mut KernelTables) -> Result<(), Failure> {
    let v4 = packet(Family::V4, 0, tcp::ACK);
    let mut entry = [0_u8; 16];
    entry[..4].copy_from_slice(&v4[30..34]);
    entry[4..6].copy_from_slice(&v4[36..38]);
    entry[6..10].fill(0xff);
    let key: [u8; 16] = [&v4[26..38], &[6, 0, 0, 0]].concat().try_into().map_err(|_| "key")?;
    let map = bare.map_mut("BARE16").ok_or("no such map")?;
    HashMap::<_, [u8; 16], [u8; 16]>::try_from(map)?.insert(key, entry, 0)?;
    for family in Family::ALL {
        once(real, FROM_POD, &packet(family, 0, tcp::SYN))?;
    }
    println!("established, warm, ns                  min   median  /bare");
    let mut samples: [Vec<u64>; 4] = Default::default();
    for _ in 0..15 {
        // Afresh each time, since an entry that was not used for a second takes the slow road once.
        for (key, flow) in tables.conntrack()? {
            let mut bytes = flow.as_bytes().to_vec();
            bytes[..40].copy_from_slice(key.as_bytes());
            bytes[48..52].fill(0xff);
            bytes[64..69].fill(0);
            bytes[71] = 1;
            tables.insert(&key, &Flow::read_from(&bytes).ok_or("flow")?)?;
        }
        let repeat = |program: &mut SchedClassifier, packet: &[u8]| -> Result<u64, Failure> {
            let mut options = TestRunOptions::new();
            options.data_in = Some(packet);
            options.repeat = 500_000;
            Ok(u64::try_from(program.test_run(options)?.duration.as_nanos())?)
        };
        let took = [
            repeat(classifier(bare, "empty")?, &v4)?,
            repeat(classifier(bare, "bare16")?, &v4)?,
            repeat(program(real, Hook::FromPod)?, &v4)?,
            repeat(program(real, Hook::FromPod)?, &packet(Family::V6, 0, tcp::ACK))?,
        ];
        samples.iter_mut().zip(took).for_each(|(samples, took)| samples.push(took));
    }
    samples.iter_mut().for_each(|samples| samples.sort_unstable());
    let median = |i: usize| samples[i][samples[i].len() / 2];
    for (i, name) in
        ["empty", "bare, 16-byte key", "from-pod IPv4", "from-pod IPv6"].iter().enumerate()
    {
        let ratio = median(i) as f64 / median(1) as f64;
        println!("{name:<32} {:>9} {:>8} {ratio:>6.2}", samples[i][0], median(i));
    }
    tables.clear()?;
    Ok(())
}

/// The mean of sorted samples, without the slowest hundredth, which are interrupts.
fn mean(sorted: &[u64]) -> f64 {
    let kept = &sorted[..sorted.len() - sorted.len() / 100];
    kept.iter().sum::<u64>() as f64 / kept.len() as f64
}

/// Runs a program on a packet; nanoseconds.
fn once(set: &mut Ebpf, name: &str, packet: &[u8]) -> Result<u64, Failure> {
    Ok(run::once(set, name, CLIENT_DEVICE, packet)?.nanos)
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, Failure> {
    Ok(ebpf.program_mut(name).ok_or("the object has no such program")?.try_into()?)
}
