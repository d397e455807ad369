//! Processors: how many, in which topology, of which model, with which share of the host's.

use super::{Element, Host};
use crate::base::{Fault, FaultKind};
use crate::kinds::vm::{Accelerator, Cpu, CpuRange};

/// The period in which a limit is counted, in microseconds.
pub const PERIOD: u64 = 100_000;

/// The model that libvirt expands when a guest starts.
pub const HOST_MODEL: &str = "host-model";

/// The processor time in each period for a limit; -1 is none.
pub fn quota(limit: Option<f64>) -> i64 {
    #[allow(clippy::cast_possible_truncation, reason = "limits are checked to be small positive numbers")]
    limit.map_or(-1, |limit| ((limit * PERIOD as f64).round() as i64).max(1000))
}

/// Makes the domain's processors as the spec says.
pub fn apply(domain: &mut Element<'_>, cpu: &Cpu, old: Option<&Cpu>, accelerator: Accelerator, host: Host) {
    let (count, most) = (cpu.count(), cpu.most().max(cpu.count()));
    let counts = |c: &Cpu| (c.sockets(), c.cores(), c.threads(), c.most());
    if old.is_none_or(|old| counts(old) != counts(cpu)) {
        apply_counts(domain, cpu, count, most);
    }
    if old.is_none_or(|old| old.pinning != cpu.pinning) {
        apply_pinning(domain, &cpu.pinning);
    }
    apply_model(domain, &cpu.model(), accelerator);
    apply_tune(domain, cpu, host);
}

fn apply_counts(domain: &mut Element<'_>, cpu: &Cpu, count: u32, most: u32) {
    let vcpu = domain.entry("vcpu");
    vcpu.set("placement", "static");
    if count == most {
        vcpu.unset("current")
    } else {
        vcpu.set("current", count)
    }
    vcpu.nodes.clear();
    vcpu.nodes.push(super::Node::Text(most.to_string().into()));
    // Which single processors are plugged in follows from the count.
    domain.remove_all("vcpus");
    let (sockets, threads) = (cpu.sockets(), cpu.threads());
    let each = sockets.saturating_mul(threads).max(1);
    let topology = if most.is_multiple_of(each) {
        Element::new("topology").with("sockets", sockets).with("cores", most / each).with("threads", threads)
    } else {
        Element::new("topology").with("sockets", most).with("cores", 1).with("threads", 1)
    };
    domain.entry("cpu").replace_all("topology", [topology]);
}

fn apply_pinning(domain: &mut Element<'_>, pinning: &[CpuRange]) {
    if let Some(tune) = domain.first_mut("cputune") {
        tune.remove(|e| e.name == "vcpupin" || e.name == "emulatorpin");
    }
    let vcpu = domain.entry("vcpu");
    if pinning.is_empty() { vcpu.unset("cpuset") } else { vcpu.set("cpuset", set_text(pinning)) }
}

/// Ranges as libvirt writes them, `0-1,4`.
fn set_text(ranges: &[CpuRange]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn apply_model(domain: &mut Element<'_>, model: &str, accelerator: Accelerator) {
    let was = read_model(domain);
    let element = domain.entry("cpu");
    let mode = match model {
        "host" if accelerator == Accelerator::Kvm => "host-passthrough",
        "host" | "maximum" => "maximum",
        HOST_MODEL => HOST_MODEL,
        _ => "custom",
    };
    if was == model && element.get("mode") == Some(mode) {
        return;
    }
    element.set("mode", mode);
    element.unset("match");
    element.unset("migratable");
    element.remove(|e| e.name == "model" || e.name == "feature" || e.name == "vendor");
    element.set("check", "none");
    if mode == "custom" {
        element.set("match", "exact");
        element.push(Element::new("model").with("fallback", "forbid").text_inside(model));
    }
    if mode == HOST_MODEL {
        element.set("check", "partial");
    }
}

fn apply_tune(domain: &mut Element<'_>, cpu: &Cpu, host: Host) {
    let tune = domain.entry("cputune");
    let current = read_tune_element(tune, host);
    if current.0 != cpu.limit {
        tune.remove(|e| e.name == "global_period" || e.name == "global_quota");
        if cpu.limit.is_some() {
            tune.push(Element::new("global_period").text_inside(PERIOD));
            tune.push(Element::new("global_quota").text_inside(quota(cpu.limit)));
        }
    }
    if current.1 != cpu.weight() {
        tune.remove_all("shares");
        if cpu.weight() != Cpu::default().weight() {
            tune.push(Element::new("shares").text_inside(host.shares_of(cpu.weight())));
        }
    }
    if tune.nodes.is_empty() {
        domain.remove_all("cputune");
    }
}

/// Reads the domain's processors.
pub fn read(domain: &Element<'_>, host: Host) -> Result<Cpu, Fault> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n > 0);
    let vcpu = domain.first("vcpu");
    let most = vcpu.map_or(Some(1), |v| number(&v.text()));
    let most = most.ok_or_else(|| Fault::new(FaultKind::Invalid, "the number of processors cannot be read"))?;
    let count = vcpu.and_then(|v| v.parse("current")).unwrap_or(most);
    let topology = domain.at(&["cpu", "topology"]);
    let part = |name: &str| topology.and_then(|t| t.parse::<u32>(name)).unwrap_or(1).max(1);
    let (sockets, threads) =
        if topology.is_some() { (part("sockets") * part("dies"), part("threads")) } else { (count, 1) };
    let each = sockets.saturating_mul(threads);
    let (sockets, cores, threads) =
        if count.is_multiple_of(each) { (sockets, count / each, threads) } else { (count, 1, 1) };
    let (limit, weight) = read_tune(domain, host);
    Ok(Cpu {
        sockets: Some(sockets),
        cores: Some(cores),
        threads: Some(threads),
        max_cores: (most != count).then_some(most),
        model: Some(read_model(domain)),
        limit,
        weight: Some(weight),
        pinning: read_pinning(domain, count),
    })
}

fn read_model(domain: &Element<'_>) -> String {
    let Some(cpu) = domain.first("cpu") else { return "qemu64".to_owned() };
    let emulated = domain.get("type") != Some("kvm");
    match cpu.get("mode") {
        Some("host-passthrough") => "host".to_owned(),
        Some("maximum") => if emulated { "host" } else { "maximum" }.to_owned(),
        Some(HOST_MODEL) => HOST_MODEL.to_owned(),
        _ => cpu.text_at(&["model"]).map_or("qemu64".to_owned(), |m| m.trim().to_owned()),
    }
}

fn read_tune(domain: &Element<'_>, host: Host) -> (Option<f64>, u32) {
    let none = (None, Cpu::default().weight());
    domain.first("cputune").map_or(none, |tune| read_tune_element(tune, host))
}

fn read_tune_element(tune: &Element<'_>, host: Host) -> (Option<f64>, u32) {
    let number = |name: &str| tune.text_at(&[name]).and_then(|t| t.trim().parse::<i64>().ok());
    #[allow(clippy::cast_precision_loss, reason = "microseconds in a period are small numbers")]
    let limit = match (number("global_quota"), number("global_period").unwrap_or(PERIOD.cast_signed())) {
        (Some(quota), period) if quota > 0 && period > 0 => Some(quota as f64 / period as f64),
        _ => None,
    };
    let weight = number("shares").and_then(|n| u64::try_from(n).ok()).map(|n| host.weight_of(n));
    (limit, weight.unwrap_or_else(|| Cpu::default().weight()))
}

/// The host's processors that the guest may use: the same for all of its own, or all of theirs together.
fn read_pinning(domain: &Element<'_>, count: u32) -> Vec<CpuRange> {
    let general = domain.attribute(&["vcpu"], "cpuset").map(parse_set).unwrap_or_default();
    let tune = domain.first("cputune");
    let pins = || tune.into_iter().flat_map(|t| t.all("vcpupin"));
    let pin_of = |vcpu: u32| pins().find(|p| p.parse::<u32>("vcpu") == Some(vcpu)).and_then(|p| p.get("cpuset"));
    let mut together = Vec::new();
    for vcpu in 0..if pins().next().is_some() { count } else { 0 } {
        match pin_of(vcpu) {
            Some(set) => together.extend(parse_set(set)),
            None if general.is_empty() => return Vec::new(),
            None => together.extend(general.iter().copied()),
        }
    }
    ranges(if together.is_empty() { general } else { together })
}

/// Whether these are all processors of this host, which is what taking a pinning away from a running guest leaves.
pub fn is_whole_host(pinning: &[CpuRange]) -> bool {
    let all = std::thread::available_parallelism().map_or(0, usize::from);
    pinning.iter().map(|r| (r.last - r.first + 1) as usize).sum::<usize>() >= all && !pinning.is_empty()
}

/// Single processors of a set such as `0-3,^2,7`.
pub fn parse_set(text: &str) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    for part in text.split(',').map(str::trim) {
        if let Some(out) = part.strip_prefix('^').and_then(|p| p.parse::<u32>().ok()) {
            found.retain(|n| *n != out);
        } else if let Ok(CpuRange { first, last }) = part.parse::<CpuRange>() {
            found.extend(first..=last);
        }
    }
    found
}

/// The fewest ranges that hold exactly these processors, in order.
pub fn ranges(mut single: Vec<u32>) -> Vec<CpuRange> {
    single.sort_unstable();
    single.dedup();
    let mut ranges: Vec<CpuRange> = Vec::new();
    for n in single {
        match ranges.last_mut() {
            Some(range) if range.last + 1 == n => range.last = n,
            _ => ranges.push(CpuRange { first: n, last: n }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_processors_become_the_fewest_ranges() {
        let text = |set: &str| set_text(&ranges(parse_set(set)));
        assert_eq!(text("4,0-1"), "0-1,4");
        assert_eq!(text("0-7,^3"), "0-2,4-7");
        assert_eq!(text("1,2,3,3"), "1-3");
        assert_eq!(text(""), "");
    }
}
