//! A storage in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::base::{Fault, FaultKind, Mark, Size};
use crate::drivers::storage::{Abilities, Attachment, Format, NewVolume, OnProgress, Storage, Usage, VolumeInfo};
use crate::kinds::storage::Content;

static ABILITIES: Abilities = Abilities {
    provisions: true,
    content: &[Content::Images],
    formats: |_| &[Format::Qcow2, Format::Raw],
    roll_back: crate::drivers::storage::RollBack::Any,
    shared: false,
    snapshots: &[],
    linked_clones: &[],
    thin: true,
};

/// Volumes by name, and the calls that changed one.
#[derive(Default, Clone)]
pub struct Shelf(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    volumes: BTreeMap<String, VolumeInfo>,
    calls: Vec<String>,
    broken: bool,
}

impl Shelf {
    fn open(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn volumes(&self) -> BTreeMap<String, VolumeInfo> {
        self.open().volumes.clone()
    }

    pub fn calls(&self) -> Vec<String> {
        self.open().calls.clone()
    }

    pub fn lose(&self, name: &str) {
        self.open().volumes.remove(name);
    }

    pub fn replace(&self, volume: VolumeInfo) {
        self.open().volumes.insert(volume.name.clone(), volume);
    }

    pub fn break_down(&self, broken: bool) {
        self.open().broken = broken;
    }

    /// What a volume's mark says of it.
    pub fn state(&self, name: &str) -> String {
        let volumes = self.volumes();
        let applied = volumes[name].mark.clone().unwrap().applied.unwrap();
        applied["state"].as_str().unwrap().to_owned()
    }
}

impl Inner {
    fn ours(&mut self, name: &str, uid: crate::base::Uid) -> Result<&mut VolumeInfo, Fault> {
        let info = self.volumes.get_mut(name).ok_or_else(|| Fault::new(FaultKind::NotFound, name))?;
        match &info.mark {
            Some(mark) if mark.uid == uid => Ok(info),
            _ => Err(Fault::new(FaultKind::Identity, name)),
        }
    }
}

#[async_trait]
impl Storage for Shelf {
    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    async fn activate(&self) -> Result<(), Fault> {
        Ok(())
    }

    async fn active(&self) -> Result<bool, Fault> {
        Ok(true)
    }

    async fn usage(&self) -> Result<Usage, Fault> {
        Ok(Usage { total: Size::gib(100), used: Size(0), free: Size::gib(100), promised: None })
    }

    async fn list(&self) -> Result<Vec<VolumeInfo>, Fault> {
        if self.open().broken {
            return Err(Fault::new(FaultKind::Unavailable, "the shelf does not answer"));
        }
        Ok(self.open().volumes.values().cloned().collect())
    }

    async fn find(&self, name: &str) -> Result<Option<VolumeInfo>, Fault> {
        Ok(self.open().volumes.get(name).cloned())
    }

    async fn create(&self, new: &NewVolume, _progress: OnProgress<'_>) -> Result<VolumeInfo, Fault> {
        let mut inner = self.open();
        inner.calls.push(format!("create {}", new.name));
        if let Some(old) = inner.volumes.get(&new.name) {
            let same = old.mark.as_ref().is_some_and(|m| m.uid == new.mark.uid) && old.size == new.size;
            return if same { Ok(old.clone()) } else { Err(Fault::new(FaultKind::Exists, new.name.clone())) };
        }
        let info = VolumeInfo {
            name: new.name.clone(),
            content: new.content,
            format: new.format,
            size: new.size,
            allocated: None,
            mark: Some(new.mark.clone()),
            problem: None,
        };
        inner.volumes.insert(new.name.clone(), info.clone());
        Ok(info)
    }

    async fn grow(&self, name: &str, mark: &Mark, to: Size) -> Result<(), Fault> {
        let mut inner = self.open();
        inner.calls.push(format!("grow {name} {to}"));
        let info = inner.ours(name, mark.uid)?;
        assert!(to >= info.size, "a volume must never shrink");
        info.size = to;
        Ok(())
    }

    async fn remark(&self, name: &str, from: Option<&Mark>, to: &Mark) -> Result<(), Fault> {
        let mut inner = self.open();
        inner.calls.push(format!("remark {name}"));
        let info = inner.ours(name, to.uid)?;
        assert_eq!(info.mark.as_ref(), from);
        info.mark = Some(to.clone());
        Ok(())
    }

    async fn delete(&self, name: &str, expect: &Mark, size: Size) -> Result<(), Fault> {
        let mut inner = self.open();
        inner.calls.push(format!("delete {name}"));
        let info = inner.ours(name, expect.uid)?;
        assert_eq!((info.mark.as_ref(), info.size), (Some(expect), size));
        inner.volumes.remove(name);
        Ok(())
    }

    async fn attachment(&self, name: &str) -> Result<Attachment, Fault> {
        let inner = self.open();
        let info = inner.volumes.get(name).ok_or_else(|| Fault::new(FaultKind::NotFound, name))?;
        Ok(Attachment::File { path: PathBuf::from("/shelf").join(name), format: info.format })
    }

    async fn clean(&self, _name: &str) -> Result<(), Fault> {
        Ok(())
    }
}
