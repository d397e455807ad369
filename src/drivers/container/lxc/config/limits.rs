//! The lines for processors and memory.

use super::{Context, Lines};
use crate::base::{Fault, FaultKind};
use crate::drivers::container::lxc::cgroup::{Controller, Limits, Version, settings};
use crate::kinds::container::{CtCpu, CtSpec};

const FILES: [&str; 9] = [
    "cpu.shares",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpu.weight",
    "cpu.max",
    "cpuset.cpus",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.max",
];

pub fn write(context: &Context<'_>, lines: &mut Lines) -> Result<(), Fault> {
    let Context { record, host, .. } = context;
    let cpus = pick(&host.cpus, record.spec.cpu().cores, record.mark.uid.uuid().as_u128())?;
    for setting in settings(&record.spec, &host.layout, &cpus, false) {
        let front = host.layout.version(setting.controller).key();
        lines.put(format!("{front}{}", setting.file), setting.value);
    }
    Ok(())
}

/// The processors of a container: `cores` of them, starting where its UID says, so that guests spread and stay.
pub fn pick(cpus: &[u32], cores: Option<u32>, uid: u128) -> Result<Vec<u32>, Fault> {
    let Some(cores) = cores else { return Ok(cpus.to_vec()) };
    let cores = cores as usize;
    if cores > cpus.len() {
        let message = format!("cpu.cores is {cores}, and this node lets containers use {} processors", cpus.len());
        return Err(Fault::new(FaultKind::Invalid, message).help(format!("set cpu.cores to at most {}", cpus.len())));
    }
    let start = usize::try_from(uid % cpus.len().max(1) as u128).unwrap_or_default();
    let mut picked: Vec<u32> = cpus.iter().cycle().skip(start).take(cores).copied().collect();
    picked.sort_unstable();
    Ok(picked)
}

pub fn read(lines: &mut Lines, spec: &mut CtSpec) {
    let taken = lines.take(|key, _| {
        [Version::V1, Version::V2]
            .iter()
            .any(|v| key.strip_prefix(v.key()).is_some_and(|file| FILES.contains(&file) || file == "memory.swap.max"))
    });
    let get = |_: Controller, version: Version, file: &str| {
        let key = format!("{}{file}", version.key());
        taken.iter().rev().find(|(k, _)| *k == key).map(|(_, value)| value.clone())
    };
    let limits = Limits::read(get);
    let mut cpu = CtCpu { cores: None, limit: limits.limit, weight: limits.weight };
    cpu.fill();
    cpu.cores = limits.cpus.and_then(|c| u32::try_from(c.len()).ok());
    spec.cpu = Some(cpu);
    let memory = spec.memory.get_or_insert_default();
    memory.size = limits.size;
    memory.swap = limits.swap;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_picked_evenly_and_always_the_same() {
        assert_eq!(pick(&[0, 1, 2, 3], Some(2), 3).unwrap(), [0, 3]);
        assert_eq!(pick(&[0, 1, 2, 3], None, 3).unwrap(), [0, 1, 2, 3]);
        let fault = pick(&[0, 1], Some(3), 0).unwrap_err();
        assert_eq!(fault.message, "cpu.cores is 3, and this node lets containers use 2 processors");
    }
}
