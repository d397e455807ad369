//! The contract on SMB 3.1.1 with Samba and the kernel's own client; what every mount has; and a password that nobody sees.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::Format;
use reeve::kinds::KindName;
use serde_json::{Value, json};

use super::mounted::{self, FileServer, MOUNTS, line_of, path};
use super::subject::{Subject, new, open, owner, put_secret, refused, run, secrets};
use super::uml::ran_inside;
use super::watch::nobody_shows;
use crate::scene::Scene;

const HOME: &str = "/run/tmp/smb";
const SHARE: &str = "/run/tmp/smb/share";
/// What nothing else has in it.
const PIECE: &str = "Ge,h";
/// With what programs like to read as something else.
const PASSWORD: &str = "Ge,h =ei'm%\"u\\";

/// The guest's SMB server; it ends with the guest.
struct SmbServer(AtomicU32);

impl SmbServer {
    fn new() -> Self {
        run("modprobe", &["-a", "cifs", "cmac", "ccm", "gcm", "sha512", "nls_utf8"]);
        for dir in ["lock", "state", "cache", "private", "ncalrpc", "share"] {
            std::fs::create_dir_all(Path::new(HOME).join(dir)).unwrap();
        }
        run("mount", &["-t", "tmpfs", "tmpfs", SHARE]);
        let config = format!(
            "[global]\nserver role = standalone server\ninterfaces = lo\nbind interfaces only = yes\nsmb ports = 445\n\
             disable netbios = yes\nload printers = no\nprinting = bsd\npassdb backend = tdbsam\nmap to guest = bad user\n\
             guest account = root\ncase sensitive = yes\npid directory = {HOME}\nlock directory = {HOME}/lock\n\
             state directory = {HOME}/state\ncache directory = {HOME}/cache\nprivate dir = {HOME}/private\n\
             ncalrpc dir = {HOME}/ncalrpc\nlog file = {HOME}/log\n\
             [vms]\npath = {SHARE}\nread only = no\nforce user = root\n\
             [open]\npath = {SHARE}\nread only = no\nguest ok = yes\nguest only = yes\nforce user = root\n"
        );
        std::fs::write(format!("{HOME}/smb.conf"), config).unwrap();
        let twice = format!("{HOME}/password");
        std::fs::write(&twice, format!("{PASSWORD}\n{PASSWORD}\n")).unwrap();
        run("sh", &["-c", &format!("smbpasswd -c {HOME}/smb.conf -s -a root <{twice}")]);
        put_secret("nas", "password", PASSWORD);
        put_secret("nas", "wrong", "Geheim");
        let server = Self(AtomicU32::new(0));
        server.start();
        server
    }
}

impl FileServer for SmbServer {
    const DRIVER: &'static str = "cifs";

    fn place(&self) -> Value {
        let name = format!("e{}", self.0.fetch_add(1, Ordering::SeqCst));
        std::fs::create_dir(Path::new(SHARE).join(&name)).unwrap();
        json!({"server": "127.0.0.1", "share": "vms", "subdir": format!("/{name}"), "path": format!("{MOUNTS}/{name}"),
            "username": "root", "password": {"secretRef": {"name": "nas", "key": "password"}}})
    }

    fn subject(&self) -> Subject {
        // A backslash parts the names of a path.
        Subject { any_name: false, ..mounted::subject(self) }
    }

    fn start(&self) {
        run("smbd", &["-s", &format!("{HOME}/smb.conf"), "-D"]);
        while std::net::TcpStream::connect(("127.0.0.1", 445)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn stop(&self) {
        let pid = std::fs::read_to_string(format!("{HOME}/smbd.pid")).unwrap();
        // It leads a group with all that serve.
        run("kill", &["-KILL", "--", &format!("-{}", pid.trim())]);
    }
}

#[test]
fn cifs_keeps_the_contract() {
    if !ran_inside(module_path!(), "cifs_keeps_the_contract") {
        let server = SmbServer::new();
        assert_eq!(super::contract("cifs", || server.subject()), NOT_APPLICABLE);
    }
}

/// The cases about linked clones, and the one about a volume that is a directory.
const NOT_APPLICABLE: usize = 6;

#[test]
fn cifs_beyond_the_contract() {
    if ran_inside(module_path!(), "cifs_beyond_the_contract") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = SmbServer::new();
        nobody_sees_the_password(&server).await;
        other_ways_in_work_too(&server).await;
        what_cannot_be_mounted_says_why(&server).await;
        mounted::holds(&server).await;
    });
}

/// Looks at every process while storages are mounted, and afterwards at all that was written and said.
async fn nobody_sees_the_password(server: &SmbServer) {
    let mut scene = Scene::new();
    scene.world.secrets = secrets();
    let mut mount = async |seen: &AtomicU32| {
        let mut round = 0;
        while seen.load(Ordering::SeqCst) == 0 || round < 3 {
            let options = server.place();
            let name = format!("nas-{round}");
            let nas = scene.say(KindName::Storage, &name, json!({"driver": "cifs", "options": options}));
            scene.apply(&nas).await.unwrap();
            assert_eq!(scene.changes(&nas).await, []);
            let line = line_of(&options).unwrap();
            assert!(line.contains("username=root") && !line.contains(PIECE), "{line}");
            round += 1;
            assert!(round < 100, "no process was ever seen that mounts");
        }
    };
    tokio::task::block_in_place(|| {
        nobody_shows(PIECE, "username=root", |seen| tokio::runtime::Handle::current().block_on(mount(seen)));
    });
    let kept = run("grep", &["-r", "-l", "-a", "-F", "secretRef", scene.dir.path().to_str().unwrap()]);
    assert!(!kept.is_empty(), "nothing was written that refers to the password");
    let mut grep = std::process::Command::new("grep");
    let there = grep.args(["-r", "-l", "-a", "-F", PIECE]).arg(scene.dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&there.stdout), "");
}

async fn other_ways_in_work_too(server: &SmbServer) {
    let with = |change: &[(&str, Value)]| {
        let mut options = server.place();
        for (option, value) in change {
            options[*option] = value.clone();
        }
        options
    };
    let mut guest = with(&[("share", json!("open"))]);
    for option in ["username", "password"] {
        guest.as_object_mut().unwrap().remove(option);
    }
    let ways = [
        (with(&[("version", json!("v2.1"))]), "vers=2.1,"),
        (with(&[("version", json!("v3.1.1")), ("mountOptions", json!(["seal", "uid=12"]))]), "seal,"),
        (with(&[("domain", json!("LAB")), ("server", json!("LOCALHOST")), ("share", json!("VMs"))]), "domain=LAB,"),
        (guest, "guest"),
    ];
    for (options, shown) in ways {
        let (storage, us) = (open("cifs", &options, None), owner("vm/a"));
        storage.activate().await.unwrap();
        let line = line_of(&options).unwrap();
        assert!(line.contains(shown) || shown == "guest", "{line}");
        storage.create(&new("v", Format::Qcow2, Size::mib(1), &us), &|_, _| {}).await.unwrap();
        let file = path(&options).join("images/v.qcow2");
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        storage.snapshots().unwrap().take("v", &us, "one").await.unwrap();
        storage.delete("v", &us, Size::mib(1)).await.unwrap();
        assert_eq!(storage.leftovers().await.unwrap(), [""; 0]);
    }
}

async fn what_cannot_be_mounted_says_why(server: &SmbServer) {
    let key = |key: &str| json!({"secretRef": {"name": "nas", "key": key}});
    put_secret("nas", "two-lines", "Ge,heim\nGe,heim");
    for (option, value, kind, said) in [
        ("password", key("wrong"), FaultKind::Denied, "`password`"),
        ("password", key("not-there"), FaultKind::NotFound, "put the value into that file"),
        ("password", key("two-lines"), FaultKind::Invalid, "put one line"),
        ("share", json!("nowhere"), FaultKind::Unavailable, "smbclient -L"),
        ("subdir", json!("/nowhere"), FaultKind::Unavailable, "smbclient -L"),
        ("mountOptions", json!(["no-such-option"]), FaultKind::Invalid, "mount.cifs(8)"),
        ("mountOptions", json!(["port=446"]), FaultKind::Unavailable, "whether the server runs"),
        ("server", json!("no-such-host.invalid"), FaultKind::Unavailable, "`server`"),
    ] {
        let mut options = server.place();
        options[option] = value;
        let fault = refused(open("cifs", &options, None).activate().await, kind);
        let said_all = format!("{fault} {:?}", fault.help);
        assert!(said_all.contains(said), "{option}: {said_all}");
        assert!(!said_all.contains(PIECE) && !said_all.contains("Geheim"), "{said_all}");
        assert!(line_of(&options).is_none());
    }
}
