//! The cloud-init seed.

use serde_json::{Value, json};

use super::stage::{Crashing, Stage};
use crate::base::exec::Command;
use crate::kinds::vm::seed::Content;

fn with_init(init: Value) -> Value {
    json!({
        "disks": {"root": {"storage": "fast", "size": "1Gi"}},
        "nics": {"eth0": {"network": "lan", "mac": "52:54:00:00:00:01"}, "eth1": {"network": "lan"}},
        "cloudInit": init
    })
}

async fn content(stage: &mut Stage, init: Value) -> Content {
    stage.want(with_init(init));
    let spec = stage.spec();
    let journal = Crashing::default();
    stage.task(&journal, async |task| Content::of(task, spec.cloud_init.as_ref().unwrap(), &spec)).await.unwrap()
}

async fn file(stage: &mut Stage, init: Value, name: &str) -> String {
    let content = content(stage, init).await;
    content.files().find(|(n, _)| *n == name).map(|(_, text)| text.to_owned()).unwrap_or_default()
}

fn yaml(text: &str) -> Value {
    let body = text.strip_prefix("#cloud-config\n").unwrap_or(text);
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn the_network_is_bound_to_the_card_by_its_address() {
    let mut stage = Stage::new();
    let text = file(
        &mut stage,
        json!({"reconcile": {
            "network": {"eth0": {
                "addresses": ["10.40.0.10/24", "fd00::10/64"], "gateway": "10.40.0.1", "gateway6": "fd00::1",
                "routes": [{"to": "10.9.0.0/16", "via": "10.40.0.9", "metric": 5}]
            }},
            "nameservers": ["10.40.0.1"], "searchDomains": ["example.org"]
        }}),
        "network-config",
    )
    .await;
    assert_eq!(
        yaml(&text),
        json!({"version": 2, "ethernets": {"eth0": {
            "dhcp4": false, "dhcp6": false, "addresses": ["10.40.0.10/24", "fd00::10/64"],
            "routes": [
                {"to": "0.0.0.0/0", "via": "10.40.0.1"}, {"to": "::/0", "via": "fd00::1"},
                {"to": "10.9.0.0/16", "via": "10.40.0.9", "metric": 5}
            ],
            "match": {"macaddress": "52:54:00:00:00:01"}, "set-name": "eth0",
            "nameservers": {"addresses": ["10.40.0.1"], "search": ["example.org"]}
        }}})
    );
}

#[tokio::test]
async fn without_a_network_cloud_init_goes_its_own_way_and_name_servers_alone_mean_dhcp() {
    let mut stage = Stage::new();
    assert_eq!(file(&mut stage, json!({}), "network-config").await, "");
    let text = file(&mut stage, json!({"reconcile": {"nameservers": ["10.40.0.1"]}}), "network-config").await;
    assert_eq!(yaml(&text)["ethernets"]["eth1"]["dhcp4"], true);
}

#[tokio::test]
async fn users_keys_and_packages_are_written_and_the_password_is_hashed() {
    let mut stage = Stage::new();
    let secrets = stage.world.data_dir.join("secrets/web");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("password"), "hunter2\n").unwrap();
    let init = json!({"firstBoot": {
        "user": "ops", "sshKeys": ["ssh-ed25519 AAAA ops"], "packages": ["nginx"], "runCmd": ["touch /x"],
        "password": {"secretRef": {"name": "web", "key": "password"}}, "metaData": "role: web"
    }, "instance": "2", "reconcile": {"hostname": "front"}});
    let first = content(&mut stage, init.clone()).await;
    let again = content(&mut stage, init.clone()).await;
    assert_eq!(first.digest(), again.digest(), "the same input gives the same seed");
    let text = file(&mut stage, init.clone(), "user-data").await;
    assert!(text.starts_with("#cloud-config\n") && !text.contains("hunter2"), "{text}");
    let data = yaml(&text);
    assert_eq!(data["users"][0]["name"], "ops");
    assert_eq!(data["users"][0]["lock_passwd"], false);
    assert_eq!(data["packages"], json!(["nginx"]));
    let hash = data["users"][0]["passwd"].as_str().unwrap();
    assert!(hash.starts_with("$6$"), "{hash}");
    use sha_crypt::PasswordVerifier as _;
    sha_crypt::ShaCrypt::default().verify_password(b"hunter2", hash).unwrap();
    let meta = file(&mut stage, init, "meta-data").await;
    assert_eq!(meta, format!("instance-id: {}-2\nlocal-hostname: \"front\"\nrole: web\n", stage.uid));
}

#[tokio::test]
async fn the_seed_is_an_iso_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut stage = Stage::new();
    stage.want(with_init(json!({"firstBoot": {"userData": "#cloud-config\n{}\n"}})));
    stage.apply().await.unwrap();
    let seeds = stage.seeds();
    assert_eq!(seeds.len(), 1, "{seeds:?}");
    let path = stage.world.data_dir.join("seeds").join(&seeds[0]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let info = Command::new("isoinfo").args(["-d", "-i"]).arg(&path).run().await.unwrap().text();
    assert!(info.contains("Volume id: cidata"), "{info}");
    let read = Command::new("isoinfo").args(["-R", "-x", "/user-data", "-i"]).arg(&path).run().await.unwrap().text();
    assert_eq!(read, "#cloud-config\n{}\n");
}

#[tokio::test]
async fn the_kept_part_makes_a_new_seed_and_the_first_boot_part_does_not() {
    let mut stage = Stage::new();
    stage.want(with_init(json!({"firstBoot": {"user": "ops"}})));
    stage.apply().await.unwrap();
    let before = stage.seeds();
    stage.want(with_init(json!({"firstBoot": {"user": "root", "packages": ["x"]}})));
    stage.assert_settled().await;
    assert_eq!(stage.seeds(), before);
    stage.want(with_init(json!({"firstBoot": {"user": "ops"}, "reconcile": {"hostname": "new"}})));
    assert_eq!(stage.changes().await, [r#"cloudInit.reconcile.hostname null -> "new" (live)"#]);
    stage.apply().await.unwrap();
    let after = stage.seeds();
    assert!(after.len() == 1 && after != before, "{after:?}");
    stage.assert_settled().await;
}

#[tokio::test]
async fn a_lost_seed_is_written_again_and_an_unrelated_change_needs_no_secret() {
    let mut stage = Stage::new();
    let mut spec = with_init(json!({"reconcile": {"hostname": "a"}}));
    stage.want(spec.clone());
    stage.apply().await.unwrap();
    let seed = stage.world.data_dir.join("seeds").join(&stage.seeds()[0]);
    std::fs::remove_file(&seed).unwrap();
    assert_eq!(stage.changes().await, [r#"cloudInit.seed "missing" -> "written" (live)"#]);
    stage.apply().await.unwrap();
    assert!(seed.exists());
    stage.assert_settled().await;
    spec["cpu"] = json!({"weight": 7});
    spec["cloudInit"]["firstBoot"] = json!({"password": {"secretRef": {"name": "no", "key": "such"}}});
    stage.want(spec);
    stage.apply().await.unwrap();
    stage.assert_settled().await;
}

#[tokio::test]
async fn an_exchange_of_the_seed_that_was_broken_off_is_finished_while_the_guest_runs() {
    let mut stage = Stage::new();
    stage.want(with_init(json!({"reconcile": {"hostname": "a"}})));
    stage.apply().await.unwrap();
    stage.fake.eject_seed("web-1");
    assert_eq!(stage.changes().await, [r#"cloudInit.seed "missing" -> "written" (live)"#]);
    stage.want(with_init(json!({"reconcile": {"hostname": "b"}})));
    let changes = stage.changes().await;
    let wanted =
        [r#"cloudInit.reconcile.hostname "a" -> "b" (live)"#, r#"cloudInit.seed "missing" -> "written" (live)"#];
    assert_eq!(changes, wanted);
    stage.apply().await.unwrap();
    stage.assert_settled().await;
}
