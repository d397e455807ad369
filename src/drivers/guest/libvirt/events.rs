//! What libvirt tells by itself: which domains changed, and which devices a guest let go of.
//!
//! One connection of its own carries the events, as long as it lives. When it breaks, nothing is known any more:
//! everything read so far is forgotten, and it is opened again by the next one who asks.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::cache::Cache;
use super::connection::{Call, Done, Open, Pool};
use super::ffi::{self, Event, Subscription};
use crate::base::Fault;
use crate::drivers::guest::News;

/// Events of one libvirt.
pub struct Events {
    cache: Arc<Cache>,
    sender: broadcast::Sender<Event>,
    watch: Mutex<Option<Watch>>,
}

struct Watch {
    connection: Arc<Open>,
    _subscription: Subscription,
}

impl Events {
    /// Not yet listening; what changes is forgotten from `cache`.
    pub fn new(cache: Arc<Cache>) -> Self {
        Self { cache, sender: broadcast::channel(256).0, watch: Mutex::new(None) }
    }

    /// Whether every change since the last look was told.
    pub fn listening(&self) -> bool {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.as_ref().is_some_and(|w| !w.connection.works()) {
            *watch = None;
            self.cache.forget_all();
        }
        watch.is_some()
    }

    /// Begins to listen, unless it does.
    pub async fn listen(self: &Arc<Self>, pool: &Pool) -> Result<(), Fault> {
        if self.listening() {
            return Ok(());
        }
        let events = self.clone();
        let uri = pool.uri().to_owned();
        pool.call(Call::read("listening for libvirt's events"), move |_| events.open(&uri)).await
    }

    fn open(self: &Arc<Self>, uri: &str) -> Done<()> {
        ffi::run_events()?;
        let connection = Arc::new(Open::new(uri)?);
        let (cache, sender) = (self.cache.clone(), self.sender.clone());
        let subscription = Subscription::new(&connection, move |event: Event| {
            cache.forget(event.uuid);
            // Nobody may be waiting.
            let _ = sender.send(event);
        })?;
        self.cache.forget_all();
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Watch { connection, _subscription: subscription });
        Ok(())
    }

    /// The domain of each event, while somebody listens; it goes on when a connection breaks.
    pub fn news(&self) -> BoxStream<'static, News> {
        let told = stream::unfold(self.subscribe(), |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((News::Of(event.uuid), receiver)),
                Err(RecvError::Lagged(_)) => Some((News::OfMany, receiver)),
                Err(RecvError::Closed) => None,
            }
        });
        told.boxed()
    }

    /// Every event from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}
