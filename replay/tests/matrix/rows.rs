//! Rows, and how they are made.

use twinpath_control::tables::{Dispatch, Mode};
use twinpath_sim::world::Sender;

use super::cluster::{Service, Setup, client, node, pod};
use super::lab::{Check, Lab, Path};
use super::packet::{End, Proto};

/// What a row does, after its world was set up.
type Run = Box<dyn Fn(&mut Lab<'_>) -> Check + Send + Sync>;

/// A row.
pub(crate) struct Row {
    pub name: String,
    pub setup: Setup,
    pub services: Vec<Service>,
    pub run: Run,
    /// Why it is known to fail.
    pub known: Option<&'static str>,
}

impl Row {
    pub(crate) fn new(
        name: String,
        setup: &Setup,
        services: &[&Service],
        run: impl Fn(&mut Lab<'_>) -> Check + Send + Sync + 'static,
    ) -> Self {
        let services = services.iter().map(|service| (*service).clone()).collect();
        Self { name, setup: setup.clone(), services, run: Box::new(run), known: None }
    }
}

/// `TWINPATH_MATRIX` in the environment chooses rows by a part of their names.
pub(crate) fn chosen(rows: Vec<Row>) -> Vec<Row> {
    match std::env::var("TWINPATH_MATRIX") {
        Ok(part) => rows.into_iter().filter(|row| row.name.contains(&part)).collect(),
        Err(_) => rows,
    }
}

pub(crate) fn is_choice() -> bool {
    std::env::var_os("TWINPATH_MATRIX").is_some()
}

pub(crate) const FAMILIES: [bool; 2] = [true, false];

pub(crate) const fn family(v4: bool) -> &'static str {
    if v4 { "v4" } else { "v6" }
}

/// A port that nodes keep when they translate.
pub(crate) const PORT: u16 = 40_000;

/// Who sends, and its address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Pod(&'static str),
    Node(u8),
    Client(&'static str),
}

impl Who {
    pub(crate) fn address(self, v4: bool) -> std::net::IpAddr {
        match self {
            Self::Pod(name) => pod(name, v4),
            Self::Node(number) => node(number, v4),
            Self::Client(name) => client(name, v4),
        }
    }

    pub(crate) fn sender(self, lab: &Lab<'_>) -> Sender {
        match self {
            Self::Pod(name) => Sender::Pod(lab.pod(name)),
            Self::Node(number) => Sender::Node(usize::from(number) - 1),
            Self::Client(name) => Sender::Client(usize::from(name == "y")),
        }
    }
}

/// A way to a backend, whose source is `sees` there; `None` for the client's own.
pub(crate) fn path(
    lab: &Lab<'_>,
    (proto, v4): (Proto, bool),
    who: Who,
    service: &Service,
    to: End,
    pod: &'static str,
    sees: Option<End>,
) -> Path {
    let from = (who.address(v4), PORT);
    Path {
        proto,
        sender: who.sender(lab),
        from,
        to,
        pod,
        sees: sees.unwrap_or(from),
        target: service.target(pod, v4),
    }
}

/// A kind of connection to a service.
#[derive(Clone)]
pub(crate) struct Way {
    pub name: &'static str,
    pub setup: Setup,
    pub who: Who,
    pub server: &'static str,
    /// Whether the backend sees the node.
    pub snat: bool,
    /// How many halves each node has.
    pub halves: [usize; 3],
}

impl Way {
    /// Every kind.
    pub(crate) fn all() -> Vec<Self> {
        let plain = |name, who, server, snat, halves| Self {
            name,
            setup: Setup::default(),
            who,
            server,
            snat,
            halves,
        };
        let direct = |name, dispatch| {
            let mut way = plain(name, Who::Client("x"), "sb", false, [2, 2, 0]);
            (way.setup.options.mode, way.setup.options.dispatch) = (Mode::Dsr, dispatch);
            way
        };
        vec![
            plain("ClusterIP local", Who::Pod("ca"), "sa", false, [2, 0, 0]),
            plain("ClusterIP remote", Who::Pod("ca"), "sb", false, [2, 2, 0]),
            plain("NodePort local", Who::Client("x"), "sa", false, [2, 0, 0]),
            plain("NodePort SNAT", Who::Client("x"), "sb", true, [2, 2, 0]),
            direct("NodePort DSR option", Dispatch::Option),
            direct("NodePort DSR IP in IP", Dispatch::Ipip),
            direct("NodePort DSR Geneve", Dispatch::Geneve),
        ]
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.name.contains("DSR")
    }

    pub(crate) fn frontend(&self, service: &Service, v4: bool) -> End {
        match self.who {
            Who::Client(_) => service.at_node(1, v4),
            _ => service.cluster(v4),
        }
    }

    pub(crate) fn path(&self, lab: &Lab<'_>, service: &Service, v4: bool) -> Path {
        let sees = self.snat.then(|| (node(1, v4), PORT));
        let to = self.frontend(service, v4);
        path(lab, (service.proto, v4), self.who, service, to, self.server, sees)
    }

    /// A row for this kind of connection to a service of its own.
    pub(crate) fn row(
        &self,
        (proto, v4): (Proto, bool),
        what: &str,
        run: impl Fn(&mut Lab<'_>, &Path) -> Check + Send + Sync + 'static,
    ) -> Row {
        let service = Service::new(proto, &[self.server]);
        let name = format!("{} {} {}: {what}", family(v4), proto.name(), self.name);
        let (way, own) = (self.clone(), service.clone());
        Row::new(name, &self.setup, &[&service], move |lab| {
            let path = way.path(lab, &own, v4);
            run(lab, &path)
        })
    }
}
