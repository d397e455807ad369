//! XML as libvirt speaks it.

mod tree;

pub use tree::Element;
