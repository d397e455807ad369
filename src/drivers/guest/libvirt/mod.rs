//! Virtual machines through libvirt.

pub mod connection;
mod error;
mod ffi;
pub mod xml;
