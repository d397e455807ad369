//! Everything about a container's manifest that can be known offline, each problem with its place.

use super::spec::CtSpec;
use crate::base::Name;
use crate::kinds::{Claim, Report, Scope};

pub(super) fn check(_name: &Name, _spec: &CtSpec, _scope: &Scope<'_>, _report: &mut Report<'_>) {}

pub(super) fn claims(_spec: &CtSpec) -> Vec<Claim> {
    Vec::new()
}
