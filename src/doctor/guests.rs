//! What machines and containers need.

use std::time::Duration;

use super::tools::{install, needs};
use super::{Finding, State};
use crate::base::{Fault, exec};
use crate::drivers::guest::Capabilities;
use crate::kinds::World;
use crate::kinds::node::facts::Versions;

/// How long the hypervisor may take to answer, a first trial of KVM included.
const DEADLINE: Duration = Duration::from_secs(45);
/// How many subordinate ids a container needs.
const IDS: u64 = 65536;

/// The emulator and its companions.
pub fn programs(versions: &Versions) -> Vec<Finding> {
    let title = "QEMU";
    let qemu = match &versions.qemu {
        Some(version) => Finding::ok("qemu", title, version),
        None => {
            let advice = install(&["qemu-system-x86"]);
            Finding::bad("qemu", title, State::Fail, "qemu-system-x86_64 not found, or it does not run", advice)
        }
    };
    vec![qemu]
}

/// The hypervisor, and what it can do.
pub async fn machines(world: &World) -> Vec<Finding> {
    let asked = tokio::time::timeout(DEADLINE, world.vms.capabilities()).await;
    let late =
        || Fault::new(crate::base::FaultKind::Deadline, format!("it did not answer within {} s", DEADLINE.as_secs()));
    let mut found = vec![];
    match asked.unwrap_or_else(|_| Err(late())) {
        Ok(capabilities) => {
            let machines = capabilities.machines.len();
            found.push(Finding::ok("libvirt", "libvirt", format!("answers, and knows {machines} machine types")));
            found.extend(firmware(&capabilities));
        }
        Err(fault) => {
            let advice = fault.help.unwrap_or_else(|| {
                let packages = ["libvirt-daemon-system", "libvirt-daemon-driver-qemu"];
                format!("{}, and start it: systemctl enable --now libvirtd", install(&packages))
            });
            found.push(Finding::bad("libvirt", "libvirt", State::Fail, fault.message, advice));
        }
    }
    #[cfg(feature = "libvirt")]
    found.extend(accelerator(world).await);
    found.push(nested());
    found
}

fn firmware(can: &Capabilities) -> Vec<Finding> {
    let title = "UEFI firmware";
    let uefi = match (can.uefi, can.secure_boot) {
        (true, true) => Finding::ok("uefi", title, "with and without secure boot"),
        (true, false) => Finding::bad(
            "uefi",
            title,
            State::Warn,
            "without secure boot",
            "install firmware with secure boot: apt-get install ovmf",
        ),
        (false, _) => {
            Finding::bad("uefi", title, State::Warn, "none: machines start with BIOS only", install(&["ovmf"]))
        }
    };
    let title = "Emulated TPM";
    let tpm = if can.tpm {
        Finding::ok("tpm", title, "can be had")
    } else {
        Finding::bad("tpm", title, State::Warn, "cannot be had", install(&["swtpm", "swtpm-tools"]))
    };
    vec![uefi, tpm]
}

/// Whether KVM carries a guest into 64-bit code, and where it does not, whether emulation does.
#[cfg(feature = "libvirt")]
async fn accelerator(world: &World) -> Vec<Finding> {
    use crate::drivers::guest::libvirt::{Accelerators, Kvm};
    let accelerators = Accelerators::new(world.data_dir.clone());
    let found = accelerators.finding().await;
    let slow = "until then `accelerator: auto` runs machines under emulation, which is many times slower";
    let advice = match found.kvm {
        Kvm::Works => return vec![Finding::ok("kvm", "KVM", found.reason)],
        Kvm::Absent => {
            "enable virtualisation in the host's firmware (or nested virtualisation where the host is a guest itself), \
             and load kvm_intel or kvm_amd"
        }
        Kvm::Hangs => {
            "the host is most likely a guest whose hypervisor only pretends: ask its provider for nested virtualisation"
        }
        Kvm::Denied => "run as root, or as a member of the group kvm",
    };
    let mut all = vec![Finding::bad("kvm", "KVM", State::Warn, found.reason, format!("{advice}; {slow}"))];
    all.push(match accelerators.try_emulation().await {
        Ok(()) => Finding::ok("emulation", "Emulation", "a guest ran 64-bit code"),
        Err(fault) => {
            let advice = fault.help.unwrap_or_else(|| install(&["--reinstall", "qemu-system-x86"]));
            Finding::bad("emulation", "Emulation", State::Fail, fault.message, advice)
        }
    });
    all
}

/// Whether machines may run machines.
fn nested() -> Finding {
    let title = "Nested virtualisation";
    let files = ["kvm_intel", "kvm_amd"].map(|m| format!("/sys/module/{m}/parameters/nested"));
    let found = match files.iter().find_map(|f| std::fs::read_to_string(f).ok()).as_deref().map(str::trim) {
        Some("Y" | "1") => "on",
        Some(_) => "off: machines cannot use KVM themselves",
        None => "not known: KVM is not a module here",
    };
    Finding::ok("nested", title, found)
}

/// LXC, and the ids that containers without privileges are mapped to.
pub fn containers(versions: &Versions) -> Vec<Finding> {
    let programs = [("lxc-start", "lxc"), ("lxc-info", "lxc"), ("lxc-attach", "lxc"), ("newuidmap", "uidmap")];
    let mut lxc = needs("lxc", "LXC", State::Warn, &programs);
    if let (State::Ok, Some(version)) = (lxc.state, &versions.lxc) {
        lxc.found.clone_from(version);
    }
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let mut found = vec![lxc];
    if exec::find("lxc-start").is_some() {
        found.push(subordinate("subuid", "Subordinate user ids of root", "/etc/subuid", &read("/etc/subuid")));
        found.push(subordinate("subgid", "Subordinate group ids of root", "/etc/subgid", &read("/etc/subgid")));
    }
    found
}

fn subordinate(id: &'static str, title: &str, file: &str, text: &str) -> Finding {
    let ranges = text.lines().filter_map(|line| {
        let mut parts = line.trim().split(':');
        let (who, start, count) = (parts.next()?, parts.next()?, parts.next()?.parse::<u64>().ok()?);
        matches!(who, "root" | "0").then(|| (start.to_owned(), count))
    });
    match ranges.max_by_key(|(_, count)| *count) {
        Some((start, count)) if count >= IDS => Finding::ok(id, title, format!("{count} from {start}")),
        other => {
            let found = other.map_or_else(|| format!("none in {file}"), |(_, count)| format!("only {count} in {file}"));
            let advice = format!("add the line root:100000:{IDS} to {file}, where no other line has those ids");
            Finding::bad(id, title, State::Warn, found, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_must_be_roots_and_enough() {
        let check = |text: &str| subordinate("subuid", "x", "/etc/subuid", text);
        assert_eq!(check("someone:100000:65536\nroot:165536:65536\n").found, "65536 from 165536");
        assert_eq!(check("0:100000:65536\n").state, State::Ok);
        assert_eq!(check("someone:100000:65536\n").found, "none in /etc/subuid");
        let few = check("root:100000:1000\n");
        assert_eq!((few.state, few.found.as_str()), (State::Warn, "only 1000 in /etc/subuid"));
        assert!(few.advice.unwrap().contains("root:100000:65536"));
    }

    #[test]
    fn missing_firmware_is_named() {
        let can = Capabilities {
            accelerators: Vec::new(),
            machines: Vec::new(),
            cpus: Vec::new(),
            uefi: true,
            secure_boot: false,
            tpm: false,
        };
        let states: Vec<(&str, State)> = firmware(&can).iter().map(|f| (f.id, f.state)).collect();
        assert_eq!(states, [("uefi", State::Warn), ("tpm", State::Warn)]);
    }
}
