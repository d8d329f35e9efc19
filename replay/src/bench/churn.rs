//! Services that come and go while packets are measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use twinpath_control::diff::{Target, Write};
use twinpath_control::model::State;
use twinpath_core::seam::Config;
use twinpath_kernel::veth::cpu;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::world::WorldError;

use super::cluster::{self, NODE};
use super::datapath::{Datapath, Twinpath};
use super::lab::{Lab, failed};
use super::rival::{Job, Rival};
use super::subject::Subject;

/// The time between two changes, beside what a change takes.
const PAUSE: Duration = Duration::from_millis(10);

/// One service that is added and removed, in turns.
pub struct Changes {
    of: Of,
    /// Whether it is there.
    is_there: bool,
}

enum Of {
    Tables {
        twinpath: Box<Twinpath>,
        /// What adds it, and what removes it.
        writes: [Vec<Write>; 2],
        epoch: u32,
    },
    /// What adds it, and what removes it.
    Rules([Vec<Job>; 2]),
}

impl Changes {
    /// Whether a subject has services that can change.
    pub const fn are_of(subject: Subject) -> bool {
        matches!(
            subject,
            Subject::Twinpath | Subject::IptablesLegacy | Subject::IptablesNft | Subject::Nftables
        )
    }

    /// The cluster of a lab as it is, and with one more service.
    fn states(services: u32) -> [State; 2] {
        let mut objects = cluster::objects(services);
        let before = State::new(&objects).0;
        objects.merge(cluster::other(services));
        [before, State::new(&objects).0]
    }

    /// Works the changes of a lab out, and takes from it what they are made to. [`Self::end`] must follow.
    pub fn of(lab: &mut Lab) -> Result<Self, WorldError> {
        if lab.subject != Subject::Twinpath {
            return Self::of_rules(lab);
        }
        let mut twinpath = match std::mem::replace(&mut lab.datapath, Datapath::Stack) {
            Datapath::Twinpath(twinpath) => twinpath,
            other => {
                lab.datapath = other;
                return Err(failed(format!("{} has no services that change", lab.subject)));
            }
        };
        let [before, after] = Self::states(lab.services);
        let writes = [after, before].map(|state| twinpath.plan.writes(&state, NODE, &lab.topology));
        let mut epochs = writes.iter().flatten().filter_map(|write| match write {
            Write::Config(config) => Some(config.epoch),
            _ => None,
        });
        let epoch = epochs.next_back().unwrap_or(0);
        Ok(Self { of: Of::Tables { twinpath, writes, epoch }, is_there: false })
    }

    /// As kube-proxy does them: a service that is gone is swept away at once, so that turns are alike.
    fn of_rules(lab: &Lab) -> Result<Self, WorldError> {
        let rival = Rival::new(lab.subject).map_err(|missing| {
            WorldError::Environment(format!("{}: {}", missing.what, missing.why))
        })?;
        let [before, after] = Self::states(lab.services);
        let add = vec![rival.update(&before, &after, NODE)];
        let remove = vec![rival.update(&after, &before, NODE), rival.sweep(&after, &before, NODE)];
        Ok(Self { of: Of::Rules([add, remove]), is_there: false })
    }

    /// Makes changes on a thread of another CPU while something else is done, which begins after the first
    /// of them.
    pub fn while_at_it<T>(
        &mut self,
        lab: &mut Lab,
        job: impl FnOnce(&mut Lab) -> Result<T, WorldError>,
    ) -> Result<T, WorldError> {
        let (done, node) = (AtomicBool::new(false), Arc::clone(&lab.node));
        let (begun, first) = std::sync::mpsc::channel();
        let (result, changed) = std::thread::scope(|scope| {
            let changes = scope.spawn(|| -> Result<(), WorldError> {
                let begun = begun;
                cpu::go_elsewhere().map_err(failed)?;
                // Both in turns, and at the end what was there before.
                while !done.load(Ordering::Relaxed) || self.is_there {
                    self.turn(&node)?;
                    let _ = begun.send(()); // nobody waits for those after the first
                    std::thread::sleep(PAUSE);
                }
                Ok(())
            });
            let result = first.recv().map_err(failed).and_then(|()| job(lab));
            done.store(true, Ordering::Relaxed);
            (result, changes.join())
        });
        changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        result
    }

    /// Gives back what was taken.
    pub fn end(self, lab: &mut Lab) {
        if let Of::Tables { twinpath, .. } = self.of {
            lab.datapath = Datapath::Twinpath(twinpath);
        }
    }

    fn turn(&mut self, node: &Namespace) -> Result<(), WorldError> {
        let place = usize::from(self.is_there);
        match &mut self.of {
            Of::Tables { twinpath, writes, epoch } => {
                for write in writes.get(place).into_iter().flatten() {
                    let write = match write {
                        // A number that was there before would hide the change from connections.
                        Write::Config(config) => {
                            *epoch = epoch.wrapping_add(1);
                            Write::Config(Config { epoch: *epoch, ..*config })
                        }
                        other => *other,
                    };
                    twinpath.tables.write(&write).map_err(failed)?;
                }
            }
            Of::Rules(turns) => {
                for job in turns.get(place).into_iter().flatten() {
                    job.run(node)?;
                }
            }
        }
        self.is_there = !self.is_there;
        Ok(())
    }
}
