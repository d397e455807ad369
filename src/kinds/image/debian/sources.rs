//! Where packages come from: what this node's own apt is set up with, whatever mirror that is.
//!
//! apt itself reads its files, in all their forms, and says what they come to. For a release other than the node's the
//! same archives are taken, with the other release's name in place of the node's.

use std::collections::BTreeSet;
use std::path::Path;

use super::DebianSource;
use crate::base::exec::Command;
use crate::base::{Fault, FaultKind};

/// What apt is asked to print of each index of packages.
const FORMAT: &str = "$(ORIGIN)|$(RELEASE)|$(REPO_URI)";

/// The release to build: the one wanted, else the node's own.
pub fn suite(source: &DebianSource) -> Result<String, Fault> {
    match &source.suite {
        Some(suite) => Ok(suite.clone()),
        None => own_suite(),
    }
}

fn own_suite() -> Result<String, Fault> {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    field(&text, "VERSION_CODENAME").ok_or_else(|| {
        Fault::new(FaultKind::NotFound, "/etc/os-release does not say which release this node runs")
            .help("name one in source.debian.suite")
    })
}

fn field(os_release: &str, key: &str) -> Option<String> {
    let value = os_release.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned()).filter(|v| !v.is_empty())
}

/// One-line package sources for a release.
pub async fn lines(source: &DebianSource, suite: &str, dir: &Path) -> Result<Vec<String>, Fault> {
    let own = own_suite().unwrap_or_else(|_| suite.to_owned());
    let components = source.components.clone().unwrap_or_else(|| vec!["main".into()]);
    let make = |listed: &str| compose(listed, suite, &own, &components);
    let mut lines = make(&targets(None).await?);
    if lines.is_empty() {
        // The node's lists were never fetched, or cleared: fetch them aside, and leave the node's own alone.
        lines = make(&targets(Some(dir)).await?);
    }
    if lines.is_empty() {
        return Err(Fault::new(FaultKind::NotFound, format!("apt on this node has no Debian archive with {suite}"))
            .help("add Debian's archive to /etc/apt/sources.list(.d), or use source.url"));
    }
    Ok(lines)
}

/// What apt is set up with, as [`FORMAT`] says; `aside` has the lists fetched into that directory.
async fn targets(aside: Option<&Path>) -> Result<String, Fault> {
    let mut options = Vec::new();
    if let Some(dir) = aside {
        let state = dir.join("apt");
        std::fs::create_dir_all(state.join("lists/partial"))?;
        std::fs::create_dir_all(state.join("archives/partial"))?;
        options.push(format!("Dir::State::lists={}", state.join("lists").display()));
        options.push(format!("Dir::Cache={}", state.display()));
        let update = apt(&options).arg("update").deadline(std::time::Duration::from_secs(300));
        update.run().await.map_err(|e| Fault::from(e).context("fetch the lists of packages"))?;
    }
    Ok(apt(&options).args(["indextargets", "--format", FORMAT, "Created-By: Packages"]).run().await?.text())
}

fn apt(options: &[String]) -> Command {
    Command::new("apt-get").arg("-q").args(options.iter().flat_map(|o| ["-o", o.as_str()]))
}

/// The sources of one release among all that apt knows.
fn compose(listed: &str, suite: &str, own: &str, components: &[String]) -> Vec<String> {
    let known: Vec<(&str, &str)> = listed
        .lines()
        .filter_map(|line| {
            let mut parts = line.trim().split('|');
            let (origin, release, uri) = (parts.next()?, parts.next()?, parts.next()?);
            (origin == "Debian" && uri.contains("://")).then_some((release, uri))
        })
        .collect();
    // `bookworm` itself and `bookworm-updates`, `bookworm-security`; not `bookworm-backports`, which nobody asked for.
    let of = |release: &str, base: &str| {
        let rest = release.strip_prefix(base)?;
        matches!(rest, "" | "-updates" | "-security").then(|| rest.to_owned())
    };
    let mut found = pick(&known, |r| of(r, suite), suite);
    if !found.iter().any(|(_, release)| release == suite) {
        found = pick(&known, |r| of(r, own), suite);
        if matches!(suite, "sid" | "unstable" | "experimental") {
            found.retain(|(_, release)| release == suite);
        }
    }
    let components = components.join(" ");
    found.into_iter().map(|(uri, release)| format!("deb {uri} {release} {components}")).collect()
}

fn pick(known: &[(&str, &str)], of: impl Fn(&str) -> Option<String>, suite: &str) -> BTreeSet<(String, String)> {
    known.iter().filter_map(|(r, uri)| Some(((*uri).to_owned(), format!("{suite}{}", of(r)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
Debian|bookworm|http://mirror.example/debian/
Debian|bookworm|http://mirror.example/debian/
Debian|bookworm-updates|http://mirror.example/debian/
Debian|bookworm-security|http://mirror.example/debian-security/
Debian|bookworm-backports|http://mirror.example/debian/
Docker|bookworm|https://download.example/
";

    fn main() -> Vec<String> {
        vec!["main".into()]
    }

    #[test]
    fn the_nodes_own_release_comes_from_the_nodes_own_mirror() {
        assert_eq!(
            compose(LISTED, "bookworm", "bookworm", &["main".into(), "non-free-firmware".into()]),
            [
                "deb http://mirror.example/debian-security/ bookworm-security main non-free-firmware",
                "deb http://mirror.example/debian/ bookworm main non-free-firmware",
                "deb http://mirror.example/debian/ bookworm-updates main non-free-firmware",
            ]
        );
    }

    #[test]
    fn another_release_comes_from_the_same_mirror() {
        assert_eq!(
            compose(LISTED, "trixie", "bookworm", &main()),
            [
                "deb http://mirror.example/debian-security/ trixie-security main",
                "deb http://mirror.example/debian/ trixie main",
                "deb http://mirror.example/debian/ trixie-updates main",
            ]
        );
        assert_eq!(compose(LISTED, "sid", "bookworm", &main()), ["deb http://mirror.example/debian/ sid main"]);
    }

    #[test]
    fn without_debian_there_is_nothing() {
        assert_eq!(compose("Ubuntu|noble|http://x/\n", "bookworm", "noble", &main()), [""; 0]);
    }

    #[test]
    fn the_release_is_read_from_os_release() {
        assert_eq!(field("ID=debian\nVERSION_CODENAME=bookworm\n", "VERSION_CODENAME").as_deref(), Some("bookworm"));
        assert_eq!(field("VERSION_CODENAME=\"noble\"\n", "VERSION_CODENAME").as_deref(), Some("noble"));
        assert_eq!(field("ID=debian\n", "VERSION_CODENAME"), None);
    }
}
