//! From what a plan says would change to the spec a driver is asked for; pure.

use serde_json::{Map, Value};

use super::{NetworkLive, NetworkSpec};
use crate::base::{Disruption, Fault, FaultKind, Name};
use crate::kinds::KindName;
use crate::plan::model::{Cause, FieldChange};

/// The fields that are not there when they are left out, in a network that is managed in full.
const LIBVIRT_FIELDS: [&str; 6] = ["cidr", "cidr6", "dhcp", "domain", "mtu", "device"];
const BRIDGE_FIELDS: [&str; 3] = ["cidr", "cidr6", "mtu"];

/// A canonical spec as a plan compares it: what is left out shall not be there.
pub fn want(spec: &NetworkSpec) -> Value {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    let fields: &[&str] = match (spec.by_libvirt(), spec.made()) {
        (true, _) => &LIBVIRT_FIELDS,
        (false, true) => &BRIDGE_FIELDS,
        (false, false) => &[],
    };
    if let Value::Object(map) = &mut value {
        for field in fields {
            map.entry(*field).or_insert(Value::Null);
        }
        if let Some(Value::Object(dhcp)) = map.get_mut("dhcp") {
            dhcp.entry("range").or_insert(Value::Null);
        }
    }
    value
}

/// That a network is down, or would not come up with the host.
pub fn extra(live: &NetworkLive) -> Vec<FieldChange> {
    let drift = |path: &str| FieldChange {
        path: path.into(),
        have: false.into(),
        want: true.into(),
        disruption: Disruption::None,
        cause: Cause::Drift,
        pending: false,
    };
    if !live.spec.made() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if live.running.is_none() {
        found.push(drift("up"));
    }
    if !live.autostart {
        found.push(drift("autostart"));
    }
    found
}

/// Why a network cannot become what is wanted.
pub fn refuse(changes: &[FieldChange], live: &NetworkLive) -> Option<Fault> {
    let word = live.spec.kind.word();
    let of = |path: &str| changes.iter().find(|c| c.path == path);
    let becomes_bridge = |c: &FieldChange| (c.want == "bridge") != (c.have == "bridge");
    let refused = if of("type").is_some_and(becomes_bridge) || of("create").is_some() {
        format!(
            "a network cannot change between libvirt's, a bridge Reeve makes and a bridge of the host; this is {word}"
        )
    } else if of("bridge").is_some() && !live.spec.by_libvirt() {
        "a network of type bridge cannot change to another bridge".to_owned()
    } else {
        return None;
    };
    Some(
        Fault::new(FaultKind::Unsupported, refused)
            .help("make a network of another name, and give the guests that one"),
    )
}

/// What is asked of the driver.
#[derive(Debug)]
pub struct Made {
    /// The spec that is to be in force.
    pub spec: NetworkSpec,
    /// What the mark then says was applied.
    pub applied: Value,
    /// Whether the network may be stopped for it.
    pub restart: bool,
}

/// The spec that comes of `live` with exactly these changes.
pub fn make(name: &Name, spec: &NetworkSpec, live: &NetworkLive, changes: &[FieldChange]) -> Result<Made, Fault> {
    let wanted = want(&spec.canonical(name));
    let mut value = serde_json::to_value(&live.spec).unwrap_or_default();
    let mut applied = live.mark.as_ref().and_then(|m| m.applied.clone()).unwrap_or(Value::Object(Map::new()));
    let shape = KindName::Network.shape();
    let mut restart = false;
    for change in changes {
        let Some((_, cost)) = shape.find(&change.path) else { continue };
        restart |= change.pending || cost >= Disruption::Restart;
        put(&mut value, &change.path, &change.want);
        put(&mut applied, &change.path, &change.want);
    }
    let made: NetworkSpec =
        serde_json::from_value(value).map_err(|e| Fault::other(format!("change network {name}: {e}")))?;
    let made = made.canonical(name);
    let applied = if want(&made) == wanted { wanted } else { applied };
    Ok(Made { spec: made, applied, restart })
}

/// Sets what stands at a path, or takes it out when it shall be nothing.
fn put(value: &mut Value, path: &str, to: &Value) {
    let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { return };
    match rest {
        Some(rest) => put(map.entry(head).or_insert(Value::Null), rest, to),
        None if to.is_null() => {
            map.remove(head);
        }
        None => {
            map.insert(head.to_owned(), to.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::diff::diff;

    fn spec(value: Value) -> NetworkSpec {
        serde_json::from_value(value).unwrap()
    }

    fn live(value: Value) -> NetworkLive {
        let spec = spec(value).canonical(&"lan".parse().unwrap());
        NetworkLive { running: Some(spec.clone()), spec, autostart: true, plugged: Vec::new(), mark: None }
    }

    fn full() -> Value {
        json!({"type": "nat", "cidr": "10.40.0.1/24", "cidr6": "fd00::1/64", "mtu": 9000, "device": "eth0",
            "domain": "lan.example", "dns": {"forwarders": ["192.0.2.1"], "hosts": {"gate": "10.40.0.1"}},
            "dhcp": {"range": ["10.40.0.100", "10.40.0.200"], "lease": "90m",
                "hosts": {"web": {"mac": "52:54:00:aa:00:01", "address": "10.40.0.10"}}}})
    }

    #[test]
    fn every_difference_is_a_change_and_the_changes_lead_there() {
        let name: Name = "lan".parse().unwrap();
        let specs = [
            full(),
            json!({"type": "nat", "cidr": "10.40.0.1/24"}),
            json!({"type": "isolated"}),
            json!({"type": "routed", "cidr": "10.9.0.1/24", "dhcp": {"hosts": {
                "db": {"mac": "52:54:00:aa:00:02", "address": "10.9.0.10"}}}, "dns": {"hosts": {"a": "10.9.0.9"}}}),
            json!({"type": "nat", "bridge": "other0", "cidr": "10.40.0.1/24", "dhcp": {"range": ["10.40.0.9", "10.40.0.10"]}}),
        ];
        let shape = KindName::Network.shape();
        for from in &specs {
            for to in &specs {
                let (live, spec) = (live(from.clone()), spec(to.clone()));
                let have = serde_json::to_value(&live.spec).unwrap();
                let changes = diff(&want(&spec.canonical(&name)), &have, None, shape);
                assert_eq!(changes.is_empty(), from == to, "{from} to {to}: {changes:?}");
                let made = make(&name, &spec, &live, &changes).unwrap();
                assert_eq!(made.spec, spec.canonical(&name), "{from} to {to}");
                let stops = changes.iter().any(|c| c.disruption >= Disruption::Restart);
                assert_eq!(live.spec.needs_restart(&made.spec), stops, "{from} to {to}: {changes:?}");
            }
        }
    }

    #[test]
    fn a_part_of_the_changes_is_a_part() {
        let name: Name = "lan".parse().unwrap();
        let (live, spec) = (live(json!({"type": "nat", "cidr": "10.40.0.1/24"})), spec(full()));
        let have = serde_json::to_value(&live.spec).unwrap();
        let mut changes = diff(&want(&spec.canonical(&name)), &have, None, KindName::Network.shape());
        changes.retain(|c| c.disruption <= Disruption::Live);
        let made = make(&name, &spec, &live, &changes).unwrap();
        assert!(!made.restart && made.spec.mtu.is_none() && made.spec.dhcp.is_some());
        assert_eq!(made.applied["dhcp"]["range"][0], "10.40.0.100");
        assert_eq!(made.applied.get("mtu"), None);
    }

    #[test]
    fn a_network_stays_what_it_is() {
        let live = live(json!({"type": "nat", "cidr": "10.40.0.1/24"}));
        let change = |path: &str, have: &str, want: &str| FieldChange {
            path: path.into(),
            have: have.into(),
            want: want.into(),
            disruption: Disruption::Restart,
            cause: Cause::Change,
            pending: false,
        };
        assert!(refuse(&[change("type", "nat", "bridge")], &live).is_some());
        assert!(refuse(&[change("type", "nat", "isolated")], &live).is_none());
        assert!(refuse(&[change("bridge", "rv-lan", "br1")], &live).is_none());
    }
}
