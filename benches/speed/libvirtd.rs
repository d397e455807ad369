//! A libvirtd of the benchmark's own: its sockets, configuration and state are below a temporary directory, in a mount
//! namespace of its own, so that it knows no machine of this host and leaves none behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use virt::connect::Connect;

use super::measure::Outcome;

/// Runs as long as this lives.
pub struct Libvirtd {
    child: Child,
    dir: tempfile::TempDir,
}

const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
for place in run:/run/libvirt lib:/var/lib/libvirt etc:/etc/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
	mkdir -p "${place#*:}"
	mount --bind "$1/${place%%:*}" "${place#*:}"
done
exec libvirtd -f "$1/libvirtd.conf" -p "$1/pid"
"#;

fn spawn(dir: &Path) -> Outcome<Child> {
    let log = fs::File::create(dir.join("libvirtd.log"))?;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", SCRIPT, "sh"]).arg(dir);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn().map_err(|e| format!("unshare: {e}"))?)
}

impl Libvirtd {
    /// Starts one, and waits until it answers.
    pub fn start() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        for folder in ["run", "lib", "etc/qemu", "cache/qemu", "log", "sock"] {
            fs::create_dir_all(at(folder))?;
        }
        // No guest of the benchmark is protected from another, nor from root.
        fs::write(
            at("etc/qemu.conf"),
            "security_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\nstdio_handler = \"file\"\n",
        )?;
        let conf = format!("unix_sock_dir = \"{}\"\nauth_unix_rw = \"none\"\n", at("sock").display());
        fs::write(at("libvirtd.conf"), conf)?;
        let libvirtd = Self { child: spawn(dir.path())?, dir };
        libvirtd.wait()?;
        Ok(libvirtd)
    }

    /// Kills it at once and starts it again over the same state; guests go on.
    #[allow(dead_code, reason = "tests of the agent take it away, the benchmark does not")]
    pub fn kill_and_start(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(self.dir.path())?;
        self.wait()
    }

    fn wait(&self) -> Outcome<()> {
        reeve::drivers::guest::libvirt::load()?;
        // Its own error handler prints; nobody needs to read that it is not up yet.
        virt::error::clear_error_callback();
        for _ in 0..300 {
            // What it finds out about the emulators it finds at the first question.
            if Connect::open(Some(&self.uri())).and_then(|c| c.get_capabilities()).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(self.dir.path().join("libvirtd.log")).unwrap_or_default();
        Err(format!("a libvirtd of our own does not answer (is this root, and was tests/lab/setup run?): {log}").into())
    }

    /// Where it is reached.
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}/sock/libvirt-sock", self.dir.path().display())
    }

    /// Room for files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A configuration of Reeve that uses it, with a data directory of its own.
    pub fn config(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir)?;
        let config = dir.join("config.yaml");
        let (data, containers) = (dir.join("data"), dir.join("containers"));
        fs::create_dir_all(&containers)?;
        let text = format!(
            "node: n1\ndataDir: {}\nhypervisor: \"{}\"\ncontainers: lxc:{}\n",
            data.display(),
            self.uri(),
            containers.display()
        );
        fs::write(&config, text)?;
        Ok(config)
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        // unshare and the shell became libvirtd itself.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let _ = self.child.wait();
    }
}
