//! The name of a network's bridge.

use sha2::Digest as _;

use super::NetworkSpec;
use crate::base::Name;

/// The longest name Linux allows an interface, in bytes.
pub const INTERFACE_MAX: usize = 15;

/// The bridge a network is on: what its manifest says, else a name that follows from the network's own.
///
/// A short name stands in it whole after `rv-`; a long one as a hash after `rv_`, so that the two never meet.
pub fn bridge_name(name: &Name, spec: &NetworkSpec) -> String {
    if let Some(bridge) = &spec.bridge {
        return bridge.clone();
    }
    let plain = format!("rv-{name}");
    if plain.len() <= INTERFACE_MAX {
        return plain;
    }
    let hash = sha2::Sha256::digest(name.as_str());
    format!("rv_{}", hash.iter().take(6).map(|b| format!("{b:02x}")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::network::NetworkType;

    #[test]
    fn names_fit_and_differ() {
        let spec = NetworkSpec::of(NetworkType::Nat);
        let of = |name: &str| bridge_name(&name.parse().unwrap(), &spec);
        assert_eq!(of("lan"), "rv-lan");
        assert_eq!(of("twelve-chars"), "rv-twelve-chars");
        let long = of("thirteen-char");
        assert!(long.starts_with("rv_") && long.len() <= INTERFACE_MAX, "{long}");
        assert_ne!(long, of("thirteen-chas"));
        assert_eq!(bridge_name(&"lan".parse().unwrap(), &NetworkSpec { bridge: Some("br0".into()), ..spec }), "br0");
    }
}
