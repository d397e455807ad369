//! Images: fetched and copied, whole or not at all, and kept apart by source.

mod real_image;
mod server;

use reeve::base::{FaultKind, Size};
use reeve::kinds::{KindName, Live, Observed, Ref, image};
use serde_json::json;

use self::server::{Answer, Server};
use crate::scene::{Scene, sha256, text};

/// Bytes that look like nothing, so that they pass as a raw disk.
fn bytes(seed: u8) -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

fn remote(scene: &mut Scene, server: &Server, sum: &str) -> Ref {
    let spec = json!({"type": "disk", "format": "raw", "source": {"url": server.url, "sha256": sum}});
    scene.say(KindName::Image, "disk", spec)
}

fn local(scene: &mut Scene, name: &str, body: &[u8]) -> Ref {
    let path = scene.dir.path().join(format!("{name}.source"));
    std::fs::write(&path, body).unwrap();
    scene.say(KindName::Image, "disk", json!({"type": "disk", "format": "raw", "source": {"file": text(&path)}}))
}

async fn path_of(scene: &Scene, image: &Ref) -> std::path::PathBuf {
    image::local(&scene.world, &scene.scope(), &image.name).await.unwrap().path
}

#[tokio::test]
async fn a_download_arrives_whole_and_plans_empty() {
    let body = bytes(1);
    let server = Server::with(&body);
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(&body).to_uppercase());
    assert_eq!(scene.look(&image).await, Observed::Absent);
    scene.apply(&image).await.unwrap();
    let found = image::local(&scene.world, &scene.scope(), &image.name).await.unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), body);
    assert_eq!(found.virtual_size, Size(body.len() as u64));
    assert_eq!(scene.changes(&image).await, []);
    assert_eq!(scene.open_effects(), [""; 0]);
    assert_eq!(scene.files("images").len(), 2, "{:?}", scene.files("images"));
    assert_eq!(scene.last_step(), Some(("download".into(), 300_000, 300_000)));
    server.asked();
    scene.apply(&image).await.unwrap();
    assert_eq!(server.asked(), [""; 0], "a second apply asks for nothing");
}

#[tokio::test]
async fn a_server_that_cuts_is_asked_for_the_rest() {
    let body = bytes(2);
    let server = Server::with(&body);
    server.plan([Answer::Cut(100_000), Answer::Status(503), Answer::Cut(50_000), Answer::Moved("/elsewhere")]);
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(&body));
    scene.apply(&image).await.unwrap();
    assert_eq!(std::fs::read(path_of(&scene, &image).await).unwrap(), body);
    assert_eq!(server.asked(), ["-", "100000-", "100000-", "150000-", "150000-"]);
}

#[tokio::test]
async fn a_later_run_continues_where_an_earlier_one_ended() {
    let body = bytes(3);
    let server = Server::with(&body);
    server.plan([Answer::Cut(70_000)].into_iter().chain(std::iter::repeat_n(Answer::Cut(0), 10)));
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(&body));
    let fault = scene.apply(&image).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
    assert!(fault.help.unwrap().contains("continues from there"));
    assert_eq!(scene.open_effects(), ["image/disk make-image"]);
    assert_eq!(scene.look(&image).await, Observed::Absent);
    server.asked();
    server.plan([]);
    scene.apply(&image).await.unwrap();
    assert_eq!(server.asked(), ["70000-"]);
    assert_eq!(std::fs::read(path_of(&scene, &image).await).unwrap(), body);
    assert_eq!(scene.files("images").len(), 2, "the part is gone");
}

#[tokio::test]
async fn a_part_that_is_already_whole_needs_only_its_sum() {
    let body = bytes(4);
    let server = Server::with(&body);
    server.plan(std::iter::repeat_n(Answer::Status(500), 5));
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(&body));
    // The first run makes the shelf and fails; then the part appears, as if a run was killed just before its end.
    scene.apply(&image).await.unwrap_err();
    let digest = {
        server.plan([Answer::Cut(10)].into_iter().chain(std::iter::repeat_n(Answer::Cut(0), 10)));
        scene.apply(&image).await.unwrap_err();
        scene.files("images").into_iter().find(|f| f.ends_with(".part")).unwrap()
    };
    std::fs::write(scene.dir.path().join("images").join(digest), &body).unwrap();
    server.plan([]);
    server.asked();
    scene.apply(&image).await.unwrap();
    assert_eq!(server.asked(), ["300000-"]);
}

#[tokio::test]
async fn a_file_that_was_replaced_meanwhile_is_fetched_anew() {
    let (old, new) = (bytes(5), bytes(6));
    let server = Server::with(&old);
    server.plan([Answer::Cut(70_000)].into_iter().chain(std::iter::repeat_n(Answer::Cut(0), 10)));
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(&new));
    scene.apply(&image).await.unwrap_err();
    server.plan([]).replace(&new);
    scene.apply(&image).await.unwrap();
    assert_eq!(std::fs::read(path_of(&scene, &image).await).unwrap(), new);
}

#[tokio::test]
async fn a_spoilt_part_is_fetched_once_more_from_the_start() {
    let body = bytes(7);
    let server = Server::with(&body);
    server.plan([Answer::Cut(70_000)].into_iter().chain(std::iter::repeat_n(Answer::Cut(0), 10)));
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(&body));
    scene.apply(&image).await.unwrap_err();
    let part = scene.files("images").into_iter().find(|f| f.ends_with(".part")).unwrap();
    std::fs::write(scene.dir.path().join("images").join(part), [9; 70_000]).unwrap();
    server.asked();
    server.plan([]);
    scene.apply(&image).await.unwrap();
    assert_eq!(server.asked(), ["70000-", "-"]);
    assert_eq!(std::fs::read(path_of(&scene, &image).await).unwrap(), body);
}

#[tokio::test]
async fn servers_that_know_no_ranges_or_give_wrong_ones_are_coped_with() {
    let body = bytes(8);
    let server = Server::with(&body);
    server.plan([Answer::Cut(70_000), Answer::Whole]);
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(&body));
    scene.apply(&image).await.unwrap();
    assert_eq!(std::fs::read(path_of(&scene, &image).await).unwrap(), body);
    let other = bytes(9);
    server.replace(&other);
    server.plan([Answer::Cut(70_000), Answer::WrongRange]);
    let image = remote(&mut scene, &server, &sha256(&other));
    scene.apply(&image).await.unwrap();
    assert_eq!(std::fs::read(path_of(&scene, &image).await).unwrap(), other);
}

#[tokio::test]
async fn a_wrong_sum_leaves_nothing_and_names_both() {
    let body = bytes(10);
    let server = Server::with(&body);
    let mut scene = Scene::new();
    let wanted = sha256(b"something else");
    let image = remote(&mut scene, &server, &wanted);
    let fault = scene.apply(&image).await.unwrap_err();
    assert_eq!(fault.message, format!("{} has sha256 {}, and the manifest says {wanted}", server.url, sha256(&body)));
    assert_eq!(server.asked(), ["-"], "a wrong file is not asked for again");
    assert_eq!(scene.files("images"), [""; 0]);
    assert_eq!(scene.look(&image).await, Observed::Absent);
}

#[tokio::test]
async fn what_is_not_there_is_asked_for_once() {
    let server = Server::with(b"");
    server.plan([Answer::Status(404)]);
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(b""));
    let fault = scene.apply(&image).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotFound);
    assert!(fault.message.ends_with("the server answers 404 Not Found"), "{fault}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_new_source_is_a_new_file_and_the_old_one_stays() {
    let mut scene = Scene::new();
    let image = local(&mut scene, "one", &bytes(11));
    scene.apply(&image).await.unwrap();
    let old = path_of(&scene, &image).await;
    local(&mut scene, "two", &bytes(12));
    let changes = scene.changes(&image).await;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].path, "source.file");
    let missing = image::local(&scene.world, &scene.scope(), &image.name).await.unwrap_err();
    assert_eq!(missing.message, "image/disk is not on this node yet");
    scene.apply(&image).await.unwrap();
    let new = path_of(&scene, &image).await;
    assert_ne!(old, new);
    assert_eq!(std::fs::read(&old).unwrap(), bytes(11));
    assert_eq!(std::fs::read(&new).unwrap(), bytes(12));
    assert_eq!(scene.changes(&image).await, []);
    let Live::Image(live) = scene.live(&image).await else { panic!() };
    assert_eq!(live.older, [old]);
    local(&mut scene, "one", &bytes(11));
    assert_eq!(scene.changes(&image).await, [], "going back needs nothing");
    scene.delete(&image).await.unwrap();
    assert_eq!(scene.files("images"), [""; 0]);
}

#[tokio::test]
async fn a_copy_is_a_copy_and_is_checked() {
    let mut scene = Scene::new();
    let mut body = bytes(13);
    body.extend(vec![0; 3 << 20]);
    let image = local(&mut scene, "sparse", &body);
    scene.apply(&image).await.unwrap();
    std::fs::write(scene.dir.path().join("sparse.source"), b"changed").unwrap();
    let path = path_of(&scene, &image).await;
    assert_eq!(std::fs::read(&path).unwrap(), body);
    assert_eq!(scene.changes(&image).await, [], "an image is pinned when it is made");

    let source = scene.dir.path().join("sparse.source");
    let wrong = json!({"type": "disk", "format": "raw", "source": {"file": text(&source), "sha256": sha256(b"x")}});
    scene.say(KindName::Image, "disk", wrong);
    let fault = scene.apply(&image).await.unwrap_err();
    assert!(fault.message.contains(&sha256(b"changed")), "{fault}");
    assert_eq!(scene.files("images").len(), 2, "only the first image is there");
}

#[tokio::test]
async fn what_someone_wrote_to_is_found_out_and_made_again() {
    let mut scene = Scene::new();
    let image = local(&mut scene, "one", &bytes(14));
    scene.apply(&image).await.unwrap();
    let path = path_of(&scene, &image).await;
    std::fs::write(&path, b"oops").unwrap();
    let refused = image::local(&scene.world, &scene.scope(), &image.name).await.unwrap_err();
    assert!(refused.message.contains("was written to"), "{refused}");
    assert_eq!(scene.changes(&image).await[0].path, "content");
    scene.apply(&image).await.unwrap();
    assert_eq!(std::fs::read(path_of(&scene, &image).await).unwrap(), bytes(14));
    assert_eq!(scene.changes(&image).await, []);
    // A change of time alone is looked into, and found harmless.
    let now = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    std::fs::File::options().write(true).open(&path).unwrap().set_times(now).unwrap();
    std::fs::remove_file(scene.dir.path().join("one.source")).unwrap();
    assert_eq!(scene.changes(&image).await.len(), 1);
    scene.apply(&image).await.unwrap();
    assert_eq!(scene.changes(&image).await, []);
}

#[tokio::test]
async fn another_image_of_the_same_name_is_not_touched() {
    let mut scene = Scene::new();
    let image = local(&mut scene, "one", &bytes(15));
    scene.apply(&image).await.unwrap();
    scene.uids.insert(image.clone(), reeve::base::Uid::fresh());
    let fault = scene.delete(&image).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Identity, "{fault}");
    assert_eq!(scene.files("images").len(), 2);
}

#[tokio::test]
async fn an_unreadable_sidecar_is_unknown_and_not_absent() {
    let mut scene = Scene::new();
    let image = local(&mut scene, "one", &bytes(16));
    scene.apply(&image).await.unwrap();
    let sidecar = scene.files("images").into_iter().find(|f| f.ends_with(".json")).unwrap();
    std::fs::write(scene.dir.path().join("images").join(&sidecar), b"{").unwrap();
    let Observed::Unknown(why) = scene.look(&image).await else { panic!() };
    assert!(why.contains(&sidecar), "{why}");
}

#[tokio::test]
async fn two_runs_do_not_make_one_image_at_once() {
    let body = bytes(17);
    let server = Server::with(&body);
    let mut scene = Scene::new();
    let image = remote(&mut scene, &server, &sha256(&body));
    let (first, second) = tokio::join!(scene.apply(&image), scene.apply(&image));
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().kind, FaultKind::Busy);
}
