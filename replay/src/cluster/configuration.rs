//! The configuration of Cilium, which a sysdump has as a ConfigMap.

use std::collections::BTreeMap;

use serde::Deserialize;
use twinpath_control::maglev::Size;
use twinpath_control::tables::{Dispatch, Mode, Options};
use twinpath_core::service::Algorithm;

/// A ConfigMap, or a list of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigMap {
    data: BTreeMap<String, String>,
    items: Vec<Self>,
}

/// Sets what the configuration says, and gives a line about what that is, and one for each thing that it says
/// in vain.
pub(super) fn apply(name: &str, text: &str, options: &mut Options) -> Vec<String> {
    let map: ConfigMap = match serde_saphyr::from_str(text) {
        Ok(map) => map,
        Err(_) => {
            return vec![format!("warning: {name}: no ConfigMap, so nothing is taken from it")];
        }
    };
    let mut data = map.data;
    data.extend(map.items.into_iter().flat_map(|map| map.data));
    // Older versions have other names.
    let value = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| data.get(*name))
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    };
    let (mut said, mut notes) = (Vec::new(), Vec::new());
    let mut unknown = |what: &str, text: &str| {
        notes.push(format!("warning: {name}: {what} {text:?} is not known here and left out"));
    };
    if let Some(text) = value(["bpf-lb-algorithm", "node-port-algorithm"]) {
        match text {
            "random" => options.algorithm = Algorithm::Random,
            "maglev" => options.algorithm = Algorithm::Maglev,
            other => unknown("bpf-lb-algorithm", other),
        }
        options.external_algorithm = options.algorithm;
        said.push(format!("algorithm {text}"));
    }
    if let Some(text) = value(["bpf-lb-mode", "node-port-mode"]) {
        match text {
            "snat" => options.mode = Mode::Snat,
            "dsr" => options.mode = Mode::Dsr,
            "hybrid" => options.mode = Mode::Hybrid,
            other => unknown("bpf-lb-mode", other),
        }
        said.push(format!("mode {text}"));
    }
    if let Some(text) = value(["bpf-lb-dsr-dispatch", "bpf-lb-dsr-dispatch"]) {
        match text {
            "opt" => options.dispatch = Dispatch::Option,
            "ipip" => options.dispatch = Dispatch::Ipip,
            "geneve" => options.dispatch = Dispatch::Geneve,
            other => unknown("bpf-lb-dsr-dispatch", other),
        }
        said.push(format!("dispatch {text}"));
    }
    if let Some(text) = value(["bpf-lb-maglev-table-size", "bpf-lb-maglev-table-size"]) {
        match text.parse().ok().and_then(|size| Size::new(size).ok()) {
            Some(size) => options.maglev_size = size,
            None => unknown("bpf-lb-maglev-table-size", text),
        }
        said.push(format!("Maglev tables of {text}"));
    }
    if value(["bpf-lb-maglev-hash-seed", "bpf-lb-maglev-hash-seed"]).is_some() {
        said.push(
            "a seed of Maglev tables, which is not used: twinpath fills its tables in its own way"
                .into(),
        );
    }
    if !said.is_empty() {
        let text = format!("{name}: {}; flags come before it", said.join(", "));
        notes.insert(0, text);
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says() {
        let text = "apiVersion: v1\nkind: ConfigMap\ndata:\n  bpf-lb-algorithm: maglev\n  bpf-lb-mode: hybrid\n  \
                    bpf-lb-dsr-dispatch: geneve\n  bpf-lb-maglev-table-size: \"16381\"\n  \
                    bpf-lb-maglev-hash-seed: JLfvgnHc2kaSUFaI\n  debug: \"false\"\n";
        let mut options = Options::default();
        let notes = apply("map", text, &mut options);
        assert_eq!(
            notes,
            [
                "map: algorithm maglev, mode hybrid, dispatch geneve, Maglev tables of 16381, a seed of Maglev \
              tables, which is not used: twinpath fills its tables in its own way; flags come before it"
            ]
        );
        let expected = Options {
            algorithm: Algorithm::Maglev,
            external_algorithm: Algorithm::Maglev,
            mode: Mode::Hybrid,
            dispatch: Dispatch::Geneve,
            maglev_size: Size::new(16_381).unwrap(),
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_is_not_known() {
        let mut options = Options::default();
        let list = "items: [{data: {bpf-lb-mode: magic, bpf-lb-maglev-table-size: '16'}}]";
        assert_eq!(
            apply("map", list, &mut options)[1..],
            [
                "warning: map: bpf-lb-mode \"magic\" is not known here and left out",
                "warning: map: bpf-lb-maglev-table-size \"16\" is not known here and left out",
            ]
        );
        assert_eq!(options, Options::default());
        assert_eq!(apply("map", "data: 3", &mut options).len(), 1);
        assert_eq!(apply("map", "data: {}", &mut options), [""; 0]);
    }
}
