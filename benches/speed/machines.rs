//! Machines on a real libvirt, beside what one connection of the C API does with the same machines.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

use reeve::drivers::guest::VmDriver as _;
use reeve::drivers::guest::libvirt::{Libvirt, Pool};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::libvirtd::Libvirtd;
use super::manifests;
use super::measure::{Outcome, median, reeve_ends, timed, words};
use super::table::{Table, Target};

const MANY: usize = 1_000;
const FEW: usize = 50;

/// A libvirtd, a connection to it, and manifests of so many machines.
struct Stage {
    libvirtd: Libvirtd,
    connection: Connect,
    want: String,
}

impl Stage {
    fn new(count: usize) -> Outcome<Self> {
        let libvirtd = Libvirtd::start()?;
        let connection = Connect::open(Some(&libvirtd.uri()))?;
        let want = libvirtd.dir().join("want.yaml");
        std::fs::write(&want, (0..count).map(|n| manifests::bare(&format!("speed-{n}"))).collect::<String>())?;
        Ok(Self { want: want.display().to_string(), connection, libvirtd })
    }

    fn apply(&self, config: &Path, more: &[&str]) -> Outcome<f64> {
        let mut args = vec!["apply", &self.want, "--yes"];
        args.extend(more);
        Ok(reeve_ends(config, &args, 0)?.wall)
    }

    /// The XML of every machine, as it would be defined anew.
    fn descriptions(&self) -> Outcome<Vec<String>> {
        let domains = self.connection.list_all_domains(0)?;
        domains.iter().map(|d| Ok(d.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?)).collect()
    }

    fn undefine_all(&self) -> Outcome<()> {
        for domain in self.connection.list_all_domains(0)? {
            domain.undefine()?;
        }
        Ok(())
    }

    /// The floor of a look: over a connection that is open, one list, one description after the other.
    fn fetch(&self) -> Outcome<f64> {
        listed(timed(|| described(&self.connection))?)
    }

    /// The floor of a plan, which is a process that has to connect: the same with its own connection. Loading the library
    /// is not counted.
    fn connect_and_fetch(&self) -> Outcome<f64> {
        listed(timed(|| described(&Connect::open(Some(&self.libvirtd.uri()))?))?)
    }

    /// The floor of looking: the state of all in one call.
    fn states(&self) -> Outcome<f64> {
        let (seconds, count) = timed(|| {
            let mut records = std::ptr::null_mut();
            // SAFETY: the connection is open, and the list is given back once.
            unsafe {
                let group = sys::VIR_DOMAIN_STATS_STATE;
                let count = sys::virConnectGetAllDomainStats(self.connection.as_ptr(), group, &raw mut records, 0);
                if count >= 0 {
                    sys::virDomainStatsRecordListFree(records);
                }
                Ok(count)
            }
        })?;
        if count as usize == MANY { Ok(seconds) } else { Err(format!("{count} states").into()) }
    }
}

/// How long all the descriptions are.
fn described(connection: &Connect) -> Outcome<usize> {
    connection.list_all_domains(0)?.iter().map(|domain| Ok(domain.get_xml_desc(0)?.len())).sum()
}

fn listed((seconds, bytes): (f64, usize)) -> Outcome<f64> {
    if bytes == 0 { Err("there are no domains".into()) } else { Ok(seconds) }
}

/// Defining 1,000: the whole of `apply`, journal and all, beside one C-API connection and four.
pub fn define(table: &mut Table) -> Outcome<()> {
    let stage = Stage::new(MANY)?;
    stage.apply(&stage.libvirtd.config("first")?, &[])?;
    let descriptions = stage.descriptions()?;
    stage.undefine_all()?;
    let (mut one, mut four, mut alone, mut ours) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..3 {
        one.push(define_over(&stage, &descriptions, 1)?);
        alone.push(stage.apply(&stage.libvirtd.config(&format!("alone-{round}"))?, &["--parallel", "1"])?);
        stage.undefine_all()?;
        ours.push(stage.apply(&stage.libvirtd.config(&format!("ours-{round}"))?, &[])?);
        stage.undefine_all()?;
        four.push(define_over(&stage, &descriptions, 4)?);
    }
    let rate = |seconds: Vec<f64>| MANY as f64 / median(seconds);
    let (one, four, alone, ours) = (rate(one), rate(four), rate(alone), rate(ours));
    let beside = |rate: f64| format!("{rate:.0}/s; one connection {one:.0}/s, four {four:.0}/s");
    table.against("apply, one at a time / one connection", alone / one, beside(alone), Target::None(""));
    table.against("apply, as it is / one connection", ours / one, beside(ours), Target::Least(1.15, ""));
    Ok(())
}

/// Defines all of them over so many connections, and takes them away again.
fn define_over(stage: &Stage, descriptions: &[String], connections: usize) -> Outcome<f64> {
    let uri = stage.libvirtd.uri();
    let open: Vec<Connect> = (0..connections).map(|_| Connect::open(Some(&uri))).collect::<Result<_, _>>()?;
    let (seconds, done) = timed(|| {
        Ok(std::thread::scope(|scope| {
            let part = descriptions.len().div_ceil(connections);
            let work: Vec<_> = open
                .iter()
                .zip(descriptions.chunks(part))
                .map(|(connection, part)| {
                    scope.spawn(move || part.iter().filter(|xml| Domain::define_xml(connection, xml).is_ok()).count())
                })
                .collect();
            work.into_iter().filter_map(|w| w.join().ok()).sum::<usize>()
        }))
    })?;
    stage.undefine_all()?;
    if done == descriptions.len() { Ok(seconds) } else { Err(format!("{done} were defined").into()) }
}

/// `plan` with nothing to do against 1,000 and against 50 machines, from the process's start to its end.
pub fn plan(table: &mut Table) -> Outcome<()> {
    for (count, rounds, target) in [(MANY, 9, 1.5), (FEW, 21, 3.0)] {
        let stage = Stage::new(count)?;
        let config = stage.libvirtd.config("plan")?;
        stage.apply(&config, &[])?;
        let (mut floors, mut ours, mut cpu, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            floors.push(stage.connect_and_fetch()?);
            let cost = reeve_ends(&config, &["plan", &stage.want], 0)?;
            ours.push(cost.wall);
            cpu.push(cost.cpu);
            starts.push(reeve_ends(&config, &["version"], 0)?.wall);
        }
        let (floor, ours) = (median(floors), median(ours));
        let beside = format!(
            "{}, CPU {}; connect, list and XML {}; only starting {}",
            words(ours),
            words(median(cpu)),
            words(floor),
            words(median(starts))
        );
        let what = format!("plan, {count} domains / list and fetch XML");
        table.against(what, ours / floor, beside, Target::Most(target, ""));
    }
    Ok(())
}

/// A look at 1,000 machines of which nothing changed, beside one bulk state call, and beside a list and every description.
pub fn look(table: &mut Table) -> Outcome<()> {
    let stage = Stage::new(MANY)?;
    stage.apply(&stage.libvirtd.config("look")?, &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let data: PathBuf = stage.libvirtd.dir().join("look");
    let libvirt = Libvirt::new(Pool::new(stage.libvirtd.uri()), data);
    let before = runtime.block_on(libvirt.glance())?;
    runtime.block_on(libvirt.list())?;
    let (mut floors, mut glances, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    let (mut dumps, mut anew) = (Vec::new(), Vec::new());
    for _ in 0..31 {
        floors.push(stage.states()?);
        let (seconds, seen) = timed(|| Ok(runtime.block_on(libvirt.glance())?))?;
        if seen != before {
            return Err("something changed".into());
        }
        glances.push(seconds);
        lists.push(timed(|| Ok(runtime.block_on(libvirt.list())?))?.0);
    }
    for _ in 0..9 {
        dumps.push(stage.fetch()?);
        // As the agent does now and then: nothing that was kept is believed.
        libvirt.reread();
        anew.push(timed(|| Ok(runtime.block_on(libvirt.list())?))?.0);
    }
    let (floor, glance, list) = (median(floors), median(glances), median(lists));
    let beside = |ours| format!("{}; one bulk call {}", words(ours), words(floor));
    table.against("steady look / one bulk state call", glance / floor, beside(glance), Target::Most(3.0, ""));
    table.against("steady look with every definition", list / floor, beside(list), Target::Most(3.0, ""));
    let (dump, anew) = (median(dumps), median(anew));
    let beside = |ours| format!("{}; list and XML {}", words(ours), words(dump));
    table.against("full look at 1,000 / list and fetch XML", anew / dump, beside(anew), Target::Most(1.5, ""));
    table.against("tick over 1,000 / list and fetch XML", glance / dump, beside(glance), Target::Most(0.15, ""));
    Ok(())
}
