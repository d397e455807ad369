//! The fake keeps to the contract.

use async_trait::async_trait;
use reeve::drivers::container::fake::Fake;
use reeve::drivers::container::{CtDriver, Place, Record};
use serde_json::Value;

use super::contract::{Rig, suite};
use super::lab;

struct Fakes(Fake);

#[async_trait]
impl Rig for Fakes {
    fn driver(&self) -> &dyn CtDriver {
        &self.0
    }

    async fn record(&self, name: &str, spec: Value) -> Record {
        let spec = lab::filled(name, spec);
        lab::record(name, spec, Place::Image(format!("/srv/{name}.raw").into()), self.bridge())
    }

    fn bridge(&self) -> &str {
        "br0"
    }
}

#[tokio::test]
async fn it_keeps_to_the_contract() {
    suite(&Fakes(Fake::new())).await;
}

#[tokio::test]
async fn its_state_survives_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cts.json");
    suite(&Fakes(Fake::kept_in(&file))).await;
    let rig = Fakes(Fake::kept_in(&file));
    let record = rig.record("ct-kept", serde_json::json!({"rootfs": {"hostPath": "/srv/x"}})).await;
    let name = "ct-kept".parse().unwrap();
    rig.driver().define(&name, &record).await.unwrap();
    assert!(Fake::kept_in(&file).find(&name).await.unwrap().is_some(), "another process sees it");
}
