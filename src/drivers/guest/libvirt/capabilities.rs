//! What the hypervisor can do on this host, and above all whether KVM really works.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::Libvirt;
use super::connection::Call;
use super::probe::{self, Outcome};
use super::xml::Element;
use crate::base::{Fault, FaultKind};
use crate::drivers::guest::Capabilities;
use crate::kinds::vm::Accelerator;

const KVM: &str = "/dev/kvm";
const EMULATOR: &str = "qemu-system-x86_64";
/// A processor needs a tenth of a second.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// Whether KVM can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kvm {
    /// A guest reached 64-bit code and ran it at a speed of use.
    Works,
    /// There is none.
    Absent,
    /// It opens, and no guest gets anywhere.
    Hangs,
    /// It is there, and we may not use it.
    Denied,
}

/// What was found out about KVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Whether it can be used.
    pub kvm: Kvm,
    /// How that shows, for people.
    pub reason: String,
}

/// What a finding holds for: this boot of the host and this emulator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    boot: String,
    emulator: String,
    finding: Finding,
}

/// Finds out once, and keeps it until the host or the emulator is another.
#[derive(Debug)]
pub struct Accelerators {
    file: PathBuf,
    found: OnceCell<Finding>,
}

impl Accelerators {
    /// Keeps what it finds below `data_dir`.
    pub fn new(data_dir: PathBuf) -> Self {
        Self { file: data_dir.join("accelerator.json"), found: OnceCell::new() }
    }

    /// What is found about KVM; takes up to five seconds the first time after the host started.
    pub async fn finding(&self) -> Finding {
        self.found.get_or_init(|| self.look()).await.clone()
    }

    /// What `auto` means here.
    pub async fn best(&self) -> Accelerator {
        if self.finding().await.kvm == Kvm::Works { Accelerator::Kvm } else { Accelerator::Tcg }
    }

    /// Runs the same guest under emulation, which must always work; tells a broken emulator from a broken KVM.
    pub async fn try_emulation(&self) -> Result<(), Fault> {
        let missing = || Fault::new(FaultKind::Unsupported, format!("{EMULATOR} is not installed"));
        let qemu = emulator().ok_or_else(missing)?;
        match probe::run(&qemu, "tcg", PROBE_DEADLINE * 6).await? {
            Outcome::Works => Ok(()),
            other => Err(Fault::other(format!("{EMULATOR} does not run a small guest under emulation: {other:?}"))),
        }
    }

    async fn look(&self) -> Finding {
        if let Some(finding) = absent(Path::new(KVM)) {
            return finding;
        }
        let Some(qemu) = emulator() else {
            return Finding { kvm: Kvm::Absent, reason: format!("{EMULATOR} is not installed") };
        };
        let (boot, identity) = (boot_id(), identity(&qemu));
        let kept = std::fs::read(&self.file).ok().and_then(|b| serde_json::from_slice::<Kept>(&b).ok());
        if let Some(kept) = kept.filter(|k| k.boot == boot && k.emulator == identity && !boot.is_empty()) {
            return kept.finding;
        }
        let finding = try_kvm(&qemu).await;
        let kept = Kept { boot, emulator: identity, finding };
        if let Err(error) = keep(&self.file, &kept) {
            tracing::debug!(%error, file = %self.file.display(), "what was found about KVM is not kept");
        }
        kept.finding
    }
}

/// What can be said without running anything.
fn absent(device: &Path) -> Option<Finding> {
    let shown = device.display();
    match std::fs::File::options().read(true).write(true).open(device) {
        Ok(_) => None,
        Err(error) => {
            let (kvm, reason) = match error.kind() {
                std::io::ErrorKind::NotFound => (Kvm::Absent, format!("there is no {shown}")),
                std::io::ErrorKind::PermissionDenied => (Kvm::Denied, format!("{shown} may not be opened: {error}")),
                _ => (Kvm::Absent, format!("{shown} cannot be opened: {error}")),
            };
            Some(Finding { kvm, reason })
        }
    }
}

async fn try_kvm(qemu: &Path) -> Finding {
    let seconds = PROBE_DEADLINE.as_secs();
    let (kvm, reason) = match probe::run(qemu, "kvm", PROBE_DEADLINE).await {
        Ok(Outcome::Works) => (Kvm::Works, "a guest ran 64-bit code".to_owned()),
        Ok(Outcome::Hangs { reached: true }) => {
            (Kvm::Hangs, format!("{KVM} opens, but a guest's 64-bit code was not done after {seconds} s"))
        }
        Ok(Outcome::Hangs { reached: false }) => {
            (Kvm::Hangs, format!("{KVM} opens, but a guest did not reach 64-bit code within {seconds} s"))
        }
        Ok(Outcome::Fails(said)) => (Kvm::Hangs, format!("{KVM} opens, but a guest does not run: {said}")),
        Err(fault) => (Kvm::Absent, format!("KVM could not be tried: {fault}")),
    };
    Finding { kvm, reason }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The emulator's program.
fn emulator() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let named = std::env::split_paths(&path).map(|dir| dir.join(EMULATOR));
    named.chain([PathBuf::from("/usr/libexec/qemu-kvm")]).find(|p| p.is_file())
}

/// What another build of the emulator would have otherwise.
fn identity(qemu: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata(qemu) {
        Ok(m) => format!("{} {} {} {}", qemu.display(), m.size(), m.mtime(), m.ino()),
        Err(_) => String::new(),
    }
}

fn keep(file: &Path, kept: &Kept) -> std::io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let new = tempfile::NamedTempFile::new_in(dir)?;
    std::fs::write(new.path(), serde_json::to_vec(kept)?)?;
    new.persist(file)?;
    Ok(())
}

/// Reads what libvirt says its hypervisor can do.
pub async fn read(libvirt: &Libvirt) -> Result<Capabilities, Fault> {
    let best = if libvirt.host.test { Accelerator::Tcg } else { libvirt.accelerators.best().await };
    let kind = if best == Accelerator::Kvm { "kvm" } else { "qemu" };
    let accelerators = if best == Accelerator::Kvm { vec![Accelerator::Kvm, Accelerator::Tcg] } else { vec![best] };
    let test = libvirt.host.test;
    let (host, domain) = libvirt
        .pool
        .call(Call::read("reading what libvirt can do"), move |connection| {
            let host = connection.get_capabilities()?;
            let domain = if test {
                String::new()
            } else {
                connection.get_domain_capabilities(None, Some("x86_64"), Some("q35"), Some(kind), 0)?
            };
            Ok((host, domain))
        })
        .await?;
    let machines = machines(&Element::read(&host)?);
    if test {
        let none =
            Capabilities { accelerators, machines, cpus: Vec::new(), uefi: false, secure_boot: false, tpm: false };
        return Ok(none);
    }
    if machines.is_empty() {
        return Err(Fault::new(FaultKind::Unsupported, "libvirt knows no emulator for x86_64")
            .help("install qemu-system-x86 and libvirt-daemon-driver-qemu"));
    }
    let domain = Element::read(&domain)?;
    let os = domain.first("os");
    let has = |parent: Option<&Element<'_>>, list: &str, value: &str| {
        parent
            .into_iter()
            .flat_map(|p| p.all("enum"))
            .any(|e| e.get("name") == Some(list) && e.all("value").any(|v| v.text() == value))
    };
    Ok(Capabilities {
        accelerators,
        machines,
        cpus: models(&domain),
        uefi: has(os, "firmware", "efi"),
        secure_boot: has(os.and_then(|o| o.first("loader")), "secure", "yes"),
        tpm: has(domain.at(&["devices", "tpm"]), "backendModel", "emulator"),
    })
}

fn machines(host: &Element<'_>) -> Vec<String> {
    let arch = host.all("guest").filter_map(|g| g.first("arch")).find(|a| a.get("name") == Some("x86_64"));
    let mut machines: Vec<String> =
        arch.into_iter().flat_map(|a| a.all("machine")).map(|m| m.text().into_owned()).collect();
    machines.sort_unstable();
    machines.dedup();
    machines
}

fn models(domain: &Element<'_>) -> Vec<String> {
    let custom = domain.first("cpu").and_then(|c| c.all("mode").find(|m| m.get("name") == Some("custom")));
    let usable = custom.into_iter().flat_map(|c| c.all("model")).filter(|m| m.get("usable") != Some("no"));
    usable.map(|m| m.text().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_absent() {
        assert_eq!(absent(Path::new("/no/such/kvm")).unwrap().kvm, Kvm::Absent);
        assert_eq!(absent(Path::new("/dev/null")), None);
    }

    #[tokio::test]
    async fn a_finding_is_kept_for_this_boot_and_emulator() {
        let Some(qemu) = emulator() else { return };
        let dir = tempfile::tempdir().unwrap();
        let accelerators = Accelerators::new(dir.path().to_owned());
        if absent(Path::new(KVM)).is_some() {
            return;
        }
        let finding = Finding { kvm: Kvm::Denied, reason: "kept".into() };
        let mut kept = Kept { boot: boot_id(), emulator: identity(&qemu), finding: finding.clone() };
        keep(&accelerators.file, &kept).unwrap();
        assert_eq!(accelerators.finding().await, finding);
        kept.boot = "another".into();
        keep(&accelerators.file, &kept).unwrap();
        assert_ne!(Accelerators::new(dir.path().to_owned()).finding().await, finding);
    }
}
