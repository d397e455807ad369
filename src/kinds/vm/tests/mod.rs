//! Tests of the kind on the fake hypervisor and a storage in memory.

mod applying;
mod shelf;
mod stage;
