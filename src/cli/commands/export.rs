//! `reeve export`: the manifests of what is managed, as YAML documents.

use super::get::Selection;
use crate::cli::args::Export;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::session::Session;

/// Writes the manifests.
pub async fn run(session: &Session, args: &Export) -> Result {
    let what = Selection::parse(&args.what, &[])?;
    let accepted = session.store_to_read().await?.accepted().await?;
    let found: Vec<_> = accepted.catalog.iter().filter(|r| what.takes(&r.reference(), &accepted)).collect();
    if found.is_empty() && !args.what.is_empty() {
        return Err(CliError::with_help(
            format!("{} is not managed", args.what.join(", ")),
            "`reeve get` lists what is; `reeve adopt` takes over a guest that exists",
        ));
    }
    for resource in found {
        print!("---\n{}", render::yaml(&resource.document())?);
    }
    Ok(Exit::Done)
}
