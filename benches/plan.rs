//! `validate` and `plan --live` over thousands of virtual machines, as whole processes: CPU time, wall time and peak memory.
//!
//! Each command runs five times after one that does not count, and the median is printed. `cargo bench --bench plan`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const RUNS: usize = 5;

fn main() {
    let dir = tempfile::tempdir().unwrap_or_else(|e| fail(&format!("no temporary directory: {e}")));
    let config = dir.path().join("config.yaml");
    write(&config, &format!("node: n1\ndataDir: {}\n", dir.path().join("data").display()));
    println!("validate, 1,000 virtual machines (target: 0.1 s of CPU)");
    let thousand = manifests(dir.path(), 1_000);
    show(&run_many(&config, &["validate", &thousand]));
    let mut medians = Vec::new();
    for count in [10_000, 20_000] {
        let want = manifests(dir.path(), count);
        let live = dir.path().join(format!("live-{count}.json"));
        live_state(dir.path(), &live, count);
        let live = live.display().to_string();
        println!("plan --live, {count} unchanged virtual machines (target for 10,000: 1.0 s and 200 MiB)");
        let runs = run_many(&config, &["plan", &want, "--live", &live]);
        show(&runs);
        medians.push(median(&runs.iter().map(|r| r.wall.as_secs_f64()).collect::<Vec<_>>()));
    }
    println!("20,000 take {:.2} times as long as 10,000 (target: 2.2)", medians[1] / medians[0]);
}

/// What one run cost.
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak_mib: f64,
    status: i32,
}

fn run_many(config: &Path, args: &[&str]) -> Vec<Cost> {
    let once = || {
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "%e %U %S %M %x", env!("CARGO_BIN_EXE_reeve")]).args(args);
        command.env("REEVE_CONFIG", config).stdout(Stdio::null()).stderr(Stdio::piped());
        let start = Instant::now();
        let output = command.output().unwrap_or_else(|e| fail(&format!("/usr/bin/time cannot be run: {e}")));
        let wall = start.elapsed();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = text.lines().last().unwrap_or_default();
        let numbers: Vec<f64> = last.split(' ').filter_map(|n| n.parse().ok()).collect();
        let [_, user, system, peak, status] = numbers[..] else { fail(&format!("odd output: {text}")) };
        Cost { wall, cpu: Duration::from_secs_f64(user + system), peak_mib: peak / 1024.0, status: status as i32 }
    };
    once();
    (0..RUNS).map(|_| once()).collect()
}

fn show(runs: &[Cost]) {
    let of = |f: fn(&Cost) -> f64| median(&runs.iter().map(f).collect::<Vec<_>>());
    println!(
        "  wall {:.3} s, CPU {:.3} s, peak {:.0} MiB, exit {}",
        of(|c| c.wall.as_secs_f64()),
        of(|c| c.cpu.as_secs_f64()),
        of(|c| c.peak_mib),
        runs[0].status
    );
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A folder with one storage, one network, one image and so many machines, in files of 100.
fn manifests(dir: &Path, count: usize) -> String {
    let folder = dir.join(format!("want-{count}"));
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| fail(&e.to_string()));
    write(&folder.join("0-base.yaml"), &base("/srv/bench", "/srv/x.qcow2"));
    for (number, chunk) in (0..count).collect::<Vec<_>>().chunks(100).enumerate() {
        let text: String = chunk.iter().map(|i| machine(*i)).collect();
        write(&folder.join(format!("vms-{number}.yaml")), &text);
    }
    folder.display().to_string()
}

/// What the machines refer to.
fn base(storage: &str, image: &str) -> String {
    format!(
        "apiVersion: reeve/v1\nkind: Storage\nmetadata: {{name: local}}\nspec: {{driver: dir, options: {{path: {storage}}}}}\n---\n\
         apiVersion: reeve/v1\nkind: Network\nmetadata: {{name: lan}}\nspec: {{type: nat, cidr: 10.99.0.1/24}}\n---\n\
         apiVersion: reeve/v1\nkind: Image\nmetadata: {{name: debian-12}}\nspec: {{type: disk, source: {{file: {image}}}}}\n"
    )
}

fn machine(i: usize) -> String {
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
fn live_state(dir: &Path, live: &Path, count: usize) {
    let place = dir.join("one");
    std::fs::create_dir_all(place.join("want")).unwrap_or_else(|e| fail(&e.to_string()));
    let at = |name: &str| place.join(name).display().to_string();
    let config = place.join("config.yaml");
    write(
        &config,
        &format!("node: n1\ndataDir: {}\nhypervisor: fake:{}\ncontainers: fake:{}\n", at("data"), at("vms"), at("cts")),
    );
    run("qemu-img", &["create", "-q", "-f", "qcow2", &at("image.qcow2"), "1G"], &config);
    write(&place.join("want/base.yaml"), &base(&at("storage"), &at("image.qcow2")));
    write(&place.join("want/vm.yaml"), &machine(0));
    let reeve = env!("CARGO_BIN_EXE_reeve");
    run(reeve, &["apply", &at("want"), "--yes"], &config);
    let text = run(reeve, &["observe", "-o", "json"], &config);
    let mut state: Value = serde_json::from_str(&text).unwrap_or_else(|e| fail(&e.to_string()));
    let one = state["resources"]["vm/vm-0"].to_string();
    let storage = state["resources"]["storage/local"].to_string().replace(&at("storage"), "/srv/bench");
    let image = state["resources"]["image/debian-12"].to_string().replace(&at("image.qcow2"), "/srv/x.qcow2");
    let set = |state: &mut Value, name: String, text: &str| {
        state["resources"][name] = serde_json::from_str(text).unwrap_or_else(|e| fail(&e.to_string()));
    };
    set(&mut state, "storage/local".into(), &storage);
    set(&mut state, "image/debian-12".into(), &image);
    let accepted = state["accepted"]["vm/vm-0"].clone();
    for i in 0..count {
        let text =
            one.replace("vm-0", &format!("vm-{i}")).replace("machine number 0 ", &format!("machine number {i} "));
        set(
            &mut state,
            format!("vm/vm-{i}"),
            &text.replace(&mac(0), &mac(i)).replace("\"t0\"", &format!("\"t{}\"", i % 7)),
        );
        state["accepted"][format!("vm/vm-{i}")] = accepted.clone();
    }
    let bytes = serde_json::to_vec(&state).unwrap_or_else(|e| fail(&e.to_string()));
    write_bytes(live, &bytes);
    println!("  a live state of {} MiB", bytes.len() >> 20);
}

/// Runs a program to its end; gives what it printed.
fn run(program: &str, args: &[&str], config: &Path) -> String {
    let output = Command::new(program).args(args).env("REEVE_CONFIG", config).output();
    let output = output.unwrap_or_else(|e| fail(&format!("{program}: {e}")));
    if !output.status.success() {
        fail(&format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn mac(i: usize) -> String {
    format!("52:54:00:{:02x}:{:02x}:{:02x}", (i >> 16) & 255, (i >> 8) & 255, i & 255)
}

fn write(path: &Path, text: &str) {
    write_bytes(path, text.as_bytes());
}

fn write_bytes(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::File::create(path).unwrap_or_else(|e| fail(&format!("{}: {e}", path.display())));
    file.write_all(bytes).unwrap_or_else(|e| fail(&e.to_string()));
}

fn fail(why: &str) -> ! {
    eprintln!("benchmark: {why}");
    std::process::exit(1)
}
