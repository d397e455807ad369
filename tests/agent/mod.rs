//! The agent: its core on a virtual clock, against fakes.

mod command;
mod core;
mod sim;
mod stage;
