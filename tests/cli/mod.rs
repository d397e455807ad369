//! The command line as its user sees it: a directory and a data directory of its own, fakes for what is outside, no colours.

mod bad_input;
mod commands;
mod drift;
mod host;
mod offline;
mod readers;

use std::path::{Path, PathBuf};
use std::process::Output;

/// A place where `reeve` is run.
pub struct Place {
    dir: tempfile::TempDir,
}

/// What a run gave.
pub struct Ran {
    /// The exit status; 137 when it was killed.
    pub status: i32,
    /// Standard output, with the place's own path as `[DIR]`.
    pub out: String,
    /// Standard error, likewise.
    pub err: String,
}

impl Place {
    /// A fresh place with a configuration that points every driver at a fake.
    pub fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let at = |name: &str| place.path(name).display().to_string();
        let config = format!(
            "node: n1\ndataDir: {}\nhypervisor: fake:{}\ncontainers: fake:{}\n",
            at("data"),
            at("vms.json"),
            at("cts.json"),
        );
        place.write("config.yaml", &config);
        place
    }

    /// A fresh place that QEMU can look into, with this machine's libvirt as the hypervisor.
    pub fn real() -> Self {
        let dir = tempfile::Builder::new().prefix("reeve-cli-").tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let place = Self { dir };
        let at = |name: &str| place.path(name).display().to_string();
        place.write("config.yaml", &format!("dataDir: {}\ncontainers: fake:{}\n", at("data"), at("cts.json")));
        place
    }

    /// A path within the place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file; `[DIR]` in the text becomes the place's path.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.replace("[DIR]", &self.dir.path().display().to_string())).unwrap();
    }

    /// Runs `reeve` with these words.
    pub fn run(&self, words: &str) -> Ran {
        self.run_with(words, &[])
    }

    /// The same with environment variables.
    pub fn run_with(&self, words: &str, env: &[(&str, &str)]) -> Ran {
        ran(self.command(words, env).output().unwrap(), self.dir.path())
    }

    /// The process that runs `reeve` with these words, to be started.
    pub fn command(&self, words: &str, env: &[(&str, &str)]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reeve"));
        command.args(words.split_whitespace()).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("REEVE_CONFIG", self.path("config.yaml")).env("USER", "tester").envs(env.iter().copied());
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Runs `reeve` and expects this exit status.
    #[track_caller]
    pub fn expect(&self, status: i32, words: &str) -> Ran {
        let ran = self.run(words);
        assert_eq!(ran.status, status, "reeve {words}\n{}\n{}", ran.out, ran.err);
        ran
    }
}

fn ran(output: Output, dir: &Path) -> Ran {
    use std::os::unix::process::ExitStatusExt as _;
    let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&dir.display().to_string(), "[DIR]");
    Ran { status, out: text(&output.stdout), err: text(&output.stderr) }
}

/// A storage manifest.
pub const STORAGE: &str = "apiVersion: reeve/v1
kind: Storage
metadata: {name: local}
spec:
  driver: dir
  options: {path: '[DIR]/storage'}
";
