//! Why something outside did not do as asked: one error shape for every driver, that knows whether a retry helps.

use std::fmt;

/// What sort of failure it is; decides retry, exit code and what a plan may conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// What was named is not there.
    NotFound,
    /// Something of that name is there already.
    Exists,
    /// It is there, but not the one the plan was made for.
    Identity,
    /// Someone else holds it; later may work.
    Busy,
    /// The other side cannot be reached or does not answer; later may work.
    Unavailable,
    /// It took longer than its deadline; later may work.
    Deadline,
    /// No space is left.
    NoSpace,
    /// The other side does not allow it.
    Denied,
    /// The other side cannot do this at all.
    Unsupported,
    /// The request makes no sense to the other side.
    Invalid,
    /// A person asked to stop.
    Cancelled,
    /// Anything else.
    Other,
}

/// A failure: what was attempted with which values, what was said, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The sort of failure.
    pub kind: FaultKind,
    /// What was attempted and what was said.
    pub message: String,
    /// What a person can do, when that is known.
    pub help: Option<String>,
}

impl Fault {
    /// A failure of this sort.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None }
    }

    /// A failure of no special sort.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Other, message)
    }

    /// The same with what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with what was being attempted in front.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Whether the same call may succeed later without anyone changing anything.
    pub fn retryable(&self) -> bool {
        matches!(self.kind, FaultKind::Busy | FaultKind::Unavailable | FaultKind::Deadline)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<crate::base::exec::ExecError> for Fault {
    fn from(error: crate::base::exec::ExecError) -> Self {
        use crate::base::exec::ExecError as E;
        let kind = match &error {
            E::Missing { .. } => FaultKind::Unsupported,
            E::Deadline { .. } => FaultKind::Deadline,
            E::Start { .. } | E::Failed { .. } => FaultKind::Other,
        };
        let fault = Self::new(kind, error.to_string());
        match error {
            E::Missing { program } => fault.help(format!("install {program}; `reeve doctor` names the package")),
            _ => fault,
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let kind = match error.kind() {
            K::NotFound => FaultKind::NotFound,
            K::AlreadyExists => FaultKind::Exists,
            K::PermissionDenied => FaultKind::Denied,
            K::StorageFull | K::QuotaExceeded => FaultKind::NoSpace,
            K::TimedOut => FaultKind::Deadline,
            K::ResourceBusy | K::ExecutableFileBusy => FaultKind::Busy,
            // What a file on a server's file system says when the server is gone, or came back without it.
            K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::StaleNetworkFileHandle
            | K::NotConnected
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::WouldBlock => FaultKind::Unavailable,
            _ if error.raw_os_error() == Some(libc::EHOSTDOWN) => FaultKind::Unavailable,
            _ => FaultKind::Other,
        };
        let fault = Self::new(kind, error.to_string());
        match kind {
            FaultKind::Unavailable => fault.help("see whether the other side runs and this node reaches it"),
            _ => fault,
        }
    }
}

/// Says what was being attempted when an operation fails.
pub trait Attempt<T> {
    /// Turns the error into a [`Fault`] that starts with `doing`.
    fn attempt<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T, Fault>;
}

impl<T, E: Into<Fault>> Attempt<T> for Result<T, E> {
    fn attempt<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T, Fault> {
        self.map_err(|e| e.into().context(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_gone_may_come_back() {
        for code in [libc::EHOSTDOWN, libc::EHOSTUNREACH, libc::ENOTCONN, libc::ESTALE, libc::EAGAIN] {
            let fault = Fault::from(std::io::Error::from_raw_os_error(code));
            assert_eq!((fault.kind, fault.help.is_some()), (FaultKind::Unavailable, true), "{fault}");
        }
        assert_eq!(Fault::from(std::io::Error::from_raw_os_error(libc::EIO)).kind, FaultKind::Other);
    }
}
