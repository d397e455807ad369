//! The configuration: built-in defaults, then the file, then the environment and the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::args::Global;
use super::error::{CliError, Result};
use crate::agent::source::Source;
use crate::agent::source::git::Git;
use crate::agent::windows::Window;
use crate::base::Name;
use crate::engine::events::Retention;
use crate::kinds::Reach;
use crate::kinds::vm::Reconcile;

const FILE: &str = "/etc/reeve/config.yaml";
const DATA_DIR: &str = "/var/lib/reeve";

/// What can stand in the configuration file; every field has a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// Where Reeve keeps its own files.
    pub data_dir: Option<PathBuf>,
    /// This node's name; the host's name up to the first dot when left out.
    pub node: Option<Name>,
    /// How many resources are worked on at once.
    pub parallel: Option<u16>,
    /// The hypervisor's address, such as `qemu:///system`.
    pub hypervisor: Option<String>,
    /// The container runtime's address, such as `lxc:/var/lib/lxc`.
    pub containers: Option<String>,
    /// How much of what happened is kept.
    #[serde(default)]
    pub events: EventsFile,
    /// What the agent does.
    #[serde(default)]
    pub agent: AgentFile,
}

/// What can stand below `events`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventsFile {
    /// How many are kept, the newest.
    pub keep: Option<u32>,
    /// For how many days.
    pub days: Option<u32>,
}

impl EventsFile {
    fn retention(&self) -> Retention {
        let usual = Retention::default();
        let age = self.days.map_or(usual.age, |days| Duration::from_secs(u64::from(days) * 24 * 3600));
        Retention { keep: self.keep.map_or(usual.keep, |keep| keep as usize), age }
    }
}

/// What can stand below `agent`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentFile {
    /// Where manifests come from.
    #[serde(default)]
    pub sources: Vec<SourceFile>,
    /// How often everything is looked at, such as `5m`.
    pub resync: Option<String>,
    /// When more may be done than at any time.
    #[serde(default)]
    pub windows: Vec<WindowFile>,
}

/// One maintenance window.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowFile {
    /// The greatest disruption that may be done while it is open: restart or migrate.
    pub allow: String,
    /// When it opens, as systemd writes calendar events: `Sun 03:00`.
    pub opens: String,
    /// How long it stays open, such as `2h`.
    pub lasts: String,
}

impl WindowFile {
    fn window(&self) -> std::result::Result<Window, String> {
        let allow = super::args::allow(&self.allow)?;
        let opens = self.opens.parse().map_err(|e: crate::base::calendar::CalendarError| e.to_string())?;
        Ok(Window { allow, opens, lasts: duration(&self.lasts)? })
    }
}

/// One source of manifests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceFile {
    /// A file or a folder; in a repository below its root, and the root itself when left out.
    #[serde(default)]
    pub path: PathBuf,
    /// The repository it is in: a URL or a path that git can fetch from.
    pub git: Option<String>,
    /// The repository's branch.
    pub branch: Option<String>,
    /// How often the repository is fetched, such as `1m`.
    pub interval: Option<String>,
    /// A file in ssh's `allowed_signers` format: only commits signed by one of them are taken.
    pub signers: Option<PathBuf>,
    /// Whether nothing is taken from it for now.
    #[serde(default)]
    pub suspend: bool,
    /// Whether what is taken out of it is deleted.
    #[serde(default)]
    pub prune: bool,
    /// What is done about differences of what came from it: Enforce, Warn or Suspend.
    pub reconcile: Option<Reconcile>,
}

impl SourceFile {
    fn source(&self, data_dir: &Path) -> std::result::Result<Source, String> {
        let reconcile = self.reconcile.unwrap_or(Reconcile::Enforce);
        Ok(Source { reconcile, ..self.place(data_dir)? })
    }

    fn place(&self, data_dir: &Path) -> std::result::Result<Source, String> {
        let Some(url) = &self.git else {
            let alone = self.branch.is_none() && self.interval.is_none() && self.signers.is_none();
            return match self.path.as_os_str().is_empty() {
                _ if !alone => Err("branch, interval and signers belong to a source with git".into()),
                true => Err("a source has a path, or git".into()),
                false => Ok(Source::at(self.path.clone(), self.prune)),
            };
        };
        if url::Url::parse(url).is_ok_and(|url| url.password().is_some()) {
            return Err("a password stands in the address of a repository; give git a credential helper instead".into());
        }
        let inside = self.path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(format!("{} does not lead below the repository's root", self.path.display()));
        }
        let branch = self.branch.clone().unwrap_or_else(|| "main".into());
        let interval = self.interval.as_deref().map(duration).transpose()?.unwrap_or(Duration::from_secs(60));
        let home = Git::home(data_dir, url, &branch);
        let git = Git { url: url.clone(), branch, interval, signers: self.signers.clone(), home };
        Ok(Source::of(git, &self.path, self.prune))
    }
}

/// What the agent does.
#[derive(Debug, Clone, Default)]
pub struct AgentConfig {
    /// Where manifests come from; those that are suspended left out.
    pub sources: Vec<Source>,
    /// How often everything is looked at.
    pub resync: Option<Duration>,
    /// When more may be done than at any time.
    pub windows: Vec<Window>,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Reeve keeps its own files.
    pub data_dir: PathBuf,
    /// This node's name.
    pub node: Name,
    /// How many resources are worked on at once.
    pub parallel: usize,
    /// The hypervisor's address, when not at the default place.
    pub hypervisor: Option<String>,
    /// The container runtime's address, when not at the default place.
    pub containers: Option<String>,
    /// How much of what happened is kept.
    pub retention: Retention,
    /// What the agent does.
    pub agent: AgentConfig,
}

impl Config {
    /// Reads the configuration.
    pub fn read(global: &Global) -> Result<Self> {
        let file = match &global.config {
            Some(path) => parse(path)?,
            None if Path::new(FILE).exists() => parse(Path::new(FILE))?,
            None => ConfigFile::default(),
        };
        let ConfigFile { data_dir, node, parallel, hypervisor, containers, events, agent } = file;
        let data_dir = global.data_dir.clone().or(data_dir).unwrap_or_else(|| DATA_DIR.into());
        let active = agent.sources.iter().filter(|source| !source.suspend);
        let sources: std::result::Result<Vec<Source>, String> = active.map(|s| s.source(&data_dir)).collect();
        Ok(Self {
            data_dir,
            node: match node {
                Some(node) => node,
                None => host()?,
            },
            parallel: usize::from(parallel.unwrap_or(8)).clamp(1, 64),
            hypervisor,
            containers,
            retention: events.retention(),
            agent: AgentConfig {
                sources: sources.map_err(|why| {
                    CliError::with_help(
                        format!("a source of the agent's is not valid: {why}"),
                        "mend it in the configuration",
                    )
                })?,
                resync: agent.resync.as_deref().map(duration).transpose().map_err(CliError::new)?,
                windows: agent.windows.iter().map(WindowFile::window).collect::<std::result::Result<_, _>>().map_err(
                    |why| {
                        CliError::with_help(
                            format!("a window of the agent's is not valid: {why}"),
                            "mend it in the configuration",
                        )
                    },
                )?,
            },
        })
    }
}

/// Reads a time such as `90s`, `5m` or `1h 30m`; at least a second.
pub fn duration(text: &str) -> std::result::Result<Duration, String> {
    let bad = |why: String| format!("{text:?} is no time: {why}; write 90s, 5m or 1h");
    let time: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| bad(e.to_string()))?;
    let time = Duration::try_from(time).map_err(|_| bad("it is negative".into()))?;
    if time < Duration::from_secs(1) { Err(bad("it is less than a second".into())) } else { Ok(time) }
}

impl Config {
    /// Where an agent listens: one that uses another data directory listens in there.
    pub fn socket(&self) -> PathBuf {
        match self.data_dir == Path::new(DATA_DIR) {
            true => crate::api::SOCKET.into(),
            false => self.data_dir.join("reeve.sock"),
        }
    }

    /// Where the outside of this node is.
    pub fn reach(&self) -> Reach {
        Reach {
            node: self.node.clone(),
            data_dir: self.data_dir.clone(),
            hypervisor: self.hypervisor.clone(),
            containers: self.containers.clone(),
        }
    }
}

fn parse(path: &Path) -> Result<ConfigFile> {
    let bad = |why: String| {
        CliError::with_help(
            format!("the configuration {} cannot be read: {why}", path.display()),
            "its fields are dataDir, node, parallel, hypervisor, containers, events (keep, days) and agent (sources, resync, windows)",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    serde_yaml::from_str(&text).map_err(|e| bad(e.to_string()))
}

/// The host's name as a node's name.
fn host() -> Result<Name> {
    let uname = rustix::system::uname();
    let full = uname.nodename().to_string_lossy().to_ascii_lowercase();
    let short = full.split('.').next().unwrap_or_default();
    let name: String = short.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Name::new(name.trim_matches('-')).map_err(|_| {
        CliError::with_help(
            format!("the host name {full:?} cannot be a node's name"),
            "set `node` in /etc/reeve/config.yaml",
        )
    })
}
