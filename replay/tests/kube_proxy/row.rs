//! A row: who sends what where in which cluster, and what becomes of it.

/// A row.
///
/// What becomes of a packet is a text: the endpoints that it may reach, each of which it must reach with
/// some port of the client and no other ever, such as `a1:8080 b1:8080*`; or `DROP`, without an answer;
/// `REJECT`, with ICMP port unreachable; or `PASS`, as it was sent. An endpoint with `*` sees the address of a
/// node as the client's, one with `~` the address for hairpins, and others the client's own.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What it is about.
    pub(crate) name: String,
    /// The services; see [`super::cluster::state`].
    pub(crate) services: Vec<String>,
    /// Who sends: a name of [`super::cluster`]. `node-a@lb1` sends under the address of `lb1`.
    pub(crate) from: &'static str,
    /// Where to: `tcp svc1:80`.
    pub(crate) to: String,
    /// What becomes of it by kube-proxy, in its nftables mode where modes differ.
    pub(crate) kube_proxy: String,
    /// Where it is something else here: the number of the row in `docs/deviations.md`, and what.
    pub(crate) differs: Option<(u32, String)>,
}

impl Row {
    /// What becomes of it here.
    pub(crate) fn expected(&self) -> &str {
        self.differs.as_ref().map_or(self.kube_proxy.as_str(), |(_, here)| here)
    }

    /// The row where it is something else here: the number of the deviation, and what.
    pub(crate) fn but(self, number: u32, here: &str) -> Self {
        Self { differs: Some((number, here.to_owned())), ..self }
    }
}

/// A row that is as with kube-proxy.
pub(crate) fn same(
    name: &str,
    services: &[&str],
    from: &'static str,
    to: &str,
    kube_proxy: &str,
) -> Row {
    Row {
        name: name.to_owned(),
        services: services.iter().copied().map(str::to_owned).collect(),
        from,
        to: to.to_owned(),
        kube_proxy: kube_proxy.to_owned(),
        differs: None,
    }
}
