//! Networks: one contract for every driver, and the kind on top of the fake.

mod contract;
mod kind;
mod real_bridge;
mod real_libvirt;

use contract::{Subject, contract};
use reeve::base::Name;
use reeve::drivers::network::Networks;
use reeve::drivers::network::fake::FakeNetworks;

impl Subject for FakeNetworks {
    fn driver(&self) -> &dyn Networks {
        self
    }

    fn plug(&self, network: &Name, _bridge: &str, interface: &str) {
        self.alter(network, |seen| seen.plugged.push(interface.to_owned()));
    }

    fn unplug(&self, network: &Name, interface: &str) {
        self.alter(network, |seen| seen.plugged.retain(|p| p != interface));
    }
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    contract(&FakeNetworks::default(), "image-fake", 1).await;
}
