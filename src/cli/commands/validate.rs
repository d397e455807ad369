//! `reeve validate`: everything that can be known from the files alone.

use crate::cli::args::{CheckFormat, Validate};
use crate::cli::error::{Exit, Result};
use crate::cli::render::diagnostics;
use crate::cli::session::Session;
use crate::kinds::Catalog;
use crate::manifest;
use crate::plan::desired::Desired;

/// Checks the manifests and says all that is wrong with them.
pub fn run(session: &Session, args: &Validate) -> Result {
    let loaded = manifest::load(&args.paths);
    let (desired, found) = Desired::build(&loaded, &Catalog::default());
    let mut all = loaded.diagnostics.clone();
    all.extend(found.0);
    all.sort();
    match args.output {
        CheckFormat::Json => println!("{}", diagnostics::json(&all)),
        CheckFormat::Text => {
            eprint!("{}", diagnostics::text(&all, session.paint.on()));
            if !all.has_errors() {
                let count = loaded.resources.len();
                println!("{count} {} valid.", if count == 1 { "resource is" } else { "resources are" });
            }
        }
    }
    let exit = if all.has_errors() { Exit::Error } else { Exit::Done };
    // The process ends: giving back every piece of memory by itself would take a tenth of the whole time.
    std::mem::forget((loaded, desired, all));
    Ok(exit)
}
