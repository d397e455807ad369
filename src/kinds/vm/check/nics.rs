//! Network cards.

use crate::kinds::network::NetworkType;
use crate::kinds::vm::spec::{NicModel, VmSpec};
use crate::kinds::{KindName, Report, Scope, Spec};

pub(super) fn check(spec: &VmSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    for (nic_name, nic) in &spec.nics {
        let at = format!("nics.{nic_name}");
        match &nic.network {
            None => {
                let help = "name the Network it is connected to; linkUp: false pulls the cable";
                report.error("vm/nic-without-network", &at, format!("{at} has no network"), help);
            }
            Some(network) => {
                if let Some(Spec::Network(found)) = scope.spec(KindName::Network, network)
                    && nic.vlan.is_some()
                    && found.kind != NetworkType::Bridge
                {
                    let message = format!("network/{network} is of type {}, which has no VLANs", found.kind.word());
                    let help = "connect it to a network of type bridge, or leave vlan out";
                    report.error("vm/vlan-needs-bridge", &format!("{at}.vlan"), message, help);
                }
            }
        }
        if let Some(mac) = &nic.mac {
            address(mac, &format!("{at}.mac"), report);
        }
        if nic.queues() > 1 && nic.model() != NicModel::Virtio {
            let help = "set model: virtio, or leave queues out";
            report.error("vm/queues-model", &format!("{at}.queues"), "only a virtio card has several queues", help);
        }
        if nic.mtu.is_some() && nic.model() != NicModel::Virtio {
            let help = "set model: virtio, or leave mtu out";
            report.error("vm/mtu-model", &format!("{at}.mtu"), "only a virtio card tells the guest an mtu", help);
        }
        if nic.rate.is_some_and(|r| r.0 < 8_000) {
            let help = "write at least 8kbps, or leave it out for no limit";
            report.error("vm/rate-too-low", &format!("{at}.rate"), "the rate is too low to be kept", help);
        }
    }
}

/// A hardware address is one card's.
fn address(mac: &str, at: &str, report: &mut Report<'_>) {
    let mac = mac.to_ascii_lowercase();
    let first = mac.get(..2).and_then(|b| u8::from_str_radix(b, 16).ok());
    // What is no address at all was said when its pattern was not met.
    let Some(first) = first.filter(|_| mac.len() == 17) else { return };
    if first & 1 == 1 {
        let help = "make its second digit even, such as 52:54:00:12:34:56";
        report.error("vm/mac-multicast", at, format!("{mac} is a multicast address"), help);
    } else if mac == "00:00:00:00:00:00" {
        let help = "leave it out to get one, or write one such as 52:54:00:12:34:56";
        report.error("vm/mac-zero", at, "the address of all zeroes is no card's", help);
    }
}
