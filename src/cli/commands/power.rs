//! `reeve start`, `stop` and `restart`: a guest's power, at a person's word.

use super::apply::who;
use crate::cli::args::Power;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::progress::Bars;
use crate::cli::session::Session;
use crate::engine::journal::StoreJournal;
use crate::engine::observe::observe;
use crate::kinds::{Metadata, Options, PowerRequest, Ref, Scope, Task};
use crate::plan::live::Known;

/// Changes the power of each guest named.
pub async fn run(session: &Session, args: &Power, to: PowerRequest) -> Result {
    let ledger = session.store().await?;
    let accepted = ledger.accepted().await?;
    let world = session.world();
    let state = observe(&world, &accepted.catalog).await.knowing(&accepted.facts);
    let bars = Bars::new(session.terminal, 0);
    let journal = StoreJournal::new(&ledger, "power");
    let lookup = |r: &Ref| state.present(r);
    let mut failed = false;
    let named: Vec<Metadata> = args.resources.iter().map(|r| Metadata::named(r.name.clone())).collect();
    for (reference, named) in args.resources.iter().zip(&named) {
        let result = match state.get(reference) {
            Known::Absent => {
                Err(CliError::with_help(format!("{reference} is not there"), "`reeve get` lists what there is"))
            }
            Known::Unknown(why) => Err(CliError::new(format!("{reference} cannot be read: {why}"))),
            Known::Present(live) => match live.have().mark {
                None => Err(CliError::with_help(
                    format!("{reference} is not managed by Reeve"),
                    format!("`reeve adopt {reference}` takes it over"),
                )),
                Some(mark) => {
                    let task = Task {
                        world: &world,
                        scope: Scope::with_live(&accepted.catalog, &lookup),
                        reference,
                        meta: accepted.catalog.get(reference).map_or(named, |r| &r.meta),
                        uid: mark.uid,
                        options: Options { allow: crate::base::Disruption::Restart, destroy_data: false },
                        journal: &journal,
                        progress: &bars,
                    };
                    live.power(&task, to).await.map_err(CliError::from)
                }
            },
        };
        let word = match to {
            PowerRequest::Start => "started",
            PowerRequest::Stop { .. } => "stopped",
            PowerRequest::Restart { .. } => "restarted",
        };
        match result {
            Ok(()) => {
                println!("{reference}: {word}");
                ledger.event(reference, &who(), word, "a person asked for it", None).await?;
            }
            Err(error) => {
                failed = true;
                super::super::print_error(session, &error);
            }
        }
    }
    Ok(if failed { Exit::Error } else { Exit::Done })
}
