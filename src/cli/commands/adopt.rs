//! `reeve adopt`: writes the manifest of a guest that exists, proves that nothing would change, and only then marks it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::Uid;
use crate::cli::args::Adopt;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::progress::Bars;
use crate::cli::render;
use crate::cli::session::Session;
use crate::engine::journal::StoreJournal;
use crate::engine::observe::observe;
use crate::engine::records::{Acceptance, AcceptedSet, Ledger};
use crate::kinds::{Live, Metadata, Options, Places, Ref, Resource, Scope, Task, World};
use crate::plan::diff::diff;
use crate::plan::live::{Known, LiveState};

/// Adopts one guest.
pub async fn run(session: &Session, args: &Adopt) -> Result {
    let reference = &args.resource;
    let ledger = session.store().await?;
    let accepted = ledger.accepted().await?;
    let world = session.world();
    let state = observe(&world, &accepted.catalog).await.knowing(&accepted.facts);
    let live = found(reference, &state)?;
    let spec = live.spec().ok_or_else(|| CliError::new(format!("{reference} cannot be described as a manifest")))?;
    let resource =
        Arc::new(Resource { meta: Metadata::named(reference.name.clone()), spec, places: Places::default() });
    prove(&resource, live, &accepted)?;
    let text = render::yaml(&resource.document())?;
    match &args.out {
        Some(path) => {
            use std::io::Write as _;
            let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
            let written = file.and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()));
            written.map_err(|e| CliError::new(format!("the manifest cannot be written to {}: {e}", path.display())))?;
        }
        None => print!("{text}"),
    }
    if args.dry_run {
        return Ok(Exit::Done);
    }
    mark(session, &world, &ledger, &accepted, &state, &resource).await?;
    eprintln!("{reference} is managed now; its manifest plans empty.");
    Ok(Exit::Done)
}

fn found<'a>(reference: &Ref, state: &'a LiveState) -> Result<&'a Live> {
    match state.get(reference) {
        Known::Present(live) if live.have().mark.is_some() => {
            Err(CliError::new(format!("{reference} is managed already")))
        }
        Known::Present(live) => Ok(live),
        Known::Absent => {
            Err(CliError::with_help(format!("{reference} is not there"), "`reeve get` lists what is there"))
        }
        Known::Unknown(why) => Err(CliError::new(format!("{reference} cannot be read: {why}"))),
    }
}

/// Refuses when the manifest would change anything.
fn prove(resource: &Resource, live: &Live, accepted: &AcceptedSet) -> Result<()> {
    let mut catalog = accepted.catalog.clone();
    catalog.insert(Arc::new(resource.clone()));
    let scope = Scope::of(&catalog);
    let want = resource.spec.want(resource.name(), &scope);
    let mut changes = diff(&want, &live.have().configured, None, resource.kind().shape());
    changes.extend(resource.spec.extra(live, &scope));
    if changes.is_empty() {
        return Ok(());
    }
    let paths: Vec<String> = changes
        .iter()
        .map(|c| format!("{} ({} → {})", c.path, render::plan::value(&c.have), render::plan::value(&c.want)))
        .collect();
    Err(CliError::with_help(
        format!("{} cannot be adopted: its own manifest would change {}", resource.reference(), paths.join(", ")),
        "these features cannot be described yet; nothing was marked or changed",
    ))
}

async fn mark(
    session: &Session,
    world: &World,
    ledger: &Ledger,
    accepted: &AcceptedSet,
    state: &LiveState,
    resource: &Arc<Resource>,
) -> Result<()> {
    let reference = resource.reference();
    let live = found(&reference, state)?;
    let acceptance = Acceptance::new(resource);
    let uids: BTreeMap<Ref, Uid> = ledger.accept(&[acceptance]).await?;
    let uid = uids.get(&reference).copied().ok_or_else(|| CliError::new(format!("{reference} got no UID")))?;
    let bars = Bars::new(session.terminal, 0);
    let journal = StoreJournal::new(ledger, "adoption");
    let lookup = |r: &Ref| state.present(r);
    let task = Task {
        world,
        scope: Scope::with_live(&accepted.catalog, &lookup),
        reference: &reference,
        meta: &resource.meta,
        uid,
        options: Options::default(),
        journal: &journal,
        progress: &bars,
    };
    resource.spec.adopt(&task, live).await?;
    ledger.event(&reference, &super::apply::who(), "adopted", "a person asked for it", None).await?;
    Ok(())
}
