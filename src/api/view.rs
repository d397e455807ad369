//! The node as it is now, looked at once for all who ask at a time.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::node::Node;
use crate::base::Fault;
use crate::engine::observe::observe;
use crate::engine::picture::Picture;
use crate::kinds::Options;

/// The newest look; who asks while one is made shares the next.
#[derive(Default)]
pub struct Views(Mutex<Option<(Instant, Arc<Picture>)>>);

impl Views {
    /// A look that began after this was asked for.
    pub async fn look(&self, node: &dyn Node) -> Result<Arc<Picture>, Fault> {
        let asked = Instant::now();
        let mut newest = self.0.lock().await;
        if let Some((began, picture)) = &*newest
            && *began >= asked
        {
            return Ok(Arc::clone(picture));
        }
        let began = Instant::now();
        let picture = Arc::new(look(node).await?);
        *newest = Some((began, Arc::clone(&picture)));
        Ok(picture)
    }
}

async fn look(node: &dyn Node) -> Result<Picture, Fault> {
    let accepted = node.ledger().accepted().await?;
    let live = observe(node.world(), &accepted.catalog).await;
    let options = Options { allow: node.allow(), destroy_data: false };
    Ok(Picture::new(accepted, live, node.ledger().statuses().await?, options))
}
