//! The contract on NFS 4.2 with the kernel's own server and client, other versions, and what every mount has.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::Format;
use serde_json::{Value, json};

use super::mounted::{self, FileServer, MOUNTS, line_of};
use super::subject::{new, open, owner, refused, run};
use super::uml::ran_inside;

const MIB: Size = Size::mib(1);
const EXPORTS: &str = "/run/tmp/nfs";

/// The guest's NFS server; it ends with the guest.
struct NfsServer(AtomicU32);

impl NfsServer {
    fn new() -> Self {
        run("modprobe", &["-a", "nfsd", "nfs", "nfsv3", "nfsv4"]);
        // What the server's programs keep stays in the guest.
        run("mount", &["-t", "tmpfs", "tmpfs", "/var/lib/nfs"]);
        std::fs::create_dir_all("/var/lib/nfs/v4recovery").unwrap();
        for file in ["etab", "rmtab"] {
            std::fs::write(Path::new("/var/lib/nfs").join(file), "").unwrap();
        }
        std::fs::create_dir_all(EXPORTS).unwrap();
        run("mount", &["-t", "tmpfs", "tmpfs", EXPORTS]);
        run("mount", &["-t", "nfsd", "nfsd", "/proc/fs/nfsd"]);
        run("rpcbind", &["-w"]);
        let options = "rw,no_root_squash,no_subtree_check,insecure,fsid=0";
        run("exportfs", &["-i", "-o", options, &format!("127.0.0.1:{EXPORTS}")]);
        run("rpc.mountd", &["-N", "2"]);
        let server = Self(AtomicU32::new(0));
        server.start();
        server
    }
}

impl FileServer for NfsServer {
    const DRIVER: &'static str = "nfs";

    fn place(&self) -> Value {
        let name = format!("e{}", self.0.fetch_add(1, Ordering::SeqCst));
        std::fs::create_dir(Path::new(EXPORTS).join(&name)).unwrap();
        json!({"server": "127.0.0.1", "export": format!("/{name}"), "path": format!("{MOUNTS}/{name}")})
    }

    fn start(&self) {
        run("rpc.nfsd", &["-V", "3", "-V", "4.0", "-V", "4.1", "-V", "4.2", "2"]);
        // Nobody has anything to claim back that a test would wait for.
        std::fs::write("/proc/fs/nfsd/v4_end_grace", "Y").unwrap();
        std::fs::write("/proc/fs/lockd/nlm_end_grace", "Y").unwrap();
    }

    fn stop(&self) {
        run("rpc.nfsd", &["0"]);
    }
}

#[test]
fn nfs_keeps_the_contract() {
    if !ran_inside(module_path!(), "nfs_keeps_the_contract") {
        let server = NfsServer::new();
        assert_eq!(super::contract("nfs", || server.subject()), NOT_APPLICABLE);
    }
}

/// The cases about linked clones, which `dir` does not have either.
const NOT_APPLICABLE: usize = 5;

#[test]
fn nfs_beyond_the_contract() {
    if ran_inside(module_path!(), "nfs_beyond_the_contract") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = NfsServer::new();
        other_versions_are_mounted_too(&server).await;
        what_cannot_be_mounted_says_why(&server).await;
        mounted::holds(&server).await;
    });
}

async fn other_versions_are_mounted_too(server: &NfsServer) {
    for (version, shown) in [("v3", "vers=3,"), ("v4.0", "vers=4.0,"), ("v4.1", "vers=4.1,")] {
        let mut options = server.place();
        options["version"] = json!(version);
        if version == "v3" {
            // It knows nothing of a root of all exports, and no rpc.statd runs here.
            options["export"] = json!(format!("{EXPORTS}{}", options["export"].as_str().unwrap()));
            options["mountOptions"] = json!(["nolock"]);
        }
        let (storage, us) = (open("nfs", &options, None), owner("vm/a"));
        storage.activate().await.unwrap();
        let line = line_of(&options).unwrap();
        assert!(line.contains(shown), "{line}");
        storage.create(&new("v", Format::Qcow2, MIB, &us), &|_, _| {}).await.unwrap();
        storage.snapshots().unwrap().take("v", &us, "one").await.unwrap();
        assert_eq!(storage.list().await.unwrap().len(), 1);
        storage.delete("v", &us, MIB).await.unwrap();
        assert_eq!(storage.leftovers().await.unwrap(), [""; 0]);
    }
}

async fn what_cannot_be_mounted_says_why(server: &NfsServer) {
    let mut options = server.place();
    options["export"] = json!("/nowhere");
    let fault = refused(open("nfs", &options, None).activate().await, FaultKind::Unavailable);
    assert!(fault.message.contains("127.0.0.1:/nowhere") && fault.help.is_some(), "{fault}");
    options["mountOptions"] = json!(["no-such-option"]);
    refused(open("nfs", &options, None).activate().await, FaultKind::Invalid);
}
