//! Memory, its balloon and the pages behind it. libvirt counts in KiB.

use super::Element;
use crate::base::{Fault, FaultKind, Size};
use crate::kinds::vm::{Hugepages, Memory};

/// Makes the domain's memory as the spec says.
pub fn apply(domain: &mut Element<'_>, memory: &Memory, old: Option<&Memory>) -> Result<(), Fault> {
    let (size, most) = (memory.size().kib(), memory.most().max(memory.size()).kib());
    if old.is_none_or(|old| old.most() != memory.most()) {
        apply_cells(domain, most)?;
        amount(domain, "memory", most);
    }
    if old.is_none_or(|old| old.size() != memory.size()) {
        amount(domain, "currentMemory", size);
    }
    if old.is_none_or(|old| old.balloon() != memory.balloon()) {
        apply_balloon(domain, memory.balloon());
    }
    if old.is_none_or(|old| old.hugepages() != memory.hugepages()) {
        apply_pages(domain, memory.hugepages());
    }
    Ok(())
}

fn amount(domain: &mut Element<'_>, name: &str, kib: u64) {
    let element = domain.entry(name);
    element.set("unit", "KiB");
    element.nodes.clear();
    element.nodes.push(super::Node::Text(kib.to_string().into()));
}

/// Where the memory is spread over NUMA cells, the cells must add up.
fn apply_cells(domain: &mut Element<'_>, kib: u64) -> Result<(), Fault> {
    let Some(numa) = domain.first_mut("cpu").and_then(|c| c.first_mut("numa")) else { return Ok(()) };
    if numa.all("cell").count() > 1 {
        return Err(Fault::new(
            FaultKind::Unsupported,
            "the domain's memory is spread over several NUMA cells, whose sizes Reeve does not change",
        )
        .help("change the cells with `virsh edit`, or leave memory out of the manifest"));
    }
    if let Some(cell) = numa.first_mut("cell") {
        cell.set("memory", kib);
        cell.set("unit", "KiB");
    }
    Ok(())
}

fn apply_balloon(domain: &mut Element<'_>, balloon: bool) {
    let devices = domain.entry("devices");
    let element = if balloon {
        let stats = Element::new("stats").with("period", 10);
        Element::new("memballoon").with("model", "virtio").child(stats)
    } else {
        Element::new("memballoon").with("model", "none")
    };
    devices.replace_all("memballoon", [element]);
}

fn apply_pages(domain: &mut Element<'_>, pages: Hugepages) {
    let kib = match pages {
        Hugepages::None => {
            if let Some(backing) = domain.first_mut("memoryBacking") {
                backing.remove_all("hugepages");
                if backing.nodes.is_empty() {
                    domain.remove_all("memoryBacking");
                }
            }
            return;
        }
        Hugepages::Mi2 => 2048,
        Hugepages::Gi1 => 1_048_576,
    };
    let page = Element::new("page").with("size", kib).with("unit", "KiB");
    domain.entry("memoryBacking").replace_all("hugepages", [Element::new("hugepages").child(page)]);
}

/// Reads the domain's memory.
pub fn read(domain: &Element<'_>) -> Result<Memory, Fault> {
    let most = domain.first("memory").and_then(bytes);
    let most = most.ok_or_else(|| Fault::new(FaultKind::Invalid, "the amount of memory cannot be read"))?;
    let size = domain.first("currentMemory").and_then(bytes).unwrap_or(most).min(most);
    let balloon = domain.attribute(&["devices", "memballoon"], "model").is_some_and(|model| model != "none");
    let hugepages = match domain.at(&["memoryBacking", "hugepages"]) {
        None => Hugepages::None,
        Some(pages) => match pages.first("page").and_then(|p| scaled(p.parse("size")?, p.get("unit"))) {
            Some(Size(bytes)) if bytes >= 1 << 30 => Hugepages::Gi1,
            _ => Hugepages::Mi2,
        },
    };
    Ok(Memory {
        size: Some(size),
        balloon_min: None,
        max: (most != size).then_some(most),
        balloon: Some(balloon),
        hugepages: Some(hugepages),
    })
}

fn bytes(element: &Element<'_>) -> Option<Size> {
    scaled(element.text().trim().parse().ok()?, element.get("unit"))
}

/// An amount in one of libvirt's units; KiB when none is said.
fn scaled(amount: u64, unit: Option<&str>) -> Option<Size> {
    let factor = match unit.unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    amount.checked_mul(factor).map(Size)
}
