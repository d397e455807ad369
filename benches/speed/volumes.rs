//! qcow2 volumes in a directory, made by Reeve and by libvirt's storage pool in turns.

use std::path::Path;

use reeve::base::secret::Secrets;
use reeve::base::{Mark, Name, Size, Uid};
use reeve::drivers::storage::{self, Format, NewVolume, Source, Storage};
use reeve::kinds::storage::{Content, StorageSpec};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use super::libvirtd::Libvirtd;
use super::measure::{Outcome, median, timed};
use super::table::{Table, Target};

const ROUNDS: usize = 9;
const EACH: usize = 20;
const SIZE: Size = Size::gib(10);

/// Makes them, 20 by one and 20 by the other, until the middle is known.
pub fn create(table: &mut Table) -> Outcome<()> {
    let libvirtd = Libvirtd::start()?;
    let connection = Connect::open(Some(&libvirtd.uri()))?;
    let pool = pool(&connection, &libvirtd.dir().join("pool"))?;
    let storage = ours(&libvirtd.dir().join("ours"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(storage.activate())?;
    let (mut theirs, mut made) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        theirs.push(timed(|| (0..EACH).try_for_each(|n| libvirt_makes(&pool, round * EACH + n)))?.0);
        let make = |n| {
            let new = volume(round * EACH + n)?;
            runtime.block_on(storage.create(&new, &|_, _| {}))?;
            Ok(())
        };
        made.push(timed(|| (0..EACH).try_for_each(make))?.0);
    }
    let rate = |seconds: Vec<f64>| EACH as f64 / median(seconds);
    let (theirs, made) = (rate(theirs), rate(made));
    let beside = format!("{made:.0}/s with mark and durable; libvirt {theirs:.0}/s");
    table.against("qcow2 volumes / libvirt's", made / theirs, beside, Target::Least(0.9, ""));
    Ok(())
}

fn pool(connection: &Connect, path: &Path) -> Outcome<StoragePool> {
    std::fs::create_dir_all(path)?;
    let xml = format!("<pool type='dir'><name>speed</name><target><path>{}</path></target></pool>", path.display());
    let pool = StoragePool::define_xml(connection, &xml, 0)?;
    pool.create(0)?;
    Ok(pool)
}

fn libvirt_makes(pool: &StoragePool, number: usize) -> Outcome<()> {
    let bytes = SIZE.bytes();
    let xml = format!(
        "<volume><name>v{number}.qcow2</name><capacity>{bytes}</capacity><allocation>0</allocation>\
         <target><format type='qcow2'/></target></volume>"
    );
    StorageVol::create_xml(pool, &xml, 0)?;
    Ok(())
}

fn ours(path: &Path) -> Outcome<std::sync::Arc<dyn Storage>> {
    let options = serde_json::json!({"path": path}).as_object().cloned().unwrap_or_default();
    let spec = StorageSpec { driver: "dir".into(), options, content: None, nodes: Vec::new() };
    let driver = storage::find("dir").ok_or("there is no dir driver")?;
    Ok(driver.open(&Name::new("speed")?, &spec, &Secrets::below(Path::new("/nonexistent")))?)
}

fn volume(number: usize) -> Outcome<NewVolume> {
    let mark = Mark { uid: Uid::fresh(), resource: format!("vm/speed-{number}"), applied: None };
    let name = format!("vm-speed-{number}-root");
    Ok(NewVolume { name, content: Content::Images, format: Format::Qcow2, size: SIZE, source: Source::Empty, mark })
}
