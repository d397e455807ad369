//! Looks at everything once: all kinds at the same time, so that a slow driver delays nobody but its own kind.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;

use crate::kinds::{Catalog, KindName, Live, Observed, Ref, Scope, World};
use crate::plan::live::LiveState;

/// How long one kind's listing may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The live state of this node, without what was accepted.
pub async fn observe(world: &World, catalog: &Catalog) -> LiveState {
    observe_kinds(world, catalog, KindName::ALL).await
}

/// The same for some kinds only; the others are as unreadable.
pub async fn observe_kinds(world: &World, catalog: &Catalog, kinds: &[KindName]) -> LiveState {
    let mut state = LiveState::empty(world.node.clone(), world.clock.now());
    let scope = Scope::of(catalog);
    let looks = kinds.iter().map(|kind| async {
        let look = tokio::time::timeout(DEADLINE, kind.observe(world, &scope)).await;
        (*kind, look)
    });
    for (kind, look) in join_all(looks).await {
        match look {
            Ok(Ok(found)) => state.resources.extend(keep(kind, found)),
            Ok(Err(fault)) => {
                let help = fault.help.as_deref().map(|h| format!("; {h}")).unwrap_or_default();
                state.unreadable.insert(kind, format!("{}{help}", fault.message));
            }
            Err(_) => {
                state.unreadable.insert(kind, format!("it did not answer within {} s", DEADLINE.as_secs()));
            }
        }
    }
    for kind in KindName::ALL.iter().filter(|k| !kinds.contains(k)) {
        state.unreadable.insert(*kind, "it was not looked at".into());
    }
    state
}

/// One resource alone, where its kind can look at it so; what cannot be read in time is unknown.
pub async fn observe_one(world: &World, catalog: &Catalog, reference: &Ref) -> Option<Observed<Live>> {
    let scope = Scope::of(catalog);
    let look = reference.kind.observe_one(world, &scope, &reference.name);
    Some(match tokio::time::timeout(DEADLINE, look).await {
        Ok(seen) => seen?.unwrap_or_else(|fault| Observed::Unknown(fault.message)),
        Err(_) => Observed::Unknown(format!("it did not answer within {} s", DEADLINE.as_secs())),
    })
}

fn keep<L>(
    kind: KindName,
    found: BTreeMap<crate::base::Name, Observed<L>>,
) -> impl Iterator<Item = (Ref, Observed<L>)> {
    found
        .into_iter()
        .filter(|(_, seen)| !matches!(seen, Observed::Absent))
        .map(move |(name, seen)| (Ref::new(kind, name), seen))
}
