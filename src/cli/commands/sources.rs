//! `reeve sources`, `suspend` and `resume`: where the agent takes manifests from, and whether it does now.

use super::sync::said;
use crate::api::client::Client;
use crate::cli::args::SourceArg;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::session::Session;

/// Says what became of each source when it was read last.
pub async fn list(session: &Session) -> Result {
    let sources = agent(session).await?.sources().await?.sources;
    if sources.is_empty() {
        println!("The agent follows no source; it looks at everything that was accepted.");
    }
    sources.iter().for_each(|source| print!("{}", said(source)));
    Ok(Exit::Done)
}

/// Suspends a source, or has it followed again.
pub async fn suspend(session: &Session, args: &SourceArg, suspended: bool) -> Result {
    // A folder goes by its full path, and the agent runs in another one.
    let path = std::fs::canonicalize(&args.source);
    let name = path.map_or_else(|_| args.source.clone(), |path| path.display().to_string());
    print!("{}", said(&agent(session).await?.suspend(&name, suspended).await?));
    Ok(Exit::Done)
}

/// The agent of this node.
pub async fn agent(session: &Session) -> Result<&Client> {
    session.agent().await.ok_or_else(|| {
        CliError::with_help(
            "no agent runs on this node, so nothing follows a source",
            "start it with `systemctl start reeve` or `reeve agent PATH`, or apply the manifests with `reeve apply PATH`",
        )
    })
}
