//! The agent as a process: how soon an edit is in force among a thousand other machines, what it costs when nothing happens,
//! and how soon it works after its start.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reeve::base::clock::SystemClock;
use reeve::engine::records::{Acceptance, Ledger};
use reeve::manifest;
use reeve::store::Embedded;
use virt::connect::Connect;
use virt::domain::Domain;

use super::libvirtd::Libvirtd;
use super::manifests;
use super::measure::{Outcome, REEVE, median, reeve_ends, words};
use super::table::{Table, Target};

const OTHERS: usize = 1_000;
const EDITS: u32 = 100;
const KNOWN: usize = 10_000;
/// How long an idle agent is watched.
const IDLE: Duration = Duration::from_secs(60);
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// An agent, killed at the end, and where it tells how it is as it would tell systemd.
struct Agent {
    child: Child,
    told: UnixDatagram,
}

impl Agent {
    fn start(config: &Path, dir: &Path, words: &[&str]) -> Outcome<Self> {
        let socket = dir.join("notify");
        let _ = std::fs::remove_file(&socket);
        let told = UnixDatagram::bind(&socket)?;
        told.set_read_timeout(Some(PATIENCE))?;
        let mut command = Command::new(REEVE);
        command.arg("agent").args(words).env("REEVE_CONFIG", config).env("NOTIFY_SOCKET", &socket);
        let log = std::fs::File::create(dir.join("agent.log"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self { child, told })
    }

    /// Waits until it tells this.
    fn tells(&self, what: &str) -> Outcome<()> {
        let mut buffer = [0; 4096];
        loop {
            let length = self.told.recv(&mut buffer).map_err(|e| format!("the agent does not tell {what:?}: {e}"))?;
            if String::from_utf8_lossy(&buffer[..length]).contains(what) {
                return Ok(());
            }
        }
    }

    /// Its processor time so far, in seconds.
    fn cpu(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).ok_or("no times in /proc");
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A guest that runs without a disk, under a share of the processors that follows from `weight`.
fn guest(weight: u32) -> String {
    format!(
        "apiVersion: reeve/v1\nkind: VirtualMachine\nmetadata: {{name: speed-live}}\nspec:\n  runStrategy: Always\n  \
         accelerator: tcg\n  cpu: {{weight: {weight}}}\n  memory: {{size: 64Mi}}\n"
    )
}

/// What libvirt says of the running guest's share; nothing while it does not run.
fn shares(connection: &Connect) -> Option<String> {
    let domain = Domain::lookup_by_name(connection, "speed-live").ok()?;
    domain.get_id()?;
    let xml = domain.get_xml_desc(0).ok()?;
    Some(xml.split_once("<shares>")?.1.split_once("</shares>")?.0.to_owned())
}

/// Waits for the share to become another one; gives it.
fn changes(connection: &Connect, from: Option<&str>) -> Outcome<String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match shares(connection) {
            Some(now) if Some(&*now) != from => return Ok(now),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Err("the guest's share did not change".into())
}

/// An edit of a running machine's manifest beside 1,000 other machines, and then nothing at all.
pub fn edits(table: &mut Table) -> Outcome<()> {
    let libvirtd = Libvirtd::start()?;
    let connection = Connect::open(Some(&libvirtd.uri()))?;
    let (config, folder) = (libvirtd.config("agent")?, libvirtd.dir().join("want"));
    std::fs::create_dir(&folder)?;
    for n in 0..OTHERS {
        std::fs::write(folder.join(format!("speed-{n}.yaml")), manifests::bare(&format!("speed-{n}")))?;
    }
    let at = folder.display().to_string();
    reeve_ends(&config, &["apply", &at, "--yes"], 0)?;
    let agent = Agent::start(&config, libvirtd.dir(), &[&at])?;
    agent.tells("READY=1")?;
    let write = |weight| {
        std::fs::write(folder.join(".live"), guest(weight))?;
        std::fs::rename(folder.join(".live"), folder.join("live.yaml"))
    };
    write(1_000)?;
    let mut last = changes(&connection, None)?;
    agent.tells(" 0 waiting, 0 at work")?;
    let mut took = Vec::new();
    for edit in 0..EDITS {
        let begun = Instant::now();
        write(1_010 + 10 * edit)?;
        last = changes(&connection, Some(&last))?;
        took.push(begun.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(300));
    }
    took.sort_by(f64::total_cmp);
    let worst = took.get(took.len() * 99 / 100).or(took.last()).copied().unwrap_or(f64::NAN);
    let beside = format!("{EDITS} edits beside {OTHERS} machines");
    table.against("an edit in force, half of them within", median(took), beside.clone(), Target::Most(0.5, " s"));
    table.against("an edit in force, 99 of 100 within", worst, beside, Target::Most(2.0, " s"));
    agent.tells(" 0 waiting, 0 at work")?;
    let (before, begun) = (agent.cpu()?, Instant::now());
    std::thread::sleep(IDLE);
    let share = (agent.cpu()? - before) / begun.elapsed().as_secs_f64() * 100.0;
    let beside = format!("{} watched between two full looks", words(IDLE.as_secs_f64()));
    table.against("idle agent, 1,000 machines", share, beside, Target::Most(1.0, " % of a core"));
    Domain::lookup_by_name(&connection, "speed-live")?.destroy()?;
    Ok(())
}

/// From the start of the process until it says that it works, with 10,000 manifests known.
pub fn start(table: &mut Table) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name).display().to_string();
    let config = dir.path().join("config.yaml");
    let text =
        format!("node: n1\ndataDir: {}\nhypervisor: fake:{}\ncontainers: fake:{}\n", at("data"), at("vms"), at("cts"));
    std::fs::write(&config, text)?;
    let want = manifests::folder(dir.path(), KNOWN)?;
    let loaded = manifest::load(&[want.into()]);
    let all =
        loaded.resources.iter().map(|r| Acceptance { resource: Arc::clone(r), source: None, uid: None, commit: None });
    let clock = Arc::new(SystemClock);
    let store =
        Embedded::open(&dir.path().join("data/store"), reeve::store::embedded::Options::default(), clock.clone())?;
    let ledger = Ledger::new(Arc::new(store), clock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ledger.accept(&all.collect::<Vec<_>>()))?;
    drop(ledger);
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let agent = Agent::start(&config, dir.path(), &[])?;
        agent.tells("READY=1")?;
        took.push(begun.elapsed().as_secs_f64());
    }
    table.against("agent's start, 10,000 manifests known", median(took), "5 starts", Target::Most(2.0, " s"));
    Ok(())
}
