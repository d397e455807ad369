//! Who is at the other end of the socket, as the kernel says, and whether that is enough.

use std::time::Duration;

use tokio::net::unix::UCred;

use crate::base::exec::Command;

/// The group whose members may use the API.
pub const GROUP: &str = "reeve";

/// How long the host may take to tell who is in the group.
const DEADLINE: Duration = Duration::from_secs(5);

/// A client, by its credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its user's name, or `uid N`.
    pub name: String,
    /// Whether it may use the API.
    pub allowed: bool,
}

impl Peer {
    /// The client with these credentials: root, the server's own user and members of the group may.
    pub async fn of(credentials: UCred) -> Self {
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let own = rustix::process::geteuid().as_raw();
        let allowed = uid == 0 || uid == own || member(uid, gid).await;
        let name = if uid == 0 { Some("root".into()) } else { name(uid).await };
        Self { uid, name: name.unwrap_or_else(|| format!("uid {uid}")), allowed }
    }
}

/// The number of the group, when this host has it.
pub async fn group() -> Option<u32> {
    getent("group", GROUP).await?.split(':').nth(2)?.parse().ok()
}

/// Whether a user is in the group, by the host's own databases; who cannot be looked up is not.
async fn member(uid: u32, gid: u32) -> bool {
    let Some(group) = group().await else { return false };
    if group == gid {
        return true;
    }
    let groups = Command::new("id").args(["-G", "--", &uid.to_string()]).deadline(DEADLINE).run().await;
    groups.is_ok_and(|found| found.text().split_whitespace().any(|id| id.parse() == Ok(group)))
}

async fn name(uid: u32) -> Option<String> {
    let line = getent("passwd", &uid.to_string()).await?;
    line.split(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

async fn getent(database: &str, key: &str) -> Option<String> {
    let found = Command::new("getent").args([database, key]).deadline(DEADLINE).run().await.ok()?;
    found.text().lines().next().map(str::to_owned)
}
