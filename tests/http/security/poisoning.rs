//! What one client sends must not decide what others get.

use axum::{
    Router,
    body::Body,
    extract::{OriginalUri, Request},
    middleware::{self, Next},
    response::Response,
    routing,
};
use http::{Method, StatusCode, Uri, request::Parts};
use larder::{Cache, CacheDirective, CacheLayer, Forward, Reason};
use proptest::prelude::*;

use crate::support::{
    Answer, ChannelBody, MINUTE, Runs, answering, cache, field, first_streams, get, get_with, minute, numbered, numbered_with,
    page, request, send, send_empty,
};

const HOUR: std::time::Duration = std::time::Duration::from_secs(60 * 60);

/// Says everything that it was sent, as a careless handler might.
fn echo(parts: &Parts) -> String {
    // It is added to requests that accept nothing else.
    let fields = parts.headers.iter().filter(|(name, value)| *name != "accept-encoding" || *value != "identity");
    let lines = fields.map(|(name, value)| format!("{name}: {}\n", value.as_bytes().escape_ascii()));
    format!("{} {}\n{}", parts.method, parts.uri, lines.collect::<String>())
}

/// What a clean request gets after one with this header line.
async fn clean_answer_after(layer: CacheLayer, line: (&str, &str)) -> Answer {
    let app = page(layer, answering(echo));
    get_with(&app, "/page", &[line]).await;
    get(&app, "/page").await
}

#[tokio::test]
async fn w1_a_forwarded_value_is_shared_with_that_value_alone() {
    for name in [
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-forwarded-scheme",
        "x-forwarded-server",
    ] {
        let app = page(minute(&cache().0), answering(echo));
        get_with(&app, "/page", &[(name, "canary")]).await;
        for lines in [&[][..], &[(name, "other")], &[(name, "")]] {
            assert!(get_with(&app, "/page", lines).await.text() == expected(lines), "{name}, then {lines:?}");
        }
        // A handler sees both on one line.
        let twice = get_with(&app, "/page", &[(name, "canary"), (name, "other")]).await;
        assert_eq!(twice.text(), expected(&[(name, "canary, other")]));
    }
}

/// What [`echo`] says to a GET of the page with these header lines.
fn expected(lines: &[(&str, &str)]) -> String {
    echo(&request(Method::GET, "/page", lines).into_parts().0)
}

#[tokio::test]
async fn w1_two_forwarded_fields_are_not_mistaken_for_each_other() {
    let app = page(minute(&cache().0), answering(echo));
    for name in ["x-forwarded-host", "x-forwarded-server", "x-forwarded-proto", "x-forwarded-scheme"] {
        let lines = [(name, "canary")];
        assert_eq!(get_with(&app, "/page", &lines).await.text(), expected(&lines));
    }
}

#[tokio::test]
async fn w1_a_field_that_replaces_the_url_bypasses() {
    for name in ["x-original-url", "x-rewrite-url"] {
        let app = page(minute(&cache().0), answering(echo));
        assert_eq!(get_with(&app, "/page", &[(name, "/canary")]).await.reason(), Some(Reason::RequestOverride));
        assert!(!get(&app, "/page").await.text().contains("canary"));
    }
}

#[tokio::test]
async fn w1_no_known_spelling_of_a_forwarded_host_scheme_or_path_reaches_others() {
    let mut shared = Vec::new();
    for name in [
        "forwarded",
        "front-end-https",
        "x-forwarded",
        "x-forwarded-path",
        "x-forwarded-protocol",
        "x-forwarded-ssl",
        "x-forwarded-uri",
        "x-host",
        "x-http-host-override",
        "x-original-host",
        "x-original-uri",
        "x-override-url",
        "x-url-scheme",
    ] {
        if clean_answer_after(minute(&cache().0), (name, "canary")).await.text().contains("canary") {
            shared.push(name);
        }
    }
    assert_eq!(shared, [""; 0], "fields of one request that all others see");
}

#[tokio::test]
async fn w2_an_error_that_a_header_provokes_is_not_stored() {
    let vectors: [(&str, &str, u16); 7] = [
        ("x-oversized", "x", 431),
        ("x-oversized", "x", 413),
        ("x-oversized", "x", 414),
        ("x-meta-character", "x", 400),
        ("x-method-override", "DELETE", 405),
        ("x-http-method-override", "POST", 404),
        ("x-http-method", "HEAD", 200),
    ];
    for (name, value, status) in vectors {
        let handler = answering(move |parts| {
            let provoked = parts.headers.contains_key(name);
            let status = if provoked { StatusCode::from_u16(status).unwrap() } else { StatusCode::OK };
            (status, [("cache-control", "public, max-age=60")], if provoked { "" } else { "page" })
        });
        let app = page(minute(&cache().0), handler);
        get_with(&app, "/page", &[(name, value)]).await;
        let clean = get(&app, "/page").await;
        assert_eq!((clean.status, clean.text()), (StatusCode::OK, "page"), "{name}: {status}");
    }
}

#[tokio::test]
async fn w2_no_error_is_stored_unless_the_route_names_it() {
    for status in
        [400, 401, 402, 403, 405, 406, 408, 411, 413, 414, 415, 416, 421, 422, 425, 429, 431, 451, 500, 501, 502, 503, 504]
    {
        let status = StatusCode::from_u16(status).unwrap();
        let handler = answering(move |_| (status, [("cache-control", "public, max-age=60")]));
        let app = page(minute(&cache().0).negative_ttl(MINUTE), handler);
        assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Status), "{status}");
        assert!(!get(&app, "/page").await.is_hit(), "{status}");
    }
}

#[tokio::test]
async fn w3_an_empty_answer_is_stored_only_with_a_lifetime_of_its_own() {
    let app = page(minute(&cache().0), || async { StatusCode::NO_CONTENT });
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::NoFreshness));

    let app = page(minute(&cache().0), || async { (StatusCode::NO_CONTENT, CacheDirective::ttl(MINUTE)) });
    get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    assert_eq!((hit.status, hit.is_hit()), (StatusCode::NO_CONTENT, true));
}

#[tokio::test]
async fn w3_a_body_that_is_not_as_long_as_it_says_is_not_stored() {
    for length in ["0", "3", "5", "400"] {
        let runs = Runs::default();
        let handler = {
            let runs = runs.clone();
            answering(move |_| {
                runs.begin();
                Response::builder().header("content-length", length).body(Body::from("page")).unwrap()
            })
        };
        let app = page(minute(&cache().0), handler);
        get(&app, "/page").await;
        get(&app, "/page").await;
        assert_eq!(runs.count(), 2, "content-length: {length}");
    }
}

#[tokio::test]
async fn w3_status_does_not_claim_stored_for_an_invalid_body() {
    let handler = answering(|_| Response::builder().header("content-length", "400").body(Body::from("page")).unwrap());
    let first = get(&page(minute(&cache().0), handler), "/page").await;
    assert_eq!((first.is_stored(), first.reason()), (false, Some(Reason::LengthMismatch)));
}

#[tokio::test]
async fn w3_a_streamed_body_that_is_not_as_long_as_it_says_is_not_stored() {
    for length in ["0", "3", "5"] {
        let (frames, body) = ChannelBody::new();
        frames.send("pa");
        frames.send("ge");
        drop(frames);
        let stream = first_streams(body);
        let first = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let handler = answering(move |_| {
            let response = Response::builder();
            let first = first.swap(false, std::sync::atomic::Ordering::SeqCst);
            let response = if first { response.header("content-length", length) } else { response };
            response.body(stream().into_inner()).unwrap()
        });
        let app = page(minute(&cache().0), handler);
        get(&app, "/page").await;
        assert_eq!(get(&app, "/page").await.text(), "later", "content-length: {length}");
    }
}

#[tokio::test]
async fn w4_the_query_counts_byte_for_byte() {
    let app = page(minute(&cache().0), answering(|parts| parts.uri.to_string()));
    for query in [
        "",
        "?",
        "?a",
        "?a=",
        "?a=1",
        "?a=1;a=2",
        "?a=1&a=2",
        "?a=2&a=1",
        "?a=1%26a=2",
        "?a=1%3Ba=2",
        "?A=1",
        "?a=%31",
        "?a=+",
        "?a=%20",
        "?a=1&",
        "?&a=1",
        "?a=1&&",
        "?a=1?",
        "?%zz",
        "?a[]=1",
        "?a%5B%5D=1",
    ] {
        let uri = format!("/page{query}");
        assert_eq!(get(&app, &uri).await.text(), uri);
        assert_eq!(get(&app, &uri).await.text(), uri);
    }
}

#[tokio::test]
async fn w4_handler_does_not_see_ignored_parameters() {
    let handler = |OriginalUri(original): OriginalUri, uri: Uri| async move { format!("{original} {uri}") };
    let layer = minute(&cache().0).ignore_query(["utm_*"]);
    let nested = Router::new().route("/page", routing::get(handler).layer(layer));
    let app = Router::new().nest("/v1", nested);
    for attack in [
        "?a=1&utm_x=canary",
        "?utm_x=canary&a=1",
        "?utm_x=1&utm_x;canary=2&a=1",
        "?u%74m_x=canary&a=1",
        "?utm_x=%26canary&a=1",
        "?utm_+=canary&a=1",
        "?utm_=canary&&a=1&",
    ] {
        get(&app, &format!("/v1/page{attack}")).await;
        assert_eq!(get(&app, "/v1/page?a=1").await.text(), "/v1/page?a=1 /page?a=1", "{attack}");
    }
    assert!(get(&app, "/v1/page?a=1&utm_source=mail").await.is_hit());
}

#[tokio::test]
async fn w4_a_parameter_cannot_be_hidden_in_an_ignored_one() {
    let app = page(minute(&cache().0).ignore_query(["utm_*"]), answering(|parts| parts.uri.to_string()));
    for (attack, victim) in [("?a=1;utm_x=2", "?a=1"), ("?a=1%26utm_x=2", "?a=1"), ("?a=1&a=canary", "?a=1"), ("?a+=1", "?a=1")] {
        get(&app, &format!("/page{attack}")).await;
        assert_eq!(get(&app, &format!("/page{victim}")).await.text(), format!("/page{victim}"), "{attack}");
    }
}

#[tokio::test]
async fn w5_a_get_with_a_body_bypasses() {
    let fat = |lines: &[(&str, &str)], body: Body| {
        let (parts, _) = request(Method::GET, "/page", lines).into_parts();
        Request::from_parts(parts, body)
    };
    let (frames, streamed) = ChannelBody::new();
    frames.send("canary");
    let (_open, silent) = ChannelBody::new();
    let requests = [
        fat(&[("content-length", "6")], Body::from("canary")),
        fat(&[("transfer-encoding", "chunked")], Body::from("canary")),
        fat(&[], Body::from("canary")),
        fat(&[], Body::new(streamed)),
        fat(&[], Body::new(silent)),
        fat(&[("content-length", "6")], Body::empty()),
    ];
    for request in requests {
        let runs = Runs::default();
        let app = page(minute(&cache().0), numbered(&runs));
        assert_eq!(send(&app, request).await.reason(), Some(Reason::RequestBody));
        assert_eq!(get(&app, "/page").await.text(), "run 2");
    }
}

#[tokio::test]
async fn w5_a_get_that_states_an_empty_body_has_none() {
    let app = page(minute(&cache().0), numbered(&Runs::default()));
    get(&app, "/page").await;
    assert!(get_with(&app, "/page", &[("content-length", "0")]).await.is_hit());
}

#[tokio::test]
async fn w6_paths_count_byte_for_byte() {
    let app = Router::new().fallback(answering(|parts| parts.uri.to_string())).layer(minute(&cache().0));
    let paths = [
        "/a/b",
        "/a%2fb",
        "/a%2Fb",
        "/a//b",
        "//a/b",
        "/a/./b",
        "/a/../a/b",
        "/a/b/",
        "/a/b.",
        "/A/b",
        "/a\\b",
        "/a%5cb",
        "/%61/b",
        "/a/b;x",
        "/a/b%00",
        "/a/b%3f",
        "/a/b%23",
        "/a/b%20",
    ];
    for path in paths.iter().chain(&paths) {
        assert_eq!(get(&app, path).await.text(), *path);
    }
    assert!(get(&app, "/a%2fb").await.is_hit());
}

#[tokio::test]
async fn w6_paths_that_the_router_takes_for_one_do_not_share() {
    let item = routing::get(answering(|parts| parts.uri.to_string())).layer(minute(&cache().0));
    let app = Router::new().route("/items/{id}", item);
    for path in ["/items/a", "/items/%61", "/items/a%2fb", "/items/a%2Fb", "/items/%2561", "/items/a"] {
        assert_eq!(get(&app, path).await.text(), path);
    }
}

/// A GET of the page without any `Host`.
fn without_host() -> Request {
    Request::builder().uri("/page").body(Body::empty()).unwrap()
}

#[tokio::test]
async fn w7_spellings_of_one_host_share_and_others_do_not() {
    let runs = Runs::default();
    let app = page(minute(&cache().0), numbered(&runs));
    let ask = async |host: &str| get_with(&app, "/page", &[("host", host)]).await.text().to_owned();
    assert_eq!(ask("example.com").await, "run 1");
    assert_eq!(ask("EXAMPLE.com").await, "run 1");
    assert_eq!(ask("example.com:80").await, "run 1");
    assert_eq!(ask("example.com.").await, "run 2");
    assert_eq!(ask("example.com:443").await, "run 3");
    assert_eq!(ask("example.com:8080").await, "run 4");
    assert_eq!(ask("[::1]").await, "run 5");
    assert_eq!(ask("[::1]:80").await, "run 5");
}

#[tokio::test]
async fn w7_an_invalid_or_repeated_host_bypasses() {
    let invalid = ["", " ", "a b", "a/b", "user@example.com", "a,b", "example.com?x", "a\tb", "example.com#", "a\\b"];
    let repeated = [("host", "example.com"), ("host", "example.com")];
    let lines = invalid.iter().map(|host| vec![("host", *host)]).chain([repeated.to_vec()]);
    let app = page(minute(&cache().0), numbered(&Runs::default()));
    get(&app, "/page").await;
    for lines in lines {
        let answer = get_with(&app, "/page", &lines).await;
        assert_eq!((answer.forward(), answer.reason()), (Some(Forward::Bypass), Some(Reason::InvalidHost)), "{lines:?}");
    }
}

#[tokio::test]
async fn w7_an_absent_host_shares_with_no_host() {
    let app = page(minute(&cache().0), answering(|parts| format!("host {:?}", parts.headers.get("host"))));
    assert_eq!(send(&app, without_host()).await.text(), "host None");
    assert!(send(&app, without_host()).await.is_hit());
    for host in ["example.com", "localhost", "none", "-"] {
        assert_eq!(get_with(&app, "/page", &[("host", host)]).await.text(), format!("host Some({host:?})"));
    }
    assert_eq!(send(&app, without_host()).await.text(), "host None");
}

#[tokio::test]
async fn w7_the_absolute_form_names_the_host() {
    let app = page(minute(&cache().0), numbered(&Runs::default()));
    let absolute = |uri: &str| Request::builder().uri(uri).body(Body::empty()).unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 1");
    assert_eq!(send(&app, absolute("http://EXAMPLE.com:80/page")).await.text(), "run 1");
    assert_eq!(send(&app, absolute("http://other.example/page")).await.text(), "run 2");
    assert_eq!(send(&app, absolute("https://example.com/page")).await.text(), "run 3");
    assert_eq!(send(&app, absolute("http://user@example.com/page")).await.reason(), Some(Reason::InvalidHost));
}

#[tokio::test]
async fn w7_host_that_contradicts_the_absolute_form_poisons_no_entry() {
    let app = page(minute(&cache().0), answering(|parts| format!("links to {}", field(parts, "host"))));
    get_with(&app, "http://example.com/page", &[("host", "canary.example")]).await;
    assert_eq!(get(&app, "/page").await.text(), "links to example.com");
    assert_eq!(get_with(&app, "http://example.com/page", &[("host", "example.com")]).await.text(), "links to example.com");
}

#[derive(Debug, Clone)]
struct Asked {
    host: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    first: Option<&'static str>,
    second: Option<&'static str>,
    cookie: Option<&'static str>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let values = || prop::option::of(prop::sample::select(vec!["", "a", "b", "ab", "ba", "a, b"]));
    let hosts = prop::sample::select(vec!["a", "b", "ab", "a:1", "a.b"]);
    let paths = prop::sample::select(vec!["/", "/a", "/b", "/ab", "/a/b"]);
    let queries = prop::option::of(prop::sample::select(vec!["", "a", "b", "ab", "a&b", "/a"]));
    (hosts, paths, queries, values(), values(), prop::option::of(prop::sample::select(vec!["a", "b", "ab", ""])))
        .prop_map(|(host, path, query, first, second, cookie)| Asked { host, path, query, first, second, cookie })
}

impl Asked {
    fn request(&self) -> Request {
        let uri = self.query.map_or_else(|| self.path.to_owned(), |query| format!("{}?{query}", self.path));
        let cookie = self.cookie.map(|cookie| format!("sid={cookie}"));
        let lines = [("host", Some(self.host)), ("x-a", self.first), ("x-b", self.second), ("cookie", cookie.as_deref())];
        let lines: Vec<_> = lines.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        request(Method::GET, &uri, &lines)
    }
}

proptest! {
    #[test]
    fn w8_requests_that_differ_in_any_part_of_the_key_never_share(all in prop::collection::vec(asked(), 2..40)) {
        let layer = minute(&cache().0).vary_on(["x-a", "x-b"]).vary_on_cookies(["sid"]);
        let app = Router::new().fallback(answering(echo)).layer(layer);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for asked in &all {
            let expected = echo(&asked.request().into_parts().0);
            let answer = runtime.block_on(send(&app, asked.request()));
            prop_assert_eq!(answer.text(), expected);
        }
    }
}

#[tokio::test]
async fn w8_parts_that_join_to_the_same_text_are_different_keys() {
    let app = page(minute(&cache().0).vary_on(["x-a", "x-b"]), numbered(&Runs::default()));
    let lines: [&[(&str, &str)]; 7] = [
        &[("x-a", "ab"), ("x-b", "c")],
        &[("x-a", "a"), ("x-b", "bc")],
        &[("x-a", ""), ("x-b", "abc")],
        &[("x-b", "abc")],
        &[("x-a", "abc")],
        &[("x-a", "abc"), ("x-b", "")],
        &[],
    ];
    for (index, lines) in lines.iter().enumerate() {
        assert_eq!(get_with(&app, "/page", lines).await.text(), format!("run {}", index + 1), "{lines:?}");
    }
}

#[tokio::test]
async fn w12_a_connection_option_hides_no_field_from_the_key() {
    let app = page(minute(&cache().0).vary_on(["x-tenant"]), answering(|parts| format!("tenant {}", field(parts, "x-tenant"))));
    let hiding = |tenant: &'static str| [("connection", "X-Tenant, Host"), ("x-tenant", tenant)];
    for tenant in ["a", "b"] {
        assert_eq!(get_with(&app, "/page", &hiding(tenant)).await.text(), format!("tenant {tenant}"));
    }
    assert_eq!(get(&app, "/page").await.text(), "tenant ");
}

#[tokio::test]
async fn w12_a_connection_option_hides_no_credentials() {
    for name in ["cookie", "authorization"] {
        let app = page(minute(&cache().0), answering(echo));
        let answer = get_with(&app, "/page", &[("connection", name), (name, "canary")]).await;
        assert_eq!(answer.reason(), Some(Reason::ConnectionOptions));
        assert!(!get(&app, "/page").await.text().contains("canary"));
    }
}

#[tokio::test]
async fn w12_the_key_follows_a_layer_that_changes_the_uri() {
    async fn pick_edition(mut request: Request, next: Next) -> Response {
        let edition = request.headers().get("x-edition").map_or("none", |value| value.to_str().unwrap());
        *request.uri_mut() = format!("{}?edition={edition}", request.uri().path()).parse().unwrap();
        next.run(request).await
    }
    let app = page(minute(&cache().0), answering(|parts| parts.uri.to_string())).layer(middleware::from_fn(pick_edition));
    assert_eq!(get_with(&app, "/page", &[("x-edition", "canary")]).await.text(), "/page?edition=canary");
    assert_eq!(get(&app, "/page").await.text(), "/page?edition=none");
}

#[tokio::test]
async fn w13_nothing_is_kept_for_more_than_a_day() {
    let lifetimes: [&[(&str, &str)]; 4] = [
        &[("cache-control", "max-age=99999999, immutable")],
        &[("cache-control", "s-maxage=99999999999999999999")],
        &[("expires", "Fri, 31 Dec 9999 23:59:59 GMT")],
        &[("larder-cache-control", "max-age=99999999")],
    ];
    for lines in lifetimes {
        let (cache, clock) = cache();
        let app = page(cache.layer(), numbered_with(&Runs::default(), lines));
        get(&app, "/page").await;
        clock.advance(24 * HOUR - std::time::Duration::from_millis(1));
        assert!(get(&app, "/page").await.is_hit(), "{lines:?}");
        clock.advance(std::time::Duration::from_millis(1));
        assert_eq!(get(&app, "/page").await.forward(), Some(Forward::Stale), "{lines:?}");
    }
}

#[tokio::test]
async fn w13_a_route_may_lower_the_limit_and_its_own_lifetimes_obey_it() {
    let bounded: [fn(&Cache) -> CacheLayer; 3] =
        [|cache| cache.layer().ttl(3 * HOUR), |cache| cache.layer().ttl_for(StatusCode::OK, 3 * HOUR), |cache| cache.layer()];
    for layer in bounded {
        let (cache, clock) = cache();
        let handler = || async { (CacheDirective::ttl(3 * HOUR), "page") };
        let app = page(layer(&cache).max_ttl(HOUR), handler);
        get(&app, "/page").await;
        clock.advance(HOUR);
        assert_eq!(get(&app, "/page").await.forward(), Some(Forward::Stale));
    }
}

#[tokio::test]
async fn w15_a_response_for_one_origin_is_not_given_to_another() {
    let handler = answering(|parts| ([("access-control-allow-origin", field(parts, "origin").to_owned())], "page"));
    let app = page(minute(&cache().0), handler);
    for origin in ["https://x.example", "https://y.example"] {
        let first = get_with(&app, "/page", &[("origin", origin)]).await;
        assert_eq!((first.is_stored(), first.header("access-control-allow-origin")), (true, Some(origin)));
        assert_eq!(first.header("vary"), Some("origin"));
        let hit = get_with(&app, "/page", &[("origin", origin)]).await;
        assert_eq!((hit.is_hit(), hit.header("access-control-allow-origin")), (true, Some(origin)));
    }
}

#[tokio::test]
async fn w15_vary_on_origin_gives_each_origin_its_own() {
    let handler = answering(|parts| {
        let origin = field(parts, "origin").to_owned();
        ([("access-control-allow-origin", origin), ("vary", "Origin".into())], "page")
    });
    let app = page(minute(&cache().0), handler);
    for origin in ["https://x.example", "https://y.example"] {
        get_with(&app, "/page", &[("origin", origin)]).await;
        let hit = get_with(&app, "/page", &[("origin", origin)]).await;
        assert_eq!((hit.is_hit(), hit.header("access-control-allow-origin")), (true, Some(origin)));
    }
}

#[tokio::test]
async fn w15_a_response_for_every_origin_is_shared() {
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &[("access-control-allow-origin", "*")]));
    get_with(&app, "/page", &[("origin", "https://x.example")]).await;
    assert!(get_with(&app, "/page", &[("origin", "https://y.example")]).await.is_hit());
}

#[tokio::test]
async fn w16_fields_of_one_exchange_are_not_replayed() {
    const LINES: [(&str, &str); 6] = [
        ("x-request-id", "1"),
        ("x-correlation-id", "1"),
        ("traceparent", "00-1-1-00"),
        ("tracestate", "a=1"),
        ("server-timing", "db;dur=53"),
        ("x-kept", "1"),
    ];
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &LINES));
    let (miss, hit) = (get(&app, "/page").await, get(&app, "/page").await);
    assert!(hit.is_hit());
    let present = |answer: &Answer| LINES.map(|(name, _)| answer.headers.contains_key(name));
    assert_eq!(present(&miss), [true; 6]);
    assert_eq!(present(&hit), [false, false, false, false, false, true]);
}

#[tokio::test]
async fn w16_a_page_with_a_nonce_is_not_stored() {
    for lines in [
        &[("content-security-policy", "script-src 'nonce-abc'")][..],
        &[("content-security-policy", "default-src 'self'"), ("content-security-policy", "script-src 'NONCE-abc'")],
        &[("content-security-policy-report-only", "script-src 'nonce-abc'")],
    ] {
        let app = page(minute(&cache().0), numbered_with(&Runs::default(), lines));
        assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Nonce));
        assert_eq!(get(&app, "/page").await.text(), "run 2");
    }
}

#[tokio::test]
async fn w2_an_overriding_write_is_still_a_write() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = Router::new().route("/page", routing::get(numbered(&runs)).post(|| async {}).layer(minute(&cache)));
    get(&app, "/page").await;
    send(&app, request(Method::POST, "/page", &[("x-http-method-override", "GET")])).await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    send_empty(&app, Method::HEAD, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

/// A proxy between larder and the handler removes what `Connection` names (RFC 9110 §7.6.1): the handler answers another request
/// than the one that the key was made of.
#[tokio::test]
async fn w1_request_with_connection_options_bypasses() {
    let app = page(minute(&cache().0), numbered(&Runs::default()));
    for connection in ["Host", "accept-language", "keep-alive, RSC", "close,x", "\"close\""] {
        let answer = get_with(&app, "/page", &[("connection", connection)]).await;
        assert_eq!(answer.reason(), Some(Reason::ConnectionOptions), "{connection}");
    }
    let several = get_with(&app, "/page", &[("connection", "close"), ("connection", "host")]).await;
    assert_eq!(several.reason(), Some(Reason::ConnectionOptions));
    assert!(get(&app, "/page").await.is_stored());
    for connection in ["close", "Keep-Alive", "TE", "te, close,", "upgrade", ""] {
        assert!(get_with(&app, "/page", &[("connection", connection)]).await.is_hit(), "{connection}");
    }
    let upgrade = get_with(&app, "/page", &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")]).await;
    assert_eq!(upgrade.reason(), Some(Reason::Upgrade));
}
