//! Networks that want the same bridge or the same addresses, found in one pass over all of them.
//!
//! Two ranges of addresses overlap only when one lies within the other. So a range meets those that were noted under one of
//! its shorter prefixes, and those whose first address lies within it; both are look-ups. Each pair is noted once, with the
//! later name, and no network with more than a few others: who shares with one must change anyway.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{NetworkKind, NetworkSpec, bridge_name};
use crate::base::Name;
use crate::kinds::{AsKind, Catalog, KindName};

/// With how many others a network's clashes of one sort are said.
const MOST: usize = 8;

/// What a network shares with another that comes before it by name.
#[derive(Debug, PartialEq)]
pub struct Clash {
    /// The other.
    pub with: Name,
    /// What both want.
    pub shared: Shared,
}

/// What two networks cannot share.
#[derive(Debug, PartialEq)]
pub enum Shared {
    /// Ranges that overlap.
    Addresses {
        /// The network's own.
        ours: IpNet,
        /// The other's.
        theirs: IpNet,
    },
    /// A bridge that one of them makes.
    Bridge(String),
}

/// Every clash, by the later name.
#[derive(Debug, Default)]
pub struct Clashes(HashMap<Name, Vec<Clash>>);

impl Clashes {
    /// Looks through all networks.
    pub fn find(catalog: &Catalog) -> Self {
        let mut clashes = Self::default();
        let (mut ranges, mut bridges) = (Ranges::default(), Bridges::default());
        for resource in catalog.of(KindName::Network) {
            let Some(spec) = AsKind::<NetworkKind>::as_kind(&resource.spec) else { continue };
            let name = resource.name();
            let nets: Vec<IpNet> =
                [&spec.cidr, &spec.cidr6].into_iter().flatten().filter_map(|c| c.parse().ok()).collect();
            let mut found: Vec<Clash> = nets.iter().flat_map(|net| ranges.meet(*net)).collect();
            found.extend(bridges.meet(name, spec));
            nets.into_iter().for_each(|net| ranges.add(net, name));
            if !found.is_empty() {
                clashes.0.insert(name.clone(), found);
            }
        }
        clashes
    }

    /// Those of one network.
    pub fn of(&self, name: &Name) -> &[Clash] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The ranges of the networks so far, by first address and length.
#[derive(Default)]
struct Ranges(BTreeMap<(IpAddr, u8), Vec<(Name, IpNet)>>);

impl Ranges {
    fn add(&mut self, net: IpNet, name: &Name) {
        let same = self.0.entry((net.network(), net.prefix_len())).or_default();
        // More are never said.
        if same.len() < MOST {
            same.push((name.clone(), net));
        }
    }

    fn meet(&self, net: IpNet) -> Vec<Clash> {
        let around = (0..net.prefix_len()).filter_map(|length| {
            let wider = IpNet::new(net.network(), length).ok()?;
            self.0.get(&(wider.network(), length))
        });
        let within = self.0.range((net.network(), net.prefix_len())..=(net.broadcast(), u8::MAX)).map(|(_, same)| same);
        let met = around.chain(within).flatten().take(MOST);
        let mut found: Vec<Clash> = met
            .map(|(with, theirs)| Clash {
                with: with.clone(),
                shared: Shared::Addresses { ours: net, theirs: *theirs },
            })
            .collect();
        found.sort_by(|a, b| a.with.cmp(&b.with));
        found
    }
}

/// Who has each bridge so far, and who of them makes it.
#[derive(Default)]
struct Bridges(HashMap<String, (Vec<Name>, Vec<Name>)>);

impl Bridges {
    fn meet(&mut self, name: &Name, spec: &NetworkSpec) -> Vec<Clash> {
        let bridge = bridge_name(name, spec);
        let (all, makers) = self.0.entry(bridge.clone()).or_default();
        let met: &[Name] = if spec.made() { all } else { makers };
        let found =
            met.iter().map(|with| Clash { with: with.clone(), shared: Shared::Bridge(bridge.clone()) }).collect();
        if all.len() < MOST {
            all.push(name.clone());
        }
        if spec.made() && makers.len() < MOST {
            makers.push(name.clone());
        }
        found
    }
}
