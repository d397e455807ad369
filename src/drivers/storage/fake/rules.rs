//! Faults on demand.

use std::time::Duration;

use crate::base::{Fault, FaultKind};

/// Whether a fault comes before the call has any effect, or after it had all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing happened yet.
    Before,
    /// Everything happened, and the caller is not told.
    After,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It fails.
    Fail(FaultKind),
    /// It takes longer.
    Slow(Duration),
    /// It never comes back.
    Hang,
}

/// One fault: which calls it is for, when, what happens, and how often.
#[derive(Debug, Clone)]
pub struct Rule {
    call: String,
    about: Option<String>,
    when: When,
    effect: Effect,
    times: Option<u32>,
}

impl Rule {
    /// Calls of that name fail before they have any effect.
    pub fn fail(call: &str, kind: FaultKind) -> Self {
        Self { call: call.into(), about: None, when: When::Before, effect: Effect::Fail(kind), times: None }
    }

    /// Calls of that name never come back.
    pub fn hang(call: &str) -> Self {
        Self { effect: Effect::Hang, ..Self::fail(call, FaultKind::Other) }
    }

    /// Calls of that name take this much longer.
    pub fn slow(call: &str, by: Duration) -> Self {
        Self { effect: Effect::Slow(by), ..Self::fail(call, FaultKind::Other) }
    }

    /// The same for one volume only.
    #[must_use]
    pub fn about(self, volume: &str) -> Self {
        Self { about: Some(volume.into()), ..self }
    }

    /// The same after the call had its effect.
    #[must_use]
    pub fn after(self) -> Self {
        Self { when: When::After, ..self }
    }

    /// The same for so many calls only.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    pub(super) fn applies(&self, call: &str, about: &str, when: When) -> bool {
        let named = self.call == call && self.about.as_deref().is_none_or(|a| a == about);
        named && self.when == when && self.times != Some(0)
    }

    pub(super) fn spend(&mut self) -> Effect {
        self.times = self.times.map(|times| times.saturating_sub(1));
        self.effect
    }
}

impl Effect {
    pub(super) async fn happen(self, call: &str) -> Result<(), Fault> {
        match self {
            Self::Fail(kind) => Err(Fault::new(kind, format!("{call} was told to fail"))),
            Self::Slow(by) => {
                tokio::time::sleep(by).await;
                Ok(())
            }
            Self::Hang => std::future::pending().await,
        }
    }
}
