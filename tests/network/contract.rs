//! What every driver of networks promises.

use reeve::base::{FaultKind, Mark, Name, Uid};
use reeve::drivers::network::{Networks, Seen};
use reeve::kinds::network::NetworkSpec;
use serde_json::{Value, json};

/// A driver under test, and a way to plug something into its networks.
pub trait Subject: Sync {
    /// The driver.
    fn driver(&self) -> &dyn Networks;
    /// Makes an interface and plugs it into a network's bridge.
    fn plug(&self, network: &Name, bridge: &str, interface: &str);
    /// Takes the interface away.
    fn unplug(&self, network: &Name, interface: &str);
    /// Turns a spec into one of this driver's sort.
    fn adapt(&self, spec: Value) -> Value {
        spec
    }
    /// Whether a larger packet size stops the network.
    fn restarts(&self) -> bool {
        true
    }
}

/// A mark of a fresh resource.
pub fn mark(name: &Name) -> Mark {
    Mark { uid: Uid::fresh(), resource: format!("network/{name}"), applied: Some(json!({"one": 1})) }
}

/// A spec in canonical form.
pub fn spec(name: &Name, value: Value) -> NetworkSpec {
    serde_json::from_value::<NetworkSpec>(value).unwrap().canonical(name)
}

async fn see(driver: &dyn Networks, name: &Name) -> Seen {
    let seen = driver.find(name).await.unwrap().expect("the network is there");
    let listed = driver.list().await.unwrap();
    assert_eq!(listed.into_iter().find(|s| s.name == *name).as_ref(), Some(&seen), "list and find agree");
    seen
}

/// The promises, in the life of one network in 10.213.`octet`.0.
pub async fn contract(subject: &impl Subject, name: &str, octet: u8) {
    let driver = subject.driver();
    let name: Name = name.parse().unwrap();
    let cidr = format!("10.213.{octet}.1/24");
    let plain = spec(&name, subject.adapt(json!({"type": "nat", "cidr": cidr})));
    let bridge = plain.bridge.clone().unwrap();
    let ours = mark(&name);
    let theirs = mark(&name);

    assert_eq!(driver.find(&name).await.unwrap(), None);
    driver.delete(&name, &ours).await.expect("what is not there counts as removed");

    driver.create(&name, &plain, &ours).await.unwrap();
    let seen = see(driver, &name).await;
    assert_eq!(seen.spec, Ok(plain.clone()));
    assert_eq!(seen.running, Some(plain.clone()));
    assert!(seen.autostart);
    assert_eq!(seen.mark, Some(ours.clone()));
    assert_eq!(seen.plugged, [""; 0]);
    driver.create(&name, &plain, &ours).await.expect("what is there with our UID counts as made");
    assert_eq!(see(driver, &name).await, seen);

    for fault in [
        driver.create(&name, &plain, &theirs).await.unwrap_err(),
        driver.change(&name, &plain, &theirs, true).await.unwrap_err(),
        driver.delete(&name, &theirs).await.unwrap_err(),
    ] {
        assert_eq!(fault.kind, FaultKind::Identity, "{fault}");
    }
    assert_eq!(see(driver, &name).await, seen, "another's mark changes nothing");

    let interface = format!("imgtest{octet}");
    subject.plug(&name, &bridge, &interface);
    assert_eq!(see(driver, &name).await.plugged, std::slice::from_ref(&interface));
    let fault = driver.delete(&name, &ours).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Busy, "{fault}");
    assert!(fault.message.contains(&interface), "{fault}");

    let wide = spec(&name, subject.adapt(json!({"type": "nat", "cidr": cidr, "mtu": 1400})));
    if subject.restarts() {
        let fault = driver.change(&name, &wide, &ours, false).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
        assert_eq!(see(driver, &name).await.spec, Ok(plain.clone()), "nothing was changed half-way");
    }
    let applied = Mark { applied: Some(json!({"two": 2})), ..ours.clone() };
    driver.change(&name, &wide, &applied, true).await.unwrap();
    let seen = see(driver, &name).await;
    assert_eq!((seen.spec.as_ref(), seen.running.as_ref()), (Ok(&wide), Some(&wide)));
    assert_eq!(seen.plugged, std::slice::from_ref(&interface), "what was plugged in still is");
    assert_eq!(seen.mark, Some(applied.clone()));

    let adopted = mark(&name);
    assert_eq!(driver.remark(&name, Some(&theirs), &adopted).await.unwrap_err().kind, FaultKind::Identity);
    driver.remark(&name, Some(&ours), &adopted).await.unwrap();
    assert_eq!(see(driver, &name).await.mark, Some(adopted.clone()));

    subject.unplug(&name, &interface);
    driver.delete(&name, &adopted).await.unwrap();
    assert_eq!(driver.find(&name).await.unwrap(), None);
    driver.delete(&name, &adopted).await.unwrap();
}
