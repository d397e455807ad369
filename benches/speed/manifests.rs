//! Manifests of thousands of machines, and live states in which everything is as they say.

use std::path::Path;

use serde_json::Value;

use super::measure::{Outcome, REEVE, run};

/// A folder with one storage, one network, one image and so many machines, in files of 100.
pub fn folder(dir: &Path, count: usize) -> Outcome<String> {
    let folder = dir.join(format!("want-{count}"));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("0-base.yaml"), base("/srv/bench", "/srv/x.qcow2"))?;
    for (number, chunk) in (0..count).collect::<Vec<_>>().chunks(100).enumerate() {
        let text: String = chunk.iter().map(|i| machine(*i)).collect();
        std::fs::write(folder.join(format!("vms-{number}.yaml")), text)?;
    }
    Ok(folder.display().to_string())
}

/// What the machines refer to.
fn base(storage: &str, image: &str) -> String {
    format!(
        "apiVersion: reeve/v1\nkind: Storage\nmetadata: {{name: local}}\nspec: {{driver: dir, options: {{path: {storage}}}}}\n---\n\
         apiVersion: reeve/v1\nkind: Network\nmetadata: {{name: lan}}\nspec: {{type: nat, cidr: 10.99.0.1/24}}\n---\n\
         apiVersion: reeve/v1\nkind: Image\nmetadata: {{name: debian-12}}\nspec: {{type: disk, source: {{file: {image}}}}}\n"
    )
}

pub fn machine(i: usize) -> String {
    format!(
        "---
apiVersion: reeve/v1
kind: VirtualMachine
metadata:
  name: vm-{i}
  labels: {{app: web, tier: \"t{tier}\"}}
spec:
  description: machine number {i} of the benchmark
  tags: [prod, web]
  runStrategy: Manual
  machine: q35
  cpu: {{cores: 2, weight: 200}}
  memory: {{size: 2Gi}}
  disks:
    root: {{storage: local, size: 20Gi, image: debian-12, bus: virtio, cache: none, discard: true, bootOrder: 1}}
    data: {{storage: local, size: 100Gi, bus: virtio}}
  nics:
    eth0: {{network: lan, model: virtio, mac: \"{mac}\"}}
  agent: {{enabled: true}}
  startup: {{order: 10, upDelay: 5s}}
",
        tier = i % 7,
        mac = mac(i),
    )
}

/// A live state in which everything is as wanted: one machine is applied to the fakes, and what is observed of it is
/// repeated under the other names.
pub fn live_state(dir: &Path, count: usize) -> Outcome<String> {
    let place = dir.join("one");
    std::fs::create_dir_all(place.join("want"))?;
    let at = |name: &str| place.join(name).display().to_string();
    let config = place.join("config.yaml");
    std::fs::write(
        &config,
        format!("node: n1\ndataDir: {}\nhypervisor: fake:{}\ncontainers: fake:{}\n", at("data"), at("vms"), at("cts")),
    )?;
    run("qemu-img", &["create", "-q", "-f", "qcow2", &at("image.qcow2"), "1G"], None)?;
    std::fs::write(place.join("want/base.yaml"), base(&at("storage"), &at("image.qcow2")))?;
    std::fs::write(place.join("want/vm.yaml"), machine(0))?;
    run(REEVE, &["apply", &at("want"), "--yes"], Some(&config))?;
    let text = run(REEVE, &["observe", "-o", "json"], Some(&config))?;
    let mut state: Value = serde_json::from_str(&text)?;
    let one = state["resources"]["vm/vm-0"].to_string();
    let storage = state["resources"]["storage/local"].to_string().replace(&at("storage"), "/srv/bench");
    let image = state["resources"]["image/debian-12"].to_string().replace(&at("image.qcow2"), "/srv/x.qcow2");
    let set = |state: &mut Value, name: String, text: &str| -> Outcome<()> {
        state["resources"][name] = serde_json::from_str(text)?;
        Ok(())
    };
    set(&mut state, "storage/local".into(), &storage)?;
    set(&mut state, "image/debian-12".into(), &image)?;
    let accepted = state["accepted"]["vm/vm-0"].clone();
    for i in 0..count {
        let text =
            one.replace("vm-0", &format!("vm-{i}")).replace("machine number 0 ", &format!("machine number {i} "));
        set(
            &mut state,
            format!("vm/vm-{i}"),
            &text.replace(&mac(0), &mac(i)).replace("\"t0\"", &format!("\"t{}\"", i % 7)),
        )?;
        state["accepted"][format!("vm/vm-{i}")] = accepted.clone();
    }
    let live = dir.join(format!("live-{count}.json"));
    std::fs::write(&live, serde_json::to_vec(&state)?)?;
    Ok(live.display().to_string())
}

/// A machine that is defined and nothing else: no disk, no network, never started.
pub fn bare(name: &str) -> String {
    format!(
        "---
apiVersion: reeve/v1
kind: VirtualMachine
metadata:
  name: {name}
  labels: {{app: web}}
spec:
  description: a machine of the benchmark
  tags: [prod, web]
  runStrategy: Halted
  accelerator: tcg
  machine: q35
  cpu: {{cores: 2, weight: 200}}
  memory: {{size: 2Gi}}
  agent: {{enabled: true}}
  startup: {{order: 10, upDelay: 5s}}
"
    )
}

fn mac(i: usize) -> String {
    format!("52:54:00:{:02x}:{:02x}:{:02x}", (i >> 16) & 255, (i >> 8) & 255, i & 255)
}
