//! The one list of routes: the router is made from it, and so is the OpenAPI document.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Extension, Router};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use tokio::time::Instant;

use super::peer::{GROUP, Peer};
use super::problem::Problem;
use super::take::MOST_BYTES;
use super::{Api, asked, events, health, overrides, plans, records, resources, sources, tasks, types};

/// How long an answer may take to begin; a look at the world has deadlines of its own below it.
pub const ANSWER_TIME: Duration = Duration::from_secs(120);

/// What a body is.
pub enum Body {
    /// There is none.
    Nothing,
    /// JSON of this shape.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Text of this media type.
    Text(&'static str),
    /// JSON of this shape, or a stream of events.
    Stream(fn(&mut SchemaGenerator) -> Schema),
}

/// One thing that can be asked.
pub struct Route {
    /// The method, in capitals.
    pub method: Method,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// The parameters of the query: name, and what it says.
    pub query: &'static [(&'static str, &'static str)],
    /// What it takes.
    pub takes: Body,
    /// What it answers with, and the status.
    pub gives: (u16, Body),
    handler: MethodRouter<Api>,
}

fn json<T: JsonSchema>() -> Body {
    Body::Json(SchemaGenerator::subschema_for::<T>)
}

const MANIFESTS: Body = Body::Text("application/yaml");
const DRY: (&str, &str) = ("dryRun", "true: check only, accept nothing");

/// Everything that can be asked.
pub fn all() -> Vec<Route> {
    let route = |method, path, summary, takes, gives, handler| Route {
        method,
        path,
        summary,
        query: &[],
        takes,
        gives,
        handler,
    };
    use Body::{Nothing, Stream, Text};
    use Method as M;
    let (list, one) = ("/v1/resources", "/v1/resources/{kind}/{name}");
    let with = |query, route: Route| Route { query, ..route };
    vec![
        with(
            &[
                ("kind", "Only these kinds, parted by commas"),
                ("label", "Only with these labels: `key=value` or `key`"),
            ],
            route(
                M::GET,
                list,
                "List what is declared and what is there",
                Nothing,
                (200, json::<types::ResourceList>()),
                get(resources::list),
            ),
        ),
        with(
            &[DRY],
            route(
                M::POST,
                list,
                "Check manifests and accept them, all or none",
                MANIFESTS,
                (200, json::<types::Accepted>()),
                post(resources::accept),
            ),
        ),
        route(
            M::GET,
            one,
            "One resource: its manifest and its status",
            Nothing,
            (200, json::<serde_json::Value>()),
            get(resources::one),
        ),
        with(
            &[DRY],
            route(
                M::PUT,
                one,
                "Check one manifest and accept it",
                MANIFESTS,
                (200, json::<types::Accepted>()),
                put(resources::put),
            ),
        ),
        with(
            &[("destroyData", "true: the data goes too; it cannot be brought back")],
            route(
                M::DELETE,
                one,
                "Delete a resource, as a task",
                Nothing,
                (202, json::<types::Task>()),
                delete(resources::delete),
            ),
        ),
        route(
            M::POST,
            "/v1/resources/{kind}/{name}/power",
            "Start, stop or restart a guest, as a task",
            json::<types::PowerWish>(),
            (202, json::<types::Task>()),
            post(asked::power),
        ),
        route(
            M::POST,
            "/v1/resources/{kind}/{name}/adopt",
            "Manage what is there already, without changing it, as a task",
            json::<types::Adoption>(),
            (202, json::<types::Task>()),
            post(asked::adopt),
        ),
        with(
            &[("destroyData", "true, since it cannot be brought back")],
            route(
                M::DELETE,
                "/v1/orphans/{storage}/{volume}",
                "Destroy a volume that nobody needs any more, as a task",
                Nothing,
                (202, json::<types::Task>()),
                delete(asked::destroy),
            ),
        ),
        route(
            M::GET,
            "/v1/overrides",
            "What is for a while not as its manifest says",
            Nothing,
            (200, json::<types::OverrideList>()),
            get(overrides::list),
        ),
        route(
            M::PUT,
            "/v1/overrides/{kind}/{name}",
            "Have a field be other than its manifest says, for a while",
            json::<types::OverrideWish>(),
            (200, json::<types::OverrideItem>()),
            put(overrides::set),
        ),
        with(
            &[("field", "Only these fields, parted by commas")],
            route(
                M::DELETE,
                "/v1/overrides/{kind}/{name}",
                "Take overrides back",
                Nothing,
                (200, json::<types::Cleared>()),
                delete(overrides::clear),
            ),
        ),
        route(
            M::POST,
            "/v1/plan",
            "What would be done; changes nothing",
            json::<types::Wish>(),
            (200, json::<types::PlanAnswer>()),
            post(plans::plan),
        ),
        route(
            M::POST,
            "/v1/apply",
            "Do it, as a task",
            json::<types::ApplyRequest>(),
            (202, json::<types::Task>()),
            post(plans::apply),
        ),
        route(M::GET, "/v1/tasks", "What was started", Nothing, (200, json::<types::TaskList>()), get(tasks::list)),
        route(M::GET, "/v1/tasks/{id}", "How far a task is", Nothing, (200, json::<types::Task>()), get(tasks::one)),
        route(
            M::DELETE,
            "/v1/tasks/{id}",
            "Let a task begin no further step",
            Nothing,
            (200, json::<types::Task>()),
            delete(tasks::cancel),
        ),
        with(
            &[
                ("resource", "Only of this resource, such as vm/web-1"),
                ("limit", "At most so many, the newest; of a list"),
                ("after", "Those after this revision; of a stream, as the header Last-Event-ID"),
            ],
            route(
                M::GET,
                "/v1/events",
                "What was done; live for who accepts text/event-stream",
                Nothing,
                (200, Stream(SchemaGenerator::subschema_for::<types::EventList>)),
                get(events::events),
            ),
        ),
        with(
            &[("prefix", "Only records whose key begins so, such as `manifests/`")],
            route(
                M::GET,
                "/v1/records",
                "What the store has: manifests, conditions, events, the journal",
                Nothing,
                (200, json::<types::RecordList>()),
                get(records::records),
            ),
        ),
        route(
            M::POST,
            "/v1/live",
            "Look at the node; changes nothing",
            json::<types::Look>(),
            (200, json::<serde_json::Value>()),
            post(records::live),
        ),
        route(
            M::GET,
            "/v1/sources",
            "The agent's sources, and what became of each when it was read last",
            Nothing,
            (200, json::<types::SyncAnswer>()),
            get(sources::list),
        ),
        route(
            M::POST,
            "/v1/sources/suspend",
            "Take nothing new from a source",
            json::<types::SourceName>(),
            (200, json::<types::SyncedSource>()),
            post(sources::suspend),
        ),
        route(
            M::POST,
            "/v1/sources/resume",
            "Follow a source again",
            json::<types::SourceName>(),
            (200, json::<types::SyncedSource>()),
            post(sources::resume),
        ),
        route(
            M::POST,
            "/v1/sync",
            "Fetch and read the agent's sources now",
            Nothing,
            (200, json::<types::SyncAnswer>()),
            post(sources::sync),
        ),
        route(
            M::GET,
            "/v1/health",
            "Whether it lives and is ready, and what is wrong; 503 when it is not ready",
            Nothing,
            (200, json::<types::Health>()),
            get(health::health),
        ),
        route(
            M::GET,
            "/v1/openapi.json",
            "This document",
            Nothing,
            (200, json::<serde_json::Value>()),
            get(health::document),
        ),
        route(
            M::GET,
            "/metrics",
            "Numbers for Prometheus",
            Nothing,
            (200, Text(super::metrics::TYPE)),
            get(health::metrics),
        ),
    ]
}

/// The router; each request carries its [`Peer`] as an extension.
pub fn router(api: Api) -> Router {
    let routes = all().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    routes
        .fallback(async |request: Request| Problem::missing(format!("there is no route {}", request.uri().path())))
        .method_not_allowed_fallback(async |request: Request| {
            let detail = format!("{} is not for {}", request.method(), request.uri().path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "The route has no such method", detail)
        })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), watch))
        .with_state(api)
}

/// Lets in who may, bounds the time, and counts.
async fn watch(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    // A path of no route and a made-up method must not make a new series each.
    let name = route.as_ref().map_or("other", MatchedPath::as_str).to_owned();
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE].contains(&method);
    let answer = if peer.allowed {
        let late = |_| {
            let detail = format!("the answer took longer than {} s", ANSWER_TIME.as_secs());
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "deadline", "The other side took too long", detail)
        };
        let answer = tokio::time::timeout(ANSWER_TIME, next.run(request)).await;
        answer.map_err(late).unwrap_or_else(|problem| problem.into_response())
    } else {
        api.metrics().refused.inc();
        forbidden(&peer).into_response()
    };
    let method = if known { method.as_str() } else { "other" };
    api.metrics().answered(method, &name, answer.status().as_u16(), began.elapsed());
    answer
}

fn forbidden(peer: &Peer) -> Problem {
    let detail = format!("{} may not use the API: only root and the group `{GROUP}` may", peer.name);
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "You may not do this", detail)
        .help(format!("let root add the user: usermod -aG {GROUP} USER"))
}
