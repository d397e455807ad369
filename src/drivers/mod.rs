//! Code for one hypervisor or one storage type each; a folder a driver. Uses `base` and the data-only specs of kinds.

pub mod container;
pub mod guest;
pub mod network;
pub mod storage;
