//! The socket: takes clients in, a task each, so that a slow one keeps nobody else waiting, and bounds what each may hold.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::peer::Peer;
use super::{Api, routes};
use crate::base::{Fault, FaultKind};

/// How many clients may be connected; one more is turned away at once.
pub const MOST_CLIENTS: usize = 512;

/// How long a client may take to send the head of a request.
pub const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long open answers may go on once the server shall end.
const GRACE: Duration = Duration::from_secs(2);

/// How large the head of a request may be, in bytes.
const MOST_HEAD: usize = 64 << 10;

/// A socket that listens; it is removed when this is dropped.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`, open to its own user and this group, in place of a socket that a process left behind.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, Fault> {
        let failed = |e: io::Error| Fault::from(e).context(format_args!("cannot listen at {}", path.display()));
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                let message = format!("cannot listen at {}: something that is no socket is there", path.display());
                return Err(Fault::new(FaultKind::Exists, message).help("move it away, or set another socket"));
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                let message = format!("cannot listen at {}: another process does", path.display());
                return Err(Fault::new(FaultKind::Busy, message).help("only one agent runs on a node"));
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Who is let in is decided by who the kernel says it is; the mode only keeps others from knocking.
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group)).map_err(failed)?;
        }
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until `end`, then lets what has begun end for a moment.
    pub async fn serve(self, api: Api, end: impl Future<Output = ()>) {
        let router = routes::router(api.clone());
        let room = Arc::new(Semaphore::new(MOST_CLIENTS));
        let ending = CancellationToken::new();
        let mut clients = JoinSet::new();
        tokio::pin!(end);
        loop {
            let stream = tokio::select! {
                () = &mut end => break,
                Some(_) = clients.join_next(), if !clients.is_empty() => continue,
                taken = self.listener.accept() => match taken {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a client cannot be taken in");
                        // Out of descriptors, most likely: some are given back soon.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!("a client is turned away: {MOST_CLIENTS} are connected");
                continue;
            };
            clients.spawn(client(stream, api.clone(), router.clone(), permit, ending.clone()));
        }
        api.close();
        ending.cancel();
        let all = async { while clients.join_next().await.is_some() {} };
        // Who follows events never ends by himself.
        let _ = tokio::time::timeout(GRACE, all).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that is gone already is gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// Serves one client until it leaves or the server ends.
async fn client(
    stream: UnixStream,
    api: Api,
    router: Router,
    _permit: OwnedSemaphorePermit,
    ending: CancellationToken,
) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let peer = Peer::of(credentials).await;
    api.metrics().clients.inc();
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MOST_HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a client left");
    }
    api.metrics().clients.dec();
}
