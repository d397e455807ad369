//! Tests of the kind on the fake hypervisor and a storage in memory.

mod adopting;
mod applying;
mod checking;
mod crashing;
mod random;
mod seeding;
mod shelf;
mod stage;
