//! What the kernel says about bridges, read from `/sys/class/net`.

use std::fs;
use std::path::{Path, PathBuf};

const NET: &str = "/sys/class/net";

/// The directory of an interface.
fn of(interface: &str) -> PathBuf {
    Path::new(NET).join(interface)
}

/// Whether there is an interface of that name.
pub fn exists(interface: &str) -> bool {
    of(interface).exists()
}

/// Whether there is a bridge of that name.
pub fn is_bridge(interface: &str) -> bool {
    of(interface).join("bridge").is_dir()
}

/// The ports of a bridge, sorted; none when there is no such bridge.
pub fn ports(bridge: &str) -> Vec<String> {
    let entries = fs::read_dir(of(bridge).join("brif")).into_iter().flatten().flatten();
    let mut ports: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    ports.sort();
    ports
}

/// Every bridge of the host, sorted.
pub fn bridges() -> Vec<String> {
    let entries = fs::read_dir(NET).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|name| is_bridge(name));
    names.sort();
    names
}

/// Whether an interface is a port of something.
pub fn is_port(interface: &str) -> bool {
    of(interface).join("master").exists()
}

/// A file of an interface, its final newline taken off.
pub fn read(interface: &str, file: &str) -> Option<String> {
    fs::read_to_string(of(interface).join(file)).ok().map(|text| text.trim_end().to_owned())
}
