//! The kind Container, from manifests to containers: with a fake runtime here, with LXC and real crashes in `real_crashes`.

pub mod bench;
mod converging;
mod crashing;
mod real_crashes;
