//! `reeve diff`: the same changes as `plan`, as a unified diff of YAML.

use super::plan::prepare;
use crate::base::Disruption;
use crate::cli::args::{Allow, DiffArgs};
use crate::cli::error::{Exit, Result};
use crate::cli::render;
use crate::cli::session::Session;

/// Plans and prints the differences.
pub async fn run(session: &Session, args: &DiffArgs) -> Result {
    let allow = Allow { allow: Disruption::Live, prune: false, prune_all: false };
    let prepared = prepare(session, &args.paths, args.live.as_deref(), allow).await?;
    let plan = prepared.plan();
    print!("{}", render::diff::unified(&plan, &prepared.catalog, session.paint));
    for step in &plan.steps {
        if let crate::plan::model::Readiness::Blocked(why) = &step.readiness {
            eprintln!("{}: blocked: {why}", step.resource);
        }
    }
    Ok(if plan.is_empty() { Exit::Done } else { Exit::Changes })
}
