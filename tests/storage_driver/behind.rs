//! A volume that somebody deletes behind our back: it is known to be gone, nothing else is touched, and asked for again
//! it is made anew.

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::Storage;
use reeve::kinds::{KindName, Live, Observed};
use serde_json::{Value, json};

use super::subject::{open, refused, secrets};
use crate::scene::Scene;

/// Applies a storage and two volumes, has one deleted by hand, and applies again.
pub async fn a_volume_is_deleted(driver: &'static str, options: &Value, delete: impl AsyncFn(&dyn Storage, &str)) {
    let mut scene = Scene::new();
    scene.world.secrets = secrets();
    let place = scene.say(KindName::Storage, "place", json!({"driver": driver, "options": options}));
    let size = Size::mib(8);
    let [lost, kept] = ["lost", "kept"]
        .map(|name| scene.say(KindName::Volume, name, json!({"storage": "place", "size": size, "format": "raw"})));
    for resource in [&place, &lost, &kept] {
        scene.apply(resource).await.unwrap();
    }
    let Live::Volume(before) = scene.live(&lost).await else { panic!("no volume") };
    let neighbour = scene.live(&kept).await;
    let opened = open(driver, options, None);
    delete(&*opened, "vol-lost").await;

    assert!(matches!(scene.look(&lost).await, Observed::Absent));
    assert_eq!((scene.changes(&kept).await, scene.changes(&place).await), (vec![], vec![]));
    let mark = before.mark.clone().unwrap();
    refused(opened.grow("vol-lost", &mark, Size::mib(16)).await, FaultKind::NotFound);
    refused(opened.remark("vol-lost", Some(&mark), &mark).await, FaultKind::NotFound);
    refused(opened.attachment("vol-lost").await, FaultKind::NotFound);
    opened.delete("vol-lost", &mark, size).await.unwrap();
    assert_eq!(opened.leftovers().await.unwrap(), [""; 0], "a delete of what is gone leaves something");

    scene.apply(&lost).await.unwrap();
    let Live::Volume(after) = scene.live(&lost).await else { panic!("no volume") };
    assert_eq!((after.mark, after.size), (before.mark, before.size));
    assert_eq!(scene.live(&kept).await, neighbour, "a neighbour was touched");
    assert_eq!(scene.open_effects(), [""; 0]);
}

/// Deletes a file as anybody may.
pub async fn remove_file(storage: &dyn Storage, name: &str) {
    let reeve::drivers::storage::Attachment::File { path, .. } = storage.attachment(name).await.unwrap() else {
        panic!("no file")
    };
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn on_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    a_volume_is_deleted("dir", &json!({"path": dir.path().join("storage")}), remove_file).await;
}
