//! LXC's configuration file of a container: written from a [`Record`], and read back into the same spec.
//!
//! A file has our lines, a marker, and below it the lines of others, which are kept as they are. Reading takes what each
//! part knows, wherever it stands; what nobody takes is foreign. So a line of ours that someone changed shows as drift,
//! and one that someone added survives.
//!
//! ```text
//! render   Record, Host -> text
//! read     text, Option<Record>, Host -> Found { spec, rootfs, foreign }
//! ```
//! `system`, `limits`, `nics` and `mounts` each write and read one part, side by side.

mod limits;
mod lines;
mod mounts;
mod nics;
mod system;

pub use limits::pick;
pub use mounts::mount_words;
pub use nics::host_end;
pub use system::SECCOMP;

use lines::Lines;

use super::host::Host;
use crate::base::{Fault, Name};
use crate::drivers::container::{Place, Record};
use crate::kinds::container::CtSpec;

const HEAD: &str = "# Kept by Reeve as its manifest says: change the manifest, not these lines.";
const MARKER: &str = "# --- Lines below are not Reeve's; it keeps them as they are. ---";

/// What a part needs to write its lines.
pub struct Context<'a> {
    /// The container.
    pub name: &'a Name,
    /// What it shall be.
    pub record: &'a Record,
    /// This host.
    pub host: &'a Host,
}

/// What a configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The spec, every default filled in.
    pub spec: CtSpec,
    /// Where the root file system is.
    pub rootfs: Option<Place>,
    /// Lines that are not ours.
    pub foreign: Vec<String>,
}

/// The configuration of the container `name` as its record says.
pub fn render(name: &Name, record: &Record, host: &Host, foreign: &[String]) -> Result<String, Fault> {
    let context = Context { name, record, host };
    let mut lines = Lines::default();
    system::write(&context, &mut lines)?;
    limits::write(&context, &mut lines)?;
    nics::write(&context, &mut lines)?;
    mounts::write(&context, &mut lines)?;
    let mut text = format!("{HEAD}\n{}\n{MARKER}\n", lines.text()?);
    for line in foreign {
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

/// What a configuration says, with what only our record knows.
pub fn read(text: &str, name: &Name, record: Option<&Record>, host: &Host) -> Found {
    let mut lines = Lines::parse(text);
    let mut spec = record.map(|r| r.spec.clone()).unwrap_or_default();
    spec.fill();
    system::read(&mut lines, name, host, &mut spec);
    limits::read(&mut lines, &mut spec);
    nics::read(&mut lines, record, &mut spec);
    let rootfs = mounts::read(&mut lines, name, record, host, &mut spec);
    spec.settle();
    Found { spec, rootfs, foreign: lines.rest() }
}

#[cfg(test)]
mod tests;
