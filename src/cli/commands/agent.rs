//! `reeve agent`: keeps this node as the manifests say, until it is told to stop.
//!
//! It holds the store for as long as it runs. Under systemd it says when it is ready, how it is, and that it is alive; it
//! is alive when its own loop turns, not when this file's does.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::agent::boot::this_boot;
use crate::agent::source::Source;
use crate::agent::windows::Windows;
use crate::agent::{Agent, Settings};
use crate::api::Api;
use crate::api::peer::group;
use crate::api::serve::Socket;
use crate::base::Fault;
use crate::cli::args::AgentArgs;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::session::Session;

/// How often the state is told when no watchdog asks for it more often.
const BEAT: Duration = Duration::from_secs(10);
/// How often it is looked whether tasks have ended, when the agent ends.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs the agent.
pub async fn run(session: &Session, args: &AgentArgs) -> Result {
    let sources = sources(session, args)?;
    let ledger = session.store().await?;
    let resync = args.resync.or(session.config.agent.resync).unwrap_or(Settings::default().resync);
    let windows = Windows { list: session.config.agent.windows.clone(), zone: TimeZone::system() };
    let policies = sources.iter().map(|source| (source.name.clone(), source.reconcile)).collect();
    let retention = session.config.retention;
    let boot = this_boot();
    let settings = Settings { resync, windows, policies, boot, retention, ..Settings::default() };
    let agent = Agent::new(session.world(), ledger, settings);
    tracing::info!(node = %session.config.node, sources = sources.len(), "the agent begins");
    let mut beside = JoinSet::new();
    let api = Api::new(Arc::new(agent.clone()));
    let (closing, closed) = oneshot::channel::<()>();
    let server = serve(session, api.clone(), closed).await;
    for source in sources {
        let agent = agent.clone();
        beside.spawn(async move {
            let (never, _) = tokio::join!(agent.follow_source(&source), agent.follow_git(&source));
            match never {}
        });
    }
    let guests = agent.clone();
    beside.spawn(async move { match guests.follow_guests().await {} });
    let memory = agent.clone();
    beside.spawn(async move { match memory.follow_memory().await {} });
    let told = agent.clone();
    beside.spawn(async move { tell(&told).await });
    let turns = agent.clone();
    let mut core = tokio::spawn(async move { turns.run().await });
    let ended = tokio::select! {
        ended = &mut core => ended,
        stopped = until_stopped(&agent) => {
            stopped?;
            say(&[NotifyState::Stopping]);
            tracing::info!("stopping: what has begun is finished, nothing else begins");
            agent.stop();
            api.close();
            core.await
        }
    };
    while api.tasks().open() > 0 {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    drop(closing);
    if let Some(server) = server {
        // It has a moment to end what it answers.
        let _ = server.await;
    }
    beside.shutdown().await;
    ended.map_err(|e| Fault::other(format!("the agent broke off: {e}")))??;
    tracing::info!("the agent has ended");
    Ok(Exit::Done)
}

/// Serves the local API until `closed`; without it the agent does its work all the same.
async fn serve(session: &Session, api: Api, closed: oneshot::Receiver<()>) -> Option<JoinHandle<()>> {
    let path = session.socket();
    match Socket::bind(&path, group().await) {
        Ok(socket) => Some(tokio::spawn(socket.serve(api, async { drop(closed.await) }))),
        Err(fault) => {
            tracing::error!(%fault, "the local API is not served, and commands that change something wait for the agent");
            None
        }
    }
}

fn sources(session: &Session, args: &AgentArgs) -> Result<Vec<Source>> {
    let given = args.paths.iter().map(|path| Source::at(path.clone(), args.prune));
    let all: Vec<Source> = if args.paths.is_empty() { session.config.agent.sources.clone() } else { given.collect() };
    if let Some(bad) = all.iter().map(|s| &s.path).find(|path| path.as_os_str() == "-") {
        let message = format!("the agent cannot follow standard input ({})", bad.display());
        return Err(CliError::with_help(message, "give it folders with manifests"));
    }
    Ok(all)
}

/// Until a signal asks to stop; one that asks to read anew asks for a look at everything.
async fn until_stopped(agent: &Agent) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => { agent.sync(); }
        }
    }
}

/// Tells systemd that the agent is ready, how it is, and that it is alive.
async fn tell(agent: &Agent) {
    let every = sd_notify::watchdog_enabled().map_or(BEAT, |within| within / 3).max(Duration::from_millis(100));
    let mut ready = false;
    loop {
        let alive = agent.turns_within(every).await;
        let health = agent.health();
        let status = format!("{} resources, {} waiting, {} at work", health.resources, health.waiting, health.running);
        let mut states = vec![NotifyState::Status(&status)];
        if alive {
            states.push(NotifyState::Watchdog);
        } else {
            tracing::error!("the agent's loop does not turn");
        }
        if health.ready && !ready {
            states.push(NotifyState::Ready);
            ready = true;
        }
        say(&states);
        if alive && ready {
            tokio::time::sleep(every).await;
        }
    }
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
