//! The behaviour of a whole cluster as a table: every kind of packet on every kind of way, in both families,
//! in the simulator and in the programs. Rows say what must come out without the core: who receives, with
//! which ends, what is counted, and which connections are kept. For every frame at every place its checksums
//! are computed in full, and the hops that it took are counted.

#[path = "matrix/cluster.rs"]
mod cluster;
#[path = "matrix/direct.rs"]
mod direct;
#[path = "matrix/errors.rs"]
mod errors;
#[path = "matrix/lab.rs"]
mod lab;
#[path = "matrix/life.rs"]
mod life;
#[path = "matrix/odd.rs"]
mod odd;
#[path = "matrix/packet.rs"]
mod packet;
#[path = "matrix/ports.rs"]
mod ports;
#[path = "matrix/reach.rs"]
mod reach;
#[path = "matrix/reader.rs"]
mod reader;
#[path = "matrix/rows.rs"]
mod rows;

use twinpath::command::verify::LIMITS;
use twinpath_control::diff::Write;
use twinpath_control::model::State;
use twinpath_core::seam::RESERVED_WORDS;
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_kernel::testing::skip;
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::world::{ModelWorld, Plan, Trace, World};

use cluster::{Setup, state};
use lab::Lab;
use rows::Row;

/// Every row there is.
fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    reach::rows(&mut rows);
    direct::rows(&mut rows);
    life::rows(&mut rows);
    ports::rows(&mut rows);
    errors::rows(&mut rows);
    odd::rows(&mut rows);
    rows
}

/// No fewer rows run in each world.
const ROWS: usize = 2_378;

/// Brings a world to where a row begins.
fn prepare<E: Engine>(world: &mut ModelWorld<E>, row: &Row) {
    world.apply(&State::default()).expect("empty tables");
    // What the options asked for is in no state.
    for node in 0..3 {
        for word in 0..RESERVED_WORDS as u32 {
            let write = Write::Reserved(word, 0);
            world.cluster.engine.write(node, &write).expect("reserved ports");
        }
    }
    world.cluster.engine.reset(row.setup.seed).expect("a reset");
    world.cluster.topology = row.setup.topology();
    world.plan = Plan::new(row.setup.options.clone());
    world.apply(&state(&row.services)).expect("tables");
}

/// What rows came to in a world.
#[derive(Default)]
struct Outcome {
    ran: usize,
    known: Vec<String>,
    failed: Vec<String>,
    traces: Vec<Vec<Trace>>,
}

fn run_all<E: Engine>(mut world: ModelWorld<E>, rows: &[Row]) -> Outcome {
    let mut outcome = Outcome::default();
    for row in rows {
        prepare(&mut world, row);
        let mut lab = Lab::new(&mut world);
        let result = (row.run)(&mut lab);
        outcome.traces.push(std::mem::take(&mut lab.traces));
        outcome.ran += 1;
        match (result, row.known) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                outcome.failed.push(format!("{}: known to fail, and holds", row.name));
            }
            (Err(_), Some(why)) => outcome.known.push(format!("{}: {why}", row.name)),
            (Err(what), None) => outcome.failed.push(format!("{}: {what}", row.name)),
        }
    }
    outcome
}

fn report(world: &str, outcome: &Outcome) {
    println!(
        "{world}: {} rows, {} failed, {} known",
        outcome.ran,
        outcome.failed.len(),
        outcome.known.len()
    );
    for known in &outcome.known {
        println!("  known   {known}");
    }
    for failed in &outcome.failed {
        println!("  failed  {failed}");
    }
}

#[test]
fn every_row_holds_in_every_world() {
    let rows = rows::chosen(all());
    let options = Setup::default().options;
    let topology = Setup::default().topology();
    let simulate = || {
        let engine = SimEngine::new(3, &LIMITS, 0);
        let (topology, options) = (topology.clone(), options.clone());
        run_all(ModelWorld::new("sim", topology, engine, options), &rows)
    };
    let (sim, programs) = std::thread::scope(|scope| {
        let sim = scope.spawn(simulate);
        let programs = TestRunEngine::new(3, &LIMITS, 0).map(|engine| {
            let (topology, options) = (topology.clone(), options.clone());
            run_all(ModelWorld::new("test-run", topology, engine, options), &rows)
        });
        (sim.join().expect("the simulator runs"), programs)
    });
    report("sim", &sim);
    let programs = match programs {
        Ok(outcome) => {
            report("test-run", &outcome);
            Some(outcome)
        }
        Err(error) => {
            skip("the matrix in test-run", &error.to_string());
            None
        }
    };
    let mut failed = sim.failed.len();
    if let Some(programs) = &programs {
        failed += programs.failed.len();
        for (row, (one, other)) in rows.iter().zip(sim.traces.iter().zip(&programs.traces)) {
            if one != other {
                println!("  differs {}: {} and {} packets", row.name, one.len(), other.len());
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 0, "rows failed or differ; they are above");
    assert!(rows::is_choice() || sim.ran >= ROWS, "{} rows", sim.ran);
}
