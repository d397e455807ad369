//! `reeve adopt`: writes the manifest of a guest that exists, proves that nothing would change, and only then marks it.

use super::apply::who;
use super::by_agent::asked;
use crate::cli::args::Adopt;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::progress::Bars;
use crate::cli::render;
use crate::cli::session::Session;
use crate::engine::request::{Request, cannot, manifest};
use crate::plan::model::FieldChange;

/// Adopts one guest.
pub async fn run(session: &Session, args: &Adopt) -> Result {
    let reference = &args.resource;
    let ledger = session.store_to_change().await?;
    let accepted = ledger.accepted().await?;
    let world = session.world();
    let live = session.observe(&world, &accepted.catalog).await?.knowing(&accepted.facts);
    let (resource, changes) = manifest(reference, &live, &accepted)?;
    if !changes.is_empty() {
        return Err(cannot(reference, &words(&changes)).into());
    }
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
    match session.agent().await {
        Some(agent) => asked(session, agent.adopt(&resource).await?).await?,
        None => {
            let bars = Bars::new(session.terminal, 0);
            let (accepted, live) = (&accepted, &live);
            let request = Request { world: &world, ledger: &ledger, accepted, live, who: &who(), progress: &bars };
            request.adopt(&resource).await?;
        }
    }
    eprintln!("{reference} is managed now; its manifest plans empty.");
    Ok(Exit::Done)
}

/// What the manifest would change, in words.
fn words(changes: &[FieldChange]) -> String {
    let word =
        |c: &FieldChange| format!("{} ({} → {})", c.path, render::plan::value(&c.have), render::plan::value(&c.want));
    changes.iter().map(word).collect::<Vec<_>>().join(", ")
}
