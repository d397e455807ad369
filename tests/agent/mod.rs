//! The agent: its core on a virtual clock, against fakes; the command as a process, against fakes and for real.

mod boot;
pub mod command;
mod core;
mod real_full_disk;
mod real_libvirtd;
mod real_node;
mod sim;
mod soak;
mod stage;
