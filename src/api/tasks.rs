//! What was started and goes on by itself: remembered in memory, the newest thousand, until the process ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use jiff::Timestamp;

use super::Api;
use super::problem::Problem;
use super::take::Json;
use super::types::{Progress as Part, StepResult, Task, TaskList, TaskState};
use crate::base::Uid;
use crate::engine::execute::{Ending, Outcome};
use crate::kinds::{Progress, Ref};

/// How many tasks are remembered.
const MOST: usize = 1000;

/// One task while it is worked on.
pub struct Job {
    task: Mutex<Task>,
    /// Set when no further step may begin.
    pub stop: AtomicBool,
}

impl Job {
    /// How it is now.
    pub fn now(&self) -> Task {
        self.lock().clone()
    }

    /// Changes what is said of it.
    pub fn say(&self, change: impl FnOnce(&mut Task)) {
        change(&mut self.lock());
    }

    /// Notes what became of a step.
    pub fn report(&self, outcome: &Outcome) {
        let Outcome { resource, action, ending } = outcome;
        let (word, why, help) = match ending {
            Ending::Done => ("done", None, None),
            Ending::Waits(why) => ("waits", Some(why.clone()), None),
            Ending::Blocked(why) => ("blocked", Some(why.clone()), None),
            Ending::Failed(fault) => ("failed", Some(fault.message.clone()), fault.help.clone()),
            Ending::Skipped(why) => ("skipped", Some(why.clone()), None),
        };
        let (resource, action) = (resource.clone(), *action);
        self.say(|task| {
            task.progress.remove(&resource.to_string());
            task.results.push(StepResult { resource, action, ending: word.into(), why, help });
        });
    }

    /// Asks it to begin no further step.
    pub fn cancel(&self) {
        let mut task = self.lock();
        if !task.state.ended() {
            task.cancelled = true;
            self.stop.store(true, Ordering::SeqCst);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Task> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Job {
    fn step(&self, resource: &Ref, what: &str, done: u64, total: u64) {
        let part = Part { what: what.to_owned(), done, total };
        self.say(|task| drop(task.progress.insert(resource.to_string(), part)));
    }
}

/// Every task that is remembered, in the order they were asked for.
#[derive(Default)]
pub struct Tasks(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    next: u64,
    jobs: BTreeMap<u64, (String, Arc<Job>)>,
}

impl Tasks {
    /// A new task; fails when too many that have not ended are remembered.
    pub fn begin(&self, what: &str, who: &str, created: Timestamp) -> Result<Arc<Job>, Problem> {
        let mut kept = self.lock();
        if kept.jobs.len() >= MOST {
            let ended = kept.jobs.iter().find(|(_, (_, job))| job.lock().state.ended()).map(|(n, _)| *n);
            let Some(ended) = ended else {
                return Err(Problem::busy(format!("{MOST} tasks wait or run already")));
            };
            kept.jobs.remove(&ended);
        }
        let id = Uid::fresh().to_string();
        let task = Task {
            id: id.clone(),
            what: what.to_owned(),
            who: who.to_owned(),
            state: TaskState::Waiting,
            cancelled: false,
            created,
            ended: None,
            plan: None,
            steps: 0,
            results: Vec::new(),
            progress: BTreeMap::new(),
            left: BTreeMap::new(),
            error: None,
        };
        let job = Arc::new(Job { task: Mutex::new(task), stop: AtomicBool::new(false) });
        let number = kept.next;
        kept.next += 1;
        kept.jobs.insert(number, (id, Arc::clone(&job)));
        Ok(job)
    }

    /// Every task, oldest first.
    pub fn all(&self) -> Vec<Task> {
        self.lock().jobs.values().map(|(_, job)| job.now()).collect()
    }

    /// How many have not ended.
    pub fn open(&self) -> usize {
        self.lock().jobs.values().filter(|(_, job)| !job.lock().state.ended()).count()
    }

    /// The task of that identifier.
    pub fn find(&self, id: &str) -> Result<Arc<Job>, Problem> {
        let kept = self.lock();
        let found = kept.jobs.values().find(|(known, _)| known == id).map(|(_, job)| Arc::clone(job));
        found.ok_or_else(|| {
            Problem::missing(format!("there is no task {id:?}"))
                .help("tasks are remembered until the agent ends, the newest thousand")
        })
    }

    /// Asks every task to begin no further step.
    pub fn cancel_all(&self) {
        self.lock().jobs.values().for_each(|(_, job)| job.cancel());
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /v1/tasks`.
pub async fn list(State(api): State<Api>) -> Json<TaskList> {
    Json(TaskList { tasks: api.tasks().all() })
}

/// `GET /v1/tasks/{id}`.
pub async fn one(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Task>, Problem> {
    Ok(Json(api.tasks().find(&id)?.now()))
}

/// `DELETE /v1/tasks/{id}`: steps that have begun are finished, no other begins.
pub async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Task>, Problem> {
    let job = api.tasks().find(&id)?;
    job.cancel();
    Ok(Json(job.now()))
}
