//! Drivers for virtual machines: one suite for all of them.

mod fake;
mod live_proofs;
mod machines;
#[cfg(feature = "libvirt")]
mod real_libvirt;
mod suite;
