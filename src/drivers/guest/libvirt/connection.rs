//! A small pool of threads through which async code can call libvirt without ever being blocked by it.
//!
//! All threads share one connection, which serves several calls at a time. Threads are started when work waits and none is
//! idle, up to a limit, and end when they were idle for a while. A call that outlives its deadline gives its caller
//! [`FaultKind::Deadline`]; its thread is left behind and counts as lost until libvirt lets go of it, and another takes
//! its place. When too many are lost, calls fail at once instead of piling up more threads.
//!
//! A connection that broke (libvirtd was restarted) is opened again; a call that only reads is then made a second
//! time. Where events are listened for, keep-alive messages notice a libvirtd that hangs; elsewhere the deadline does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use virt::connect::Connect;

use super::error::Failure;
use super::ffi;
use crate::base::{Fault, FaultKind};

/// The libvirt of this node.
pub const SYSTEM: &str = "qemu:///system";

const READ_DEADLINE: Duration = Duration::from_secs(30);
const CHANGE_DEADLINE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_SECONDS: i32 = 5;
const KEEPALIVE_COUNT: u32 = 4;

/// What a call gives.
pub type Done<T> = Result<T, Failure>;

/// How a call is to be made.
#[derive(Debug, Clone)]
pub struct Call {
    doing: String,
    deadline: Duration,
    again: bool,
}

impl Call {
    /// A call that changes nothing: made again on a new connection when its connection turns out broken.
    pub fn read(doing: impl Into<String>) -> Self {
        Self { doing: doing.into(), deadline: READ_DEADLINE, again: true }
    }

    /// A call that changes something: made once.
    pub fn change(doing: impl Into<String>) -> Self {
        Self { doing: doing.into(), deadline: CHANGE_DEADLINE, again: false }
    }

    /// The same with another deadline.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// How many threads a pool may have.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads that work; libvirt serves five calls of one connection at a time.
    pub threads: usize,
    /// Threads left behind in calls that never came back.
    pub lost: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { threads: 4, lost: 8 }
    }
}

/// A connection to one libvirt and the threads that use it; cheap to clone, all clones share them.
#[derive(Clone)]
pub struct Pool(Arc<Owner>);

/// Ends the idle threads when the last handle of a pool goes; busy ones end after their call.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl std::ops::Deref for Owner {
    type Target = Arc<Shared>;
    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

struct Shared {
    uri: String,
    limits: Limits,
    state: Mutex<State>,
    wake: Condvar,
    connection: Mutex<Option<Arc<Open>>>,
}

/// An open connection, which the binding leaves open; closed when the last who uses it lets go.
pub struct Open(Connect);

impl Open {
    /// Connects to that libvirt.
    ///
    /// Without an event loop, and in drivers inside this process, nothing keeps the connection alive.
    pub fn new(uri: &str) -> Done<Self> {
        ffi::prepare()?;
        let open = Self(Connect::open(Some(uri))?);
        let _ = open.set_keep_alive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT);
        Ok(open)
    }

    /// Whether it can still be used.
    pub fn works(&self) -> bool {
        self.is_alive().unwrap_or(false)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Whatever was still wrong with it is over now.
        let _ = self.0.close();
    }
}

impl std::ops::Deref for Open {
    type Target = Connect;
    fn deref(&self) -> &Connect {
        &self.0
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(u64, Job)>,
    next: u64,
    idle: usize,
    workers: usize,
    /// Which job each busy thread does, by job.
    running: BTreeMap<u64, u64>,
    /// Threads that were given up.
    lost: BTreeSet<u64>,
    closed: bool,
}

type Job = Box<dyn FnOnce(&Shared) + Send>;

/// The connection as the threads use it.
impl Shared {
    /// The connection, opened when there is none or the old one broke; the first who needs it opens it for all.
    fn connect(&self) -> Done<Arc<Open>> {
        let mut known = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = known.as_ref().filter(|c| c.works()) {
            return Ok(connection.clone());
        }
        *known = None;
        Ok(known.insert(Arc::new(Open::new(&self.uri)?)).clone())
    }

    /// Lets go of a connection that broke, unless another has taken its place already.
    fn disconnect(&self, broken: &Arc<Open>) {
        let mut known = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|c| Arc::ptr_eq(c, broken)) {
            *known = None;
        }
    }

    fn run<T>(&self, again: bool, work: &mut impl FnMut(&Connect) -> Done<T>) -> Done<T> {
        let connection = self.connect()?;
        match once(&connection, work) {
            Err(failure) if failure.disconnected() => {
                self.disconnect(&connection);
                if again { once(&*self.connect()?, work) } else { Err(failure) }
            }
            result => result,
        }
    }
}

fn once<T>(connection: &Connect, work: &mut impl FnMut(&Connect) -> Done<T>) -> Done<T> {
    catch_unwind(AssertUnwindSafe(|| work(connection)))
        .unwrap_or_else(|_| Err(Fault::other("the libvirt binding panicked; this is a defect").into()))
}

impl Pool {
    /// A pool for that libvirt; nothing is connected yet.
    pub fn new(uri: impl Into<String>) -> Self {
        Self::with_limits(uri, Limits::default())
    }

    /// The pool of this process for that libvirt, so that its drivers share one connection.
    pub fn shared(uri: &str) -> Self {
        static OPEN: Mutex<BTreeMap<String, Weak<Owner>>> = Mutex::new(BTreeMap::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = open.get(uri).and_then(Weak::upgrade) {
            return Self(owner);
        }
        let pool = Self::new(uri);
        open.insert(uri.to_owned(), Arc::downgrade(&pool.0));
        pool
    }

    /// The same with other limits.
    pub fn with_limits(uri: impl Into<String>, limits: Limits) -> Self {
        let (state, wake, connection) = (Mutex::default(), Condvar::new(), Mutex::default());
        let shared = Shared { uri: uri.into(), limits, state, wake, connection };
        Self(Arc::new(Owner(Arc::new(shared))))
    }

    /// The libvirt it connects to.
    pub fn uri(&self) -> &str {
        &self.0.uri
    }

    /// How many calls can be made at the same time.
    pub fn width(&self) -> usize {
        self.0.limits.threads
    }

    /// How many threads are lost in calls that never came back.
    pub fn lost(&self) -> usize {
        self.0.lock().lost.len()
    }

    /// Makes one call and waits for it, up to its deadline.
    ///
    /// The call goes on to its end even when the caller stops waiting.
    pub async fn call<T: Send + 'static>(
        &self,
        call: Call,
        mut work: impl FnMut(&Connect) -> Done<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let Call { doing, deadline, again } = call;
        let (send, receive) = oneshot::channel();
        let job: Job = Box::new(move |shared| {
            // A caller that is gone needs no answer.
            let _ = send.send(shared.run(again, &mut work));
        });
        let id = self.submit(job).map_err(|f| f.context(&doing))?;
        let pool = self.clone();
        let watched = tokio::spawn(async move {
            tokio::time::timeout(deadline, receive).await.map_err(|_| pool.give_up(id, deadline))
        });
        let answer = watched.await.map_err(|_| Fault::new(FaultKind::Cancelled, "the call was broken off"));
        match answer {
            Ok(Ok(Ok(result))) => result.map_err(|f| Fault::from(f).context(&doing)),
            Ok(Ok(Err(_))) => Err(Fault::other(format!("{doing}: the libvirt thread ended"))),
            Ok(Err(fault)) | Err(fault) => Err(fault.context(&doing)),
        }
    }

    fn submit(&self, job: Job) -> Result<u64, Fault> {
        let mut state = self.0.lock();
        if state.lost.len() >= self.0.limits.lost {
            let lost = state.lost.len();
            return Err(Fault::new(FaultKind::Unavailable, format!("libvirt does not answer: {lost} calls hang"))
                .help("look at libvirtd and its log; restart libvirtd (guests go on running)"));
        }
        let id = state.next;
        state.next += 1;
        state.jobs.push_back((id, job));
        if state.jobs.len() > state.idle && state.workers < self.0.limits.threads {
            let worker = state.next;
            state.next += 1;
            let shared = Arc::clone(&self.0.0);
            let started = std::thread::Builder::new().name("libvirt".into()).spawn(move || work(&shared, worker));
            match started {
                Ok(_) => state.workers += 1,
                Err(error) if state.workers == 0 => {
                    state.jobs.pop_back();
                    return Err(Fault::from(error).context("starting a thread for libvirt"));
                }
                Err(_) => {}
            }
        }
        drop(state);
        self.0.wake.notify_one();
        Ok(id)
    }

    /// Lets go of a call that took too long, and of its thread when it had started.
    fn give_up(&self, id: u64, deadline: Duration) -> Fault {
        let seconds = deadline.as_secs_f32();
        let mut state = self.0.lock();
        if let Some(i) = state.jobs.iter().position(|(job, _)| *job == id) {
            state.jobs.remove(i);
            return Fault::new(FaultKind::Deadline, format!("all threads for libvirt were busy for {seconds} s"))
                .help("it was not started; try again when less is going on");
        }
        if let Some(worker) = state.running.remove(&id) {
            state.lost.insert(worker);
            state.workers = state.workers.saturating_sub(1);
        }
        Fault::new(FaultKind::Deadline, format!("libvirt did not answer within {seconds} s"))
            .help("it may still happen; what is there is read again before anything else is done")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job for this thread; `None` when it shall end.
    fn next(&self, worker: u64) -> Option<(u64, Job)> {
        let mut state = self.lock();
        loop {
            if let Some((id, job)) = state.jobs.pop_front() {
                state.running.insert(id, worker);
                return Some((id, job));
            }
            if state.closed {
                state.workers = state.workers.saturating_sub(1);
                return None;
            }
            state.idle += 1;
            let (back, waited) = self.wake.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.workers = state.workers.saturating_sub(1);
                return None;
            }
        }
    }

    /// Notes that a job came back; false when its thread was given up meanwhile.
    fn finished(&self, id: u64, worker: u64) -> bool {
        let mut state = self.lock();
        state.running.remove(&id);
        !state.lost.remove(&worker)
    }
}

fn work(shared: &Arc<Shared>, worker: u64) {
    while let Some((id, job)) = shared.next(worker) {
        job(shared);
        if !shared.finished(id, worker) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "test:///default";

    #[tokio::test]
    async fn a_call_runs_on_a_connection_and_gives_its_result() {
        let pool = Pool::new(TEST);
        let names = pool.call(Call::read("listing domains"), |c| {
            let domains = c.list_all_domains(0)?;
            Ok(domains.iter().filter_map(|d| d.get_name().ok()).collect::<Vec<_>>())
        });
        assert_eq!(names.await.unwrap(), ["test"]);
    }

    #[tokio::test]
    async fn what_libvirt_says_becomes_a_fault() {
        let pool = Pool::new(TEST);
        let fault = pool
            .call(Call::read("looking for vm/none"), |c| Ok(virt::domain::Domain::lookup_by_name(c, "none")?.get_id()))
            .await
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotFound);
        assert!(fault.message.starts_with("looking for vm/none: "), "{fault}");

        let fault = Pool::new("qemu+unix:///system?socket=/no/such/socket")
            .call(Call::read("listing domains"), |c| Ok(c.list_all_domains(0)?.len()))
            .await
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
        assert!(fault.help.is_some());
    }

    #[tokio::test]
    async fn a_hung_call_is_given_up_and_another_thread_takes_over() {
        let pool = Pool::with_limits(TEST, Limits { threads: 1, lost: 2 });
        let short = Duration::from_millis(80);
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..2 {
            let gate = gate.clone();
            let call = Call::change("hanging").within(short);
            let fault = pool
                .call(call, move |_| {
                    let _ = gate.lock().unwrap().recv();
                    Ok(())
                })
                .await
                .unwrap_err();
            assert_eq!(fault.kind, FaultKind::Deadline, "{fault}");
        }
        assert_eq!(pool.lost(), 2);
        let fault = pool.call(Call::read("reading"), |c| Ok(c.is_alive()?)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
        drop(release);
        for _ in 0..100 {
            if pool.lost() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(pool.call(Call::read("reading"), |c| Ok(c.is_alive()?)).await.unwrap());
    }

    #[tokio::test]
    async fn a_call_that_never_started_says_so() {
        let pool = Pool::with_limits(TEST, Limits { threads: 1, lost: 2 });
        let busy = pool.clone();
        let first = tokio::spawn(async move {
            busy.call(Call::read("slow"), |_| {
                std::thread::sleep(Duration::from_millis(300));
                Ok(())
            })
            .await
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let call = Call::change("waiting").within(Duration::from_millis(50));
        let fault = pool.call(call, |_| Ok(())).await.unwrap_err();
        assert!(fault.message.contains("were busy"), "{fault}");
        first.await.unwrap().unwrap();
        assert_eq!(pool.lost(), 0);
    }

    #[tokio::test]
    async fn a_panic_inside_a_call_is_its_own_error() {
        let pool = Pool::new(TEST);
        let fault = pool.call(Call::read("breaking"), |_| -> Done<()> { panic!("on purpose") }).await.unwrap_err();
        assert!(fault.message.contains("panicked"), "{fault}");
        assert!(pool.call(Call::read("reading"), |c| Ok(c.is_alive()?)).await.unwrap());
    }
}
