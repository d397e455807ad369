//! Many volumes, and many calls at once.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use futures::future::join_all;
use reeve::base::FaultKind;
use reeve::drivers::storage::Format;

use super::subject::{Subject, owner};

pub async fn a_thousand_volumes_are_listed_at_once(s: Rc<Subject>) {
    let us = owner("vm/a");
    let made = join_all((0..s.many).map(|i| {
        let (s, us) = (s.clone(), us.clone());
        async move { s.make(&format!("v-{i}"), s.near(Format::Qcow2), s.size(1), &us).await.unwrap() }
    }));
    assert_eq!(made.await.len(), s.many);
    let begun = Instant::now();
    let listed = s.storage.list().await.unwrap();
    let took = begun.elapsed();
    assert_eq!(listed.len(), s.many);
    assert!(listed.iter().all(|v| v.size == s.size(1) && v.mark.as_ref() == Some(&us) && v.problem.is_none()));
    // Some tens of milliseconds on a quiet machine; a program for each would take ten seconds and more.
    assert!(took.as_secs() < 2, "listing took {took:?}");
}

pub async fn many_are_made_at_the_same_time(s: Rc<Subject>) {
    let made = join_all((0..s.crowd).map(|i| {
        let s = s.clone();
        let format = s.near([Format::Raw, Format::Qcow2, Format::Subvol][i % 3]);
        async move { s.make(&format!("v-{i}"), format, s.size(1), &owner(&format!("vm/{i}"))).await.unwrap().name }
    }));
    let names: BTreeSet<String> = made.await.into_iter().collect();
    let listed: BTreeSet<String> = s.storage.list().await.unwrap().into_iter().map(|v| v.name).collect();
    assert_eq!(listed, names);
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
}

pub async fn one_name_is_made_once(s: Rc<Subject>) {
    let us = owner("vm/a");
    let made = join_all((0..s.crowd.min(20)).map(|_| s.make("v", s.near(Format::Qcow2), s.size(1), &us))).await;
    for info in made {
        assert_eq!(info.unwrap().mark.as_ref(), Some(&us));
    }
    assert_eq!(s.storage.list().await.unwrap().len(), 1);
}

pub async fn of_two_owners_one_gets_the_name(s: Rc<Subject>) {
    for round in 0..s.rounds {
        let (name, owners) = (format!("v-{round}"), [owner("vm/a"), owner("vm/b")]);
        let made = join_all(owners.iter().map(|o| s.make(&name, s.near(Format::Raw), s.size(1), o))).await;
        let winner = s.storage.find(&name).await.unwrap().unwrap().mark.unwrap();
        for (result, owner) in made.into_iter().zip(&owners) {
            match result {
                Ok(info) => assert_eq!((info.mark.unwrap().uid, owner.uid), (winner.uid, winner.uid)),
                Err(fault) => assert_eq!(fault.kind, FaultKind::Identity, "{fault}"),
            }
        }
    }
}

pub async fn making_and_deleting_at_the_same_time_ends_well(s: Rc<Subject>) {
    let us = owner("vm/a");
    for _ in 0..s.rounds {
        let (made, deleted) =
            tokio::join!(s.make("v", s.near(Format::Subvol), s.size(1), &us), s.storage.delete("v", &us, s.size(1)));
        made.unwrap();
        deleted.unwrap();
    }
    s.storage.delete("v", &us, s.size(1)).await.unwrap();
    assert_eq!(s.storage.list().await.unwrap(), []);
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
}
