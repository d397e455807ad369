//! Inputs made to hurt: huge, deep, endless. Each is answered quickly, with few words.

use std::time::{Duration, Instant};

use reeve::kinds::Catalog;
use reeve::manifest::{self, Loaded};
use reeve::plan::desired::Desired;

const MIB: usize = 1 << 20;

/// Far more than any of these takes, even unoptimised on a busy machine; a quadratic walk takes minutes.
const PATIENCE: Duration = Duration::from_secs(30);

fn load(name: &str, text: &str) -> Loaded {
    let start = Instant::now();
    let loaded = manifest::load_str(name, text);
    let _ = Desired::build(&loaded, &Catalog::default());
    assert!(start.elapsed() < PATIENCE, "{name} took {:?}", start.elapsed());
    loaded
}

fn codes(loaded: &Loaded) -> Vec<&'static str> {
    loaded.diagnostics.0.iter().map(|d| d.code).collect()
}

fn storage(spec: &str) -> String {
    format!("apiVersion: reeve/v1\nkind: Storage\nmetadata: {{name: x}}\nspec:\n  driver: dir\n{spec}")
}

#[test]
fn deep_nesting_is_refused_at_once() {
    let flow = storage(&format!("  options: {{path: {}}}\n", "[".repeat(10_000)));
    let closed = storage(&format!("  options: {{path: {}{}}}\n", "[".repeat(10_000), "]".repeat(10_000)));
    let braces = "{a: ".repeat(10_000);
    let dashes = "- ".repeat(10_000);
    let questions = "? ".repeat(10_000);
    let indented: String = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    for (name, text) in [
        ("flow", &flow),
        ("closed", &closed),
        ("braces", &braces),
        ("dashes", &dashes),
        ("questions", &questions),
        ("indented", &indented),
    ] {
        assert_eq!(codes(&load(name, text)), ["manifest/too-deep"], "{name}");
    }
    let mixed = storage(&format!("  options: {{path: {}1{}}}\n", "[{a: ".repeat(40), "}]".repeat(40)));
    assert_eq!(codes(&load("mixed", &mixed)), ["manifest/too-deep"]);
    let through_aliases = storage(&format!(
        "  options:\n    a: &a {}1{}\n    b: &b {}*a{}\n",
        "[".repeat(40),
        "]".repeat(40),
        "[".repeat(40),
        "]".repeat(40)
    ));
    assert_eq!(codes(&load("aliases", &through_aliases)), ["manifest/too-deep"]);
}

#[test]
fn an_alias_bomb_is_refused_at_once() {
    let mut bomb = "  options:\n    a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        bomb += &format!("    a{level}: &a{level} [{below}]\n");
    }
    let loaded = load("bomb", &storage(&bomb));
    assert_eq!(codes(&loaded), ["manifest/alias-bomb"]);
    let place = loaded.diagnostics.0[0].place.clone().unwrap();
    assert!(place.line > 8 && place.line < 14, "{place:?}");
}

#[test]
fn aliases_within_the_budget_are_taken() {
    let text =
        "apiVersion: reeve/v1\nkind: Node\nmetadata: {name: &n x, labels: &l {a: *n}, annotations: *l}\nspec: {}\n";
    let loaded = load("aliases", text);
    assert!(loaded.resources.len() == 1 && loaded.complete, "{:?}", loaded.diagnostics);
}

#[test]
fn a_long_name_is_one_problem() {
    let name = "x".repeat(300);
    let text = format!("apiVersion: reeve/v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{}}\n");
    let loaded = load("name", &text);
    assert_eq!(codes(&loaded), ["manifest/bad-name"]);
    assert!(loaded.diagnostics.0[0].message.contains("300 characters"));
    assert!(loaded.diagnostics.0[0].message.len() < 200);
}

#[test]
fn a_mebibyte_of_anything_is_answered() {
    let head = storage("  options:\n");
    let repeat = |unit: &str| unit.repeat(MIB / unit.len());
    let numbered = |make: &dyn Fn(usize) -> String| {
        let mut text = head.clone();
        for at in 0.. {
            text += &make(at);
            if text.len() >= MIB {
                return text;
            }
        }
        text
    };
    let cases = [
        ("documents", repeat("---\n")),
        ("comments", repeat("---\n#\n")),
        ("broken documents", repeat("---\n[\n")),
        ("ended documents", repeat("a\n...\n")),
        ("broken ended documents", repeat("[\n...\n")),
        ("small documents", repeat("---\na: 1\n")),
        ("wrong kinds", repeat("---\nkind: x\n")),
        ("bare texts", repeat("a\n")),
        ("colons", repeat(": ")),
        ("colon lines", repeat(":\n")),
        ("tabs", repeat("\t")),
        ("tab lines", repeat("a:\n\t")),
        ("anchors", repeat("&a ")),
        ("anchored items", repeat("- &a a\n")),
        ("tagged items", repeat("- !a a\n")),
        ("aliases to nothing", repeat("- *a\n")),
        ("alias chain", numbered(&|n| format!("    a{n}: &a{n} [*a{}]\n", n.saturating_sub(1)))),
        ("one alias", numbered(&|n| if n == 0 { "    a: &a x\n".into() } else { format!("    a{n}: *a\n") })),
        ("unknown fields", storage(&repeat("  x: 1\n"))),
        ("many unknown fields", storage(&(0..80_000).map(|n| format!("  driver{n}: 1\n")).collect::<String>())),
        ("many keys", numbered(&|n| format!("    k{n}: 1\n"))),
        ("one key", storage(&format!("  options:\n{}", repeat("    k: 1\n")))),
        ("items", format!("a: [{}]", repeat("a,"))),
        ("nulls", format!("a: [{}]", repeat(",,"))),
        ("pairs", format!("a: [{}]", repeat("a: ,"))),
        ("bad names", storage(&format!("  nodes: [{}]\n", repeat("A, ")))),
        ("quotes", repeat("\"")),
        ("one quote", format!("\"{}", repeat("a\n"))),
        ("one text", format!("a: \"{}\"", repeat("a\\n"))),
        ("block text", storage(&format!("  options:\n    path: |\n{}", repeat("      a\n")))),
        ("block texts", format!("a:\n{}", repeat("- |\n a\n"))),
        ("folded line", format!("a: >\n {}", repeat("a "))),
        ("long line", format!("a: {}", repeat("a"))),
        ("long key", format!("{}: a", repeat("a"))),
        ("brackets", repeat("[]")),
        ("question marks", repeat("?\n")),
        ("directives", repeat("%YAML 1.2\n")),
        ("bars", repeat("|\n")),
        ("bytes", repeat("\u{1}")),
        ("emoji", repeat("🦀")),
        ("carriage returns", repeat("a:\r")),
        ("line separators", repeat("\u{2028}")),
        ("markers", repeat("--- ---\n")),
        ("spaces", repeat(" ")),
        ("growing indentation", (0..1_400).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
    ];
    let mut slow = Vec::new();
    for (name, text) in &cases {
        let start = Instant::now();
        let loaded = load(name, text);
        slow.push((start.elapsed(), *name));
        assert!(loaded.diagnostics.0.len() <= 1_001, "{name} gave {} diagnostics", loaded.diagnostics.0.len());
    }
    slow.sort();
    slow.reverse();
    println!("the slowest: {:?}", &slow[..8]);
}

#[test]
fn too_many_values_and_problems_are_cut_short() {
    let many = storage(&format!("  options: {{path: [{}]}}\n", "1,".repeat(300_000)));
    assert_eq!(codes(&load("values", &many)), ["manifest/too-many-values"]);
    let wrong = storage(&(0..5_000).map(|n| format!("  zz{n}: 1\n")).collect::<String>());
    let loaded = load("problems", &wrong);
    assert_eq!(loaded.diagnostics.0.len(), 1_001);
    assert_eq!(codes(&loaded).last(), Some(&"manifest/too-many-problems"));
    assert!(!loaded.complete);
}
