//! Logs a node into a target: a record of open-iscsi's with the password in it, readable by root only, then the login.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::{IscsiOptions, plain_portal};
use crate::base::exec::Command;
use crate::base::secret::{ExposeSecret as _, SecretString, Secrets};
use crate::base::{Attempt as _, Fault, FaultKind};
use crate::drivers::storage::pool::{Saying, explain};

/// How long a login may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// What `iscsiadm` ends with when there is a session already.
const LOGGED_IN: i32 = 15;
/// Where the records are, below one of these.
const PLACES: [&str; 2] = ["/etc/iscsi", "/var/lib/iscsi"];

const SAYINGS: &[Saying] = &[
    ("authorization failure", FaultKind::Denied, "see `username` and `password`, and who may log in at the array"),
    ("can not connect to iscsi daemon", FaultKind::Unavailable, "start iscsid: `systemctl start iscsid`"),
    ("initiatorname", FaultKind::Unavailable, "name this node in /etc/iscsi/initiatorname.iscsi"),
    (
        "",
        FaultKind::Unavailable,
        "see whether the array runs, this node reaches it, and `iscsiadm -m discovery -t sendtargets -p PORTAL` shows the target",
    ),
];

/// Logs in; nothing when there is a session.
pub async fn login(options: &IscsiOptions, secrets: &Secrets) -> Result<(), Fault> {
    let IscsiOptions { portal, target, .. } = options;
    let portal = plain_portal(portal);
    let what = || format!("cannot log into {target} at {portal}");
    let iscsiadm = |last: &[&str]| {
        let of = ["-m", "node", "-T", target, "-p", &portal];
        Command::new("iscsiadm").args(of).args(last).deadline(DEADLINE).ok(&[0, LOGGED_IN])
    };
    let password = password(options, secrets).map_err(|fault| fault.context(what()))?;
    let run = async |last: &[&str]| iscsiadm(last).run().await.map_err(|e| explain(e, SAYINGS).context(what()));
    run(&["-o", "new"]).await?;
    let user = options.username.as_deref().zip(password.as_ref());
    write_record(target, &portal, user).map_err(|fault| fault.context(what()))?;
    run(&["--login"]).await.map(drop)
}

fn password(options: &IscsiOptions, secrets: &Secrets) -> Result<Option<SecretString>, Fault> {
    let Some(field) = &options.password else { return Ok(None) };
    let found = secrets.get(&field.secret_ref).map_err(|error| {
        Fault::new(FaultKind::NotFound, error.to_string()).help("put the value into that file, readable by Reeve only")
    })?;
    let text = found.expose_secret();
    if !(1..=255).contains(&text.len()) || text.chars().any(|c| c.is_control()) || text.trim() != text {
        let reference = &field.secret_ref;
        let why = format!("the secret {}/{} cannot be a password for CHAP", reference.name, reference.key);
        return Err(Fault::new(FaultKind::Invalid, why).help("put one line of 12 to 255 bytes into its file"));
    }
    Ok(Some(found))
}

/// The record that `-o new` made.
fn record(target: &str, portal: &str) -> Result<(&'static Path, PathBuf), Fault> {
    let address = portal.parse::<SocketAddr>().map_err(|e| Fault::new(FaultKind::Invalid, format!("{portal}: {e}")))?;
    let file = format!("{},{}", address.ip(), address.port());
    let there = PLACES.iter().map(Path::new).find_map(|place| {
        let nodes = place.join("nodes").join(target);
        let plain = nodes.join(&file);
        if plain.is_file() {
            return Some((place, plain));
        }
        // After a discovery it carries the number of the portal's group, and is a directory.
        let listed = fs::read_dir(&nodes).ok()?.flatten().map(|entry| entry.path());
        let ours = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&file));
        let found = listed.filter(ours).map(|dir| dir.join("default")).find(|path| path.is_file())?;
        Some((place, found))
    });
    there.ok_or_else(|| Fault::other(format!("iscsiadm made no record of {target} below {}", PLACES.join(" or "))))
}

/// Puts who logs in into the record, readable by root only, whole or not at all.
fn write_record(target: &str, portal: &str, user: Option<(&str, &SecretString)>) -> Result<(), Fault> {
    let (place, path) = record(target, portal)?;
    let doing = || format!("cannot write {}", path.display());
    let text = with_login(&fs::read_to_string(&path).attempt(doing)?, user);
    let mut fresh = tempfile::NamedTempFile::new_in(place).attempt(doing)?;
    fresh.write_all(text.as_bytes()).attempt(doing)?;
    fresh.as_file().sync_all().attempt(doing)?;
    fresh.persist(&path).map_err(|e| e.error).attempt(doing).map(drop)
}

/// A record's text with who logs in, tried once at a time.
fn with_login(record: &str, user: Option<(&str, &SecretString)>) -> String {
    let own = ["node.session.auth.authmethod", "node.session.auth.username", "node.session.auth.password", RETRIES];
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let mut lines: Vec<String> =
        record.lines().filter(|l| !own.contains(&key(l).as_str())).map(str::to_owned).collect();
    let end = lines.iter().position(|line| line.starts_with("# END RECORD")).unwrap_or(lines.len());
    let method = if user.is_some() { "CHAP" } else { "None" };
    let mut new = vec![format!("{RETRIES} = 1"), format!("{} = {method}", own[0])];
    if let Some((name, password)) = user {
        new.extend([format!("{} = {name}", own[1]), format!("{} = {}", own[2], password.expose_secret())]);
    }
    lines.splice(end..end, new);
    lines.join("\n") + "\n"
}

/// How often a login is tried; the one who asks tries again.
const RETRIES: &str = "node.session.initial_login_retry_max";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_all_but_who_logs_in() {
        let record = "# BEGIN RECORD\nnode.name = x\nnode.session.auth.authmethod = CHAP\nnode.session.auth.password = old\n# END RECORD\n";
        let none = with_login(record, None);
        assert!(!none.contains("old") && none.contains("authmethod = None\n# END RECORD\n"), "{none}");
        let secret = SecretString::from("a new = one");
        let some = with_login(&none, Some(("me", &secret)));
        assert!(some.contains("node.name = x\n") && !some.contains("= None"), "{some}");
        assert!(some.ends_with("username = me\nnode.session.auth.password = a new = one\n# END RECORD\n"), "{some}");
    }
}
