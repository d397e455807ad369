//! Whoever only looks never waits and never fails while something is changed; whoever changes waits, and says for whom.

use std::process::{Child, Stdio};

use super::{Place, STORAGE, ran};

/// Machines whose hypervisor takes its time.
fn slow_place() -> Place {
    let place = Place::new();
    place.write("vms.json", r#"{"domains": {}, "delay": 400}"#);
    place.write("m/a.yaml", STORAGE);
    for n in 1..=4 {
        place.write(
            &format!("m/vm{n}.yaml"),
            &format!("apiVersion: reeve/v1\nkind: VirtualMachine\nmetadata: {{name: slow-{n}}}\nspec: {{runStrategy: Always, memory: {{size: 64Mi}}}}\n"),
        );
    }
    place
}

fn apply(place: &Place) -> Child {
    let mut command = place.command("apply m --yes --parallel 1", &[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the run has the store.
fn wait_for_the_lock(place: &Place, child: &mut Child) {
    while !std::fs::read_to_string(place.path("data/store/lock")).is_ok_and(|text| text.contains("apply m")) {
        assert!(child.try_wait().unwrap().is_none(), "the apply ended at once");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn readers_answer_while_an_apply_runs() {
    let place = slow_place();
    let mut child = apply(&place);
    wait_for_the_lock(&place, &mut child);
    let looks: [(&str, &[i32]); 9] = [
        ("get", &[0]),
        ("get vm -o json", &[0]),
        ("plan m", &[0, 2]),
        ("plan", &[0, 2]),
        ("diff m", &[0, 2]),
        ("events", &[0]),
        ("export", &[0]),
        ("observe", &[0]),
        ("describe storage/local", &[0, 1]),
    ];
    let mut during = 0;
    for (words, expected) in looks.iter().cycle() {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        let ran = place.run(words);
        assert!(expected.contains(&ran.status), "reeve {words}: {}\n{}\n{}", ran.status, ran.out, ran.err);
        assert!(!ran.err.contains("in use"), "reeve {words}\n{}", ran.err);
        during += 1;
    }
    let ended = ran(child.wait_with_output().unwrap(), &place.path(""));
    assert_eq!(ended.status, 0, "{}\n{}", ended.out, ended.err);
    assert!(during >= looks.len(), "only {during} commands ran during the apply");
    place.expect(0, "plan m");
}

#[test]
fn whoever_changes_something_waits_and_says_for_whom() {
    let place = slow_place();
    let mut child = apply(&place);
    wait_for_the_lock(&place, &mut child);
    let pid = child.id();
    let ran = place.run("delete storage/local --yes --lock-wait 0s");
    let holder = format!("process {pid} (reeve apply m --yes --parallel 1) since 20");
    assert_eq!(ran.status, 1, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains(&holder) && ran.err.contains("--lock-wait"), "{}", ran.err);
    let ran = place.expect(0, "apply m --yes");
    assert!(ran.err.contains(&format!("Waiting for {holder}")), "{}", ran.err);
    assert!(child.wait_with_output().unwrap().status.success());
}
