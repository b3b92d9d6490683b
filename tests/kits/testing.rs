//! The kit for users' tests: a store that fails, assertions, and a probe that finds planted poisoning and nothing else.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Response, StatusCode, Uri},
    middleware::{self, Next},
    response::IntoResponse,
    routing::{get, post},
};
use http_body_util::Full;
use larder::{
    Cache, CacheLayer, Memory, Reason, assert_hit, assert_miss, assert_not_stored, assert_stored,
    testing::{Fault, Faulty, Finding, Operation, Probe, ProbeReport},
};
use tower::ServiceExt as _;

const MINUTE: Duration = Duration::from_secs(60);

async fn ask(app: &Router, path: &str) -> Response<Body> {
    app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

fn hello(cache: &Cache) -> Router {
    let layer = cache.layer().ttl(MINUTE).tags(["hello"]);
    Router::new().route("/hello", get(|| async { "hello" }).layer(layer)).route("/bare", get(|| async { "bare" }))
}

mod assertions {
    use super::*;

    #[tokio::test]
    async fn hold_for_what_they_name() {
        let app = hello(&Cache::in_memory(1 << 20));
        let first = ask(&app, "/hello").await;
        assert_miss!(first);
        assert_stored!(&first);
        assert_hit!(ask(&app, "/hello").await, "asked {} times", 2);
        assert_not_stored!(app.oneshot(Request::post("/hello").body(Body::empty()).unwrap()).await.unwrap(), Reason::Method);
    }

    #[tokio::test]
    #[should_panic(expected = "asked with a cookie: expected a hit, but the response (200 OK) has `larder; fwd=bypass; \
                    detail=request-cookie`. The request has a `Cookie`, and the route does not declare which cookies matter")]
    async fn tell_the_whole_status_and_what_its_reason_means() {
        let request = Request::get("/hello").header("cookie", "a=b").body(Body::empty()).unwrap();
        let response = hello(&Cache::in_memory(1 << 20)).oneshot(request).await.unwrap();
        assert_hit!(response, "asked {}", "with a cookie");
    }

    #[tokio::test]
    #[should_panic(expected = "expected a miss, but the response (200 OK) did not pass a larder layer")]
    async fn notice_that_there_is_no_layer() {
        assert_miss!(ask(&hello(&Cache::in_memory(1 << 20)), "/bare").await);
    }

    #[tokio::test]
    #[should_panic(expected = "expected a response that is not stored (`no-store`), but the response (200 OK) has `larder; hit")]
    async fn do_not_take_a_hit_for_something_that_is_not_stored() {
        let app = hello(&Cache::in_memory(1 << 20));
        ask(&app, "/hello").await;
        assert_not_stored!(ask(&app, "/hello").await, Reason::NoStore);
    }
}

mod faults {
    use super::*;

    #[tokio::test]
    async fn come_as_often_as_was_said() {
        let backend = Faulty::new(Memory::new(1 << 20));
        let cache = Cache::new(backend.clone());
        backend.fail_times(Operation::Invalidate, Fault::Unavailable, 2);
        for fails in [true, true, false] {
            assert_eq!(cache.invalidate_tags(["hello"]).await.is_err(), fails);
        }
        assert_eq!(backend.calls(Operation::Invalidate), 3);
    }

    #[tokio::test]
    async fn reads_that_fail_go_to_the_handler_and_store_nothing() {
        let backend = Faulty::new(Memory::new(1 << 20));
        let app = hello(&Cache::new(backend.clone()));
        ask(&app, "/hello").await;
        backend.fail(Operation::Read, Fault::Unavailable);
        let response = ask(&app, "/hello").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_not_stored!(response, Reason::StoreError);
        backend.fail(Operation::Read, Fault::AnswerLost);
        assert_not_stored!(ask(&app, "/hello").await, Reason::StoreTimeout);
        backend.heal();
        assert_hit!(ask(&app, "/hello").await);
    }

    #[tokio::test]
    async fn an_invalidation_whose_answer_is_lost_has_taken_effect() {
        let backend = Faulty::new(Memory::new(1 << 20));
        let cache = Cache::new(backend.clone());
        let app = hello(&cache);
        ask(&app, "/hello").await;
        backend.fail(Operation::Invalidate, Fault::AnswerLost);
        assert!(cache.invalidate_tags(["hello"]).await.unwrap_err().is_timeout());
        assert_miss!(ask(&app, "/hello").await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_read_takes_its_time_and_one_that_hangs_for_ever() {
        let backend = Faulty::new(Memory::new(1 << 20));
        let app = hello(&Cache::new(backend.clone()));
        ask(&app, "/hello").await;
        backend.fail(Operation::Read, Fault::Slow(MINUTE));
        let began = tokio::time::Instant::now();
        assert_hit!(ask(&app, "/hello").await);
        assert_eq!(began.elapsed(), MINUTE);
        backend.fail(Operation::Read, Fault::Hangs);
        assert!(tokio::time::timeout(100 * MINUTE, ask(&app, "/hello")).await.is_err());
    }
}

/// A page with a planted flaw, and the layer that it is behind.
fn page<R: IntoResponse + 'static>(
    layer: impl Fn(CacheLayer) -> CacheLayer,
    answer: impl Fn(&HeaderMap, &Uri) -> R + Clone + Send + Sync + 'static,
) -> impl Fn(Cache) -> Router {
    move |cache| {
        let answer = answer.clone();
        let handler = move |headers: HeaderMap, uri: Uri| async move { answer(&headers, &uri).into_response() };
        Router::new().route("/page", get(handler).layer(layer(cache.layer().ttl(MINUTE))))
    }
}

fn field<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What was found, as `the field` and so on, without values.
fn sent(report: &ProbeReport) -> BTreeSet<String> {
    let name = |sent: String| sent.split([':', '=']).next().unwrap().replace('`', "");
    report.findings().iter().map(|finding| name(finding.sent())).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn probe_finds_a_reflected_field_and_passes_the_fixed_page() {
    let theme = |headers: &HeaderMap, _: &Uri| format!("<body class={:?}>", field(headers, "x-theme"));
    let report = Probe::new(page(|layer| layer, theme)).get("/page").run().await;
    assert_eq!(sent(&report), names(&["the field x-theme"]), "{report}");
    assert!(report.to_string().contains(
        "/page: after a request with the field `x-theme: larder-canary`, the body contains `larder-canary` for all clients"
    ));
    assert!(report.findings()[0].advice().contains("vary_on([\"x-theme\"])"));

    Probe::new(page(|layer| layer.vary_on(["x-theme"]), theme)).get("/page").run().await.assert();
    let varying = move |headers: &HeaderMap, uri: &Uri| ([("vary", "x-theme")], theme(headers, uri));
    Probe::new(page(|layer| layer, varying)).get("/page").run().await.assert();
}

#[tokio::test]
async fn probe_finds_another_status() {
    let acceptable = |headers: &HeaderMap, _: &Uri| match field(headers, "accept") {
        "" | "text/html" => StatusCode::OK,
        _ => StatusCode::NOT_FOUND,
    };
    let report = Probe::new(page(|layer| layer.negative_ttl(MINUTE), acceptable)).get("/page").run().await;
    assert_eq!(sent(&report), names(&["the field accept"]), "{report}");
    assert_eq!(report.findings()[0].effect(), "the status is 404 Not Found rather than 200 OK");
    Probe::new(page(|layer| layer.negative_ttl(MINUTE).vary_on(["accept"]), acceptable)).get("/page").run().await.assert();
}

#[tokio::test]
async fn probe_finds_another_header_field() {
    let frame = |headers: &HeaderMap, _: &Uri| match field(headers, "sec-fetch-mode") {
        "cors" => ([("content-type", "application/json")], "x"),
        _ => ([("content-type", "text/html")], "x"),
    };
    let report = Probe::new(page(|layer| layer, frame)).get("/page").run().await;
    assert_eq!(sent(&report), names(&["the field sec-fetch-mode"]), "{report}");
    assert!(report.findings()[0].effect().starts_with("the field `content-type` is \"application/json\" rather than"));
}

#[tokio::test]
async fn probe_finds_a_canary_in_a_header_field() {
    let linking = |headers: &HeaderMap, _: &Uri| [("link", format!("<{}>; rel=canonical", field(headers, "referer")))];
    let report = Probe::new(page(|layer| layer, linking)).get("/page").run().await;
    assert_eq!(sent(&report), names(&["the field referer"]), "{report}");
    assert_eq!(report.findings()[0].effect(), "the field `link` contains `larder-canary`");
}

#[tokio::test]
async fn probe_finds_an_ignored_cookie() {
    let greeting = |headers: &HeaderMap, _: &Uri| format!("hello {}", field(headers, "cookie"));
    let report = Probe::new(page(|layer| layer.ignore_cookies(true), greeting)).get("/page").cookie("own").run().await;
    assert!(sent(&report).is_superset(&names(&["the cookie lang", "the cookie own"])), "{report}");

    let language = |headers: &HeaderMap, _: &Uri| {
        let cookies = field(headers, "cookie").split("; ").filter_map(|pair| pair.strip_prefix("lang="));
        cookies.map(str::to_owned).collect::<String>()
    };
    let report = Probe::new(page(|layer| layer.ignore_cookies(true), language)).get("/page").run().await;
    assert_eq!(sent(&report), names(&["the cookie lang"]));
    Probe::new(page(|layer| layer.vary_on_cookies(["lang"]), language)).get("/page").run().await.assert();
}

/// What a layer further out saw of the query, which the key leaves out.
#[derive(Clone)]
struct Seen(String);

#[tokio::test]
async fn probe_finds_a_query_that_the_key_leaves_out() {
    let app = |ignored: &'static [&'static str]| {
        move |cache: Cache| {
            let layer = cache.layer().ttl(MINUTE).ignore_query(ignored.iter().copied());
            let handler = |Extension(Seen(query)): Extension<Seen>| async move { query };
            let remember = |mut request: Request, next: Next| async {
                let query = request.uri().query().unwrap_or_default().to_owned();
                request.extensions_mut().insert(Seen(query));
                next.run(request).await
            };
            Router::new().route("/search", get(handler).layer(layer)).layer(middleware::from_fn(remember))
        }
    };
    let report = Probe::new(app(&["utm_source"])).get("/search?q=1").run().await;
    let found: Vec<_> = report.findings().iter().map(larder::testing::Finding::sent).collect();
    assert!(found.contains(&"the query `?q=1&utm_source=larder-canary`".to_owned()), "{report}");
    Probe::new(app(&[])).get("/search?q=1").run().await.assert();
}

#[tokio::test]
async fn probe_finds_a_body_that_a_layer_in_front_takes_off() {
    async fn take_off(request: Request, next: Next) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let content = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        parts.headers.remove("content-length");
        parts.headers.remove("content-type");
        parts.extensions.insert(Seen(format!("{content:?}")));
        next.run(Request::from_parts(parts, Body::empty())).await
    }
    let app = |cache| reporting(cache).layer(middleware::from_fn(take_off));
    let report = Probe::new(app).get("/page").run().await;
    assert_eq!(sent(&report), names(&["the content q", "the content {\"q\""]), "{report}");
}

#[tokio::test]
async fn probe_finds_a_path_that_a_layer_in_front_makes_another() {
    let app = |cache| {
        let cut_slash = |mut request: Request<Full<Bytes>>| {
            let seen = Seen(request.uri().path().to_owned());
            request.extensions_mut().insert(seen);
            *request.uri_mut() = request.uri().path().trim_end_matches('/').parse().unwrap();
            request
        };
        reporting(cache).map_request(cut_slash)
    };
    let report = Probe::new(app).get("/page").run().await;
    assert_eq!(sent(&report), names(&["the path /page/"]), "{report}");
}

/// A page that says what a layer in front has seen.
fn reporting(cache: Cache) -> Router {
    let handler = |Extension(Seen(seen)): Extension<Seen>| async move { seen };
    Router::new().route("/page", get(handler).layer(cache.layer().ttl(MINUTE)))
}

#[tokio::test]
async fn probe_finds_a_field_that_its_user_adds() {
    let reflecting = |headers: &HeaderMap, _: &Uri| field(headers, "x-our-own").to_owned();
    Probe::new(page(|layer| layer, reflecting)).get("/page").run().await.assert();
    let report = Probe::new(page(|layer| layer, reflecting)).get("/page").field("x-our-own").run().await;
    assert_eq!(sent(&report), names(&["the field x-our-own"]));
}

/// What larder itself keeps apart, or does not store, whatever a handler does.
const SAFE_FIELDS: &[&str] = &[
    "forwarded",
    "front-end-https",
    "x-forwarded",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-host",
    "x-http-host-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-override-url",
    "x-rewrite-url",
    "x-script-name",
    "x-url-scheme",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "authorization",
    "upgrade",
];

#[tokio::test]
async fn w1_probe_finds_every_reflected_field_outside_the_key() {
    let echo = |headers: &HeaderMap, uri: &Uri| {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {}\n", value.as_bytes().escape_ascii()));
        format!("{uri}\n{}", lines.collect::<String>())
    };
    let report = Probe::new(page(|layer| layer, echo)).get("/page").run().await;
    let found = sent(&report);
    let safe: Vec<_> = SAFE_FIELDS.iter().filter(|name| found.contains(&format!("the field {name}"))).collect();
    assert!(safe.is_empty(), "{safe:?}");
    let fields = found.iter().filter(|sent| sent.starts_with("the field")).count();
    assert_eq!((fields, found.len()), (found.len(), fields), "neither cookies nor queries, paths and bodies: {report}");
    assert!(fields > 50, "{fields}: {report}");
}

#[tokio::test]
async fn probe_says_nothing_about_a_page_that_is_not_stored() {
    let private = |_: &HeaderMap, _: &Uri| ([("cache-control", "private")], "mine");
    let report = Probe::new(page(|layer| layer, private)).get("/page").run().await;
    let reasons: Vec<_> = report.not_stored().collect();
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].1.contains("detail=private"), "{reasons:?}");
    let assertion = tokio::spawn(async move { report.assert() }).await;
    assert!(assertion.unwrap_err().is_panic(), "a page that was not probed does not pass");
}

#[tokio::test]
async fn probe_is_not_misled_by_pages_that_differ_each_time() {
    static RUNS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let counting = |_: &HeaderMap, _: &Uri| {
        let run = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        ([("etag", format!("\"{run}\""))], format!("run {run}"))
    };
    Probe::new(page(|layer| layer, counting)).get("/page").run().await.assert();
}

#[tokio::test]
async fn probe_takes_fields_that_every_request_needs() {
    let guarded = |headers: &HeaderMap, _: &Uri| match field(headers, "x-key") {
        "secret" => (StatusCode::OK, "page"),
        _ => (StatusCode::FORBIDDEN, "no"),
    };
    let probe = || Probe::new(page(|layer| layer.vary_on(["x-key"]), guarded)).get("/page");
    assert_eq!(probe().run().await.not_stored().count(), 1);
    probe().with("x-key", "secret").run().await.assert();
}

#[tokio::test]
async fn probe_finds_a_page_that_shows_its_user_to_others() {
    let greeting = |headers: &HeaderMap, _: &Uri| format!("hello {}", field(headers, "cookie"));
    let report =
        Probe::new(page(|layer| layer.ignore_cookies(true), greeting)).get("/page").user("cookie", "who=alice").run().await;
    assert!(report.to_string().contains("a user's `cookie`"), "{report}");
    let report =
        Probe::new(page(|layer| layer.bypass_on_cookies(["who"]), greeting)).get("/page").user("cookie", "who=alice").run().await;
    assert!(!report.to_string().contains("a user's `cookie`"), "{report}");
}

/// An application that logs in by a cookie, and sets another one after each request of a user.
fn with_login(layer: fn(CacheLayer) -> CacheLayer) -> impl Fn(Cache) -> Router {
    move |cache| {
        let login = |form: String| async move {
            let sid = if form == "user=alice&password=secret" { "alice.0" } else { "nobody" };
            [("set-cookie", format!("sid={sid}; Path=/; HttpOnly"))]
        };
        // Alice is greeted from her second request on: the first gives her another cookie.
        let greeting = |headers: HeaderMap| async move {
            let number = field(&headers, "cookie").strip_prefix("sid=alice.").map(|number| number.parse::<usize>().unwrap());
            match number {
                Some(0) => ([("set-cookie", "sid=alice.1")], "moment".to_owned()).into_response(),
                Some(_) => "hello alice".into_response(),
                None => "hello".into_response(),
            }
        };
        let page = get(greeting).layer(layer(cache.layer().ttl(MINUTE)));
        Router::new().route("/page", page).route("/login", post(login))
    }
}

#[tokio::test]
async fn probe_sends_the_cookies_back_that_the_application_has_set() {
    const FORM: &str = "user=alice&password=secret";
    let careless = || with_login(|layer| layer.ignore_cookies(true));
    let report = Probe::new(careless()).get("/page").login("/login", FORM).run().await;
    let found: Vec<_> = report.findings().iter().map(Finding::sent).collect();
    assert_eq!(found, ["the cookies of a login at `/login`"], "{report}");
    assert!(report.findings()[0].advice().contains("per_principal"), "{report}");

    let report = Probe::new(careless()).get("/page").user("cookie", "sid=alice.0").run().await;
    let found: Vec<_> = report.findings().iter().map(Finding::sent).collect();
    assert_eq!(found, ["a user's `cookie`"], "{report}");

    Probe::new(careless()).get("/page").login("/login", "user=mallory").run().await.assert();
    Probe::new(with_login(|layer| layer.bypass_on_cookies(["sid"]))).get("/page").login("/login", FORM).run().await.assert();
}

#[tokio::test]
async fn probe_finds_requests_that_end_caching_for_others() {
    // For one language the handler forbids to store, which is remembered.
    let spoiled = |headers: &HeaderMap, _: &Uri| {
        let control = if field(headers, "accept-language") == "x-39" { "private" } else { "max-age=60" };
        ([("cache-control", control)], "page")
    };
    let report = Probe::new(page(|layer| layer, spoiled)).get("/page").run().await;
    assert!(sent(&report).is_empty(), "the next request stores it again: {report}");
    let varied = |_: &HeaderMap, _: &Uri| ([("vary", "accept-language, origin, accept")], "page");
    Probe::new(page(|layer| layer, varied)).get("/page").run().await.assert();
    let report = Probe::new(page(|layer| layer.max_variants(0), varied)).get("/page").run().await;
    assert_eq!(report.not_stored().count(), 1);
}

/// A layer outside of the cache begins a session for each client that has none.
fn with_sessions(answer: fn(&HeaderMap, &Uri) -> Response<Body>) -> impl Fn(Cache) -> Router {
    move |cache| {
        let begun = Arc::new(AtomicUsize::new(0));
        let begin = move |request: Request, next: Next| {
            let begun = Arc::clone(&begun);
            async move { begin_session(&begun, request, next).await }
        };
        page(|layer| layer.bypass_on_cookies(["sid"]), answer)(cache).layer(middleware::from_fn(begin))
    }
}

async fn begin_session(begun: &AtomicUsize, request: Request, next: Next) -> Response<Body> {
    let has_session = field(request.headers(), "cookie").contains("sid=");
    let mut response = next.run(request).await;
    if !has_session {
        let sid = format!("sid={}", begun.fetch_add(1, Ordering::Relaxed));
        response.headers_mut().append("set-cookie", sid.parse().unwrap());
    }
    response
}

#[tokio::test]
async fn probe_is_not_misled_by_a_session_that_a_layer_outside_of_the_cache_begins() {
    let plain = |_: &HeaderMap, _: &Uri| "page".into_response();
    Probe::new(with_sessions(plain)).get("/page").user("cookie", "who=alice").run().await.assert();
    let theme = |headers: &HeaderMap, _: &Uri| field(headers, "x-theme").to_owned().into_response();
    let report = Probe::new(with_sessions(theme)).get("/page").run().await;
    assert_eq!(sent(&report), names(&["the field x-theme"]), "{report}");
}

#[tokio::test]
async fn probe_says_why_it_did_not_probe_a_page_that_is_stored() {
    let requests = Arc::new(AtomicUsize::new(0));
    let number = move |_: &http::request::Parts| Some(requests.fetch_add(1, Ordering::Relaxed).to_string());
    let layer = move |layer: CacheLayer| layer.key_with("number", number.clone());
    let report = Probe::new(page(layer, |_, _| "page")).get("/page").run().await;
    let shown = report.to_string();
    assert!(
        shown.contains("because a second clean request is not answered from the cache: `larder; fwd=uri-miss; stored"),
        "{shown}"
    );
    assert!(shown.contains("the two requests have different keys") && !shown.contains("it is not stored"), "{shown}");
}
