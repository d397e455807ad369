//! What changes a host: apply, saved plans, prune and delete, with storage on a real directory.

use super::{Place, STORAGE};

fn volume(name: &str, size: &str) -> String {
    format!(
        "---\napiVersion: reeve/v1\nkind: Volume\nmetadata: {{name: {name}}}\nspec: {{storage: local, size: {size}, format: raw}}\n"
    )
}

#[test]
fn an_applied_manifest_plans_empty_and_a_second_apply_does_nothing() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    place.write("m/b.yaml", &volume("data", "1Mi"));
    place.expect(2, "plan m");
    assert!(!place.path("storage").exists() && !place.path("data").exists(), "a plan changed something");
    let ran = place.expect(0, "apply m --yes");
    assert!(ran.out.contains("✓ storage/local: created") && ran.out.contains("✓ volume/data: created"), "{}", ran.out);
    let ran = place.expect(0, "plan m");
    assert_eq!(ran.out, "Nothing to do: 2 resources are as the manifests say.\n");
    let before = place.expect(0, "events -o json").out;
    place.expect(0, "apply m --yes");
    place.expect(0, "plan");
    assert_eq!(before, place.expect(0, "events -o json").out, "a second apply did something");
}

#[test]
fn apply_asks_and_without_a_terminal_refuses() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    let ran = place.expect(1, "apply m");
    assert!(ran.err.contains("--yes"), "{}", ran.err);
    assert!(!place.path("storage").exists());
}

#[test]
fn bad_input_changes_nothing() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    place.write("m/b.yaml", &volume("data", "1Mib"));
    let ran = place.expect(1, "apply m --yes");
    assert!(ran.err.contains("1Mib"), "{}", ran.err);
    assert!(!place.path("storage").exists());
}

#[test]
fn a_saved_plan_is_done_exactly_or_refused() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    place.expect(2, "plan m --out plan.json");
    place.write("m/a.yaml", &format!("{STORAGE}  content: [images]\n"));
    let ran = place.expect(1, "apply plan.json --yes");
    assert!(ran.err.contains("stale") && ran.err.contains("a.yaml"), "{}", ran.err);
    assert!(!place.path("storage").exists());
    place.expect(2, "plan m --out plan.json");
    place.expect(0, "apply plan.json --yes");
    let ran = place.expect(1, "apply plan.json --yes");
    assert!(ran.err.contains("stale"), "{}", ran.err);
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    place.write("m/b.yaml", &volume("data", "1Mi"));
    place.expect(0, "apply m --yes");
    place.write("m/b.yaml", &volume("data", "2Mi"));
    place.expect(0, "apply m --yes");
    place.expect(0, "plan m");
    place.write("m/b.yaml", &volume("data", "1Mi"));
    let ran = place.expect(2, "apply m --yes");
    assert!(ran.out.contains("blocked"), "{}", ran.out);
}

#[test]
fn prune_needs_whole_sources_and_stops_at_half() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    for name in ["one", "two", "three"] {
        place.write(&format!("m/{name}.yaml"), &volume(name, "1Mi"));
    }
    place.expect(0, "apply m --yes");
    std::fs::remove_file(place.path("m/one.yaml")).unwrap();
    place.expect(0, "plan m");
    let ran = place.expect(2, "plan m --prune");
    assert!(ran.out.contains("- volume/one") && !ran.out.contains("- volume/two"), "{}", ran.out);
    std::fs::write(place.path("m/two.yaml"), "kind: [").unwrap();
    place.expect(1, "plan m --prune");
    for name in ["two", "three"] {
        std::fs::remove_file(place.path(&format!("m/{name}.yaml"))).unwrap();
    }
    let ran = place.expect(1, "plan m --prune");
    assert!(ran.err.contains("--prune-all"), "{}", ran.err);
    let ran = place.expect(2, "plan m --prune --prune-all");
    assert!(ran.out.contains("3 to delete"), "{}", ran.out);
    std::fs::remove_file(place.path("m/a.yaml")).unwrap();
    assert_eq!(place.run("plan m --prune --prune-all").status, 1, "an empty folder must not prune everything");
}

#[test]
fn delete_respects_protection_and_users() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    place.write("m/b.yaml", &volume("data", "1Mi").replace("{name: data}", "{name: data, protection: true}"));
    place.expect(0, "apply m --yes");
    let ran = place.expect(2, "delete storage/local --yes");
    assert!(ran.out.contains("it is used by volume/data"), "{}", ran.out);
    let ran = place.expect(2, "delete volume/data --destroy-data --yes");
    assert!(ran.out.contains("protection"), "{}", ran.out);
    place.write("m/b.yaml", &volume("data", "1Mi"));
    place.expect(0, "apply m --yes");
    place.expect(0, "delete volume/data storage/local --destroy-data --yes");
    assert!(place.expect(0, "get storage,volume").out.starts_with("Nothing is there yet"));
    assert!(place.expect(1, "delete volume/data --yes").err.contains("is not there"));
}

#[test]
fn volumes_are_listed_and_only_orphans_can_be_destroyed() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    place.write("m/b.yaml", &(volume("data", "1Mi") + &volume("more", "2Mi")));
    place.expect(0, "apply m --yes");
    place.expect(0, "delete volume/data --yes");
    let out = place.expect(0, "get volumes").out;
    let line =
        |name: &str| out.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{name}: {out}")).to_owned();
    assert!(line("vol-data").contains("volume/data") && line("vol-data").contains("Orphan, "), "{out}");
    assert!(line("vol-more").contains("2Mi") && line("vol-more").ends_with("Ready"), "{out}");
    assert!(place.expect(0, "get volumes -o wide").out.contains("CONTENT"));
    let json: serde_json::Value = serde_json::from_str(&place.expect(0, "get volumes -o json").out).unwrap();
    assert_eq!(json["volumes"][0]["ownership"], "orphan");
    assert_eq!(json["volumes"][0]["storage"], "local");
    assert!(place.expect(0, "get volumes -o yaml").out.contains("ownership: orphan"));

    let refused = |words: &str, why: &str| {
        let ran = place.expect(1, words);
        assert!(ran.err.contains(why), "{}", ran.err);
    };
    refused("delete --orphan local/vol-data --yes", "--destroy-data");
    refused("delete --orphan local/vol-data --destroy-data", "nobody can be asked");
    refused("delete --orphan local/vol-more --destroy-data --yes", "is no orphan");
    refused("delete --orphan local/vol-none --destroy-data --yes", "is not there");
    refused("delete --orphan vol-data --destroy-data --yes", "does not name a volume");
    assert!(place.expect(0, "get volumes").out.contains("vol-data"));
    place.expect(0, "delete --orphan local/vol-data --destroy-data --yes");
    let out = place.expect(0, "get volumes").out;
    assert!(!out.contains("vol-data") && out.contains("vol-more"), "{out}");
    assert!(place.expect(0, "events").out.contains("destroyed the orphan vol-data of volume/data"));
}
