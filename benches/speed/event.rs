//! How soon what libvirt tells of one machine among 1,000 is found to be drift, and told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reeve::agent::{Agent, Settings};
use reeve::base::clock::SystemClock;
use reeve::engine::publish::Aspect;
use reeve::engine::records::Ledger;
use reeve::kinds::vm::Reconcile;
use reeve::kinds::{Reach, Ref, World};
use reeve::store::Embedded;
use tokio::runtime::Runtime;
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::libvirtd::Libvirtd;
use super::manifests;
use super::measure::{Outcome, median, reeve_ends};
use super::table::{Table, Target};

const MACHINES: usize = 1_000;
const EDITS: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is told to have drifted.
fn drifted(runtime: &Runtime, ledger: &Ledger, machine: &Ref) -> Outcome<String> {
    let told = runtime.block_on(ledger.status(machine))?;
    Ok(told.and_then(|t| t.get(Aspect::Drifted).map(|c| c.message.clone())).unwrap_or_default())
}

/// From the end of the call that edits a machine to its drift being told in the store, disk sync included; the agent
/// runs in this process and leaves drift as it is, so that nothing else happens.
pub fn drift(table: &mut Table) -> Outcome<()> {
    let libvirtd = Libvirtd::start()?;
    let connection = Connect::open(Some(&libvirtd.uri()))?;
    let (config, want) = (libvirtd.config("event")?, libvirtd.dir().join("want.yaml"));
    std::fs::write(&want, (0..MACHINES).map(|n| manifests::bare(&format!("speed-{n}"))).collect::<String>())?;
    let source = want.display().to_string();
    reeve_ends(&config, &["apply", &source, "--yes"], 0)?;
    let data = libvirtd.dir().join("event/data");
    let world = World::open(Reach {
        node: "n1".parse()?,
        data_dir: data.clone(),
        hypervisor: Some(libvirtd.uri()),
        containers: Some(format!("lxc:{}", libvirtd.dir().join("event/containers").display())),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clock = Arc::new(SystemClock);
    let store = Embedded::open(&data.join("store"), reeve::store::embedded::Options::default(), clock.clone())?;
    let ledger = Ledger::new(Arc::new(store), clock);
    let mut settings = Settings::default();
    settings.policies.insert(source, Reconcile::Warn);
    let agent = Agent::new(world, ledger.clone(), settings);
    let (turns, guests) = (agent.clone(), agent.clone());
    let running = runtime.spawn(async move { turns.run().await });
    runtime.spawn(async move { match guests.follow_guests().await {} });
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && !(agent.health().ready && agent.health().waiting + agent.health().running == 0)
    {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(3));
    let took = edits(&runtime, &connection, &ledger);
    agent.stop();
    runtime.block_on(running)??;
    let mut took = took?;
    took.sort_by(f64::total_cmp);
    let worst = took.get(took.len() * 99 / 100).copied().unwrap_or(f64::NAN);
    let beside = format!("{EDITS} edits of one of {MACHINES} machines, told and synced");
    table.against(
        "libvirt event to drift, half of them within",
        median(took) * 1e3,
        beside.clone(),
        Target::None(" ms"),
    );
    table.against("libvirt event to drift, 99 of 100 within", worst * 1e3, beside, Target::Most(10.0, " ms"));
    Ok(())
}

/// Edits the first machine, in one field and then in another, so that each time something else has drifted.
fn edits(runtime: &Runtime, connection: &Connect, ledger: &Ledger) -> Outcome<Vec<f64>> {
    let machine: Ref = "vm/speed-0".parse()?;
    let xml = Domain::lookup_by_name(connection, "speed-0")?.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?;
    let memory = format!("<memory unit='KiB'>{}</memory>", 192 << 10);
    let other = ["<memory ", "</memory>"].map(|tag| xml.find(tag).ok_or("the machine has no memory"));
    let (from, to) = (other[0]?, other[1]? + "</memory>".len());
    let current = |text: &str| text.replace("</vcpu>", "</vcpu><cputune><shares>333</shares></cputune>");
    let variants = [format!("{}{memory}{}", &xml[..from], &xml[to..]), current(&xml)];
    let mut last = drifted(runtime, ledger, &machine)?;
    let mut took = Vec::new();
    for edit in 0..EDITS {
        Domain::define_xml(connection, &variants[edit % 2])?;
        let begun = Instant::now();
        loop {
            let now = drifted(runtime, ledger, &machine)?;
            if now != last {
                last = now;
                break;
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("edit {edit} was not told; the last is {last:?}").into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        took.push(begun.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(60));
    }
    Ok(took)
}
