//! Runs a test inside User-mode Linux: a kernel with device mapper, whose root is this machine's own file system.
//!
//! The test binary starts itself again in there, so that a driver runs the real programs on the real kernel and knows of
//! nothing in between.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::subject::run;

/// How long a guest may take, in seconds.
const LIMIT: &str = "1100";

/// Whether this is outside; then the test of that name, as `module_path!()` and the function have it, ran inside.
pub fn ran_inside(module: &str, test: &str) -> bool {
    if std::env::var_os("REEVE_IN_UML").is_some() {
        return false;
    }
    // The first part of the path is the test binary's own name.
    let (_, path) = module.split_once("::").unwrap();
    let done = Command::new("tests/lab/uml")
        .args([LIMIT, std::env::current_exe().unwrap().to_str().unwrap()])
        .args(["--exact", &format!("{path}::{test}"), "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    let trouble = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("test result: ok. 1 passed"), "inside: {said}\n{trouble}");
    true
}

/// A loop device on a file in the guest's memory.
pub struct Disk {
    pub device: String,
    _file: tempfile::TempPath,
}

impl Disk {
    pub fn new(mebibytes: u64) -> Self {
        let file = tempfile::Builder::new().prefix("disk-").tempfile_in("/run/tmp").unwrap();
        file.as_file().set_len(mebibytes << 20).unwrap();
        let path = file.into_temp_path();
        let device = run("losetup", &["--find", "--show", path.to_str().unwrap()]).trim().to_owned();
        Self { device, _file: path }
    }

    pub fn path(&self) -> PathBuf {
        Path::new(&self.device).to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still uses it ends with the guest.
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}
