//! POSTs whose response says whether they were reads.

use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing,
};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use larder::{CacheDirective, CacheLayer, Invalidate, Outcome, Reason};
use tokio::time::sleep;
use tower::ServiceExt as _;

use super::{JSON, LIMIT, asking, graphql, post, query, respond, spawn_post};
use crate::support::{
    Gate, MINUTE, Runs, answering, cache, fields, get, minute, numbered,
    paused::{settled, timed},
    request, send, send_empty,
};

fn app(layer: CacheLayer, runs: &Runs) -> Router {
    Router::new().route("/graphql", routing::any(graphql(runs)).layer(layer.cache_post(LIMIT)))
}

#[tokio::test]
async fn the_same_content_hits_and_another_misses() {
    let app = app(cache().0.layer(), &Runs::default());
    let first = post(&app, "read 1").await;
    assert_eq!((first.text(), first.is_stored()), ("run 1: read 1", true));
    let again = post(&app, "read 1").await;
    assert_eq!((again.text(), again.is_hit()), ("run 1: read 1", true));
    assert_eq!(post(&app, "read 2").await.text(), "run 2: read 2");
    assert!(post(&app, "read 1").await.is_hit() && post(&app, "read 2").await.is_hit());
}

#[tokio::test]
async fn w17_a_mutation_runs_each_time_and_invalidates_its_url() {
    let runs = Runs::default();
    let app = app(minute(&cache().0), &runs);
    for round in 0..3 {
        post(&app, "read").await;
        query(&app, "read").await;
        get(&app, "/graphql").await;
        assert!(post(&app, "read").await.is_hit() && query(&app, "read").await.is_hit() && get(&app, "/graphql").await.is_hit());
        let before = runs.count();
        let mutation = post(&app, "write").await;
        assert_eq!((mutation.reason(), runs.count()), (Some(Reason::Write), before + 1), "round {round}");
        let [read, of_query, of_get] = [post(&app, "read").await, query(&app, "read").await, get(&app, "/graphql").await];
        assert!([read, of_query, of_get].iter().all(|answer| !answer.is_hit()), "round {round}");
    }
}

/// The route's lifetime is of what the route reads, and only the response says whether that is all.
#[tokio::test]
async fn w17_a_lifetime_of_the_route_alone_stores_no_post() {
    let app =
        Router::new().route("/graphql", routing::post(numbered(&Runs::default())).layer(minute(&cache().0).cache_post(LIMIT)));
    for run in ["run 1", "run 2"] {
        let answer = post(&app, "anything").await;
        assert_eq!((answer.text(), answer.reason()), (run, Some(Reason::Write)));
    }
}

#[tokio::test]
async fn a_response_that_asks_for_an_invalidation_is_that_of_a_write() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let of_write = runs.clone();
    let write = move |content: String| async move {
        match content.as_str() {
            "write" => {
                (CacheDirective::ttl(MINUTE), Invalidate::tags("other"), format!("run {}", of_write.begin())).into_response()
            }
            read => respond(&of_write, read),
        }
    };
    let app = Router::new()
        .route("/graphql", routing::post(write).layer(minute(&cache).cache_post(LIMIT)))
        .route("/other", routing::get(numbered(&runs)).layer(minute(&cache).tags(["other"])));
    for _ in 0..2 {
        post(&app, "read").await;
        get(&app, "/other").await;
        let answer = post(&app, "write").await;
        assert_eq!((answer.reason(), answer.is_stored()), (Some(Reason::Write), false));
        assert!(!post(&app, "read").await.is_hit() && !get(&app, "/other").await.is_hit());
    }
}

#[tokio::test]
async fn a_failed_mutation_invalidates_nothing_and_is_not_stored() {
    let runs = Runs::default();
    let of_handler = runs.clone();
    let handler = move |content: String| async move {
        match content.as_str() {
            "write" => (StatusCode::NOT_FOUND, format!("run {}", of_handler.begin())).into_response(),
            read => respond(&of_handler, read),
        }
    };
    let layer = minute(&cache().0).negative_ttl(MINUTE).cache_post(LIMIT);
    let app = Router::new().route("/graphql", routing::post(handler).layer(layer));
    post(&app, "read").await;
    for run in ["run 2", "run 3"] {
        let failed = post(&app, "write").await;
        assert_eq!((failed.status, failed.text(), failed.reason()), (StatusCode::NOT_FOUND, run, Some(Reason::Write)));
    }
    assert!(post(&app, "read").await.is_hit());
}

#[tokio::test]
async fn get_head_query_and_post_never_answer_one_another() {
    let app = app(minute(&cache().0), &Runs::default());
    let ask = async |method: &str| send(&app, asking(method, "/graphql", &[JSON], "read")).await;
    // GET has no content.
    assert_eq!(get(&app, "/graphql").await.text(), "run 1: ");
    assert_eq!(ask("POST").await.text(), "run 2: read");
    assert_eq!(ask("QUERY").await.text(), "run 3: read");
    assert_eq!(ask("POST").await.text(), "run 2: read");
    assert_eq!(get(&app, "/graphql").await.text(), "run 1: ");
    // Without content, too.
    assert_eq!(send(&app, asking("QUERY", "/graphql", &[JSON], "")).await.text(), "run 4: ");
    assert!(!send_empty(&app, Method::POST, "/graphql").await.is_hit());
    assert!(!send_empty(&app, Method::HEAD, "/graphql?q").await.is_stored());
}

#[tokio::test]
async fn the_fields_that_describe_the_content_are_in_the_key() {
    let runs = Runs::default();
    let app = app(minute(&cache().0), &runs);
    let texts: [&[(&str, &str)]; 5] = [
        &[],
        &[JSON],
        &[("content-type", "text/plain")],
        &[JSON, ("content-encoding", "gzip")],
        &[JSON, ("content-language", "de")],
    ];
    for _ in 0..2 {
        for lines in texts {
            send(&app, asking("POST", "/graphql", lines, "read")).await;
        }
    }
    assert_eq!(runs.count(), texts.len());
}

#[tokio::test]
async fn variants_and_tags_are_as_for_get() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let handler = move |content: String| {
        let response: Response = (fields(&[("vary", "accept-language")]), respond(&runs, &content)).into_response();
        std::future::ready(response)
    };
    let layer = cache.layer().tags(["posts"]).cache_post(LIMIT);
    let app = Router::new().route("/graphql", routing::post(handler).layer(layer));
    let ask = async |language| send(&app, asking("POST", "/graphql", &[JSON, ("accept-language", language)], "read")).await;
    for run in [1, 3] {
        assert_eq!(ask("de").await.text(), format!("run {run}: read"));
        assert_eq!(ask("fr").await.text(), format!("run {}: read", run + 1));
        assert!(ask("de").await.is_hit() && ask("fr").await.is_hit());
        cache.invalidate_tags(["posts"]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_concurrent_requests_with_the_same_content_are_one_run() {
    let runs = Runs::default();
    let of_handler = runs.clone();
    let handler = move |content: String| async move {
        sleep(std::time::Duration::from_millis(20)).await;
        respond(&of_handler, &content)
    };
    let app = Router::new().route("/graphql", routing::post(handler).layer(cache().0.layer().cache_post(LIMIT)));
    let asked: Vec<_> = (0..50).map(|_| spawn_post(&app, "read")).collect();
    let (took, _) = timed(async {
        let mut collapsed = 0;
        for answer in asked {
            let answer = answer.await.unwrap();
            assert_eq!(answer.text(), "run 1: read");
            collapsed += usize::from(answer.cache.unwrap().outcome() == Outcome::Collapsed);
        }
        assert_eq!(collapsed, 49);
    })
    .await;
    assert!(runs.count() == 1 && took.as_millis() < 25, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn w17_concurrent_mutations_with_the_same_content_all_run() {
    let runs = Runs::default();
    let of_handler = runs.clone();
    let handler = move |content: String| async move {
        sleep(std::time::Duration::from_millis(20)).await;
        respond(&of_handler, &content)
    };
    let app = Router::new().route("/graphql", routing::post(handler).layer(minute(&cache().0).cache_post(LIMIT)));
    let asked: Vec<_> = (0..50).map(|_| spawn_post(&app, "write")).collect();
    for answer in asked {
        assert!(!answer.await.unwrap().is_hit());
    }
    assert_eq!(runs.count(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_mutation_whose_client_leaves_is_completed_and_invalidates() {
    let (cache, _) = cache();
    let (runs, gate) = (Runs::default(), Gate::closed());
    let (of_handler, door) = (runs.clone(), gate.clone());
    let handler = move |content: String| async move {
        if content == "write" {
            door.pass().await;
        }
        respond(&of_handler, &content)
    };
    // No fetch may go on without its client, and a write does.
    let cache = cache.with_max_abandoned_fetches(0, 0);
    let app = Router::new().route("/graphql", routing::post(handler).layer(cache.layer().cache_post(LIMIT)));
    post(&app, "read").await;
    let leaving = spawn_post(&app, "write");
    gate.arrival().await;
    assert_eq!(cache.unfinished_work().writes, 1);
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    gate.open(1);
    settled().await;
    assert_eq!((runs.count(), cache.unfinished_work().writes), (2, 0));
    assert!(!post(&app, "read").await.is_hit());
}

#[tokio::test]
async fn rules_for_requests_hold_and_what_bypasses_is_a_read_or_a_write_by_its_response() {
    let app = app(minute(&cache().0), &Runs::default());
    post(&app, "read").await;
    let with =
        async |line: (&str, &str), content: &'static str| send(&app, asking("POST", "/graphql", &[JSON, line], content)).await;
    for (line, reason) in [
        (("cookie", "sid=1"), Reason::RequestCookie),
        (("if-match", "\"1\""), Reason::Precondition),
        (("if-none-match", "*"), Reason::Precondition),
        (("x-http-method-override", "DELETE"), Reason::RequestOverride),
    ] {
        assert_eq!(with(line, "read").await.reason(), Some(reason));
        assert!(post(&app, "read").await.is_hit(), "{line:?}: a read invalidates nothing");
        assert_eq!(with(line, "write").await.reason(), Some(reason));
        assert!(!post(&app, "read").await.is_hit(), "{line:?}: a write does");
    }
    let authorized = with(("authorization", "Bearer 1"), "read").await;
    assert_eq!((authorized.is_hit(), authorized.reason()), (false, Some(Reason::Authorization)));
    // Those of GET are ignored (RFC 9110 §13.1.3, §14.2).
    let answer = with(("range", "bytes=0-1"), "read").await;
    assert_eq!((answer.status, answer.is_hit()), (StatusCode::OK, true));
    assert!(with(("if-modified-since", "Mon, 02 Nov 2099 08:00:00 GMT"), "read").await.status == StatusCode::OK);
}

/// The layer outside sees a POST, and must not take a read for a write.
#[tokio::test]
async fn a_read_is_no_write_to_a_layer_outside() {
    let (cache, _) = cache();
    for inner in [cache.layer().cache_post(LIMIT), minute(&cache).cache_post_if(LIMIT, |_, content| content.starts_with(b"read"))]
    {
        for outer in [minute(&cache), minute(&cache).cache_post(LIMIT), minute(&cache).cache_post_if(LIMIT, |_, _| true)] {
            cache.clear().await.unwrap();
            let inside = routing::any(graphql(&Runs::default())).layer(inner.clone());
            let app = Router::new().route("/graphql", inside).layer(outer);
            // Stored, a hit, and one that bypasses.
            for lines in [&[JSON][..], &[JSON], &[JSON, ("cookie", "sid=1")]] {
                send(&app, asking("POST", "/graphql", lines, "read")).await;
            }
            assert_eq!(post(&app, "read").await.text(), "run 1: read");
            post(&app, "write").await;
            assert_ne!(post(&app, "read").await.text(), "run 1: read");
        }
    }
}

#[tokio::test]
async fn a_response_to_post_is_counted_and_named_by_its_method() {
    let (cache, _) = cache();
    let cache = cache.with_revealed_keys(true);
    let app = app(cache.layer(), &Runs::default());
    for _ in 0..1000 {
        post(&app, "read").await;
    }
    post(&app, "write").await;
    let stats = cache.stats();
    let route = stats.route("/graphql").unwrap();
    assert_eq!((route.outcome(Outcome::Hit), route.outcome(Outcome::Miss), route.outcome(Outcome::Uncached)), (999, 1, 1));
    let hot = cache.hot_keys(1);
    assert_eq!(hot.first().and_then(|hot| hot.key.as_deref()), Some("POST http://example.com/graphql"));
}

#[tokio::test]
async fn a_sealed_route_sees_the_fields_that_describe_the_content() {
    let handler = answering(|parts| {
        let names = parts.headers.keys().map(|name| name.as_str().to_owned());
        let names: Vec<_> = names.filter(|name| name.starts_with("content") || name == "user-agent").collect();
        (CacheDirective::ttl(MINUTE), names.join(" "))
    });
    let app = Router::new().route("/graphql", routing::any(handler).layer(minute(&cache().0).sealed(true).cache_post(LIMIT)));
    let lines = [JSON, ("content-language", "de"), ("user-agent", "curl")];
    assert_eq!(send(&app, asking("POST", "/graphql", &lines, "read")).await.text(), "content-type content-language");
    // In the key of a GET they are not.
    assert_eq!(send(&app, request(Method::GET, "/graphql", &lines)).await.text(), "");
}

#[tokio::test]
async fn off_is_off_again() {
    let runs = Runs::default();
    let app =
        Router::new().route("/graphql", routing::post(graphql(&runs)).layer(cache().0.layer().cache_post(LIMIT).cache_post(0)));
    for _ in 0..2 {
        assert_eq!(post(&app, "read").await.reason(), Some(Reason::Method));
    }
    let response = app.oneshot(asking("POST", "/graphql", &[JSON], "read")).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "run 3: read");
}
