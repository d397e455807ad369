//! What can be done with the datasets below a place, one command a change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::command::{unmount, zfs, zpool};
use super::options::ZfsOptions;
use super::parse::{self, Dataset, MARK, PLACE, PROPERTIES, UNFINISHED};
use crate::base::exec::Output;
use crate::base::{Fault, FaultKind, Mark, Size};
use crate::drivers::storage::pool::{Blank, Entry, Pool, not_open};
use crate::drivers::storage::{Abilities, Attachment, Format, NewVolume, Usage, VolumeInfo};

/// The longest name of a dataset.
const LONGEST: usize = 255;
/// The longest value of a user property that every ZFS takes.
const LONGEST_MARK: usize = 8000;

/// A place in a pool.
#[derive(Debug)]
pub struct Zfs(pub ZfsOptions);

impl Zfs {
    fn dataset(&self, volume: &str) -> String {
        format!("{}/{volume}", self.0.pool)
    }

    /// The pool itself.
    fn root(&self) -> &str {
        self.0.pool.split('/').next().unwrap_or(&self.0.pool)
    }

    /// The directory below which datasets are mounted.
    fn mountpoint(&self) -> PathBuf {
        self.0.mountpoint.as_ref().map_or_else(|| Path::new("/").join(&self.0.pool), PathBuf::from)
    }

    /// Everything at and below a dataset.
    async fn get(&self, dataset: &str, depth: &[&str]) -> Result<Vec<(String, Dataset)>, Fault> {
        let args = ["-Hp", "-o", "name,property,value,source", PROPERTIES, dataset];
        let out = zfs(std::iter::once("get").chain(depth.iter().copied()).chain(args)).await?;
        Ok(parse::datasets(&out.text()))
    }

    /// The place itself; `NotFound` when it is not there.
    async fn place(&self) -> Result<Dataset, Fault> {
        let found = self.get(&self.0.pool, &[]).await.map_err(|fault| match fault.kind {
            FaultKind::NotFound => {
                Fault::new(FaultKind::NotFound, format!("{} is not set up as a storage", self.0.pool))
                    .help("apply its Storage manifest; if it was set up earlier, its pool is not imported")
            }
            _ => fault,
        })?;
        Ok(found.into_iter().next().map(|(_, dataset)| dataset).unwrap_or_default())
    }

    /// Makes sure that the pool is there: imported, or made of devices where the manifest allows it.
    async fn pool(&self) -> Result<(), Fault> {
        let root = self.root();
        match zpool(["list", "-H", "-o", "name", root]).await {
            Err(fault) if fault.kind == FaultKind::NotFound => {}
            other => return other.map(drop),
        }
        match zpool(["import", root]).await {
            Ok(_) => return Ok(()),
            Err(fault) if !fault.message.contains("no such pool") => return Err(fault),
            Err(_) if !self.0.initialize => {
                let help = "make it with `zpool create`, or say `initialize: true` and list its empty `devices`";
                return Err(Fault::new(FaultKind::NotFound, format!("there is no pool {root}")).help(help));
            }
            Err(_) => {}
        }
        let _held = Blank::prove(&self.0.devices).await?;
        let made = ["create", "-m", "none", root].into_iter().chain(self.0.layout.word());
        zpool(made.chain(self.0.devices.iter().map(String::as_str))).await.map(drop)
    }

    /// The properties of a new dataset, as arguments.
    fn properties(&self, new: &NewVolume, unfinished: bool) -> Result<Vec<String>, Fault> {
        let mut properties = vec![format!("{MARK}={}", mark_text(&new.mark)?)];
        if unfinished {
            properties.push(format!("{UNFINISHED}=yes"));
        }
        if new.format == Format::Subvol {
            let path = self.mountpoint().join(&new.name);
            properties.extend(["canmount=noauto".into(), format!("mountpoint={}", path.display())]);
            properties.push(format!("refquota={}", new.size.bytes()));
            if !self.0.sparse {
                properties.push(format!("refreservation={}", new.size.bytes()));
            }
        }
        Ok(properties.into_iter().flat_map(|p| ["-o".to_owned(), p]).collect())
    }

    /// Whether a dataset is mounted, and where it belongs.
    async fn mounted(&self, dataset: &str) -> Result<(bool, String), Fault> {
        let out = zfs(["get", "-Hp", "-o", "value", "mounted,mountpoint", dataset]).await?.text();
        let mut lines = out.lines();
        let mounted = lines.next() == Some("yes");
        Ok((mounted, lines.next().unwrap_or_default().to_owned()))
    }
}

fn mark_text(mark: &Mark) -> Result<String, Fault> {
    let text = serde_json::to_string(mark).map_err(|e| Fault::other(format!("a mark cannot be written: {e}")))?;
    if text.len() > LONGEST_MARK {
        let message = format!("the mark of {} has {} bytes, more than {LONGEST_MARK}", mark.resource, text.len());
        return Err(Fault::new(FaultKind::Invalid, message));
    }
    Ok(text)
}

/// Where a zvol's device is.
fn device(dataset: &str) -> PathBuf {
    Path::new("/dev/zvol").join(dataset)
}

/// Waits for a device that udev makes.
async fn appear(path: &Path) -> Result<(), Fault> {
    for _ in 0..100 {
        if path.exists() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Fault::new(FaultKind::Deadline, format!("{} did not appear within 10 s", path.display()))
        .help("see whether udevd runs: `udevadm settle`"))
}

/// What ZFS was seen to say of a rollback or a destroy that comes right after an unmount, and no more some moments later.
const UNSETTLED: [&str; 2] = ["dataset is busy", "I/O error"];

/// Runs a command on a dataset that was just unmounted, again while that is not settled; the command can be repeated.
async fn settled<F: Future<Output = Result<Output, Fault>>>(command: impl Fn() -> F) -> Result<(), Fault> {
    for _ in 0..50 {
        match command().await {
            Err(fault) if UNSETTLED.iter().any(|said| fault.message.contains(said)) => {}
            other => return other.map(drop),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    command().await.map(drop)
}

#[async_trait]
impl Pool for Zfs {
    fn abilities(&self) -> &'static Abilities {
        &super::ABILITIES
    }

    fn granule(&self) -> u64 {
        self.0.blocksize.bytes()
    }

    fn misfit(&self, name: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if !name.chars().all(plain) {
            return Some("ZFS has only letters, digits, '-', '_', '.' and ':' in names".into());
        }
        let length = self.0.pool.len() + 1 + name.len();
        (length > LONGEST).then(|| format!("with its pool it has {length} bytes, and ZFS has {LONGEST}"))
    }

    async fn activate(&self) -> Result<(), Fault> {
        match self.place().await {
            Err(fault) if fault.kind == FaultKind::NotFound => {}
            Ok(place) if place.text("type") == Some("filesystem") => return Ok(()),
            Ok(_) => {
                let message = format!("{} is a volume, not a file system", self.0.pool);
                return Err(Fault::new(FaultKind::Invalid, message).help("name a pool or a file system in one"));
            }
            Err(fault) => return Err(fault),
        }
        self.pool().await?;
        if self.root() == self.0.pool {
            return Ok(());
        }
        let mountpoint = format!("mountpoint={}", self.mountpoint().display());
        zfs(["create", "-p", "-o", "canmount=off", "-o", &mountpoint, &self.0.pool]).await?;
        for property in ["acltype=posixacl", "xattr=sa"] {
            // Containers are better off with both, and a ZFS that does not have them works without.
            let _ = zfs(["set", property, &self.0.pool]).await;
        }
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, Fault> {
        let place = self.place().await?;
        let entries = self.read(None).await?;
        let (used, free) = (place.size("used"), place.size("available"));
        let promised = entries.iter().map(|e| e.info.size.bytes()).sum();
        Ok(Usage { total: Size(used.bytes() + free.bytes()), used, free, promised: Some(Size(promised)) })
    }

    async fn read(&self, name: Option<&str>) -> Result<Vec<Entry>, Fault> {
        let dataset = name.map_or_else(|| self.0.pool.clone(), |name| self.dataset(name));
        match self.get(&dataset, &["-r"]).await {
            Ok(found) => Ok(parse::entries(&self.0.pool, &found)),
            // Either is missing: the volume, or the whole place.
            Err(fault) if fault.kind == FaultKind::NotFound => self.place().await.map(|_| Vec::new()),
            Err(fault) => Err(fault),
        }
    }

    async fn make(&self, new: &NewVolume, unfinished: bool) -> Result<(), Fault> {
        let (dataset, properties) = (self.dataset(&new.name), self.properties(new, unfinished)?);
        let mut args = vec!["create".to_owned()];
        if new.format == Format::Raw {
            let (blocks, size) = (self.0.blocksize.bytes().to_string(), new.size.bytes().to_string());
            args.extend(["-b".into(), blocks, "-V".into(), size]);
            args.extend(self.0.sparse.then(|| "-s".to_owned()));
        }
        args.extend(properties);
        args.push(dataset);
        zfs(args).await.map(drop)
    }

    async fn device(&self, name: &str) -> Result<(PathBuf, bool), Fault> {
        let path = device(&self.dataset(name));
        appear(&path).await?;
        Ok((path, true))
    }

    async fn finish(&self, name: &str) -> Result<(), Fault> {
        zfs(["inherit", UNFINISHED, &self.dataset(name)]).await.map(drop)
    }

    async fn resize(&self, info: &VolumeInfo, to: Size) -> Result<(), Fault> {
        let dataset = self.dataset(&info.name);
        let property = if info.format == Format::Raw { "volsize" } else { "refquota" };
        zfs(["set", &format!("{property}={}", to.bytes()), &dataset]).await?;
        if info.format == Format::Subvol && !self.0.sparse {
            zfs(["set", &format!("refreservation={}", to.bytes()), &dataset]).await?;
        }
        Ok(())
    }

    async fn set_mark(&self, name: &str, to: &Mark) -> Result<(), Fault> {
        zfs(["set", &format!("{MARK}={}", mark_text(to)?), &self.dataset(name)]).await.map(drop)
    }

    async fn destroy(&self, entry: &Entry) -> Result<(), Fault> {
        let dataset = self.dataset(&entry.info.name);
        // ZFS destroys the snapshots first and finds only then that the volume is in use.
        match entry.info.format {
            Format::Subvol => unmount(&dataset).await?,
            _ => not_open(&device(&dataset))?,
        }
        settled(|| zfs(["destroy", "-r", &dataset])).await
    }

    async fn open(&self, info: &VolumeInfo) -> Result<Attachment, Fault> {
        let dataset = self.dataset(&info.name);
        if info.format == Format::Raw {
            let path = device(&dataset);
            appear(&path).await?;
            return Ok(Attachment::Block { path });
        }
        let (mounted, path) = self.mounted(&dataset).await?;
        if !path.starts_with('/') {
            let message = format!("the dataset {dataset} is mounted nowhere: its mountpoint is {path}");
            return Err(Fault::new(FaultKind::Unsupported, message).help("`zfs set mountpoint=/some/where` on it"));
        }
        if !mounted {
            // So that it is also mounted when the node starts.
            zfs(["set", "canmount=on", &dataset]).await?;
            if !self.mounted(&dataset).await?.0 {
                zfs(["mount", &dataset]).await?;
            }
        }
        Ok(Attachment::Directory { path: path.into() })
    }

    async fn close(&self, info: &VolumeInfo) -> Result<(), Fault> {
        if info.format == Format::Subvol {
            let dataset = self.dataset(&info.name);
            unmount(&dataset).await?;
            zfs(["set", "canmount=noauto", &dataset]).await?;
        }
        Ok(())
    }

    async fn place_mark(&self) -> Result<Option<Mark>, Fault> {
        let place = self.place().await?;
        place.mark(PLACE).map_err(|why| Fault::new(FaultKind::Identity, format!("{}: {why}", self.0.pool)))
    }

    async fn set_place_mark(&self, to: Option<&Mark>) -> Result<(), Fault> {
        match to {
            Some(mark) => zfs(["set", &format!("{PLACE}={}", mark_text(mark)?), &self.0.pool]).await.map(drop),
            None => zfs(["inherit", PLACE, &self.0.pool]).await.map(drop),
        }
    }

    async fn snapshot(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault> {
        zfs(["snapshot", &format!("{}@{snapshot}", self.dataset(&info.name))]).await.map(drop)
    }

    async fn roll_back(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault> {
        let dataset = self.dataset(&info.name);
        let target = format!("{dataset}@{snapshot}");
        if info.format == Format::Raw {
            not_open(&device(&dataset))?;
            return zfs(["rollback", &target]).await.map(drop);
        }
        // What is open in it would see its files change; unmounting refuses that.
        let (mounted, _) = self.mounted(&dataset).await?;
        unmount(&dataset).await?;
        let done = settled(|| zfs(["rollback", &target])).await;
        let again =
            if mounted && !self.mounted(&dataset).await?.0 { zfs(["mount", &dataset]).await.map(drop) } else { Ok(()) };
        done.and(again)
    }

    async fn drop_snapshot(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault> {
        zfs(["destroy", &format!("{}@{snapshot}", self.dataset(&info.name))]).await.map(drop)
    }

    async fn clone_snapshot(
        &self,
        new: &NewVolume,
        origin: &VolumeInfo,
        snapshot: &str,
        unfinished: bool,
    ) -> Result<(), Fault> {
        let mut args = vec!["clone".to_owned()];
        args.extend(self.properties(new, unfinished)?);
        args.extend([format!("{}@{snapshot}", self.dataset(&origin.name)), self.dataset(&new.name)]);
        zfs(args).await.map(drop)
    }
}
