//! The example `operations`: an operator, a viewer and a stranger at the same page.

use http::{Method, StatusCode};
use serde_json::Value;

use super::{Answer, Example};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn started() -> Example {
    let variables = [("OPERATOR_PASSWORD", "full"), ("VIEWER_PASSWORD", "look"), ("LARDER_TOKEN", "token")];
    Example::start_with("operations", &[], &variables)
}

impl Example {
    /// Logs in, and returns the cookie of the session.
    async fn log_in(&self, credentials: &'static str) -> String {
        let answer = self.ask(Method::POST, "/login", &[FORM], credentials).await;
        assert_eq!((answer.status, &answer.headers["location"] == "/ops/cache/"), (StatusCode::SEE_OTHER, true));
        answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    async fn page(&self, path: &str, cookie: &str) -> Answer {
        self.ask(Method::GET, &format!("/ops/cache{path}"), &[("cookie", cookie)], "").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_shows_its_page_only_to_those_who_are_logged_in() {
    let example = started();
    for path in ["/", "/routes", "/api/stats"] {
        for cookie in ["", "session=", "session=guessed"] {
            assert_eq!(example.page(path, cookie).await.status, StatusCode::NOT_FOUND, "{path} {cookie}");
        }
    }
    for wrong in ["name=operator&password=look", "name=operator&password=", "name=root&password=full", "name=&password="] {
        assert_eq!(example.ask(Method::POST, "/login", &[FORM], wrong).await.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let (operator, viewer) =
        (example.log_in("name=operator&password=full").await, example.log_in("name=viewer&password=look").await);
    for cookie in [&operator, &viewer] {
        let overview = example.page("/", cookie).await;
        assert!(overview.status == StatusCode::OK && overview.body.contains("Hit ratio"), "{overview:?}");
    }
    assert!(example.page("/", &operator).await.body.contains("operator"));

    let invalidate = async |headers: &[(&str, &str)]| {
        example.ask(Method::POST, "/ops/cache/api/invalidate", headers, r#"{"tags":["post:7"]}"#).await.status
    };
    example.get("/posts/7").await;
    assert_eq!(invalidate(&[]).await, StatusCode::NOT_FOUND);
    assert_eq!(invalidate(&[("cookie", &viewer)]).await, StatusCode::FORBIDDEN);
    assert!(example.get("/posts/7").await.cache_status().contains("hit"));
    assert_eq!(invalidate(&[("cookie", &operator)]).await, StatusCode::OK);
    assert!(!example.get("/posts/7").await.cache_status().contains("hit"));
    assert_eq!(invalidate(&[("authorization", "Bearer token")]).await, StatusCode::OK);
    assert_eq!(invalidate(&[("authorization", "Bearer wrong")]).await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_counts_its_pages_for_the_operator_and_for_prometheus() {
    let example = started();
    let cookie = example.log_in("name=operator&password=full").await;
    for _ in 0..3 {
        // A session does not keep the pages out of the cache.
        example.ask(Method::GET, "/posts/7", &[("cookie", &cookie)], "").await;
        example.get("/search?q=larder").await;
    }
    example.ask(Method::PUT, "/posts/7", &[], "changed").await;
    assert_eq!(example.get("/posts/7").await.body, "changed");
    example.get("/").await;

    let routes: Value = serde_json::from_str(&example.page("/api/routes", &cookie).await.body).unwrap();
    let route = |name: &str| routes["routes"].as_array().unwrap().iter().find(|route| route["route"] == name).unwrap().clone();
    assert_eq!((&route("/posts/{id}")["outcomes"]["hit"], &route("/posts/{id}")["outcomes"]["miss"]), (&2.into(), &2.into()));
    assert_eq!(route("/search")["not_stored"][0]["reason"], "no-freshness");

    let metrics = example.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4");
    let line = r#"larder_requests_total{cache="larder",route="/posts/{id}",outcome="hit"} 2"#;
    assert!(metrics.body.lines().any(|has| has == line), "{}", metrics.body);

    // The page refreshes through the application.
    let refresh = r#"{"uri":"http://127.0.0.1/posts/8"}"#;
    let refreshed = example.ask(Method::POST, "/ops/cache/api/refresh", &[("cookie", &cookie)], refresh).await;
    assert!(refreshed.status == StatusCode::OK && refreshed.body.contains(r#""stored":true"#), "{refreshed:?}");
}
