//! What no two virtual machines may have, found once for all manifests.

use std::collections::HashMap;

use crate::base::Name;
use crate::kinds::{Catalog, KindName, Ref, Spec};

/// A field of a resource.
pub(super) type Field = (Ref, String);

/// Who uses what may be used once only; each list is in the order of the resources' names.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Hardware addresses, in lower case.
    pub macs: HashMap<String, Vec<Field>>,
    /// Volume resources.
    pub volumes: HashMap<Name, Vec<Field>>,
}

impl Taken {
    /// Looks through all manifests.
    pub fn find(catalog: &Catalog) -> Self {
        let mut taken = Self::default();
        for resource in catalog.of(KindName::VirtualMachine) {
            let Spec::VirtualMachine(spec) = &resource.spec else { continue };
            for (name, nic) in &spec.nics {
                if let Some(mac) = &nic.mac {
                    let field = (resource.reference(), format!("nics.{name}.mac"));
                    taken.macs.entry(mac.to_ascii_lowercase()).or_default().push(field);
                }
            }
            for (name, disk) in &spec.disks {
                if let Some(volume) = &disk.volume {
                    let field = (resource.reference(), format!("disks.{name}.volume"));
                    taken.volumes.entry(volume.clone()).or_default().push(field);
                }
            }
        }
        taken
    }
}
