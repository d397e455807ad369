//! Turns what a volume manager's program said into a failure that knows whether a retry helps.

use crate::base::exec::ExecError;
use crate::base::{Fault, FaultKind};

/// Words of a program, what sort of failure they mean, and what to do.
pub type Saying = (&'static str, FaultKind, &'static str);

/// The failure that `error` is, by the first of `sayings` whose words the program said.
pub fn explain(error: ExecError, sayings: &[Saying]) -> Fault {
    let said = if let ExecError::Failed { stderr, .. } = &error { stderr.to_lowercase() } else { String::new() };
    let mut fault = Fault::from(error);
    if let Some((_, kind, help)) = sayings.iter().find(|(words, ..)| said.contains(words)) {
        fault.kind = *kind;
        if !help.is_empty() {
            fault = fault.help(*help);
        }
    }
    fault
}
