//! The journal of one run: intents and results in the store, with crash points around each write.
//!
//! An intent is durable before its effect begins. While a plan is carried out, a result becomes durable together with the
//! next intent, or soon after (`execute` sees to that): one sync for both.

use async_trait::async_trait;
use serde_json::Value;

use super::crash;
use super::records::Ledger;
use crate::base::{Fault, Uid};
use crate::kinds::{Journal, Ref};
use crate::store::records::JournalRecord;

/// Journals into the store.
pub struct StoreJournal<'a> {
    ledger: &'a Ledger,
    plan: &'a str,
    /// Whether results may wait for the next write.
    patient: bool,
}

impl<'a> StoreJournal<'a> {
    /// A journal for the plan with this hash.
    pub fn new(ledger: &'a Ledger, plan: &'a str) -> Self {
        Self { ledger, plan, patient: false }
    }

    /// One whose results wait for the next write; whoever uses it settles the ledger.
    pub fn patient(ledger: &'a Ledger, plan: &'a str) -> Self {
        Self { ledger, plan, patient: true }
    }
}

#[async_trait]
impl Journal for StoreJournal<'_> {
    async fn intent(&self, resource: &Ref, uid: Uid, effect: &str, detail: &Value) -> Result<Uid, Fault> {
        crash::point("before intent");
        let id = Uid::fresh();
        let on = resource.to_string();
        let record =
            JournalRecord::intent(id.uuid(), (&on, uid.uuid()), self.plan, (effect, detail.clone()), self.ledger.now());
        self.ledger.journal_put(&record).await?;
        crash::point("after intent");
        Ok(id)
    }

    async fn done(&self, id: Uid) -> Result<(), Fault> {
        crash::point("before done");
        if self.patient {
            self.ledger.journal_clear_later(id);
        } else {
            self.ledger.journal_clear(id).await?;
        }
        crash::point("after done");
        Ok(())
    }
}
