//! `validate` and `plan --live` over thousands of virtual machines, as whole processes: CPU time, wall time and peak memory.
//!
//! The floor is `cat` of the same files through the same kind of process, so that a slow machine shows in both. Runs are
//! interleaved and the median is printed. `cargo bench --bench plan`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
        live_state(&config, &want, &live, count);
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
    write(
        &folder.join("0-base.yaml"),
        "apiVersion: reeve/v1\nkind: Storage\nmetadata: {name: local}\nspec: {driver: dir, options: {path: /srv/bench}}\n---\n\
         apiVersion: reeve/v1\nkind: Network\nmetadata: {name: lan}\nspec: {type: nat, cidr: 10.99.0.1/24}\n---\n\
         apiVersion: reeve/v1\nkind: Image\nmetadata: {name: debian-12}\nspec: {type: disk, source: {file: /srv/x.qcow2}}\n",
    );
    for (number, chunk) in (0..count).collect::<Vec<_>>().chunks(100).enumerate() {
        let text: String = chunk.iter().map(|i| machine(*i)).collect();
        write(&folder.join(format!("vms-{number}.yaml")), &text);
    }
    folder.display().to_string()
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
    eth0: {{network: lan, model: virtio, mac: \"52:54:00:{a:02x}:{b:02x}:{c:02x}\"}}
  agent: {{enabled: true}}
  startup: {{order: 10, upDelay: 5s}}
",
        tier = i % 7,
        a = (i >> 16) & 255,
        b = (i >> 8) & 255,
        c = i & 255,
    )
}

/// A live state in which everything is as wanted: what the fake hypervisor reports after an apply.
fn live_state(config: &Path, want: &str, live: &Path, count: usize) {
    let output = Command::new(env!("CARGO_BIN_EXE_reeve"))
        .args(["plan", want, "--live", "/dev/stdin", "-o", "json"])
        .env("REEVE_CONFIG", config)
        .stdin(Stdio::null())
        .output();
    drop(output);
    let state = reeve::bench::converged(Path::new(want));
    let bytes = serde_json::to_vec(&state).unwrap_or_else(|e| fail(&e.to_string()));
    write_bytes(live, &bytes);
    println!("  {count} machines, live state of {} MiB", bytes.len() >> 20);
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
