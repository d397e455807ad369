//! The other end of the socket: how a command asks the agent of this node.
//!
//! [`Client::find`] says whether an agent runs: one that answers. [`Remote`] is its store, for reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::problem::Problem;
use super::types::{
    Adoption, ApplyRequest, Cleared, Health, KeptRecord, Look, OverrideItem, OverrideWish, PowerWish, PowerWord,
    RecordList, SourceName, SyncAnswer, SyncedSource, Task,
};
use crate::base::{Fault, FaultKind, Name};
use crate::kinds::{Catalog, PowerRequest, Ref, Resource};
use crate::plan::live::LiveState;
use crate::store::{ChangeStream, Entry, Error, Lease, Listing, Revision, Store, Txn};

/// How long an agent may take to say that it is there; it does so whatever hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// An agent that answered.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The agent that answers at a socket, if one does: a socket that was left behind is no agent.
    pub async fn find(path: &Path) -> Option<Self> {
        let client = Self { path: path.to_owned() };
        let asked = tokio::time::timeout(PATIENCE, client.send(Method::GET, "/v1/health", Vec::new())).await;
        let (_, answer) = asked.ok()?.ok()?;
        // Who is refused may still find out by the commands' own means.
        serde_json::from_slice::<Health>(&answer).ok().filter(|health| health.ready).map(|_| client)
    }

    /// Its store, for reading.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(Remote(self.clone()))
    }

    /// What is on the node, for these manifests.
    pub async fn live(&self, catalog: &Catalog) -> Result<LiveState, Fault> {
        let look = Look { manifests: catalog.iter().map(|r| r.document()).collect() };
        self.ask(Method::POST, "/v1/live", &look).await
    }

    /// Starts an apply.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<Task, Fault> {
        self.ask(Method::POST, "/v1/apply", request).await
    }

    /// Starts to change a guest's power.
    pub async fn power(&self, reference: &Ref, to: PowerRequest) -> Result<Task, Fault> {
        let (to, force) = match to {
            PowerRequest::Start => (PowerWord::Start, false),
            PowerRequest::Stop { force } => (PowerWord::Stop, force),
            PowerRequest::Restart { force } => (PowerWord::Restart, force),
        };
        self.ask(Method::POST, &format!("/v1/resources/{reference}/power"), &PowerWish { to, force }).await
    }

    /// Starts to take over what is there, as its manifest says.
    pub async fn adopt(&self, resource: &Resource) -> Result<Task, Fault> {
        let path = format!("/v1/resources/{}/adopt", resource.reference());
        self.ask(Method::POST, &path, &Adoption { manifest: resource.document() }).await
    }

    /// Starts to destroy an orphan.
    pub async fn destroy_orphan(&self, storage: &Name, volume: &str) -> Result<Task, Fault> {
        let volume = percent(volume);
        self.read(Method::DELETE, &format!("/v1/orphans/{storage}/{volume}?destroyData=true"), Vec::new()).await
    }

    /// Overrides a field for a while.
    pub async fn set_override(&self, resource: &Ref, wish: &OverrideWish) -> Result<OverrideItem, Fault> {
        self.ask(Method::PUT, &format!("/v1/overrides/{resource}"), wish).await
    }

    /// Takes overrides back; all when no field is named.
    pub async fn clear_overrides(&self, resource: &Ref, fields: &[String]) -> Result<Cleared, Fault> {
        let fields: String = url::form_urlencoded::byte_serialize(fields.join(",").as_bytes()).collect();
        self.read(Method::DELETE, &format!("/v1/overrides/{resource}?field={fields}"), Vec::new()).await
    }

    /// How far a task is.
    pub async fn task(&self, id: &str) -> Result<Task, Fault> {
        self.get(&format!("/v1/tasks/{id}")).await
    }

    /// Has the sources read now.
    pub async fn sync(&self) -> Result<SyncAnswer, Fault> {
        self.read(Method::POST, "/v1/sync", Vec::new()).await
    }

    /// What became of the sources when they were read last.
    pub async fn sources(&self) -> Result<SyncAnswer, Fault> {
        self.get("/v1/sources").await
    }

    /// Suspends a source, or has it followed again.
    pub async fn suspend(&self, source: &str, suspended: bool) -> Result<SyncedSource, Fault> {
        let path = if suspended { "/v1/sources/suspend" } else { "/v1/sources/resume" };
        self.ask(Method::POST, path, &SourceName { source: source.to_owned() }).await
    }

    /// What is at a path.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        self.read(Method::GET, path, Vec::new()).await
    }

    /// What is answered to a body.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Fault> {
        let body = serde_json::to_vec(body).map_err(|e| self.broken(path, &e))?;
        self.read(method, path, body).await
    }

    async fn read<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T, Fault> {
        let (good, answer) = self.send(method, path, body).await?;
        if good {
            return serde_json::from_slice(&answer).map_err(|e| self.broken(path, &e));
        }
        let problem: Problem = serde_json::from_slice(&answer).map_err(|e| self.broken(path, &e))?;
        Err(problem.into())
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(bool, Vec<u8>), Fault> {
        let stream = UnixStream::connect(&self.path).await.map_err(|e| self.broken(path, &e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(path, &e))?;
        let mut beside = tokio::task::JoinSet::new();
        beside.spawn(connection);
        let request = Request::builder().method(method).uri(path).header(header::HOST, "reeve");
        let request = request.body(Body::from(body)).map_err(|e| self.broken(path, &e))?;
        let answer = sender.send_request(request).await.map_err(|e| self.broken(path, &e))?;
        let good = answer.status().is_success();
        let bytes = to_bytes(Body::new(answer.into_body()), usize::MAX).await.map_err(|e| self.broken(path, &e))?;
        Ok((good, bytes.into()))
    }

    fn broken(&self, path: &str, why: &dyn std::fmt::Display) -> Fault {
        let message = format!("the agent at {} could not be asked for {path}: {why}", self.path.display());
        Fault::new(FaultKind::Unavailable, message).help("see whether it runs; what it had begun it takes up again")
    }
}

/// The store of an agent; nothing can be written to it.
struct Remote(Client);

impl Remote {
    fn refuse<T>(&self) -> Result<T, Error> {
        Err(Error::ReadOnly { path: self.0.path.clone() })
    }
}

/// Text as one segment of a path.
fn percent(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            other => path.push_str(&format!("%{other:02X}")),
        }
        path
    })
}

fn entry(record: KeptRecord) -> Entry {
    let KeptRecord { key, value, created, modified, version } = record;
    Entry { key: key.into(), value: value.into_bytes().into(), created, modified, version }
}

#[async_trait]
impl Store for Remote {
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(self.list(key).await?.entries.into_iter().find(|entry| *entry.key == *key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        let prefix: String = url::form_urlencoded::byte_serialize(prefix.as_bytes()).collect();
        let read = self.0.get::<RecordList>(&format!("/v1/records?prefix={prefix}")).await;
        let list = read.map_err(|fault| Error::io("read", &self.0.path, std::io::Error::other(fault.message)))?;
        Ok(Listing { entries: list.entries.into_iter().map(entry).collect(), revision: list.revision })
    }

    async fn commit(&self, _txn: Txn) -> Result<Revision, Error> {
        self.refuse()
    }

    async fn watch(&self, _prefix: &str, _after: Revision) -> Result<ChangeStream, Error> {
        self.refuse()
    }

    async fn lease_grant(&self, _name: &str, _owner: &str, _ttl: Duration) -> Result<Lease, Error> {
        self.refuse()
    }

    async fn lease_renew(&self, _lease: &Lease) -> Result<Lease, Error> {
        self.refuse()
    }

    async fn lease_release(&self, _lease: &Lease) -> Result<(), Error> {
        self.refuse()
    }

    async fn lease_get(&self, _name: &str) -> Result<Option<Lease>, Error> {
        self.refuse()
    }
}
