//! Real containers: made from an archive, started, reached over the network, changed while they run.

use std::time::{Duration, Instant};

use reeve::base::Name;
use reeve::drivers::container::{CtDriver, Ended, Intent, Power};
use serde_json::json;

use super::lab::{Lab, pings, target};

#[tokio::test]
async fn a_container_comes_up_from_an_archive() {
    for unprivileged in [true, false] {
        let lab = Lab::new();
        let address = format!("{}.5", lab.net);
        let name = Name::new("ct-up").unwrap();
        let spec = json!({
            "unprivileged": unprivileged, "rootfs": {"storage": "local", "size": "64Mi"},
            "memory": {"size": "64Mi", "swap": "0"}, "cpu": {"cores": 1, "limit": 0.5, "weight": 50},
            "nics": {"eth0": {"bridge": lab.bridge, "addresses": [format!("{address}/24")], "gateway": format!("{}.1", lab.net)}},
            "nameservers": ["9.9.9.9"], "env": {"GREETING": " hello \"you\" "}
        });
        let start = Instant::now();
        let record = lab.record("ct-up", spec).await;
        let filled = start.elapsed();
        lab.lxc.define(&name, &record).await.unwrap();
        let seen = lab.lxc.find(&name).await.unwrap().unwrap();
        assert_eq!(seen.power, Power::Stopped);
        assert_eq!(seen.ended, Some(Ended::Never));
        assert_eq!(seen.configured.canonical(), record.spec.canonical(), "what is configured reads back");
        let begun = Instant::now();
        lab.lxc.start(&target(&name, &record)).await.unwrap();
        let started = begun.elapsed();
        assert!(pings(&address), "the guest answers at {address}");
        eprintln!("unprivileged {unprivileged}: filled {filled:?}, started {started:?}, answers {:?}", begun.elapsed());
        let seen = lab.lxc.find(&name).await.unwrap().unwrap();
        assert_eq!(seen.power, Power::Running);
        assert_eq!(seen.running.unwrap().canonical(), record.spec.canonical(), "what runs is what is configured");
        assert_eq!(lab.inside("ct-up", &["id", "-u"]).unwrap(), "0");
        assert_eq!(lab.inside("ct-up", &["hostname"]).unwrap(), "ct-up");
        assert_eq!(lab.inside("ct-up", &["cat", "/etc/hostname"]).unwrap(), "ct-up");
        assert!(lab.inside("ct-up", &["cat", "/etc/resolv.conf"]).unwrap().contains("nameserver 9.9.9.9"));
        let init = lab.init("ct-up").await;
        let environ = std::fs::read_to_string(format!("/proc/{init}/environ")).unwrap();
        assert!(environ.split('\0').any(|v| v == "GREETING= hello \"you\" "), "{environ:?}");
        let map = std::fs::read_to_string(format!("/proc/{init}/uid_map")).unwrap();
        assert_eq!(map.split_whitespace().nth(1) == Some("0"), !unprivileged, "{map}");
        assert!(lab.lxc.shutdown(&target(&name, &record), Duration::from_secs(20), Intent::Stop).await.unwrap());
        let seen = lab.lxc.find(&name).await.unwrap().unwrap();
        assert_eq!((seen.power, seen.ended), (Power::Stopped, Some(Ended::Halted)));
        lab.lxc.undefine(&target(&name, &record)).await.unwrap();
        assert_eq!(lab.lxc.find(&name).await.unwrap(), None);
        assert_eq!(std::fs::read_dir(lab.path("l")).unwrap().count(), 0, "nothing is left");
    }
}
