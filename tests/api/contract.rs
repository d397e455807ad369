//! What each route does with right and wrong input, and that the OpenAPI document tells the truth about it.

use reqwest::Method;
use serde_json::{Value, json};

use super::Place;

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_accepted_planned_applied_and_deleted() {
    let place = Place::new().await;
    let text = place.manifests(2);
    let answer = place.send(Method::POST, "/v1/resources?dryRun=true", text.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((&answer.body["resources"], &answer.body["accepted"]), (&json!(3), &json!({})));
    assert_eq!(
        place.get("/v1/resources?kind=storage,volume").await.body["items"],
        json!([]),
        "a dry run accepted something"
    );

    let answer = place.send(Method::POST, "/v1/resources", text).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.body["accepted"].as_object().unwrap().len(), 3, "{}", answer.text);
    let plan = place.post("/v1/plan", &json!({})).await;
    assert_eq!(plan.status, 200, "{}", plan.text);
    assert_eq!(plan.body["plan"]["summary"]["create"], 3, "{}", plan.text);
    assert!(!place.dir().join("storage").exists(), "a plan changed something");

    let task = place.apply(json!({})).await;
    assert_eq!((&task["state"], &task["steps"]), (&json!("done"), &json!(3)), "{task}");
    assert_eq!(task["plan"], plan.body["plan"]["hash"], "the task did another plan");
    assert!(place.dir().join("storage").exists());
    let again = place.post("/v1/plan", &json!({})).await;
    assert_eq!(again.body["plan"]["steps"], json!([]), "{}", again.text);

    let one = place.get("/v1/resources/volume/v0").await;
    assert_eq!(one.body["status"]["state"], "Ready", "{}", one.text);
    assert_eq!(place.get("/v1/resources?kind=volume").await.body["items"].as_array().unwrap().len(), 2);
    let odd = place.get("/v1/resources?label=odd=true").await.body;
    assert_eq!(odd["items"].as_array().unwrap().len(), 1, "{odd}");

    let answer = place.send(Method::DELETE, "/v1/resources/volume/v0?destroyData=true", "").await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let task = place.ended(&answer.body).await;
    assert_eq!((&task["state"], &task["what"]), (&json!("done"), &json!("delete")), "{task}");
    place.get("/v1/resources/volume/v0").await.is_problem(404, "not-found");
    assert_eq!(place.get("/v1/tasks").await.body["tasks"].as_array().unwrap().len(), 2);
    let events = place.get("/v1/events?resource=volume/v0").await.body;
    let what: Vec<&str> = events["events"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert!(what.iter().any(|w| w.contains("delete")), "{what:?}");
    assert_eq!(place.get("/v1/events?limit=1").await.body["events"].as_array().unwrap().len(), 1);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_plan_is_done_exactly_or_refused() {
    let place = Place::new().await;
    let plan = place.post("/v1/plan", &json!({"manifests": place.manifests(1)})).await;
    assert_eq!(plan.status, 200, "{}", plan.text);
    let request = json!({"saved": plan.body["saved"]});
    let answer = place.post("/v1/apply", &request).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(place.ended(&answer.body).await["state"], "done");
    let answer = place.post("/v1/apply", &request).await;
    let task = place.ended(&answer.body).await;
    assert_eq!((&task["state"], &task["results"]), (&json!("failed"), &json!([])), "{task}");
    assert_eq!(task["error"]["type"], "urn:reeve:problem:stale", "{task}");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests_are_refused_whole_with_every_place() {
    let place = Place::new().await;
    let text = place.manifests(2).replace("size: 1Mi", "size: 1Mib");
    for (method, path) in [(Method::POST, "/v1/resources"), (Method::PUT, "/v1/resources/volume/v0")] {
        let answer = place.send(method, path, text.clone()).await;
        answer.is_problem(422, "manifests");
        let found = answer.body["diagnostics"].as_array().unwrap();
        assert_eq!(found.len(), 2, "{}", answer.text);
        assert!(
            found.iter().all(|d| d["file"] == "<request>" && d["line"].as_u64() > Some(5) && d["code"].is_string())
        );
    }
    place.post("/v1/plan", &json!({"manifests": text})).await.is_problem(422, "manifests");
    place.post("/v1/apply", &json!({"wish": {"manifests": text}})).await.is_problem(422, "manifests");
    assert_eq!(place.get("/v1/resources?kind=storage,volume").await.body["items"], json!([]));
    assert_eq!(place.get("/v1/tasks").await.body["tasks"], json!([]));
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_a_problem_on_every_route() {
    let place = Place::new().await;
    let manifests = place.manifests(1);
    let cases: Vec<(Method, &str, String, u16, &str)> = vec![
        (Method::GET, "/", String::new(), 404, "not-found"),
        (Method::GET, "/v1/nothing", String::new(), 404, "not-found"),
        (Method::PATCH, "/v1/resources", String::new(), 405, "method"),
        (Method::GET, "/v1/resources?kind=cow", String::new(), 400, "bad-request"),
        (Method::GET, "/v1/resources?color=red", String::new(), 400, "bad-request"),
        (Method::GET, "/v1/resources/cow/a", String::new(), 404, "not-found"),
        (Method::GET, "/v1/resources/vm/A%20B", String::new(), 404, "not-found"),
        (Method::GET, "/v1/resources/vm/gone", String::new(), 404, "not-found"),
        (Method::DELETE, "/v1/resources/vm/gone", String::new(), 404, "not-found"),
        (Method::DELETE, "/v1/resources/vm/gone?destroyData=maybe", String::new(), 400, "bad-request"),
        (Method::POST, "/v1/resources", String::new(), 400, "bad-request"),
        (Method::PUT, "/v1/resources/volume/other", manifests, 400, "bad-request"),
        (Method::POST, "/v1/plan", String::new(), 400, "bad-request"),
        (Method::POST, "/v1/plan", "[]".into(), 400, "bad-request"),
        (Method::POST, "/v1/plan", r#"{"cow": 1}"#.into(), 400, "bad-request"),
        (Method::POST, "/v1/plan", "{} {}".into(), 400, "bad-request"),
        (Method::POST, "/v1/plan", r#"{"allow": "destroy"}"#.into(), 400, "bad-request"),
        (Method::POST, "/v1/plan", r#"{"delete": ["vm/gone"]}"#.into(), 404, "not-found"),
        (Method::POST, "/v1/apply", "{}".into(), 400, "bad-request"),
        (Method::POST, "/v1/apply", r#"{"saved": {"kind": "Plan"}}"#.into(), 400, "bad-request"),
        (Method::POST, "/v1/apply", r#"{"saved": {}, "wish": {}}"#.into(), 400, "bad-request"),
        (Method::GET, "/v1/tasks/none", String::new(), 404, "not-found"),
        (Method::DELETE, "/v1/tasks/none", String::new(), 404, "not-found"),
        (Method::GET, "/v1/events?resource=cow", String::new(), 400, "bad-request"),
        (Method::GET, "/v1/events?limit=-1", String::new(), 400, "bad-request"),
    ];
    for (method, path, body, status, word) in cases {
        println!("{method} {path} {body}");
        place.send(method, path, body).await.is_problem(status, word);
    }
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_begins_nothing() {
    let place = Place::new().await;
    // One task at a time: while the first has its turn the others wait, and can be cancelled.
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let answer = place.post("/v1/apply", &json!({"wish": {"manifests": place.manifests(20)}})).await;
        tasks.push(answer.body);
    }
    let last = tasks.last().unwrap();
    let path = format!("/v1/tasks/{}", last["id"].as_str().unwrap());
    let answer = place.send(Method::DELETE, &path, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let ended = place.ended(last).await;
    assert_eq!(ended["cancelled"], answer.body["cancelled"], "{ended}");
    if ended["cancelled"] == true {
        assert_eq!(ended["results"].as_array().unwrap().iter().filter(|r| r["ending"] == "done").count(), 0, "{ended}");
    }
    assert_eq!(place.ended(&tasks[0]).await["state"], "done");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_tell_how_it_is() {
    let place = Place::new().await;
    let health = place.get("/v1/health").await;
    assert_eq!(health.status, 200);
    assert_eq!((&health.body["live"], &health.body["ready"]), (&json!(true), &json!(true)));
    assert_eq!((&health.body["node"], &health.body["wrong"]), (&json!("n1"), &json!([])));
    place.get("/v1/nothing/at/all").await;
    let metrics = place.get("/metrics").await;
    assert!(metrics.media.starts_with("application/openmetrics-text"), "{}", metrics.media);
    let line = r#"reeve_api_answers_total{method="GET",route="/v1/health",status="200"} 1"#;
    assert!(metrics.text.contains(line), "{}", metrics.text);
    assert!(metrics.text.contains(r#"route="other",status="404"} 1"#), "{}", metrics.text);
    assert!(metrics.text.contains("reeve_ready 1") && metrics.text.ends_with("# EOF\n"), "{}", metrics.text);
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_one_resource_is_a_task_that_says_why_it_failed() {
    let place = Place::new().await;
    let answer = place.post("/v1/resources/vm/none/power", &json!({"to": "start"})).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let task = place.ended(&answer.body).await;
    assert_eq!((&task["state"], &task["what"]), (&json!("failed"), &json!("start")), "{task}");
    assert_eq!(task["results"][0]["why"], "vm/none is not there", "{task}");
    for body in [json!({}), json!({"to": "up"}), json!({"to": "stop", "hard": true})] {
        place.post("/v1/resources/vm/none/power", &body).await.is_problem(400, "bad-request");
    }
    let manifest = json!({"kind": "VirtualMachine", "metadata": {"name": "a"}, "spec": {}});
    let answer = place.post("/v1/resources/vm/b/adopt", &json!({"manifest": manifest})).await;
    answer.is_problem(400, "bad-request");
    place.post("/v1/resources/vm/a/adopt", &json!({"manifest": {}})).await.is_problem(400, "bad-request");
    let answer = place.post("/v1/resources/vm/a/adopt", &json!({"manifest": manifest})).await;
    assert_eq!(place.ended(&answer.body).await["state"], "failed");

    place.apply(json!({"manifests": place.manifests(1)})).await;
    place.apply(json!({"delete": ["volume/v0"]})).await;
    let path = "/v1/orphans/local/vol-v0";
    place.send(Method::DELETE, path, "").await.is_problem(400, "bad-request");
    let ends = async |path: &str| {
        let answer = place.send(Method::DELETE, &format!("{path}?destroyData=true"), "").await;
        place.ended(&answer.body).await
    };
    assert_eq!(ends("/v1/orphans/local/vol-none").await["state"], "failed");
    let task = ends(path).await;
    assert_eq!((&task["state"], &task["results"][0]["action"]), (&json!("done"), &json!("delete")), "{task}");
    assert_eq!(ends(path).await["state"], "failed", "it was destroyed twice");
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_is_whole() {
    let place = Place::new().await;
    let document = place.get("/v1/openapi.json").await.body;
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = std::collections::BTreeSet::new();
    let mut told = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            told += 1;
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            let named = operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path").count();
            assert_eq!(named, path.matches('{').count(), "{path}");
            // The router has what the document has: never "no such route" and never "no such method".
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = place.send(method.clone(), &path.replace("{kind}", "vm").replace(['{', '}'], ""), "").await;
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(!answer.text.contains("there is no route"), "{method} {path}");
        }
    }
    assert_eq!(told, reeve::api::routes::all().len(), "the document leaves a route out");
    resolve(&document, &document);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in ["Problem", "Task", "Wish", "Health", "ResourceList"] {
        let schema = schemas.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(jsonschema::meta::is_valid(schema), "{schema}");
    }
    place.end().await;
}

/// Every reference in the document leads somewhere.
fn resolve(at: &Value, document: &Value) {
    match at {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get("$ref") {
                assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to} leads nowhere");
            }
            map.values().for_each(|v| resolve(v, document));
        }
        Value::Array(all) => all.iter().for_each(|v| resolve(v, document)),
        _ => {}
    }
}
