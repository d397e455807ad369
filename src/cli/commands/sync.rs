//! `reeve sync`: has the agent fetch and read its sources now, and says what became of each.

use std::fmt::Write as _;

use super::sources::agent;
use crate::api::types::SyncedSource;
use crate::cli::error::{Exit, Result};
use crate::cli::session::Session;

/// Asks the agent and waits.
pub async fn run(session: &Session) -> Result {
    let answer = agent(session).await?.sync().await?;
    if answer.sources.is_empty() {
        println!("The agent follows no source; it looks at everything that was accepted.");
    }
    answer.sources.iter().for_each(|source| print!("{}", said(source)));
    let all = || answer.sources.iter();
    Ok(if all().any(|s| !s.done || s.fault.is_some()) {
        Exit::Error
    } else if all().any(|s| !(s.refused.is_empty() && s.waits.is_empty() && s.problems.is_empty())) {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// What became of a source.
pub fn said(source: &SyncedSource) -> String {
    let commit =
        source.commit.as_deref().map(|c| format!(" at commit {}", c.get(..12).unwrap_or(c))).unwrap_or_default();
    let count = match source.valid {
        1 => "1 resource".to_owned(),
        many => format!("{many} resources"),
    };
    let mut text = format!("{}: {count} in force{commit}\n", source.name);
    let mut line = |what: String| {
        let _ = writeln!(text, "  {what}");
    };
    if let Some(suspended) = &source.suspended {
        line(format!("it is {suspended}: nothing new is taken from it until `reeve resume {}`", source.name));
        return text;
    }
    if let Some(fault) = &source.fault {
        line(format!("what was in force stays in force: {fault}"));
    } else if !source.done {
        line("it is still being read; see `reeve events`".to_owned());
    }
    source.problems.iter().for_each(|problem| line(problem.clone()));
    source.refused.iter().for_each(|(reference, why)| line(format!("{reference} is refused: {why}")));
    source.waits.iter().for_each(|(reference, why)| line(format!("{reference} waits: {why}")));
    if !source.gone.is_empty() {
        line(format!("will be removed: {}", source.gone.join(", ")));
    }
    source.kept.iter().for_each(|why| line(format!("nothing is pruned: {why}")));
    text
}
