//! What is in a seed: user-data, meta-data, vendor-data and network-config.
//!
//! YAML that is JSON is still YAML, and cannot be quoted wrongly. The vendor-data makes cloud-init apply the network
//! configuration at every boot, so that what is reconciled reaches a guest that is there.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::base::secret::ExposeSecret as _;
use crate::base::{Fault, Uid};
use crate::kinds::Task;
use crate::kinds::vm::machine::secret;
use crate::kinds::vm::spec::{CloudInit, FirstBoot, NicConfig, Reconciled, VmSpec};

/// The longest name Linux allows an interface.
const INTERFACE_MAX: usize = 15;

/// The files of a seed.
#[derive(Clone)]
pub(in crate::kinds::vm) struct Content {
    user_data: String,
    meta_data: String,
    vendor_data: String,
    network_config: Option<String>,
}

impl Content {
    /// The files that a spec asks for.
    pub fn of(task: &Task<'_>, init: &CloudInit, filled: &VmSpec) -> Result<Self, Fault> {
        let (first, kept) = (init.first_boot(), init.reconcile());
        let password = match &first.password {
            Some(field) => Some(hashed(task.uid, secret(task, field)?.expose_secret())?),
            None => None,
        };
        let host = kept.hostname.clone().unwrap_or_else(|| task.reference.name.to_string());
        Ok(Self {
            user_data: user_data(&first, password.as_deref()),
            meta_data: meta_data(task.uid, init, &first, &host),
            vendor_data: cloud_config(&json!({"updates": {"network": {"when": ["boot"]}}})),
            network_config: network_config(&kept, filled).map(|v| format!("{v:#}\n")),
        })
    }

    /// The files by name.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let network = self.network_config.as_deref().map(|text| ("network-config", text));
        let always = [
            ("user-data", self.user_data.as_str()),
            ("meta-data", self.meta_data.as_str()),
            ("vendor-data", self.vendor_data.as_str()),
        ];
        always.into_iter().chain(network)
    }

    /// A short text that changes with the content.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, text) in self.files() {
            hash.update(format!("{name} {}\n", text.len()));
            hash.update(text);
        }
        hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
    }
}

fn cloud_config(value: &Value) -> String {
    format!("#cloud-config\n{value:#}\n")
}

/// The password as the guest's shadow file has it; the salt follows from the UID, so that the seed stays the same.
fn hashed(uid: Uid, password: &str) -> Result<String, Fault> {
    use sha_crypt::PasswordHasher as _;
    let salt = Sha256::new().chain_update("reeve cloud-init salt ").chain_update(uid.uuid().as_bytes()).finalize();
    let hash = sha_crypt::ShaCrypt::SHA512.hash_password_with_salt(password.as_bytes(), &salt[..12]);
    // What the library says could quote its input.
    hash.map(|h| h.to_string()).map_err(|_| Fault::other("the password for cloud-init cannot be hashed"))
}

fn user_data(first: &FirstBoot, password: Option<&str>) -> String {
    let FirstBoot { user, ssh_keys, password: _, packages, run_cmd, user_data, meta_data: _ } = first;
    if let Some(whole) = user_data {
        return whole.clone();
    }
    let mut config = Map::new();
    if let Some(user) = user {
        let mut account = json!({
            "name": user, "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": password.is_none(), "ssh_authorized_keys": ssh_keys,
        });
        if let Some(password) = password {
            account["passwd"] = json!(password);
        }
        config.insert("users".into(), json!([account]));
    } else {
        if !ssh_keys.is_empty() {
            config.insert("ssh_authorized_keys".into(), json!(ssh_keys));
        }
        if let Some(password) = password {
            config.insert("password".into(), json!(password));
            config.insert("chpasswd".into(), json!({"expire": false}));
        }
    }
    if password.is_some() {
        config.insert("ssh_pwauth".into(), json!(true));
    }
    if !packages.is_empty() {
        config.insert("package_update".into(), json!(true));
        config.insert("packages".into(), json!(packages));
    }
    if !run_cmd.is_empty() {
        config.insert("runcmd".into(), json!(run_cmd));
    }
    cloud_config(&Value::Object(config))
}

fn meta_data(uid: Uid, init: &CloudInit, first: &FirstBoot, host: &str) -> String {
    let instance = init.instance.as_ref().map_or(uid.to_string(), |i| format!("{uid}-{i}"));
    let mut text = format!("instance-id: {instance}\nlocal-hostname: {}\n", json!(host));
    for line in first.meta_data.iter().flat_map(|m| m.lines()) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Version 2, each interface found by its MAC address and given the card's name; `None` leaves cloud-init its own way.
fn network_config(kept: &Reconciled, filled: &VmSpec) -> Option<Value> {
    let Reconciled { hostname: _, network, nameservers, search_domains } = kept;
    if network.is_empty() && nameservers.is_empty() && search_domains.is_empty() {
        return None;
    }
    let by_default = NicConfig { dhcp4: Some(true), ..NicConfig::default() };
    let mut ethernets = Map::new();
    for (name, nic) in &filled.nics {
        let config = match network.get(name) {
            Some(config) => config,
            None if network.is_empty() => &by_default,
            None => continue,
        };
        let mut ethernet = interface(config);
        ethernet.insert("match".into(), json!({"macaddress": nic.mac}));
        if name.as_str().len() <= INTERFACE_MAX {
            ethernet.insert("set-name".into(), json!(name));
        }
        if !nameservers.is_empty() || !search_domains.is_empty() {
            ethernet.insert("nameservers".into(), json!({"addresses": nameservers, "search": search_domains}));
        }
        ethernets.insert(name.to_string(), Value::Object(ethernet));
    }
    Some(json!({"version": 2, "ethernets": ethernets}))
}

fn interface(config: &NicConfig) -> Map<String, Value> {
    let mut routes = Vec::new();
    let any = |via: &str| if via.parse::<IpAddr>().is_ok_and(|a| a.is_ipv6()) { "::/0" } else { "0.0.0.0/0" };
    for gateway in [&config.gateway, &config.gateway6].into_iter().flatten() {
        routes.push(json!({"to": any(gateway), "via": gateway}));
    }
    for route in &config.routes {
        let via = route.via.clone().unwrap_or_default();
        let to = if route.to() == "default" { any(&via).to_owned() } else { route.to() };
        let mut entry = json!({"to": to, "via": via});
        if let Some(metric) = route.metric {
            entry["metric"] = json!(metric);
        }
        routes.push(entry);
    }
    let mut interface = Map::new();
    interface.insert("dhcp4".into(), json!(config.dhcp4()));
    interface.insert("dhcp6".into(), json!(config.dhcp6()));
    if !config.addresses.is_empty() {
        interface.insert("addresses".into(), json!(config.addresses));
    }
    if !routes.is_empty() {
        interface.insert("routes".into(), Value::Array(routes));
    }
    interface
}
