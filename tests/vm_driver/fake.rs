//! The fake keeps what the suite asks of every driver, as far as that needs no guest.

use async_trait::async_trait;
use reeve::base::Size;
use reeve::drivers::guest::fake::Fake;
use reeve::drivers::guest::{Link, Machine, VmDriver};
use reeve::drivers::storage::{Attachment, Format};

use super::machines::settled;
use super::suite::{self, Subject};

struct Faked(Fake);

#[async_trait]
impl Subject for Faked {
    fn driver(&self) -> &dyn VmDriver {
        &self.0
    }

    fn prefix(&self) -> &str {
        "fake-"
    }

    fn machine(&self) -> Machine {
        settled(&Machine::default())
    }

    fn disk(&self, name: &str, _size: Size) -> Attachment {
        Attachment::File { path: format!("/nowhere/{name}").into(), format: Format::Qcow2 }
    }

    fn medium(&self, name: &str) -> Attachment {
        Attachment::File { path: format!("/nowhere/{name}.iso").into(), format: Format::Raw }
    }

    fn links(&self) -> [Link; 2] {
        ["one", "two"].map(|bridge| Link::Bridge { bridge: bridge.into() })
    }

    fn shapes(&self) -> bool {
        true
    }

    async fn ready(&self, _name: &str) {}

    async fn life(&self, _name: &str) -> String {
        String::new()
    }

    async fn see(&self, _name: &str, _script: &str) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn the_fake_shows_at_a_glance_what_changed() {
    suite::glances(&Faked(Fake::new())).await;
}

#[tokio::test]
async fn the_fake_touches_only_the_machine_that_is_meant() {
    suite::identity(&Faked(Fake::new())).await;
}

#[tokio::test]
async fn the_fake_takes_machines_back() {
    suite::snapshots(&Faked(Fake::new())).await;
    suite::no_half_snapshots(&Faked(Fake::new())).await;
}
