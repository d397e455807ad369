//! `reeve start`, `stop` and `restart`: a guest's power, at a person's word.

use super::apply::who;
use super::by_agent::asked;
use crate::base::Fault;
use crate::cli::args::Power;
use crate::cli::error::{Exit, Result};
use crate::cli::progress::Bars;
use crate::cli::session::Session;
use crate::engine::observe::observe;
use crate::engine::request::Request;
use crate::kinds::{PowerRequest, Ref};

/// Changes the power of each guest named.
pub async fn run(session: &Session, args: &Power, to: PowerRequest) -> Result {
    let mut failed = false;
    let mut say = |reference: &Ref, result: std::result::Result<(), Fault>| match result {
        Ok(()) => println!("{reference}: {}", to.done()),
        Err(fault) => {
            failed = true;
            super::super::print_error(session, &fault.into());
        }
    };
    if let Some(agent) = session.agent().await {
        for reference in &args.resources {
            say(reference, asked(session, agent.power(reference, to).await?).await);
        }
    } else {
        let ledger = session.store().await?;
        let accepted = ledger.accepted().await?;
        let world = session.world();
        let live = observe(&world, &accepted.catalog).await.knowing(&accepted.facts);
        let bars = Bars::new(session.terminal, 0);
        let (accepted, live) = (&accepted, &live);
        let request = Request { world: &world, ledger: &ledger, accepted, live, who: &who(), progress: &bars };
        for reference in &args.resources {
            say(reference, request.power(reference, to).await);
        }
    }
    Ok(if failed { Exit::Error } else { Exit::Done })
}
