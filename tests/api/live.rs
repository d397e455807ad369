//! Events as they happen, and taken up again where a client left off.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Response;
use serde_json::{Value, json};

use super::Place;

/// A stream of events, as text that came in.
struct Stream {
    answer: std::pin::Pin<Box<dyn futures::Stream<Item = String> + Send>>,
    text: String,
}

impl Stream {
    fn of(answer: Response) -> Self {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let chunks = answer.bytes_stream().map(|c| String::from_utf8(c.unwrap().to_vec()).unwrap());
        Self { answer: Box::pin(chunks), text: String::new() }
    }

    /// The next message: its identifier, when it has one, and its data.
    async fn next(&mut self) -> (Option<u64>, Value) {
        loop {
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| message.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
                let (id, data) = (field("id:").map(|i| i.parse().unwrap()), field("data:").map(str::to_owned));
                self.text = rest.to_owned();
                if let Some(data) = data {
                    return (id, serde_json::from_str(&data).unwrap());
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.answer.next()).await;
            self.text += &chunk.expect("no event came").expect("the stream ended");
        }
    }
}

async fn follow(place: &Place, path: &str, last: Option<u64>) -> Response {
    let mut request = place.client.get(format!("http://reeve{path}")).header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_live_and_are_taken_up_again_without_a_gap() {
    let place = Place::new().await;
    let start = place.get("/v1/events").await.body["revision"].as_u64().unwrap();
    let mut live = Stream::of(follow(&place, "/v1/events", None).await);
    let task = place.apply(json!({"manifests": place.manifests(3)})).await;
    assert_eq!(task["state"], "done", "{task}");
    let all = place.get("/v1/events").await.body["events"].as_array().unwrap().len();
    let mut seen = Vec::new();
    for _ in 0..all {
        seen.push(live.next().await);
    }
    // The last of each commit has the revision.
    let at = seen.iter().position(|(id, _)| id.is_some()).unwrap();
    assert!(at + 1 < seen.len(), "all of it was one commit: {seen:?}");
    let mut again = Stream::of(follow(&place, "/v1/events", Some(start)).await);
    for one in &seen {
        assert_eq!(again.next().await, *one);
    }
    // From the middle: exactly what came after.
    let mut rest = Stream::of(follow(&place, "/v1/events?after=0", seen[at].0).await);
    assert_eq!(rest.next().await, seen[at + 1]);
    let mut only = Stream::of(follow(&place, &format!("/v1/events?resource=volume/v1&after={start}"), None).await);
    assert_eq!(only.next().await.1["resource"], "volume/v1");
    drop((live, again, rest, only));
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_is_told() {
    let place = Place::new().await;
    let answer = follow(&place, "/v1/events", Some(1_000_000)).await;
    assert_eq!(answer.status(), 410);
    let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(problem["type"], "urn:reeve:problem:gone", "{problem}");
    let request = place.client.get("http://reeve/v1/events").header("accept", "text/event-stream");
    assert_eq!(request.header("last-event-id", "yesterday").send().await.unwrap().status(), 400);
    place.end().await;
}
