//! Networks in memory or in a file, with faults on demand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Networks, Seen, ours, unplugged};
use crate::base::{Fault, FaultKind, Mark, Name};
use crate::kinds::network::NetworkSpec;

/// Networks that exist in memory, or in a file.
#[derive(Debug, Default)]
pub struct FakeNetworks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    networks: BTreeMap<Name, Seen>,
    fail: Option<(usize, Fault)>,
    lose: Option<(usize, Fault)>,
    /// What the call that is being done says in the end, though it did its work.
    lost: Option<Fault>,
    calls: Vec<String>,
    file: Option<PathBuf>,
}

/// The bridges that a fake host has: those named `br` and a number, with nothing plugged in.
pub fn host(bridge: &str) -> Option<Vec<String>> {
    let number = bridge.strip_prefix("br")?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(Vec::new)
}

impl FakeNetworks {
    /// Networks that are kept in `file` from one process to the next.
    pub fn kept_in(file: &Path) -> Self {
        Self(Mutex::new(State { file: Some(file.to_owned()), ..State::default() }))
    }

    /// Makes the call after `calls` more fail with `fault`, before it does anything.
    pub fn fail_after(&self, calls: usize, fault: Fault) {
        self.state().fail = Some((calls, fault));
    }

    /// Makes the changing call after `calls` more do its work, and then say that it failed.
    pub fn lose_answer_after(&self, calls: usize, fault: Fault) {
        self.state().lose = Some((calls, fault));
    }

    /// Takes all faults back.
    pub fn calm(&self) {
        let mut state = self.state();
        (state.fail, state.lose, state.lost) = (None, None, None);
    }

    /// Puts something there that nobody made through the driver.
    pub fn put(&self, seen: Seen) {
        self.state().networks.insert(seen.name.clone(), seen);
    }

    /// Changes what is there behind the driver's back.
    pub fn alter(&self, name: &Name, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.state().networks.get_mut(name) {
            change(seen);
        }
    }

    /// Takes a network away behind the driver's back.
    pub fn lose(&self, name: &Name) {
        self.state().networks.remove(name);
    }

    /// What is there.
    pub fn networks(&self) -> BTreeMap<Name, Seen> {
        self.state().networks.clone()
    }

    /// The calls so far that changed something.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, call: Option<String>) -> Result<MutexGuard<'_, State>, Fault> {
        let mut state = self.state();
        match &mut state.fail {
            Some((0, fault)) => {
                let fault = fault.clone();
                state.fail = None;
                return Err(fault);
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        if call.is_some() {
            state.lost = match state.lose.take() {
                Some((0, fault)) => Some(fault),
                Some((left, fault)) => {
                    state.lose = Some((left - 1, fault));
                    None
                }
                None => None,
            };
        }
        state.calls.extend(call);
        state.load()?;
        Ok(state)
    }
}

impl State {
    /// Reads what another process left.
    fn load(&mut self) -> Result<(), Fault> {
        let Some(file) = &self.file else { return Ok(()) };
        match std::fs::read(file) {
            Ok(bytes) => {
                let networks = serde_json::from_slice(&bytes);
                self.networks = networks.map_err(|e| Fault::other(format!("read {}: {e}", file.display())))?;
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Fault::from(error).context(format!("read {}", file.display()))),
        }
    }

    /// Leaves what there is to the next process.
    fn save(&mut self) -> Result<(), Fault> {
        if let Some(file) = &self.file {
            let text = serde_json::to_vec(&self.networks).map_err(|e| Fault::other(e.to_string()))?;
            std::fs::write(file, text).map_err(|e| Fault::from(e).context(format!("write {}", file.display())))?;
        }
        self.lost.take().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Networks for FakeNetworks {
    async fn list(&self) -> Result<Vec<Seen>, Fault> {
        Ok(self.enter(None)?.networks.values().cloned().collect())
    }

    async fn find(&self, name: &Name) -> Result<Option<Seen>, Fault> {
        Ok(self.enter(None)?.networks.get(name).cloned())
    }

    async fn create(&self, name: &Name, spec: &NetworkSpec, mark: &Mark) -> Result<(), Fault> {
        let mut state = self.enter(Some(format!("create {name}")))?;
        if let Some(seen) = state.networks.get_mut(name) {
            ours(seen, mark)?;
            seen.running.get_or_insert_with(|| spec.clone());
            return state.save();
        }
        let seen = Seen {
            name: name.clone(),
            spec: Ok(spec.clone()),
            running: Some(spec.clone()),
            autostart: true,
            plugged: Vec::new(),
            mark: Some(mark.clone()),
        };
        state.networks.insert(name.clone(), seen);
        state.save()
    }

    async fn change(&self, name: &Name, spec: &NetworkSpec, mark: &Mark, restart: bool) -> Result<(), Fault> {
        let mut state = self.enter(Some(format!("change {name}")))?;
        let Some(seen) = state.networks.get_mut(name) else { return Err(missing(name)) };
        ours(seen, mark)?;
        if let Some(running) = &seen.running
            && running.needs_restart(spec)
            && !restart
        {
            return Err(Fault::new(FaultKind::Denied, format!("the network {name} would have to be restarted")));
        }
        seen.spec = Ok(spec.clone());
        seen.running = Some(spec.clone());
        seen.autostart = true;
        seen.mark = Some(mark.clone());
        state.save()
    }

    async fn remark(&self, name: &Name, from: Option<&Mark>, to: &Mark) -> Result<(), Fault> {
        let mut state = self.enter(Some(format!("remark {name}")))?;
        let Some(seen) = state.networks.get_mut(name) else { return Err(missing(name)) };
        if seen.mark.as_ref().map(|m| m.uid) != from.map(|m| m.uid) {
            return Err(Fault::new(FaultKind::Identity, format!("the network {name} carries another mark")));
        }
        seen.mark = Some(to.clone());
        state.save()
    }

    async fn delete(&self, name: &Name, expect: &Mark) -> Result<(), Fault> {
        let mut state = self.enter(Some(format!("delete {name}")))?;
        let Some(seen) = state.networks.get(name) else { return Ok(()) };
        ours(seen, expect)?;
        unplugged(seen)?;
        state.networks.remove(name);
        state.save()
    }
}

fn missing(name: &Name) -> Fault {
    Fault::new(FaultKind::NotFound, format!("there is no network {name}"))
}
