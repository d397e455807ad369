//! What the API counts, and the node's own numbers, in the text that Prometheus reads.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Api;
use super::node::Measure;

/// The content type of the text.
pub const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The upper bounds of the buckets of times, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// What the API counts.
pub struct Metrics {
    answers: Family<Answered, Counter>,
    times: Family<Route, Histogram, fn() -> Histogram>,
    /// How many clients are connected.
    pub clients: Gauge,
    /// How many clients were turned away because of who they are.
    pub refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let times = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Self { answers: Family::default(), times, clients: Gauge::default(), refused: Counter::default() }
    }
}

impl Metrics {
    /// Notes an answer.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let label = Answered { method: method.to_owned(), route: route.to_owned(), status };
        self.answers.get_or_create(&label).inc();
        self.times.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Everything as text.
    pub fn text(&self, api: &Api, measures: Vec<Measure>) -> Result<String, std::fmt::Error> {
        let mut all = Registry::with_prefix("reeve");
        all.register("api_answers", "Requests that were answered", self.answers.clone());
        all.register("api_seconds", "How long answers took", self.times.clone());
        all.register("api_clients", "Clients that are connected", self.clients.clone());
        all.register("api_refused", "Clients that may not use the API", self.refused.clone());
        let open = i64::try_from(api.tasks().open()).unwrap_or(i64::MAX);
        all.register("tasks_open", "Tasks that have not ended", ConstGauge::new(open));
        let condition = api.node().condition();
        all.register("ready", "Whether the node is ready", ConstGauge::new(i64::from(condition.ready)));
        for Measure { name, help, value, total } in measures {
            match total {
                true => all.register(name, help, ConstCounter::new(value)),
                false => all.register(name, help, ConstGauge::new(value)),
            }
        }
        let mut text = String::new();
        encode(&mut text, &all)?;
        Ok(text)
    }
}
