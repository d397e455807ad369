//! What every command starts from: the configuration, the looks, the store, the world, and the manifests given.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::args::{Color, Global};
use super::config::Config;
use super::error::{CliError, Result};
use super::render::paint::Paint;
use crate::api::client::Client;
use crate::base::clock::SystemClock;
use crate::base::{Clock as _, Fault, Seconds};
use crate::engine::observe::observe;
use crate::engine::records::Ledger;
use crate::kinds::{Catalog, World};
use crate::manifest::{self, Loaded};
use crate::plan::desired::Desired;
use crate::plan::live::LiveState;
use crate::store::embedded::{Options, View};
use crate::store::{self, Embedded, HistoryLimits, Store};

/// How soon a command that waits for the store looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A command's surroundings.
pub struct Session {
    /// The configuration.
    pub config: Config,
    /// Colours for standard output.
    pub paint: Paint,
    /// Whether standard error is a terminal, so that progress may be drawn.
    pub terminal: bool,
    /// How long a command that changes something waits for another that does.
    pub lock_wait: Duration,
    agent: OnceCell<Option<Client>>,
}

impl Session {
    /// Reads the configuration and looks at the terminal.
    pub fn new(global: &Global) -> Result<Self> {
        let colour = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        let terminal = std::io::stderr().is_terminal();
        let lock_wait = global.lock_wait.duration();
        Ok(Self {
            config: Config::read(global)?,
            paint: Paint::new(colour),
            terminal,
            lock_wait,
            agent: OnceCell::new(),
        })
    }

    /// The world of this node.
    pub fn world(&self) -> World {
        World::open(self.config.reach())
    }

    /// The same, with its machines being read already while the caller goes on to store and manifests; where an agent
    /// runs it is the agent that looks.
    pub async fn world_ahead(&self) -> World {
        let world = self.world();
        if self.agent().await.is_none() {
            readers().await;
            world.vms.read_ahead();
        }
        world
    }

    /// Where the store is.
    pub fn store_dir(&self) -> PathBuf {
        self.config.data_dir.join("store")
    }

    /// Where an agent of this node listens.
    pub fn socket(&self) -> PathBuf {
        self.config.socket()
    }

    /// The agent of this node, when one runs.
    pub async fn agent(&self) -> Option<&Client> {
        self.agent.get_or_init(|| async { Client::find(&self.socket()).await }).await.as_ref()
    }

    /// What is on this node, as its agent sees it when one runs.
    pub async fn observe(&self, world: &World, catalog: &Catalog) -> Result<LiveState> {
        match self.agent().await {
            Some(agent) => Ok(agent.live(catalog).await?),
            None => Ok(observe(world, catalog).await),
        }
    }

    /// The records for a command that changes something: those of the agent, which does it, or this process's own.
    pub async fn store_to_change(&self) -> Result<Ledger> {
        if self.agent().await.is_some() { self.store_to_read().await } else { self.store().await }
    }

    /// The store for reading, as it is at this moment: from the agent when one runs, or else without its lock, so that no command that changes something
    /// stands in the way, and without leaving a file behind.
    pub async fn store_to_read(&self) -> Result<Ledger> {
        if let Some(agent) = self.agent().await {
            return Ok(Ledger::new(agent.store(), Arc::new(SystemClock)));
        }
        let dir = self.store_dir();
        let open = move || View::open(&dir, HistoryLimits::default(), Arc::new(SystemClock));
        let view = blocking(open).await?.map_err(Fault::from)?;
        Ok(Ledger::new(Arc::new(view), Arc::new(SystemClock)))
    }

    /// The store, made when there is none; while another command has it, this one waits, and says for whom.
    pub async fn store(&self) -> Result<Ledger> {
        let mut left = self.lock_wait;
        loop {
            let dir = self.store_dir();
            let opened = blocking(move || Embedded::open(&dir, Options::default(), Arc::new(SystemClock))).await?;
            let error = match opened {
                Ok(store) => {
                    let ledger = Ledger::new(Arc::new(store) as Arc<dyn Store>, Arc::new(SystemClock));
                    // What happens here is kept by who changes something.
                    ledger.trim_events(self.config.retention).await?;
                    return Ok(ledger);
                }
                Err(error) => error,
            };
            let store::Error::Locked { holder, .. } = &error else { return Err(Fault::from(error).into()) };
            if left.is_zero() {
                let help = "wait for it to end, or give more time with `--lock-wait 10m`";
                return Err(Fault::from(error).help(help).into());
            }
            if left == self.lock_wait {
                let who = holder.as_ref().map_or("another process".to_owned(), ToString::to_string);
                eprintln!("Waiting for {who}, which is changing this node; at most {}.", Seconds(left.as_secs()));
            }
            let pause = LOOK_AGAIN.min(left);
            SystemClock.sleep(pause).await;
            left -= pause;
        }
    }

    /// Reads and checks the manifests at `paths` over `base`; problems end the command.
    pub fn desired(&self, paths: &[PathBuf], base: &Catalog) -> Result<(Desired, Loaded)> {
        let loaded = manifest::load(paths);
        let (desired, found) = Desired::build(&loaded, base);
        let mut all = loaded.diagnostics.clone();
        all.extend(found.0);
        all.sort();
        if all.has_errors() {
            return Err(CliError::Diagnostics(all));
        }
        self.warn(&all);
        Ok((desired, loaded))
    }

    /// Shows problems that do not stop the run.
    pub fn warn(&self, found: &crate::base::Diagnostics) {
        if !found.0.is_empty() {
            eprint!("{}", super::render::diagnostics::text(found, self.paint.on()));
        }
    }
}

/// Makes the threads that read store and manifests, and lets each of them read a little.
///
/// While a shared library is being loaded, no other thread can note down what is to be done at its end, which each does
/// when it uses something of its own for the first time: those that read would stand still until libvirt is loaded.
async fn readers() {
    let read = manifest::ready;
    read();
    // It is only lost time when it fails.
    let _ = tokio::task::spawn_blocking(read).await;
}

/// Does work that waits for the disk where it delays nothing else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| CliError::new(format!("the store could not be opened: {e}")))
}

/// Reads a state written by `reeve observe -o json`.
pub fn read_live(path: &Path) -> Result<LiveState> {
    let help = "write it on the node with `reeve observe -o json > FILE`";
    let bad =
        |why: String| CliError::with_help(format!("the live state {} cannot be read: {why}", path.display()), help);
    let bytes = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let state: LiveState = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    if state.api_version != crate::kinds::API_VERSION || state.kind != "LiveState" {
        return Err(bad(format!("it says apiVersion {:?} and kind {:?}", state.api_version, state.kind)));
    }
    Ok(state)
}
