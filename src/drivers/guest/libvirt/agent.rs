//! What the guest tells of its addresses: its agent is asked first, then what the host's DHCP gave it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use virt_sys as sys;

use super::connection::Call;
use super::{Libvirt, Meant, ffi};
use crate::base::{Fault, FaultKind};
use crate::drivers::guest::{GuestAgent, Target};

#[async_trait]
impl GuestAgent for Libvirt {
    async fn addresses(
        &self,
        target: &Target<'_>,
        within: Duration,
    ) -> Result<Option<BTreeMap<String, Vec<String>>>, Fault> {
        for source in [sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE] {
            let meant = Meant::from(target);
            let call = Call::read(format!("asking domain {} for its addresses", meant.name)).within(within);
            let told = self.pool().call(call, move |connection| {
                let domain = meant.open(connection)?;
                if !domain.is_active()? {
                    return Ok(None);
                }
                // Without an agent, or without a lease, there is no answer; that is no fault of the machine.
                Ok(ffi::addresses(&domain, source).ok().filter(|found| !found.is_empty()))
            });
            match told.await {
                Ok(None) => {}
                Err(fault) if fault.kind == FaultKind::Deadline => {}
                told => return told,
            }
        }
        Ok(None)
    }
}
