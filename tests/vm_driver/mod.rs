//! Drivers for virtual machines.

mod machines;
#[cfg(feature = "libvirt")]
mod real_libvirt;
