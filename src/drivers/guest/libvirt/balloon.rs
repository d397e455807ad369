//! Memory that running guests lend the host.

use std::collections::BTreeMap;

use async_trait::async_trait;
use uuid::Uuid;
use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::connection::Call;
use super::{Libvirt, Meant, lifecycle};
use crate::base::{Attempt as _, Fault, Size};
use crate::drivers::guest::{Balloons, Shared, Target};

#[async_trait]
impl Balloons for Libvirt {
    async fn shared(&self, guests: &[Uuid]) -> Result<Shared, Fault> {
        let table = tokio::fs::read_to_string("/proc/meminfo").await;
        let table = table.map_err(Fault::from).attempt(|| "cannot read /proc/meminfo".to_owned())?;
        let row = |name: &str| {
            let value =
                table.lines().find_map(|l| l.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok());
            value.map(|kib: u64| Size(kib << 10)).ok_or_else(|| Fault::other(format!("/proc/meminfo has no {name}")))
        };
        let (total, available) = (row("MemTotal:")?, row("MemAvailable:")?);
        let guests = guests.to_vec();
        let call = Call::read("looking at the memory of domains");
        let read = self.pool().call(call, move |connection| {
            let mut found = BTreeMap::new();
            for uuid in &guests {
                // One that is gone meanwhile, or does not run, has nothing to lend.
                let Ok(domain) = Handle::lookup_by_uuid(connection, *uuid) else { continue };
                let info = domain.get_info()?;
                if info.state == sys::VIR_DOMAIN_RUNNING {
                    found.insert(*uuid, Size(info.memory << 10));
                }
            }
            Ok(found)
        });
        Ok(Shared { total, available, guests: read.await? })
    }

    async fn lend(&self, target: &Target<'_>, size: Size) -> Result<(), Fault> {
        let (doing, kib) = (format!("moving memory of domain {}", target.name), size.kib());
        let set = move |domain: &Handle| Ok(domain.set_memory_flags(kib, sys::VIR_DOMAIN_AFFECT_LIVE).map(|_| ())?);
        lifecycle::change(self, Meant::from(target), doing, lifecycle::START_DEADLINE, set).await
    }
}
