//! The driver against the real libvirt of this machine. Everything is named `libvirt-test-…`.

use std::collections::BTreeMap;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestRunner};
use reeve::base::{Mark, Uid};
use reeve::drivers::guest::libvirt::{Libvirt, Pool, SYSTEM};
use reeve::drivers::guest::{Record, Target, VmDriver as _};
use uuid::Uuid;

use super::machines::{machine, settled};

fn driver() -> Libvirt {
    Libvirt::new(Pool::new(SYSTEM), std::env::temp_dir().join("reeve-libvirt-test"))
}

fn record() -> Record {
    let mark = Mark { uid: Uid::fresh(), resource: "vm/x".into(), applied: None };
    Record { mark, disks: BTreeMap::new(), plugs: BTreeMap::new(), notes: BTreeMap::new() }
}

/// Whatever machine is defined is read back as the same machine.
#[tokio::test(flavor = "multi_thread")]
async fn real_machines_are_read_as_they_were_defined() {
    let libvirt = driver();
    let mut runner = TestRunner::new(Config::default());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48);
    for i in 0..cases {
        let machine = machine().new_tree(&mut runner).unwrap().current();
        let (name, uuid, record) = (format!("libvirt-test-prop-{i}"), Uuid::new_v4(), record());
        let defined = libvirt.define(&name, uuid, &machine, &record, &BTreeMap::new()).await;
        assert_eq!(defined, Ok(()), "{}", serde_json::to_string(&machine).unwrap());
        let found = libvirt.find(&name).await;
        let target = Target { name: &name, uuid, owner: Some(record.mark.uid) };
        libvirt.undefine(&target).await.unwrap();
        let found = found.unwrap().unwrap();
        assert_eq!(found.record.as_ref(), Some(&record));
        assert!(found.unnamed.is_empty(), "{:?}", found.unnamed);
        let (have, want) = (settled(&found.configured), settled(&machine));
        if have != want {
            let text = |m| serde_json::to_string_pretty(m).unwrap();
            panic!("{}", similar::TextDiff::from_lines(&text(&want), &text(&have)).unified_diff());
        }
    }
}

/// The probe itself is right: emulation, which works, passes it.
#[tokio::test(flavor = "multi_thread")]
async fn real_probe_passes_under_emulation_and_judges_kvm() {
    let libvirt = driver();
    assert_eq!(libvirt.accelerators().try_emulation().await, Ok(()));
    let finding = libvirt.accelerators().finding().await;
    assert!(!finding.reason.is_empty());
    eprintln!("{finding:?}");
}
