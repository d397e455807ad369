//! The OpenAPI 3.1 document, from the list of routes and the types they use.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::routes::{self, Body, Route};

/// The document.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths = Map::new();
    for route in routes::all() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(&route, &mut generator);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Reeve's local API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "HTTP on a Unix socket, for root and the group `reeve`. Everything that goes wrong is answered with RFC 9457 problem details.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {"Problem": {
                "description": "What went wrong",
                "content": {"application/problem+json": {"schema": problem}},
            }},
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let in_path = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let in_path = in_path.map(|n| json!({"name": n, "in": "path", "required": true, "schema": {"type": "string"}}));
    let in_query = route
        .query
        .iter()
        .map(|(name, what)| json!({"name": name, "in": "query", "description": what, "schema": {"type": "string"}}));
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let (status, gives) = &route.gives;
    let mut answer = json!({"description": route.summary});
    if let Some(content) = content(gives, generator) {
        answer["content"] = content;
    }
    let mut operation = json!({
        "operationId": name(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            (status.to_string()): answer,
            "default": {"$ref": "#/components/responses/Problem"},
        },
    });
    if let Some(content) = content(&route.takes, generator) {
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

fn content(body: &Body, generator: &mut SchemaGenerator) -> Option<Value> {
    match body {
        Body::Nothing => None,
        Body::Json(schema) => Some(json!({"application/json": {"schema": schema(generator)}})),
        Body::Text(media) => Some(json!({ *media: {"schema": {"type": "string"}} })),
        Body::Stream(schema) => Some(json!({
            "application/json": {"schema": schema(generator)},
            "text/event-stream": {"schema": {"type": "string"}},
        })),
    }
}

/// `getResourcesKindName` for `GET /v1/resources/{kind}/{name}`.
fn name(route: &Route) -> String {
    let mut name = route.method.as_str().to_lowercase();
    let words = route.path.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty() && *w != "v1");
    for word in words {
        let (first, rest) = word.split_at(1);
        name.push_str(&first.to_uppercase());
        name.push_str(rest);
    }
    name
}
