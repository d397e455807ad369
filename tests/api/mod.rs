//! The local API: every route with right and wrong input, who is let in, and clients that mean no good.

mod contract;
mod hostile;
mod live;
mod process;
mod real_permissions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reeve::api::Api;
use reeve::api::node::Plain;
use reeve::api::serve::Socket;
use reeve::base::clock::SystemClock;
use reeve::engine::records::Ledger;
use reeve::kinds::{Reach, World};
use reeve::store::{HistoryLimits, Memory};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A node on fakes with the API over it.
pub struct Place {
    dir: tempfile::TempDir,
    client: Client,
    end: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub media: String,
    pub body: Value,
    pub text: String,
}

impl Place {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("fake:{}", dir.path().join(name).display());
        let world = World::open(Reach {
            node: "n1".parse().unwrap(),
            data_dir: dir.path().join("data"),
            hypervisor: Some(at("vms.json")),
            containers: Some(at("cts.json")),
        });
        let clock = Arc::new(SystemClock);
        let store = Memory::new(clock.clone(), HistoryLimits::default());
        let api = Api::new(Arc::new(Plain::new(world, Ledger::new(Arc::new(store), clock))));
        let path = dir.path().join("s");
        let socket = Socket::bind(&path, None).unwrap();
        let (end, ended) = oneshot::channel();
        let server = tokio::spawn(async move { socket.serve(api, async { drop(ended.await) }).await });
        let client = Client::builder().unix_socket(path).build().unwrap();
        Self { dir, client, end: Some(end), server }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The manifests of a storage and of this many volumes on it.
    pub fn manifests(&self, volumes: usize) -> String {
        let storage = self.dir.path().join("storage").display().to_string();
        let mut text = format!(
            "apiVersion: reeve/v1\nkind: Storage\nmetadata: {{name: local}}\nspec:\n  driver: dir\n  options: {{path: {storage}}}\n"
        );
        for n in 0..volumes {
            text += &format!(
                "---\napiVersion: reeve/v1\nkind: Volume\nmetadata: {{name: v{n}, labels: {{odd: \"{}\"}}}}\nspec: {{storage: local, size: 1Mi, format: raw}}\n",
                n % 2 == 1
            );
        }
        text
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.client.request(method, format!("http://reeve{path}")).body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let media = answer.headers().get("content-type").map(|m| m.to_str().unwrap().to_owned()).unwrap_or_default();
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, media, body, text }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    /// Applies and waits for the end; gives the task.
    pub async fn apply(&self, wish: Value) -> Value {
        let answer = self.post("/v1/apply", &json!({"wish": wish})).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        self.ended(&answer.body).await
    }

    pub async fn ended(&self, task: &Value) -> Value {
        let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
        loop {
            let answer = self.get(&path).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            if answer.body.get("ended").is_some() {
                return answer.body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Sends bytes as they are, and reads until the other side closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        // The other side may close before it has read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Ends the server and waits for it.
    pub async fn end(mut self) {
        drop(self.end.take());
        let socket = self.socket();
        self.server.await.unwrap();
        assert!(!socket.exists(), "the socket was left behind");
    }
}

impl Answer {
    /// Checks that this is a problem of RFC 9457 with this status and sort.
    #[track_caller]
    pub fn is_problem(&self, status: u16, word: &str) {
        let Self { body, text, .. } = self;
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.media, "application/problem+json", "{text}");
        assert_eq!(body["status"], status, "{text}");
        assert_eq!(body["type"], format!("urn:reeve:problem:{word}"), "{text}");
        assert!(body["title"].as_str().is_some_and(|t| !t.is_empty()), "{text}");
        assert!(body["detail"].as_str().is_some_and(|t| !t.is_empty()), "{text}");
    }
}
