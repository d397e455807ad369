//! Stands where there is no hypervisor: every call says why.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Capabilities, Changed, Domain, Machine, Record, SecretValues, Target, VmDriver};
use crate::base::Fault;

/// A hypervisor that is not there.
pub struct Nothing(pub Fault);

#[async_trait]
impl VmDriver for Nothing {
    fn name(&self) -> &'static str {
        "none"
    }

    async fn capabilities(&self) -> Result<Capabilities, Fault> {
        Err(self.0.clone())
    }

    async fn list(&self) -> Result<BTreeMap<String, Result<Domain, Fault>>, Fault> {
        Err(self.0.clone())
    }

    async fn find(&self, _name: &str) -> Result<Option<Domain>, Fault> {
        Err(self.0.clone())
    }

    async fn define(
        &self,
        _name: &str,
        _uuid: Uuid,
        _machine: &Machine,
        _record: &Record,
        _secrets: &SecretValues,
    ) -> Result<(), Fault> {
        Err(self.0.clone())
    }

    async fn reconfigure(
        &self,
        _target: &Target<'_>,
        _old: &Domain,
        _new: &Machine,
        _paths: &[String],
        _secrets: &SecretValues,
        _now: bool,
    ) -> Result<Changed, Fault> {
        Err(self.0.clone())
    }

    async fn set_record(&self, _target: &Target<'_>, _record: &Record) -> Result<(), Fault> {
        Err(self.0.clone())
    }

    async fn start(&self, _target: &Target<'_>) -> Result<(), Fault> {
        Err(self.0.clone())
    }

    async fn shutdown(&self, _target: &Target<'_>, _within: Duration) -> Result<bool, Fault> {
        Err(self.0.clone())
    }

    async fn destroy(&self, _target: &Target<'_>) -> Result<(), Fault> {
        Err(self.0.clone())
    }

    async fn undefine(&self, _target: &Target<'_>) -> Result<(), Fault> {
        Err(self.0.clone())
    }

    async fn console(&self, _target: &Target<'_>) -> Result<PathBuf, Fault> {
        Err(self.0.clone())
    }
}
