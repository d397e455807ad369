//! Inputs of a mebibyte made to hurt: each is answered within a second and 256 MiB.

use super::measure::{Outcome, reeve, words};
use super::table::{Table, Target};

const MIB: usize = 1 << 20;

/// Every input, answered three times; the slowest middle time and the largest peak are told.
pub fn answer(table: &mut Table) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, format!("node: n1\ndataDir: {}\n", dir.path().join("data").display()))?;
    let mut costs = Vec::new();
    for (name, text) in inputs() {
        let file = dir.path().join(format!("{}.yaml", name.replace(' ', "-")));
        std::fs::write(&file, text)?;
        let file = file.display().to_string();
        let mut runs = Vec::new();
        for _ in 0..3 {
            let cost = reeve(&config, &["validate", &file])?;
            if cost.status > 1 {
                return Err(format!("{name}: validate ended with {}", cost.status).into());
            }
            runs.push(cost);
        }
        runs.sort_by(|a, b| a.wall.total_cmp(&b.wall));
        let peak = runs.iter().map(|c| c.peak).fold(0.0, f64::max);
        eprintln!("  {name}: {} (CPU {}), {peak:.0} MiB", words(runs[1].wall), words(runs[1].cpu));
        costs.push((name, runs[1], peak));
    }
    let count = costs.len();
    if let Some((name, cost, _)) = costs.iter().max_by(|a, b| a.1.wall.total_cmp(&b.1.wall)) {
        let beside = format!("{name}; CPU {}", words(cost.cpu));
        table.against(format!("slowest of {count} hostile MiB"), cost.wall, beside, Target::Most(1.0, " s"));
    }
    if let Some((name, _, peak)) = costs.iter().max_by(|a, b| a.2.total_cmp(&b.2)) {
        table.against(format!("largest of {count} hostile MiB"), *peak, *name, Target::Most(256.0, " MiB"));
    }
    Ok(())
}

fn inputs() -> Vec<(&'static str, String)> {
    let repeat = |unit: &str| unit.repeat(MIB / unit.len());
    let document = |kind: &str, spec: &dyn Fn(usize) -> String| {
        numbered("", &|n| {
            format!("---\napiVersion: reeve/v1\nkind: {kind}\nmetadata: {{name: x{n}}}\nspec: {}\n", spec(n))
        })
    };
    let head = "apiVersion: reeve/v1\nkind: Storage\nmetadata: {name: x}\nspec:\n  driver: dir\n";
    let vm = "apiVersion: reeve/v1\nkind: VirtualMachine\nmetadata: {name: x}\nspec:\n";
    vec![
        ("empty documents", repeat("---\n")),
        ("small documents", repeat("---\na: 1\n")),
        ("networks that overlap", document("Network", &|_| "{type: nat, cidr: 10.0.0.1/8}".into())),
        (
            "networks side by side",
            document("Network", &|n| format!("{{type: nat, cidr: 10.{}.{}.1/24}}", n >> 8 & 255, n & 255)),
        ),
        ("networks on one bridge", document("Network", &|_| "{type: bridge, bridge: br0, create: true}".into())),
        ("storages at one place", document("Storage", &|_| "{driver: dir, options: {path: /a}}".into())),
        (
            "storages inside each other",
            document("Storage", &|n| format!("{{driver: dir, options: {{path: /a{}}}}}", "/b".repeat(n % 60))),
        ),
        ("volumes on nothing", document("Volume", &|n| format!("{{storage: none{n}, size: 1Gi}}"))),
        ("volumes on one storage", document("Volume", &|_| "{storage: x, size: 1Gi}".into())),
        (
            "machines with one address",
            document("VirtualMachine", &|_| "{nics: {a: {network: n, mac: \"52:54:00:00:00:01\"}}}".into()),
        ),
        ("machines with one volume", document("VirtualMachine", &|_| "{disks: {a: {volume: v}}}".into())),
        (
            "machines on misspelt storages",
            document("VirtualMachine", &|n| format!("{{disks: {{a: {{storage: x{n}y, size: 1Gi}}}}}}")),
        ),
        ("empty machines", document("VirtualMachine", &|_| "{}".into())),
        ("one name", repeat("---\napiVersion: reeve/v1\nkind: Node\nmetadata: {name: x}\nspec: {}\n")),
        ("unknown kinds", repeat("---\nkind: x\n")),
        ("unknown fields", numbered(head, &|n| format!("  driver{n}: 1\n"))),
        ("many disks", numbered(&format!("{vm}  disks:\n"), &|n| format!("    d{n}: {{storage: s, size: 1Gi}}\n"))),
        ("many cards", numbered(&format!("{vm}  nics:\n"), &|n| format!("    d{n}: {{network: s}}\n"))),
        ("many boot names", format!("{vm}  boot: {{order: [{}]}}\n", numbered("", &|n| format!("a{n}, ")))),
        ("a long flow sequence", format!("a: [{}]", repeat("a,"))),
        ("nulls", format!("a: [{}]", repeat(",,"))),
        ("anchors", numbered("a:\n", &|n| format!("  a{n}: &a{n} [*a{}]\n", n.saturating_sub(1)))),
        ("one alias", numbered("a: &a x\n", &|n| format!("a{n}: *a\n"))),
        ("anchored items", repeat("- &a a\n")),
        ("deep flow", repeat("[")),
        ("deep maps", repeat("{a: ")),
        ("deep dashes", repeat("- ")),
        ("growing indentation", (0..1_400).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("a block text", format!("{vm}  description: |\n{}", repeat("    a\n"))),
        ("a long line", format!("{vm}  description: {}", repeat("a"))),
        ("errors in a long line", format!("{vm}  tags: [{}]\n  nics: {{{}}}\n", "a, ".repeat(900), repeat("N: 1, "))),
        ("a long path", format!("{head}  options: {{path: {}}}\n", repeat("/a"))),
        ("bad names", format!("{head}  nodes: [{}]\n", repeat("A, "))),
        ("tabs", repeat("a:\n\t")),
        ("quotes", repeat("\"")),
        ("emoji", repeat("🦀")),
        ("a binary", repeat("\u{1}")),
    ]
}

/// A text that grows to a mebibyte.
fn numbered(head: &str, make: &dyn Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for n in 0.. {
        let next = make(n);
        if text.len() + next.len() > MIB {
            break;
        }
        text += &next;
    }
    text
}
