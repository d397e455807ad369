//! `reeve events`: what was done, by whom and why.

use crate::cli::args::{Events, Format};
use crate::cli::error::{Exit, Result};
use crate::cli::render;
use crate::cli::session::Session;
use crate::plan::model::short;

/// Lists events, oldest first.
pub async fn run(session: &Session, args: &Events) -> Result {
    let mut events = session.store_to_read().await?.events().await?;
    if let Some(reference) = &args.resource {
        let name = reference.to_string();
        events.retain(|e| e.resource == name);
    }
    let events = &events[events.len().saturating_sub(args.limit)..];
    match args.output {
        Format::Json => println!("{}", render::json(&serde_json::json!({"events": events}))?),
        Format::Yaml => print!("{}", render::yaml(&events)?),
        Format::Table | Format::Wide => {
            let rows = events.iter().map(|e| {
                let at = e.at.strftime("%Y-%m-%d %H:%M:%S").to_string();
                let mut row = vec![at, e.resource.clone(), e.who.clone(), e.what.clone(), e.why.clone()];
                if args.output == Format::Wide {
                    row.push(e.plan_hash.as_deref().map(short).unwrap_or_default().to_owned());
                }
                row
            });
            let mut headings = vec!["time (utc)", "resource", "who", "what", "why"];
            if args.output == Format::Wide {
                headings.push("plan");
            }
            print!("{}", render::table::table(&headings, rows.collect()));
        }
    }
    Ok(Exit::Done)
}
