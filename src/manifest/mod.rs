//! Manifest text to typed resources, with every problem of a run found at once; knows nothing of the world.
//!
//! ```text
//! PATH…       source    which files there are, each read whole or refused with a diagnostic
//! text        parse     documents as trees of nodes that know their line and column (the only user of the YAML library)
//! tree        envelope  apiVersion, kind, metadata, and which shape the spec has
//! nodes       check     every node against its shape: fields, types, rules; gives the JSON value
//! value       resolve   the typed spec, and where each of its fields stands
//! wrong value partial   what else a resource with wrong fields says, so that it is told in the same run
//! text        edit      the same text with other values, comments kept
//! everything  load      all files and documents in parallel, in a stable order; two of one name
//! ```

mod check;
pub mod edit;
mod envelope;
mod found;
mod load;
mod parse;
mod partial;
mod quantity;
mod resolve;
mod scalar;
mod source;
mod suggest;

pub use load::{Loaded, SourceFile, load, load_str, ready};
pub use partial::STAND_IN;
pub use source::{MOST_BYTES, STDIN, input};
pub use suggest::nearest;
