//! Stops a network and starts it anew, and plugs in again what was plugged in.
//!
//! libvirt takes the bridge away when a network stops, and leaves guests' interfaces without one. They are noted in the
//! mark's file before, so that a run that is broken off in between is finished by the next.

use uuid::Uuid;
use virt::network::Network;

use super::super::marks::Marked;
use super::super::{Seen, sysfs};
use super::{LibvirtNetworks, explain, find};
use crate::base::exec::Command;
use crate::base::fault::Attempt as _;
use crate::base::{Fault, Name};
use crate::drivers::guest::libvirt::connection::Call;
use crate::kinds::network::NetworkSpec;

impl LibvirtNetworks {
    /// Stops the network and starts it as `wanted`.
    pub(super) async fn restart(&self, name: &Name, uuid: Uuid, seen: &Seen, wanted: String) -> Result<(), Fault> {
        if let Some(mut marked) = self.marks.get(name, uuid)? {
            marked.replug.extend(seen.plugged.iter().cloned());
            marked.replug.sort();
            marked.replug.dedup();
            self.marks.put(name, &marked)?;
        }
        let id = name.to_string();
        let call = Call::change(format!("restart the network {name}"));
        let restarted = self.pool.call(call, move |c| {
            let network = Network::define_xml(c, &wanted)?;
            network.set_autostart(true)?;
            if let Some(network) = find(c, &id)?.filter(|n| n.is_active().unwrap_or(false)) {
                network.destroy()?;
            }
            network.create()?;
            Ok(())
        });
        restarted.await.map_err(explain)
    }

    /// Plugs in again what a restart left without a bridge, and is still there.
    pub(super) async fn replug(&self, name: &Name, uuid: Uuid, spec: &NetworkSpec) -> Result<(), Fault> {
        let Some(Marked { replug, .. }) = self.marks.get(name, uuid)? else { return Ok(()) };
        let bridge = spec.bridge.as_deref().unwrap_or_default();
        for interface in replug.iter().filter(|i| sysfs::exists(i) && !sysfs::is_port(i)) {
            Command::new("ip")
                .args(["link", "set", "dev", interface, "master", bridge])
                .run()
                .await
                .attempt(|| format!("plug {interface} into {bridge} again"))?;
        }
        Ok(())
    }
}
