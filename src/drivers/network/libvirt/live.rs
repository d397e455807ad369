//! Changes to a network that is up, which no guest notices: addresses given by DHCP, and names known to DNS.

use virt::network::Network;
use virt::sys;

use super::{LibvirtNetworks, explain, find, xml};
use crate::base::{Fault, FaultKind, Name};
use crate::drivers::guest::libvirt::connection::{Call, Done};
use crate::drivers::guest::libvirt::xml::Element;
use crate::kinds::network::{Dhcp, NetworkSpec};

/// One element to take out of or put into a section of a network.
#[derive(Debug, PartialEq)]
struct Edit {
    add: bool,
    section: sys::virNetworkUpdateSection,
    element: Element<'static>,
}

impl LibvirtNetworks {
    /// Brings a network that is up from `running` to `spec`, and its configuration to `wanted`.
    pub(super) async fn change_live(
        &self,
        name: &Name,
        running: &NetworkSpec,
        spec: &NetworkSpec,
        wanted: String,
    ) -> Result<(), Fault> {
        let edits: Vec<(bool, sys::virNetworkUpdateSection, String)> = edits(running, spec)
            .into_iter()
            .map(|edit| Ok((edit.add, edit.section, edit.element.write()?)))
            .collect::<Result<_, Fault>>()?;
        let id = name.to_string();
        let call = Call::change(format!("change the network {name}"));
        let changed = self.pool.call(call, move |c| {
            let Some(network) = find(c, &id)? else {
                return Err(Fault::new(FaultKind::NotFound, "it is gone").into());
            };
            for (add, section, xml) in &edits {
                edit(&network, *add, *section, xml)?;
            }
            // The configuration as a whole, since what is in force may have been behind it.
            let network = Network::define_xml(c, &wanted)?;
            network.set_autostart(true)?;
            Ok(())
        });
        changed.await.map_err(explain)
    }
}

fn edit(network: &Network, add: bool, section: sys::virNetworkUpdateSection, xml: &str) -> Done<()> {
    let command = if add { sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST } else { sys::VIR_NETWORK_UPDATE_COMMAND_DELETE };
    network.update(command, section, -1, xml, sys::VIR_NETWORK_UPDATE_AFFECT_LIVE)?;
    Ok(())
}

/// What to take out, and then what to put in.
fn edits(from: &NetworkSpec, to: &NetworkSpec) -> Vec<Edit> {
    let (gone, come) = (elements(from), elements(to));
    let out = gone.iter().filter(|e| !come.contains(e)).map(|(s, e)| (false, *s, e.clone()));
    let new = come.iter().filter(|e| !gone.contains(e)).map(|(s, e)| (true, *s, e.clone()));
    out.chain(new).map(|(add, section, element)| Edit { add, section, element }).collect()
}

fn elements(spec: &NetworkSpec) -> Vec<(sys::virNetworkUpdateSection, Element<'static>)> {
    let none = Dhcp::default();
    let dhcp = spec.dhcp.as_ref().unwrap_or(&none);
    let range = xml::dhcp_range(dhcp).map(|r| (sys::VIR_NETWORK_SECTION_IP_DHCP_RANGE, r));
    let hosts = dhcp.hosts.iter().flatten();
    let hosts = hosts.map(|(name, host)| (sys::VIR_NETWORK_SECTION_IP_DHCP_HOST, xml::dhcp_host(name, host)));
    let names = xml::dns_hosts(spec.dns.as_ref().and_then(|d| d.hosts.as_ref()));
    let names = names.into_iter().map(|host| (sys::VIR_NETWORK_SECTION_DNS_HOST, host));
    range.into_iter().chain(hosts).chain(names).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_edited_and_goes_before_it_comes() {
        let spec = |end: &str, host: &str| -> NetworkSpec {
            let spec: NetworkSpec = serde_json::from_value(json!({
                "type": "nat", "cidr": "10.0.0.1/24",
                "dhcp": {"range": ["10.0.0.10", end], "hosts": {
                    "a": {"mac": "52:54:00:00:00:01", "address": "10.0.0.5"},
                    "b": {"mac": "52:54:00:00:00:02", "address": host}}},
            }))
            .unwrap();
            spec.canonical(&"lan".parse().unwrap())
        };
        let (old, new) = (spec("10.0.0.20", "10.0.0.6"), spec("10.0.0.30", "10.0.0.7"));
        assert_eq!(edits(&old, &old), []);
        let found: Vec<(bool, String)> =
            edits(&old, &new).into_iter().map(|e| (e.add, e.element.name.into_owned())).collect();
        let expected = [(false, "range"), (false, "host"), (true, "range"), (true, "host")];
        assert_eq!(found, expected.map(|(add, name)| (add, name.to_owned())));
    }
}
