//! The canonical form: what is wanted and what is there, written so that equal meaning is equal text.

use serde_json::Value;

use super::spec::CtSpec;
use crate::base::Name;

/// The canonical form of a container's spec.
pub(super) fn canonical(name: &Name, spec: &CtSpec) -> Value {
    settled(name, spec).canonical()
}

/// What the canonical form is written from.
pub(super) fn settled(name: &Name, spec: &CtSpec) -> CtSpec {
    let mut settled = plain(name, spec);
    // What a root file system started from is provenance, and never compared.
    if let Some(rootfs) = &mut settled.rootfs {
        rootfs.image = None;
    }
    settled
}

/// The spec with what follows from the name filled in, and each meaning said in one way.
pub(super) fn plain(name: &Name, spec: &CtSpec) -> CtSpec {
    let mut plain = spec.clone();
    plain.hostname.get_or_insert_with(|| name.to_string());
    if plain.description.as_deref() == Some("") {
        plain.description = None;
    }
    for mount in plain.mounts.values_mut().filter(|m| m.host_path.is_some()) {
        mount.backup = Some(false);
    }
    plain.settle();
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(value: Value) -> Value {
        canonical(&Name::new("web").unwrap(), &serde_json::from_value::<CtSpec>(value).unwrap())
    }

    #[test]
    fn what_means_the_same_is_written_the_same() {
        for (a, b) in [
            (json!({}), json!({"hostname": "web", "unprivileged": true, "mounts": null, "env": {}, "cpu": {}})),
            (json!({"tags": ["b", "a", "b"]}), json!({"tags": ["a", "b"]})),
            (json!({"rootfs": {"image": "x"}}), json!({"rootfs": {"image": "y"}})),
            (json!({"cpu": {"limit": 0.5}}), json!({"cpu": {"limit": 0.500_001, "weight": 100}})),
            (
                json!({"nics": {"eth0": {"mac": "52:54:00:AB:00:01", "addresses": ["10.0.0.2/8", "10.0.0.1/8"]}}}),
                json!({"nics": {"eth0": {"mac": "52:54:00:ab:00:01", "addresses": ["10.0.0.1/8", "10.0.0.2/8"]}}}),
            ),
            (
                json!({"mounts": {"a": {"path": "/a", "hostPath": "/b"}}}),
                json!({"mounts": {"a": {"path": "/a", "hostPath": "/b", "backup": true}}}),
            ),
        ] {
            assert_eq!(form(a.clone()), form(b.clone()), "{a} {b}");
        }
    }

    #[test]
    fn the_canonical_form_reads_back_as_itself() {
        let first = form(json!({
            "rootfs": {"storage": "local", "size": "4Gi"}, "cpu": {"cores": 1, "limit": 1}, "env": {"A": "b"},
            "nics": {"eth0": {"network": "lan", "rate": "10Mbps"}}, "devices": {"tun": {"path": "/dev/net/tun"}}
        }));
        assert_eq!(form(first.clone()), first);
        assert!(first["nics"]["eth0"].get("mac").is_none(), "unmanaged");
        assert_eq!(first["nics"]["eth0"]["vlan"], Value::Null, "managed, and none");
    }
}
