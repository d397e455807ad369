//! What cloud-init is told.

use std::net::IpAddr;

use super::{is_line, nearest};
use crate::kinds::Report;
use crate::kinds::vm::spec::{FirstBoot, NicConfig, Reconciled, Route, VmSpec};

/// What an SSH public key starts with.
const KEY_TYPES: &[&str] =
    &["ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-", "ssh-dss "];
/// Lines of meta-data that are written anyway.
const OUR_META: &[&str] = &["instance-id", "local-hostname"];

pub(super) fn check(spec: &VmSpec, report: &mut Report<'_>) {
    let Some(init) = &spec.cloud_init else { return };
    first_boot(&init.first_boot(), report);
    let kept = init.reconcile();
    for name in kept.network.keys().filter(|n| !spec.nics.contains_key(*n)) {
        let at = format!("cloudInit.reconcile.network.{name}");
        let message = format!("there is no network card {name}");
        report.error("vm/init-nic-unknown", &at, message, nearest(name, spec.nics.keys()));
    }
    kept_up_to_date(&kept, report);
    for (name, nic) in &kept.network {
        addresses(nic, &format!("cloudInit.reconcile.network.{name}"), report);
    }
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if init.instance.as_deref().is_some_and(|i| !plain(i)) {
        let help = "write letters, digits and -, such as \"2\"";
        report.error("vm/init-instance", "cloudInit.instance", "this cannot be part of an instance's name", help);
    }
}

fn first_boot(first: &FirstBoot, report: &mut Report<'_>) {
    let FirstBoot { user, ssh_keys, password, packages, run_cmd, user_data, meta_data } = first;
    let lists = !ssh_keys.is_empty() || !packages.is_empty() || !run_cmd.is_empty();
    if user_data.is_some() && (lists || user.is_some() || password.is_some()) {
        let help = "write all of it in userData, or leave userData out";
        let message = "userData is the whole user-data, so user, sshKeys, password, packages and runCmd have no effect";
        report.error("vm/init-user-data-alone", "cloudInit.firstBoot.userData", message, help);
    }
    for key in ssh_keys {
        let known = KEY_TYPES.iter().any(|t| key.starts_with(t)) && key.split_whitespace().count() >= 2;
        if !known || !is_line(key) {
            let shown: String = key.chars().take(24).collect();
            let message = format!("{shown:?} does not start like an SSH public key");
            let help = "write the one line of the .pub file, such as ssh-ed25519 AAAA… name";
            report.error("vm/init-ssh-key", "cloudInit.firstBoot.sshKeys", message, help);
        }
    }
    let texts = user_data.iter().map(|t| ("userData", t)).chain(meta_data.iter().map(|t| ("metaData", t)));
    for (field, _) in texts.chain(run_cmd.iter().map(|t| ("runCmd", t))).filter(|(_, text)| text.contains('\0')) {
        let message =
            format!("cloudInit.firstBoot.{field} has a NUL character, which no program of the guest can be given");
        report.error("vm/text", &format!("cloudInit.firstBoot.{field}"), message, "take it out");
    }
    for package in packages {
        if package.is_empty() || !is_line(package) || package.contains(char::is_whitespace) {
            let message = format!("{package:?} is no package's name");
            report.error("vm/init-package", "cloudInit.firstBoot.packages", message, "write one name an item");
        }
    }
    for line in meta_data.iter().flat_map(|m| m.lines()) {
        let key = line.split(':').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        if OUR_META.contains(&key) {
            let help = "set cloudInit.instance or cloudInit.reconcile.hostname instead";
            let message = format!("Reeve writes {key} itself");
            report.error("vm/init-meta-data", "cloudInit.firstBoot.metaData", message, help);
        }
    }
}

fn kept_up_to_date(kept: &Reconciled, report: &mut Report<'_>) {
    for server in &kept.nameservers {
        if server.parse::<IpAddr>().is_err() {
            let message = format!("{server:?} is no IP address");
            let help = "write an address such as 10.40.0.1";
            report.error("vm/address", "cloudInit.reconcile.nameservers", message, help);
        }
    }
    for domain in &kept.search_domains {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if domain.is_empty() || domain.len() > 253 || !domain.chars().all(plain) {
            let message = format!("{domain:?} is no domain");
            let help = "write a domain such as example.org";
            report.error("vm/domain", "cloudInit.reconcile.searchDomains", message, help);
        }
    }
}

fn addresses(nic: &NicConfig, at: &str, report: &mut Report<'_>) {
    for address in &nic.addresses {
        if network(address).is_none() {
            let message = format!("{address:?} is no address with a prefix length");
            let help = "write an address and its prefix length, such as 10.40.0.10/24";
            report.error("vm/address", &format!("{at}.addresses"), message, help);
        }
    }
    for (field, value, four, example) in
        [("gateway", &nic.gateway, true, "10.40.0.1"), ("gateway6", &nic.gateway6, false, "fd00::1")]
    {
        let Some(text) = value else { continue };
        if !text.parse::<IpAddr>().is_ok_and(|a| a.is_ipv4() == four) {
            let message = format!("{text:?} is no IPv{} address", if four { 4 } else { 6 });
            report.error("vm/address", &format!("{at}.{field}"), message, format!("write one such as {example}"));
        }
    }
    for route in &nic.routes {
        let (to, Route { via, .. }) = (route.to(), route);
        if to != "default" && network(&to).is_none() {
            let message = format!("{to:?} is no network");
            report.error("vm/address", &format!("{at}.routes"), message, "write one such as 10.0.0.0/8, or default");
        }
        if via.as_deref().is_none_or(|v| v.parse::<IpAddr>().is_err()) {
            let message = format!("the route to {to} has no gateway that is an IP address");
            report.error("vm/address", &format!("{at}.routes"), message, "set via, such as 10.40.0.1");
        }
    }
}

/// An address and its prefix length.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}
