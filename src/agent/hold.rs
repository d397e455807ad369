//! Keeps the agent away from resources while somebody else works on them at a person's word.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Agent;
use crate::kinds::Ref;

/// How often it is looked whether what runs has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// While this lives the agent begins nothing with these resources; afterwards it looks at them.
pub struct Hold {
    agent: Agent,
    keys: BTreeSet<Ref>,
}

impl Agent {
    /// Waits until neither the agent nor another holder works on these resources, and keeps them.
    pub async fn hold(&self, keys: BTreeSet<Ref>) -> Hold {
        let clock = &self.world().clock;
        while !self.queue().hold(&keys) {
            clock.sleep(LOOK_AGAIN).await;
        }
        let hold = Hold { agent: self.clone(), keys };
        while hold.keys.iter().any(|key| self.queue().is_running(key)) {
            clock.sleep(LOOK_AGAIN).await;
        }
        hold
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.agent.queue().release(&self.keys);
        self.keys.iter().for_each(|key| {
            self.agent.touch(key);
            self.agent.hint(key);
        });
    }
}
