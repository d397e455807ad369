//! Containers by their drivers: one contract for all, and what only the real one can show.

mod contract;
mod fake;
pub mod lab;
mod real_lxc;
