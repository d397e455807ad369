//! `reeve observe`: writes down what runs here, for plans that are made elsewhere.

use crate::cli::args::{Format, Observe};
use crate::cli::error::{Exit, Result};
use crate::cli::render;
use crate::cli::session::Session;
use crate::plan::live::LiveState;

/// Observes and prints.
pub async fn run(session: &Session, args: &Observe) -> Result {
    let (state, _) = look(session).await?;
    match args.output {
        Format::Json => println!("{}", render::json(&state)?),
        Format::Yaml => print!("{}", render::yaml(&state)?),
        Format::Table | Format::Wide => {
            let rows = state.resources.keys().map(|r| vec![r.to_string()]).collect();
            print!("{}", render::table::table(&["resource"], rows));
        }
    }
    for (kind, why) in &state.unreadable {
        eprintln!("warning: {kind} could not be read: {why}");
    }
    Ok(Exit::Done)
}

/// What is there and what was accepted.
pub async fn look(session: &Session) -> Result<(LiveState, crate::engine::records::AcceptedSet)> {
    let accepted = session.store_to_read().await?.accepted().await?;
    let world = session.world();
    let live = session.observe(&world, &accepted.catalog).await?;
    Ok((live.knowing(&accepted.facts), accepted))
}
