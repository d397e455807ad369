//! Words everyone shares: names, sizes, secrets, diagnostics, the clock, and the only way to run a program.
//! Uses nothing else of the crate.

pub mod calendar;
pub mod clock;
pub mod crash;
pub mod diagnostic;
pub mod exec;
pub mod fault;
pub mod id;
mod leave;
mod many;
pub mod mark;
pub mod memory;
pub mod secret;
pub mod size;

pub use clock::Clock;
pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use fault::{Attempt, Fault, FaultKind};
pub use id::{Name, Uid};
pub use leave::leave;
pub use many::for_each;
pub use mark::{Disruption, Mark};
pub use size::{Rate, Seconds, Size};
