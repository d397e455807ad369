//! The one thread that changes the store: it gathers what waits into a batch, makes it durable with one sync, and answers.

use std::sync::{Arc, mpsc};

use tokio::sync::{oneshot, watch};

use super::checkpoint::Checkpoints;
use super::log::Log;
use crate::base::clock::Clock;
use crate::store::state::{Draft, Shared, State, Wanted};
use crate::store::{Error, Lease, Op, Revision, Txn};

/// A batch takes no more requests after this many.
const BATCH_REQUESTS: usize = 4096;
/// A batch takes no more requests once it has this many bytes.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What a caller asks of the writer.
#[derive(Debug)]
pub(super) enum Request {
    Commit { txn: Txn, reply: Reply<Revision> },
    Grant { wanted: Wanted, reply: Reply<Lease> },
    Renew { lease: Lease, reply: Reply<Lease> },
    Release { lease: Lease, reply: Reply<()> },
}

impl Request {
    fn weight(&self) -> usize {
        let Self::Commit { txn, .. } = self else { return 0 };
        let op_weight = |op: &Op| match op {
            Op::Put { key, value } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        };
        txn.ops.iter().map(op_weight).sum()
    }

    /// Decides the request; the answer is given once it is known whether the batch is durable.
    fn draft(self, draft: &mut Draft, state: &State, clock: &dyn Clock) -> Answer {
        match self {
            Self::Commit { txn, reply } => answer(reply, draft.commit(state, txn)),
            Self::Grant { wanted, reply } => answer(reply, draft.grant(state, &wanted, clock.now())),
            Self::Renew { lease, reply } => answer(reply, draft.renew(state, &lease, clock.now())),
            Self::Release { lease, reply } => {
                draft.release(state, &lease);
                answer(reply, Ok(()))
            }
        }
    }
}

/// Sends a decided answer, or the reason why the batch failed.
type Answer = Box<dyn FnOnce(Result<(), Error>)>;

fn answer<T: 'static>(reply: Reply<T>, decided: Result<T, Error>) -> Answer {
    Box::new(move |durable| {
        // A caller that no longer waits needs no answer.
        let _ = reply.send(durable.and(decided));
    })
}

/// The writer's belongings.
pub(super) struct Writer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    log: Log,
    checkpoints: Checkpoints,
    grown: watch::Sender<()>,
    /// Whether anything was written since the store was opened.
    wrote: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        log: Log,
        checkpoints: Checkpoints,
        grown: watch::Sender<()>,
    ) -> Self {
        Self { shared, clock, log, checkpoints, grown, wrote: false }
    }

    /// Works until nobody can ask any more, then leaves everything in good order.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Request>) {
        while let Ok(first) = queue.recv() {
            self.batch(gather(first, queue));
        }
        self.checkpoints.collect(true);
        if self.wrote
            && let Err(error) = self.log.finish()
        {
            tracing::warn!(%error, "the store's log was not marked as finished; nothing is lost");
        }
    }

    /// Decides a batch, makes it durable, makes it so, and answers.
    fn batch(&mut self, requests: Vec<Request>) {
        let state = self.shared.read();
        let mut draft = Draft::of(&state);
        let answers: Vec<Answer> =
            requests.into_iter().map(|request| request.draft(&mut draft, &state, &*self.clock)).collect();
        let revision = state.revision;
        drop(state);
        let durable = if draft.steps.is_empty() { Ok(()) } else { self.write(draft, revision) };
        answers.into_iter().for_each(|answer| answer(durable.clone()));
    }

    fn write(&mut self, draft: Draft, revision: Revision) -> Result<(), Error> {
        let bytes = self.log.append(&draft.steps, revision)?;
        self.wrote = true;
        let mut state = self.shared.write();
        draft.steps.into_iter().for_each(|step| state.apply(step));
        drop(state);
        self.grown.send_replace(());
        self.checkpoints.after_append(bytes, &mut self.log, &self.shared.read());
        Ok(())
    }
}

/// The first request and all that wait behind it, within bounds.
fn gather(first: Request, queue: &mpsc::Receiver<Request>) -> Vec<Request> {
    let mut bytes = first.weight();
    let mut batch = vec![first];
    while batch.len() < BATCH_REQUESTS && bytes < BATCH_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.weight();
        batch.push(next);
    }
    batch
}
