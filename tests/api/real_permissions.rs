//! Who the kernel says is there: this needs root, to become somebody else, and nothing else of the host.

use std::os::unix::fs::PermissionsExt as _;

use super::Place;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_neither_root_nor_of_the_group_is_refused() {
    let place = Place::new().await;
    std::fs::set_permissions(place.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let ask = |path: &str| {
        let mut command = tokio::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "--silent", "--include"]);
        command.arg("--unix-socket").arg(place.socket()).arg(format!("http://reeve{path}"));
        command
    };
    let ran = ask("/v1/health").output().await.unwrap();
    assert!(!ran.status.success(), "the socket's mode lets everybody in: {ran:?}");
    // Whatever its mode, the kernel's word counts.
    std::fs::set_permissions(place.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    for path in ["/v1/health", "/v1/resources", "/metrics", "/v1/nothing"] {
        let ran = ask(path).output().await.unwrap();
        assert!(ran.status.success(), "this test needs root, setpriv and curl: {ran:?}");
        let answer = String::from_utf8(ran.stdout).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
        assert!(answer.contains("urn:reeve:problem:forbidden"), "{path}: {answer}");
    }
    let metrics = place.get("/metrics").await.text;
    assert!(metrics.contains("reeve_api_refused_total 4"), "{metrics}");
    place.end().await;
}
