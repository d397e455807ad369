//! A git branch as a source: fetched now and then, verified where keys are given, and put where it is read as a folder.
//!
//! ```text
//! HOME/repository     what was fetched        HOME/trees/COMMIT   one commit's files, written whole, then renamed
//! HOME/current        a link to the tree in force; it is swapped, so that no reading sees two commits at once
//! ```
//!
//! It is the git program that talks to the server, with the credentials and known hosts that its user has. A commit
//! that cannot be fetched or verified changes nothing: what was in force stays so.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::base::exec::{Command, Output};
use crate::base::{Attempt as _, Fault, FaultKind};

/// How long talking to the server may take.
const FETCH: Duration = Duration::from_secs(300);

/// A branch of a repository.
#[derive(Debug, Clone)]
pub struct Git {
    /// Where it is fetched from: a URL or a path.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// How often it is fetched.
    pub interval: Duration,
    /// Who may sign commits, as ssh's `allowed_signers`; without it commits need no signature.
    pub signers: Option<PathBuf>,
    /// Where it is kept here.
    pub home: PathBuf,
}

impl Git {
    /// The folder below `data_dir` that belongs to one branch of one repository.
    pub fn home(data_dir: &Path, url: &str, branch: &str) -> PathBuf {
        let hash: String =
            Sha256::digest(format!("{url}\n{branch}")).iter().take(8).map(|b| format!("{b:02x}")).collect();
        data_dir.join("sources").join(hash)
    }

    /// Where the files of the commit in force stand.
    pub fn current(&self) -> PathBuf {
        self.home.join("current")
    }

    /// Fetches the branch and puts its commit in force; gives the commit.
    pub async fn pull(&self) -> Result<String, Fault> {
        let doing = || format!("cannot take branch {} of {}", self.branch, self.url);
        let repository = self.home.join("repository");
        std::fs::create_dir_all(self.home.join("trees")).attempt(doing)?;
        if !repository.is_dir() {
            let fresh = self.home.join("repository.new");
            self.git(["init", "--quiet", "--bare"], Some(&fresh)).await.attempt(doing)?;
            std::fs::rename(&fresh, &repository).attempt(doing)?;
        }
        let spec = format!("+refs/heads/{}:refs/reeve/source", self.branch);
        let fetch = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--", &self.url, &spec];
        self.git(fetch, None).await.attempt(doing)?;
        let found = self.git(["rev-parse", "--verify", "refs/reeve/source^{commit}"], None).await.attempt(doing)?;
        let commit = found.text().trim().to_owned();
        if commit_in_force(&self.current()).as_deref() == Some(&commit) {
            return Ok(commit);
        }
        self.verify(&commit).await?;
        self.put(&commit).await.attempt(doing)?;
        Ok(commit)
    }

    async fn verify(&self, commit: &str) -> Result<(), Fault> {
        let Some(signers) = &self.signers else { return Ok(()) };
        let allowed = format!("gpg.ssh.allowedSignersFile={}", signers.display());
        // A signature of another kind would be held against keys that this file does not name.
        let only_ssh = ["gpg.program", "gpg.openpgp.program", "gpg.x509.program"].map(|p| format!("{p}=/bin/false"));
        let mut call = vec!["-c", &allowed];
        call.extend(only_ssh.iter().flat_map(|setting| ["-c", setting]));
        call.extend(["verify-commit", commit]);
        self.git(call, None).await.map(drop).map_err(|fault| {
            Fault::new(FaultKind::Identity, format!("commit {commit} of {} is not taken: {fault}", self.url))
                .help(format!("it must be signed by a key in {}", signers.display()))
        })
    }

    /// Writes a commit's files whole, and swaps the link to them.
    async fn put(&self, commit: &str) -> Result<(), Fault> {
        let trees = self.home.join("trees");
        let (fresh, tree) = (trees.join("new"), trees.join(commit));
        if !tree.is_dir() {
            if fresh.exists() {
                std::fs::remove_dir_all(&fresh)?;
            }
            std::fs::create_dir(&fresh)?;
            let mut work = OsString::from("--work-tree=");
            work.push(&fresh);
            self.git([&*work, "read-tree".as_ref(), commit.as_ref()], None).await?;
            self.git([&*work, "checkout-index".as_ref(), "--all".as_ref(), "--force".as_ref()], None).await?;
            std::fs::rename(&fresh, &tree)?;
        }
        let link = self.home.join("current.new");
        let _ = std::fs::remove_file(&link);
        symlink(Path::new("trees").join(commit), &link)?;
        std::fs::rename(&link, self.current())?;
        let old = std::fs::read_dir(&trees)?.flatten().map(|e| e.path()).filter(|path| *path != tree);
        // A tree that cannot be removed now is removed after the next commit.
        old.for_each(|path| drop(std::fs::remove_dir_all(path)));
        Ok(())
    }

    /// Runs git on the repository, or with a path as its last argument.
    async fn git<T: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = T>,
        path: Option<&Path>,
    ) -> Result<Output, Fault> {
        let mut command = Command::new("git").deadline(FETCH).env("GIT_TERMINAL_PROMPT", "0");
        command = match path {
            Some(_) => command,
            None => {
                let mut repository = OsString::from("--git-dir=");
                repository.push(self.home.join("repository"));
                // A link in a repository is a file with its target's name: nothing outside is read through it.
                command.arg(repository).args(["-c", "core.symlinks=false", "-c", "core.hooksPath=/dev/null"])
            }
        };
        let command = command.args(args);
        let command = match path {
            Some(path) => command.arg(path),
            None => command,
        };
        Ok(command.run().await?)
    }
}

/// The commit whose files a folder's link leads to, when it is one of ours.
pub fn commit_in_force(current: &Path) -> Option<String> {
    let target = std::fs::read_link(current).ok()?;
    let name = target.file_name()?.to_str()?.to_owned();
    let hash = name.len() >= 40 && name.bytes().all(|b| b.is_ascii_hexdigit());
    hash.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn git(dir: &Path, args: &[&str]) {
        let person = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
        Command::new("git").arg("-C").arg(dir).args(person).args(args).run().await.unwrap();
    }

    async fn repository(dir: &Path) -> Git {
        let origin = dir.join("origin");
        std::fs::create_dir(&origin).unwrap();
        git(&origin, &["init", "--quiet", "--initial-branch=main"]).await;
        let url = origin.display().to_string();
        let home = Git::home(dir, &url, "main");
        Git { url, branch: "main".into(), interval: Duration::from_secs(60), signers: None, home }
    }

    async fn commit(dir: &Path, text: &str) {
        std::fs::create_dir_all(dir.join("origin/sub")).unwrap();
        std::fs::write(dir.join("origin/sub/a.yaml"), text).unwrap();
        git(&dir.join("origin"), &["add", "--all"]).await;
        git(&dir.join("origin"), &["commit", "--quiet", "-m", text]).await;
    }

    #[tokio::test]
    async fn a_commit_is_taken_whole_and_the_next_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let source = repository(dir.path()).await;
        assert!(source.pull().await.is_err(), "there is no branch yet");
        commit(dir.path(), "one").await;
        let first = source.pull().await.unwrap();
        let read = || std::fs::read_to_string(source.current().join("sub/a.yaml")).unwrap();
        assert_eq!(read(), "one");
        assert_eq!(source.pull().await.unwrap(), first);
        symlink("/etc/passwd", dir.path().join("origin/sub/link.yaml")).unwrap();
        commit(dir.path(), "two").await;
        let second = source.pull().await.unwrap();
        assert_ne!(first, second);
        assert_eq!(read(), "two");
        assert_eq!(commit_in_force(&source.current()), Some(second));
        assert_eq!(std::fs::read_dir(source.home.join("trees")).unwrap().count(), 1);
        let link = std::fs::symlink_metadata(source.current().join("sub/link.yaml")).unwrap();
        assert!(link.is_file(), "no link leads out of a repository");
    }

    #[tokio::test]
    async fn what_is_not_signed_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = repository(dir.path()).await;
        commit(dir.path(), "one").await;
        let first = source.pull().await.unwrap();
        commit(dir.path(), "two").await;
        source.signers = Some(dir.path().join("signers"));
        std::fs::write(dir.path().join("signers"), "").unwrap();
        let fault = source.pull().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Identity, "{fault}");
        assert_eq!(commit_in_force(&source.current()), Some(first), "what was in force stays");
    }

    /// Commits with a signature, as these settings have it.
    async fn sign(dir: &Path, text: &str, settings: &[&str]) {
        std::fs::write(dir.join("origin/sub/a.yaml"), text).unwrap();
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["-c", setting]).collect();
        git(&dir.join("origin"), &[&settings[..], &["commit", "--quiet", "-S", "-a", "-m", text]].concat()).await;
    }

    #[tokio::test]
    async fn only_what_a_named_key_signed_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = repository(dir.path()).await;
        commit(dir.path(), "one").await;
        source.pull().await.unwrap();
        for key in ["right", "wrong"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(key));
            made.run().await.unwrap();
        }
        let public = std::fs::read_to_string(dir.path().join("right.pub")).unwrap();
        std::fs::write(dir.path().join("signers"), format!("t@example.org {public}")).unwrap();
        source.signers = Some(dir.path().join("signers"));
        let key = |name: &str| format!("user.signingkey={}", dir.path().join(name).display());
        sign(dir.path(), "two", &["gpg.format=ssh", &key("right")]).await;
        let second = source.pull().await.unwrap();
        sign(dir.path(), "three", &["gpg.format=ssh", &key("wrong")]).await;
        assert_eq!(source.pull().await.unwrap_err().kind, FaultKind::Identity);

        // A program that finds every OpenPGP signature good, as a keyring with any key does.
        let any = dir.path().join("any");
        let script = "#!/bin/sh\ncat >/dev/null\necho '-----BEGIN PGP SIGNATURE-----'\n\
                      printf '\\n[GNUPG:] SIG_CREATED \\n[GNUPG:] GOODSIG 1 t\\n[GNUPG:] VALIDSIG 1\\n' >&2\n\
                      case $* in *--verify*) printf '\\n[GNUPG:] GOODSIG 1 t\\n';; esac\n";
        std::fs::write(&any, script).unwrap();
        std::fs::set_permissions(&any, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = format!("gpg.program={}", any.display());
        sign(dir.path(), "four", &["gpg.format=openpgp", &program]).await;
        git(&source.home.join("repository"), &["config", "gpg.program", any.to_str().unwrap()]).await;
        assert_eq!(source.pull().await.unwrap_err().kind, FaultKind::Identity);
        let alone = ["verify-commit", "refs/reeve/source"];
        assert!(source.git(alone, None).await.is_ok(), "the program would have found it good");
        assert_eq!(commit_in_force(&source.current()), Some(second), "what was in force stays");
    }
}
