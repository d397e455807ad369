//! `validate` and `plan --live`, as whole processes: no host, only files.

use std::path::Path;

use super::manifests;
use super::measure::{Cost, Outcome, median, reeve_ends, thread_cpu, words};
use super::table::{Table, Target};

const RUNS: usize = 11;

/// A folder for everything, with a configuration in it.
fn folder() -> Outcome<(tempfile::TempDir, std::path::PathBuf)> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, format!("node: n1\ndataDir: {}\n", dir.path().join("data").display()))?;
    Ok((dir, config))
}

/// 1,000 manifests of 600 bytes: syntax, schema, meaning and references.
pub fn validate(table: &mut Table) -> Outcome<()> {
    let (dir, config) = folder()?;
    let want = manifests::folder(dir.path(), 1_000)?;
    let text = read_all(Path::new(&want))?;
    let (mut costs, mut floors, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let start = thread_cpu();
        let documents: Vec<serde_json::Value> = serde_yaml::from_multiple(&text)?;
        floors.push(thread_cpu() - start);
        assert_eq!(documents.len(), 1_003);
        costs.push(reeve_ends(&config, &["validate", &want], 0)?.cpu);
        starts.push(reeve_ends(&config, &["version"], 0)?.cpu);
    }
    let (floor, start) = (median(floors), median(starts));
    let floor = format!("only reading the YAML {}, only starting {}", words(floor), words(start));
    table.against("validate 1,000 VMs, CPU", median(costs), floor, Target::Most(0.1, " s"));
    Ok(())
}

fn read_all(folder: &Path) -> Outcome<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder)? {
        text += &std::fs::read_to_string(entry?.path())?;
        text += "---\n";
    }
    Ok(text.trim_end_matches("---\n").to_owned())
}

/// 10,000 unchanged machines against a live state in a file, and twice as many.
pub fn plan(table: &mut Table) -> Outcome<()> {
    let (dir, config) = folder()?;
    let inputs = [10_000, 20_000]
        .map(|count| Ok((manifests::folder(dir.path(), count)?, manifests::live_state(dir.path(), count)?)));
    let [small, large]: [Outcome<(String, String)>; 2] = inputs;
    let (small, large) = (small?, large?);
    let run = |(want, live): &(String, String)| reeve_ends(&config, &["plan", want, "--live", live], 0);
    let (mut smalls, mut larges) = (Vec::new(), Vec::new());
    run(&small)?;
    for _ in 0..5 {
        smalls.push(run(&small)?);
        larges.push(run(&large)?);
    }
    let of = |costs: &[Cost], field: fn(&Cost) -> f64| median(costs.iter().map(field));
    let cpu = format!("CPU {}", words(of(&smalls, |c| c.cpu)));
    table.against("plan --live, 10,000 VMs, wall", of(&smalls, |c| c.wall), cpu, Target::Most(1.0, " s"));
    table.figure("plan --live, 10,000 VMs, peak", of(&smalls, |c| c.peak), Target::Most(200.0, " MiB"));
    let ratio = of(&larges, |c| c.wall) / of(&smalls, |c| c.wall);
    let beside = format!(
        "wall {}; CPU ratio {:.2}",
        words(of(&larges, |c| c.wall)),
        of(&larges, |c| c.cpu) / of(&smalls, |c| c.cpu)
    );
    table.against("plan --live, 20,000 / 10,000", ratio, beside, Target::Most(2.2, ""));
    Ok(())
}
