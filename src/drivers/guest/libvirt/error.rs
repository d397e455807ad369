//! Turns what libvirt says into a [`Fault`], once, for every call: by its error number first, by its words only where
//! one number stands for many things.

use virt::error::{Error, ErrorNumber as N};

use crate::base::{Fault, FaultKind};

/// Why the work of one call did not succeed, before it is put into words.
#[derive(Debug)]
pub enum Failure {
    /// What libvirt said.
    Libvirt(Error),
    /// What we found wrong ourselves.
    Own(Fault),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Libvirt(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Own(fault)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Libvirt(error) => fault(&error),
            Failure::Own(fault) => fault,
        }
    }
}

impl Failure {
    /// Whether the connection is gone, so that the same call on a new one may succeed.
    pub fn disconnected(&self) -> bool {
        matches!(self, Self::Libvirt(error) if is_disconnect(error))
    }

    /// Whether libvirt said so in these words.
    pub fn says(&self, words: &str) -> bool {
        matches!(self, Self::Libvirt(error) if error.message().contains(words))
    }

    /// Whether what was named is not there.
    pub fn not_found(&self) -> bool {
        match self {
            Self::Libvirt(error) => kind(error) == FaultKind::NotFound,
            Self::Own(fault) => fault.kind == FaultKind::NotFound,
        }
    }
}

/// The error in our own words.
pub fn fault(error: &Error) -> Fault {
    let kind = kind(error);
    let fault = Fault::new(kind, error.message().trim().to_owned());
    match help(kind, error) {
        Some(help) => fault.help(help),
        None => fault,
    }
}

fn is_disconnect(error: &Error) -> bool {
    let text = error.message();
    match error.code() {
        N::NoConnect | N::InvalidConn | N::Rpc | N::SystemError | N::InternalError => {
            text.contains("socket is closed")
                || text.contains("End of file while reading data")
                || text.contains("connection closed")
                || text.contains("Cannot write data: Broken pipe")
                || text.contains("connection pointer in")
                || text.contains("Connection reset by peer")
                || text.contains("Failed to connect socket")
        }
        _ => false,
    }
}

fn kind(error: &Error) -> FaultKind {
    if is_disconnect(error) {
        return FaultKind::Unavailable;
    }
    match error.code() {
        N::NoDomain
        | N::NoNetwork
        | N::NoStoragePool
        | N::NoStorageVolume
        | N::NoDomainSnapshot
        | N::NoNodeDevice
        | N::NoSecret
        | N::NoInterface
        | N::NoDomainMetadata
        | N::DeviceMissing => FaultKind::NotFound,
        N::DomExist | N::NetworkExist | N::StorageVolExist => FaultKind::Exists,
        N::OperationTimeout => FaultKind::Deadline,
        N::AgentUnresponsive | N::NoConnect | N::Rpc | N::AgentCommandTimeout => FaultKind::Unavailable,
        N::OperationDenied | N::AuthFailed | N::AuthCancelled | N::AuthUnavailable | N::AccessDenied => {
            FaultKind::Denied
        }
        N::NoSupport | N::ArgumentUnsupported | N::OperationUnsupported => FaultKind::Unsupported,
        N::ConfigUnsupported => FaultKind::Unsupported,
        N::XmlError | N::XmlDetail | N::InvalidArg | N::XmlInvalidSchema | N::ParseFailed | N::InvalidMac => {
            FaultKind::Invalid
        }
        N::ResourceBusy => FaultKind::Busy,
        N::OperationInvalid | N::OperationFailed | N::InternalError | N::SystemError => by_words(error.message()),
        _ => FaultKind::Other,
    }
}

/// Sorts what libvirt files under its catch-all numbers.
fn by_words(text: &str) -> FaultKind {
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if has(&["already exists", "is already defined", "already in use by domain", "is already active"]) {
        FaultKind::Exists
    } else if has(&[
        "cannot acquire state change lock",
        "Device or resource busy",
        "Failed to get \"write\" lock",
        "is in use",
    ]) {
        FaultKind::Busy
    } else if has(&["No space left on device"]) {
        FaultKind::NoSpace
    } else if has(&["Permission denied", "Operation not permitted"]) {
        FaultKind::Denied
    } else if has(&["No such file or directory", "not found"]) {
        FaultKind::NotFound
    } else if has(&["is not supported", "not supported by this QEMU", "does not support"]) {
        FaultKind::Unsupported
    } else {
        FaultKind::Other
    }
}

fn help(kind: FaultKind, error: &Error) -> Option<&'static str> {
    match (kind, error.code()) {
        (FaultKind::Unavailable, N::AgentUnresponsive | N::AgentCommandTimeout) => {
            Some("check that qemu-guest-agent is installed and runs inside the guest")
        }
        (FaultKind::Unavailable, _) => {
            Some("check that libvirtd runs (`systemctl status libvirtd`); `reeve doctor` looks")
        }
        (FaultKind::Denied, _) => Some("run as root, or as a member of the group libvirt"),
        (FaultKind::Busy, _) => Some("another operation holds it; it is tried again"),
        (FaultKind::NoSpace, _) => Some("free some space on the storage that is full"),
        _ => None,
    }
}
