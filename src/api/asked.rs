//! What is asked of one resource apart from any plan: its power, its adoption, an orphan's end; each is a task.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::Api;
use super::node::Node;
use super::peer::Peer;
use super::plans::started;
use super::problem::Problem;
use super::run::{Work, start};
use super::take::{Json, Named, Params};
use super::tasks::Job;
use super::types::{Adoption, PowerWish, PowerWord};
use crate::base::{Fault, Name};
use crate::engine::execute::{Ending, Outcome};
use crate::engine::observe::{observe, observe_kinds};
use crate::engine::request::Request;
use crate::kinds::{KindName, PowerRequest, Ref, Resource};
use crate::plan::file::resource;
use crate::plan::model::Action;

/// What a person asks.
pub enum Asked {
    /// A guest's power.
    Power(Ref, PowerRequest),
    /// That what is there is managed from now on, as this manifest says it is.
    Adopt(Arc<Resource>),
    /// The end of an orphan: its storage, and its name there.
    Destroy(Name, String),
}

/// How a volume is destroyed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removal {
    /// Whether it is meant.
    #[serde(default)]
    destroy_data: bool,
}

/// `POST /v1/resources/{kind}/{name}/power`.
pub async fn power(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Named(reference): Named,
    Json(PowerWish { to, force }): Json<PowerWish>,
) -> Result<Response, Problem> {
    let (to, what) = match to {
        PowerWord::Start => (PowerRequest::Start, "start"),
        PowerWord::Stop => (PowerRequest::Stop { force }, "stop"),
        PowerWord::Restart => (PowerRequest::Restart { force }, "restart"),
    };
    Ok(started(&*start(&api, Work::Asked(Asked::Power(reference, to)), what, &peer.name)?))
}

/// `POST /v1/resources/{kind}/{name}/adopt`.
pub async fn adopt(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Named(reference): Named,
    Json(Adoption { manifest }): Json<Adoption>,
) -> Result<Response, Problem> {
    let found = resource(&manifest).map_err(|fault| Problem::bad(fault.message))?;
    if found.reference() != reference {
        return Err(Problem::bad(format!("the path names {reference}, and the manifest {}", found.reference())));
    }
    Ok(started(&*start(&api, Work::Asked(Asked::Adopt(Arc::new(found))), "adopt", &peer.name)?))
}

/// `DELETE /v1/orphans/{storage}/{volume}`.
pub async fn destroy(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Path((storage, volume)): Path<(String, String)>,
    Params(removal): Params<Removal>,
) -> Result<Response, Problem> {
    let storage = Name::new(&storage).map_err(|e| Problem::missing(e.to_string()))?;
    if !removal.destroy_data {
        let problem = Problem::bad("deleting an orphan destroys the data on it");
        return Err(problem.help("add destroyData=true when nobody needs it any more"));
    }
    Ok(started(&*start(&api, Work::Asked(Asked::Destroy(storage, volume)), "delete", &peer.name)?))
}

impl Asked {
    /// The resource it is asked of, and what is done to it in the words of plans.
    pub fn of(&self) -> (Ref, Action) {
        match self {
            Self::Power(reference, _) => (reference.clone(), Action::Update),
            Self::Adopt(resource) => (resource.reference(), Action::Update),
            Self::Destroy(storage, _) => (Ref::new(KindName::Storage, storage.clone()), Action::Delete),
        }
    }

    /// Does it, and says what became of it.
    pub async fn carry_out(&self, node: &dyn Node, job: &Job, who: &str) -> Result<Outcome, Fault> {
        let (resource, action) = self.of();
        let (world, ledger) = (node.world(), node.ledger());
        let accepted = &ledger.accepted().await?;
        let live = match self {
            // A guest is not kept waiting by a storage that hangs.
            Self::Power(..) => observe_kinds(world, &accepted.catalog, &[resource.kind]).await,
            Self::Adopt(_) | Self::Destroy(..) => observe(world, &accepted.catalog).await,
        };
        let live = &live.knowing(&accepted.facts);
        let request = Request { world, ledger, accepted, live, who, progress: job };
        let done = match self {
            Self::Power(reference, to) => request.power(reference, *to).await,
            Self::Adopt(resource) => request.adopt(resource).await,
            Self::Destroy(storage, volume) => request.destroy_orphan(&format!("{storage}/{volume}")).await,
        };
        let ending = done.map_or_else(Ending::Failed, |()| Ending::Done);
        Ok(Outcome { resource, action, ending })
    }
}
