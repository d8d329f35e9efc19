//! The ports of services that a change touches, before and after.

use std::collections::{BTreeMap, BTreeSet};

use super::pods::{Places, mentioned};
use super::{Keeper, Touched, ports_of};
use crate::diff::{Write, ordered};
use crate::model::{self, Claims, Given, PortName, ServicePort};
use crate::objects::ObjectName;
use crate::problem::Problem;
use crate::tables::{Desired, Devices, Part, Site, place, pod_endpoint};
use twinpath_core::backend::BackendId;

/// 64 ports that may be reserved: their place, before, after.
type Word = (u32, u64, u64);

/// A port before and after.
#[derive(Default)]
struct Changed {
    old: Option<ServicePort>,
    new: Option<ServicePort>,
}

impl Keeper {
    /// Plans what a change touches; `None` where that is not enough, and then all has to be planned.
    pub(super) fn parts<D: Devices + ?Sized>(
        &mut self,
        touched: Touched,
        devices: &D,
    ) -> Option<(Vec<Write>, Vec<Problem>)> {
        let mut problems = Vec::new();
        let mut pods = touched.pods.clone();
        let changed = self.changed_ports(touched, &mut problems)?;

        let config = self.tables.config;
        let mut from = Desired { config, ..Desired::default() };
        let mut to = from.clone();
        let (entries, words) = self.compare_parts(&changed, &mut from, &mut to);

        self.put_ports(changed, &mut pods);
        let mut places = Places::default();
        for name in &pods {
            self.put_pod(name, devices, &mut places, &mut problems);
        }
        self.pods.compare(&places, &self.tables, &mut from, &mut to);
        Some((ordered(&from, &to, entries.into_iter(), &words), problems))
    }

    /// The ports that differ, as they are and as they shall be. Claims are changed on the way.
    fn changed_ports(
        &mut self,
        touched: Touched,
        problems: &mut Vec<Problem>,
    ) -> Option<BTreeMap<PortName, Changed>> {
        let mut changed: BTreeMap<PortName, Changed> = BTreeMap::new();
        let mut after = Vec::new();
        for (service, before) in touched.services {
            let object = self.objects.services.get(&service);
            let new = self.service(&service, problems);
            // Claims come from the Service alone.
            let claims_before = before
                .as_ref()
                .map(|old| old.as_ref().map(|old| claims(&service, old)).unwrap_or_default());
            let claims_after = object.map(|object| claims(&service, object)).unwrap_or_default();
            let claims_before = claims_before.as_ref().unwrap_or(&claims_after);
            let differ = claims_before.differences(&claims_after);
            if differ.into_iter().any(|claim| self.host_ports.may_meet(claim))
                || self.claims.clash(&service, claims_before)
            {
                return None;
            }
            self.claims.release(claims_before);
            for name in ports_of(&self.state, &service) {
                if name.port.contains(' ') {
                    return None;
                }
                let old = self.state.services.get(&name).cloned();
                changed.entry(name).or_default().old = old;
            }
            for (name, port) in new {
                // No valid name; if one is like that of a host port, it is in its way.
                if name.port.contains(' ') {
                    return None;
                }
                changed.entry(name).or_default().new = Some(port);
            }
            after.push((service, claims_after));
        }
        for (service, claims) in after {
            if self.claims.clash(&service, &claims) {
                return None;
            }
            self.claims.take(claims);
        }
        changed.retain(|_, port| port.old != port.new);
        Some(changed)
    }

    /// The ports of a service, as if no other had claims.
    fn service(
        &self,
        service: &ObjectName,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<PortName, ServicePort> {
        let Some((name, object)) = self.objects.services.get_key_value(service) else {
            return BTreeMap::new();
        };
        let slices = self.slices.get(service).into_iter().flatten();
        let group = model::group(&self.objects, service, slices, problems);
        let no_slices = self.objects.slices.is_empty() && self.objects.endpoints.is_empty();
        let given = Given { name, object, group: group.as_ref(), no_slices };
        model::service(&given, &mut Claims::default(), problems)
    }

    /// What these ports have in the tables, and shall have: entries in `from` and `to`, of the Maglev table
    /// those that change, of reserved ports words with their places.
    fn compare_parts(
        &mut self,
        changed: &BTreeMap<PortName, Changed>,
        from: &mut Desired,
        to: &mut Desired,
    ) -> (Vec<(u32, BackendId)>, Vec<Word>) {
        let Self { planner, counts, tables, state, node, addresses, options, .. } = self;
        let site = Site::new(state, node, addresses, options);
        let served = |port: &&ServicePort| site.serves(port);

        // As in a whole plan: who has no slice any more frees it, before others are given one.
        let (mut parts, mut slices) = (Vec::new(), BTreeMap::new());
        for (name, port) in changed {
            let Some(old) = port.old.as_ref().filter(served) else { continue };
            let mut part = Part::default();
            planner.part(&mut part, &site, name, old);
            counts.remove(&part);
            let had = part.slices.iter().filter_map(|owner| planner.slice(owner));
            slices.extend(had.map(|(index, _)| (index, Vec::new())));
            from.services.extend(part.services.iter().copied());
            from.members.extend(part.members.iter().copied());
            from.ranges.extend(part.ranges.iter().map(|range| (*range, 1)));
            from.terminations.extend(part.terminations.iter().copied());
            parts.push(part);
        }
        let mut gone = BTreeSet::new();
        for (name, port) in changed {
            let old = port.old.iter().flat_map(|port| planner.owners(name, port, options));
            gone.extend(old.collect::<Vec<_>>());
        }
        for (name, port) in changed {
            for owner in port.new.iter().flat_map(|port| planner.owners(name, port, options)) {
                gone.remove(&owner);
            }
        }
        gone.iter().for_each(|owner| planner.release(owner));
        for (name, port) in changed {
            let Some(new) = port.new.as_ref().filter(served) else { continue };
            let mut part = Part::default();
            planner.part(&mut part, &site, name, new);
            counts.add(&part);
            let has = part.slices.iter().filter_map(|owner| planner.slice(owner));
            slices.extend(has.map(|(index, entries)| (index, entries.to_vec())));
            to.services.extend(part.services.iter().copied());
            to.members.extend(part.members.iter().copied());
            to.ranges.extend(part.ranges.iter().map(|range| (*range, 1)));
            to.terminations.extend(part.terminations.iter().copied());
            parts.push(part);
        }

        let mut words = BTreeMap::new();
        for part in &parts {
            counts.compare(part, tables, from, to, &mut words);
        }
        let mut entries = Vec::new();
        for (index, new) in slices {
            for (at, slot) in place(index, options.maglev_size).zip(0_usize..) {
                let old = tables.maglev.get(at).copied().unwrap_or(0);
                let new = new.get(slot).copied().unwrap_or(0);
                let at = u32::try_from(at).ok().filter(|_| old != new);
                entries.extend(at.map(|at| (at, new)));
            }
        }
        (entries, words.into_iter().map(|(at, (old, new))| (at, old, new)).collect())
    }

    /// Puts the ports in their places; which pods are others by what endpoints say of them.
    fn put_ports(&mut self, changed: BTreeMap<PortName, Changed>, pods: &mut BTreeSet<ObjectName>) {
        for (name, Changed { old, new }) in changed {
            let said = |port: &'_ Option<ServicePort>| -> BTreeSet<_> {
                let said = port.iter().flat_map(mentioned);
                said.map(|(pod, node, ip, port)| (pod.clone(), node.to_owned(), ip, port)).collect()
            };
            let differ = &said(&old) ^ &said(&new);
            let known = |pod: &ObjectName| self.objects.pods.contains_key(pod);
            pods.extend(differ.into_iter().map(|(pod, ..)| pod).filter(|pod| !known(pod)));
            if let Some(old) = old {
                self.pods.forget(&name, &old);
                self.state.services.remove(&name);
            }
            if let Some(new) = new {
                self.pods.hear(&name, &new);
                self.state.services.insert(name, new);
            }
        }
    }

    /// Makes a pod anew.
    fn put_pod<D: Devices + ?Sized>(
        &mut self,
        name: &ObjectName,
        devices: &D,
        places: &mut Places,
        problems: &mut Vec<Problem>,
    ) {
        if let Some(old) = self.state.pods.remove(name) {
            self.pods.remove(&old, &self.state, &self.options, places);
        }
        let new = match self.objects.pods.get(name) {
            Some(object) => model::pod(name, object, problems),
            None => self.pods.mentioned_pod(name, &self.state, &self.addresses.nodes),
        };
        if let Some(new) = new {
            let endpoint = pod_endpoint(&new, &self.node, devices);
            self.pods.add(&new, endpoint, &self.state, &self.options, places);
            self.state.pods.insert(name.clone(), new);
        }
    }
}

/// What a Service claims.
fn claims(name: &ObjectName, object: &crate::read::Object<crate::objects::Service>) -> Claims {
    let mut claims = Claims::default();
    let given = Given { name, object, group: None, no_slices: true };
    model::service(&given, &mut claims, &mut Vec::new());
    claims
}
