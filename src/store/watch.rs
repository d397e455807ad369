//! The stream a watch gives: it reads the shared history at its own pace and sleeps when it has read it all.
//!
//! Nothing is queued for a watcher, so a slow one costs no memory: when the history has let go of what it would read next, it is
//! told so and must list again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, Stream};
use tokio::sync::watch::Receiver;

use super::state::Shared;
use super::{Changes, Error, Event, Revision};

/// Changes in the order of their revisions; after an error it ends.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<Changes, Error>> + Send>>;

/// How many changes are taken from the history at a time.
const CHUNK: usize = 256;

struct Follower {
    shared: Arc<Shared>,
    /// Says that the history has grown; ends when the store closes.
    grown: Receiver<()>,
    prefix: String,
    after: Revision,
    ready: VecDeque<Arc<Changes>>,
}

/// Starts to follow the history after a revision.
pub(crate) fn follow(
    shared: &Arc<Shared>,
    grown: Receiver<()>,
    prefix: &str,
    after: Revision,
) -> Result<ChangeStream, Error> {
    let state = shared.read();
    if after > state.revision {
        return Err(Error::Future { after, current: state.revision });
    }
    let oldest = state.history.oldest();
    if after + 1 < oldest {
        return Err(Error::Compacted { after, oldest });
    }
    drop(state);
    let (shared, prefix) = (shared.clone(), prefix.to_owned());
    let follower = Follower { shared, grown, prefix, after, ready: VecDeque::new() };
    Ok(Box::pin(stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        match follower.next().await? {
            Ok(changes) => Some((Ok(changes), Some(follower))),
            Err(error) => Some((Err(error), None)),
        }
    })))
}

impl Follower {
    /// The next changes below the prefix, or nothing once the store is closed and all was read.
    async fn next(&mut self) -> Option<Result<Changes, Error>> {
        loop {
            while let Some(changes) = self.ready.pop_front() {
                self.after = changes.revision;
                if let Some(changes) = below(&changes, &self.prefix) {
                    return Some(Ok(changes));
                }
            }
            self.grown.borrow_and_update();
            match self.read() {
                Ok(true) => {}
                Ok(false) => self.grown.changed().await.ok()?,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Takes the next chunk of the history, and says whether there was one.
    fn read(&mut self) -> Result<bool, Error> {
        let state = self.shared.read();
        let Some(changes) = state.history.read(self.after, CHUNK) else {
            return Err(Error::Compacted { after: self.after, oldest: state.history.oldest() });
        };
        self.ready = changes.into();
        Ok(!self.ready.is_empty())
    }
}

/// The part of the changes that is below a prefix, if any.
fn below(changes: &Changes, prefix: &str) -> Option<Changes> {
    let events: Vec<Event> = changes.events.iter().filter(|event| event.key().starts_with(prefix)).cloned().collect();
    (!events.is_empty()).then_some(Changes { revision: changes.revision, events })
}
