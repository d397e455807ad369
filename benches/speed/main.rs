//! How fast Reeve is, each figure beside a floor taken in turns with it in the same run, and a table of all at the end.
//!
//! `make bench` runs all of it; `cargo bench --bench speed -- validate define` runs those parts. It needs root and what
//! `tests/lab/setup` installs: libvirt is one of its own, with its own sockets and state, below a temporary directory.
//! `specs/performance.md` says what is measured, and has figures.

mod agent;
mod event;
mod hostile;
mod libvirtd;
mod machines;
mod manifests;
mod measure;
mod offline;
mod store;
mod table;
mod volumes;

use measure::Outcome;
use table::Table;

/// One part of the benchmark, by the name it can be asked for.
type Part = (&'static str, fn(&mut Table) -> Outcome<()>);

const PARTS: [Part; 13] = [
    ("validate", offline::validate),
    ("plan", offline::plan),
    ("hostile", hostile::answer),
    ("define", machines::define),
    ("host", machines::plan),
    ("look", machines::look),
    ("volumes", volumes::create),
    ("store", store::writes),
    ("load", store::load),
    ("idle", store::idle),
    ("event", event::drift),
    ("agent", agent::edits),
    ("start", agent::start),
];

fn main() -> Outcome<()> {
    if measure::is_child()? || store::is_child()? {
        return Ok(());
    }
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut table = Table::default();
    for (name, part) in PARTS {
        if asked.is_empty() || asked.iter().any(|a| a == name) {
            eprintln!("measuring: {name}");
            if let Err(error) = part(&mut table) {
                table.failed(name, &error.to_string());
            }
        }
    }
    print!("{table}");
    if table.broken() { Err("a part of the benchmark could not run".into()) } else { Ok(()) }
}
