//! Clients that are many, slow, or mean no good: they get a problem or are cut off, and nobody else waits for them.

use reqwest::{Body, Method};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_body_is_refused() {
    let place = Place::new().await;
    // Sent in parts, so that nobody knows its length before.
    let parts = (0..16).map(|_| vec![b' '; 1 << 20]).chain([vec![b' ']]).map(Ok::<_, std::io::Error>);
    let body = Body::wrap_stream(futures::stream::iter(parts));
    place.send(Method::POST, "/v1/plan", body).await.is_problem(413, "too-large");
    // One that is announced is refused before it is sent.
    let head = "POST /v1/resources HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99999999999\r\n\r\n";
    let answer = place.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_text_or_no_json_is_refused() {
    let place = Place::new().await;
    place.send(Method::POST, "/v1/resources", vec![0xff, 0xfe, 0x00]).await.is_problem(400, "bad-request");
    place.send(Method::POST, "/v1/plan", vec![b'"', 0xc3, 0x28, b'"']).await.is_problem(400, "bad-request");
    place.send(Method::POST, "/v1/plan", "[".repeat(100_000)).await.is_problem(400, "bad-request");
    let deep = format!("a: {}{}", "[".repeat(50_000), "]".repeat(50_000));
    place.send(Method::POST, "/v1/resources", deep).await.is_problem(422, "manifests");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_cut_off() {
    let place = Place::new().await;
    assert!(!place.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n").await.contains("200"));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    assert!(!place.raw(long.as_bytes()).await.contains("200 OK"));
    let many: String = (0..5000).map(|n| format!("x-{n}: y\r\n")).collect();
    assert!(!place.raw(format!("GET /v1/health HTTP/1.1\r\n{many}\r\n").as_bytes()).await.contains("200 OK"));
    let answer = place.raw(b"GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert_eq!(place.get("/v1/health").await.status, 200);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_keep_nobody_waiting_and_are_cut_off() {
    let place = Place::new().await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = UnixStream::connect(place.socket()).await.unwrap();
        stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(place.get("/v1/health").await.status, 200);
    let answer = place.raw(b"GET /v1/health HTTP/1.1\r\nhost: x").await;
    assert!(!answer.contains("200 OK"), "{answer}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_resources_are_listed_to_a_hundred_clients() {
    let place = Place::new().await;
    let answer = place.send(Method::POST, "/v1/resources", place.manifests(999)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let asks = (0..100).map(|n| {
        let place = &place;
        async move {
            let path = if n % 2 == 0 {
                "/v1/resources?kind=storage,volume"
            } else {
                "/v1/resources?kind=volume&label=odd=false"
            };
            let answer = place.send(Method::GET, path, Body::from("")).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let want = if n % 2 == 0 { 1000 } else { 500 };
            assert_eq!(answer.body["items"].as_array().unwrap().len(), want);
        }
    });
    futures::future::join_all(asks).await;
    let plan = place.post("/v1/plan", &json!({})).await;
    assert_eq!(plan.body["plan"]["summary"]["create"], 1000, "{}", plan.body["plan"]["summary"]);
    place.end().await;
}
