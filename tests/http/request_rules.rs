//! Which requests the cache answers, and what the handlers of its fetches see of them.

use axum::{Router, http::request::Parts, middleware, middleware::Next, routing::get as on_get};
use http::Method;
use larder::{CacheDirective, CacheLayer, LanguageMatcher, Reason};
use tower::Layer as _;
use tower_http::{cors::CorsLayer, services::ServeDir};

use crate::support::{
    Answer, Runs, answering, cache, field, get, get_with, minute, numbered, numbered_with, page, request, send,
};

/// The request as the handler sees it: the fields named here, and the host.
fn seen(parts: &Parts) -> String {
    // It is added to requests that accept nothing else.
    let fields = parts.headers.iter().filter(|(name, value)| *name != "accept-encoding" || *value != "identity");
    let lines = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    lines.collect::<Vec<_>>().join("\n")
}

async fn seen_by_handler(layer: CacheLayer, lines: &[(&str, &str)]) -> String {
    get_with(&page(layer, answering(seen)), "/page", lines).await.text().to_owned()
}

fn layer() -> CacheLayer {
    minute(&cache().0)
}

/// Visitors with cookies of analytics share the page; users with a session get theirs from the handler.
#[tokio::test]
async fn visitors_share_a_page_and_users_bypass() {
    let app = page(layer().bypass_on_cookies(["sid", "wordpress_logged_in_*"]), numbered(&Runs::default()));
    for visitor in ["_ga=1", "_ga=2; consent=yes"] {
        assert_eq!(get_with(&app, "/page", &[("cookie", visitor)]).await.text(), "run 1");
    }
    assert_eq!(get(&app, "/page").await.header("vary"), Some("cookie"));
    for (run, user) in [(2, "_ga=1; sid=7"), (3, "wordpress_logged_in_ab=x"), (4, "s%69d=7")] {
        let answer = get_with(&app, "/page", &[("cookie", user)]).await;
        assert_eq!((answer.text(), answer.reason()), (&*format!("run {run}"), Some(Reason::RequestCookie)), "{user}");
    }
}

#[tokio::test]
async fn a_predicate_makes_requests_bypass() {
    let app = page(layer().bypass_if(|parts| parts.uri.query() == Some("preview")), numbered(&Runs::default()));
    assert_eq!(get(&app, "/page").await.text(), "run 1");
    let preview = get(&app, "/page?preview").await;
    assert_eq!((preview.text(), preview.reason()), ("run 2", Some(Reason::BypassIf)));
}

#[tokio::test]
async fn an_outer_layer_can_forbid_storing_for_one_request() {
    async fn authenticate(mut request: axum::extract::Request, next: Next) -> axum::response::Response {
        if request.headers().contains_key("x-internal-login") {
            request.extensions_mut().insert(CacheDirective::private());
        }
        next.run(request).await
    }
    let app = page(layer(), numbered(&Runs::default())).layer(middleware::from_fn(authenticate));
    let user = get_with(&app, "/page", &[("x-internal-login", "alice")]).await;
    assert_eq!((user.text(), user.reason()), ("run 1", Some(Reason::RequestDirective)));
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    assert_eq!(get_with(&app, "/page", &[("x-internal-login", "alice")]).await.text(), "run 3");
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn only_known_hosts_are_answered_from_the_cache() {
    let app = page(layer().hosts(["www.example.com", "localhost:3000"]), numbered(&Runs::default()));
    for known in ["www.example.com", "WWW.example.com:80", "localhost:3000"] {
        get_with(&app, "/page", &[("host", known)]).await;
        assert!(get_with(&app, "/page", &[("host", known)]).await.is_hit(), "{known}");
    }
    for unknown in ["evil.example", "localhost", "www.example.com.evil.example"] {
        assert_eq!(get_with(&app, "/page", &[("host", unknown)]).await.reason(), Some(Reason::UnknownHost), "{unknown}");
    }
}

#[tokio::test]
async fn an_ignored_host_is_not_shown_to_the_handler() {
    let app = page(layer().ignore_host(true), answering(|parts| seen(parts).to_owned()));
    assert_eq!(get_with(&app, "/page", &[("host", "a.example")]).await.text(), "");
    assert!(get_with(&app, "/page", &[("host", "b.example")]).await.is_hit());
}

#[tokio::test]
async fn a_write_on_one_host_invalidates_a_page_for_all_hosts() {
    let routes = Router::new().route("/page", on_get(numbered(&Runs::default())).post(|| async {}));
    let app = routes.layer(layer().ignore_host(true));
    get_with(&app, "/page", &[("host", "a.example")]).await;
    send(&app, request(Method::POST, "/page", &[("host", "b.example")])).await;
    assert_eq!(get_with(&app, "/page", &[("host", "a.example")]).await.text(), "run 2");
}

#[tokio::test]
async fn an_ignored_field_is_neither_keyed_nor_shown() {
    let app = page(layer().ignore_fields(["X-Forwarded-Server", "x-envoy-*"]), answering(seen));
    let first = get_with(&app, "/page", &[("x-forwarded-server", "pod-1"), ("x-envoy-peer", "1"), ("x-a", "1")]).await;
    assert_eq!(first.text(), "host: example.com\nx-a: 1");
    assert!(get_with(&app, "/page", &[("x-forwarded-server", "pod-2")]).await.is_hit());
    assert!(get(&app, "/page").await.is_hit());
    // Other forwarding fields still select the response.
    assert!(!get_with(&app, "/page", &[("x-forwarded-host", "evil.example")]).await.is_hit());
}

#[tokio::test]
async fn fields_that_tell_scheme_or_url_select_the_response() {
    for (name, http, https) in [
        ("x-forwarded-url", "http://a/page", "https://a/page"),
        ("cf-visitor", "{\"scheme\":\"http\"}", "{\"scheme\":\"https\"}"),
        ("cloudfront-forwarded-proto", "http", "https"),
        ("x-arr-ssl", "", "2048|256|CN"),
        ("x-scheme", "http", "https"),
    ] {
        let app = page(layer(), numbered(&Runs::default()));
        get_with(&app, "/page", &[(name, http)]).await;
        assert_eq!(get_with(&app, "/page", &[(name, https)]).await.text(), "run 2", "{name}");
        assert!(get_with(&app, "/page", &[(name, https)]).await.is_hit(), "{name}");
    }
}

const IDENTITY_FIELDS: [&str; 14] = [
    "x-forwarded-user",
    "x-auth-request-email",
    "remote-user",
    "x-authentik-username",
    "tailscale-user-login",
    "cf-access-jwt-assertion",
    "cf-access-authenticated-user-email",
    "x-goog-authenticated-user-email",
    "x-amzn-oidc-identity",
    "x-ms-client-principal",
    "x-consumer-username",
    "x-api-key",
    "x-forwarded-client-cert",
    "client-cert",
];

#[tokio::test]
async fn users_that_a_field_names_do_not_share_pages() {
    for name in IDENTITY_FIELDS {
        let app = page(layer(), answering(move |parts| field(parts, name).to_owned()));
        let alice = get_with(&app, "/page", &[(name, "alice")]).await;
        assert_eq!((alice.text(), alice.reason()), ("alice", Some(Reason::Authorization)), "{name}");
        assert_eq!(get_with(&app, "/page", &[(name, "bob")]).await.text(), "bob", "{name}");
        // As with `Authorization`, a stored public page is not for a user, unless it says `public`.
        get(&app, "/page").await;
        assert_eq!(get_with(&app, "/page", &[(name, "bob")]).await.text(), "bob", "{name}");
    }
}

#[tokio::test]
async fn a_route_can_do_without_the_fields_that_name_users() {
    const KEY: &str = "x-api-key";
    type Set = fn(CacheLayer) -> CacheLayer;
    let ways: [(Set, &str, bool); 4] = [
        (|layer| layer.ignore_identity_fields(true), "alice", true),
        (|layer| layer.ignore_fields([KEY]), "", true),
        (|layer| layer.vary_on([KEY]), "alice", false),
        (|layer| layer.sealed(true).ignore_identity_fields(true), "", true),
    ];
    for (number, (set, shown, shared)) in ways.into_iter().enumerate() {
        let app = page(set(layer()), answering(|parts| field(parts, KEY).to_owned()));
        assert_eq!(get_with(&app, "/page", &[(KEY, "alice")]).await.text(), shown, "{number}");
        assert_eq!(get_with(&app, "/page", &[(KEY, "bob")]).await.is_hit(), shared, "{number}");
        assert!(get_with(&app, "/page", &[(KEY, "alice")]).await.is_hit(), "{number}");
    }
}

#[tokio::test]
async fn scopes_separate_services_that_share_a_cache() {
    let (cache, _) = cache();
    let public = page(minute(&cache), || async { "public" });
    let admin = page(minute(&cache).scope("admin"), || async { "admin" });
    for _ in 0..2 {
        assert_eq!(get(&admin, "/page").await.text(), "admin");
        assert_eq!(get(&public, "/page").await.text(), "public");
    }
    cache.invalidate_uri("/page").await.unwrap();
    assert!(!get(&admin, "/page").await.is_hit() && !get(&public, "/page").await.is_hit());
}

#[tokio::test]
async fn a_handler_sees_the_normal_form_that_the_key_contains() {
    let encodings = [("gzip;q=0.5, BR", "br, gzip;q=0.999"), ("br,gzip", "br, gzip"), ("gzip;q=x", "gzip;q=x")];
    for (sent, expected) in encodings {
        let seen = seen_by_handler(layer(), &[("accept-encoding", sent)]).await;
        assert_eq!(seen, format!("host: example.com\naccept-encoding: {expected}"), "{sent}");
    }
    let languages = || layer().normalize("accept-language", LanguageMatcher::new(["en", "de"]));
    assert_eq!(seen_by_handler(languages(), &[("accept-language", "de-AT, fr")]).await, "host: example.com\naccept-language: de");
    assert_eq!(seen_by_handler(languages(), &[]).await, "host: example.com\naccept-language: en");
    let strict = seen_by_handler(layer().strict(), &[("accept-language", "FR;q=0.3,de, en")]).await;
    assert_eq!(strict, "host: example.com\naccept-language: de, en, fr;q=0.999");
}

#[tokio::test]
async fn a_handler_sees_the_host_as_in_the_key_and_each_field_on_one_line() {
    assert_eq!(seen_by_handler(layer(), &[("host", "EXAMPLE.com:80")]).await, "host: example.com");
    let lines = [("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2")];
    let seen = seen_by_handler(layer().ignore_cookies(true), &lines).await;
    assert_eq!(seen, "host: example.com\nx-a: 1, 2\ncookie: a=1; b=2");
}

#[tokio::test]
async fn w1_a_sealed_handler_sees_only_what_is_keyed_or_harmless() {
    let sealed = layer().sealed(true).vary_on(["x-tenant"]).vary_on_cookies(["theme"]);
    let lines = [
        ("x-tenant", "a"),
        ("x-evil", "1"),
        ("user-agent", "evil"),
        ("referer", "http://evil.example"),
        ("x-forwarded-proto", "https"),
        ("cookie", "sid=7; theme=dark; _ga=1"),
        ("accept-encoding", "gzip"),
        ("accept-language", "xx"),
    ];
    let expected = "x-tenant: a\nx-forwarded-proto: https\ncookie: theme=dark\naccept-encoding: gzip\nhost: example.com";
    let seen = seen_by_handler(sealed, &lines).await;
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&seen), sorted(expected));
    for (sent, shown) in [
        (
            "for=192.0.2.117;host=a.example;proto=https, for=evil;by=evil",
            "forwarded: host=a.example;proto=https\nhost: example.com",
        ),
        ("for=evil", "host: example.com"),
    ] {
        let seen = seen_by_handler(layer().sealed(true), &[("forwarded", sent)]).await;
        assert_eq!(sorted(&seen), sorted(shown), "{sent}");
    }
    let cookies = seen_by_handler(layer().sealed(true).bypass_on_cookies(["sid"]), &[("cookie", "_ga=1")]).await;
    assert_eq!(cookies, "host: example.com");
}

/// What a layer around the whole application knows about who asks.
#[derive(Debug, Clone)]
struct Session(String);

/// The page of a handler that shows whose session it finds, behind a layer that makes one for each request.
fn page_with_session(layer: CacheLayer) -> Router {
    let begin = |mut request: axum::extract::Request, next: Next| {
        let name = request.headers().get("x-name").map_or("nobody", |name| name.to_str().unwrap()).to_owned();
        request.extensions_mut().insert(Session(name));
        next.run(request)
    };
    let shown = |parts: &Parts| parts.extensions.get::<Session>().map_or("no session".to_owned(), |session| session.0.clone());
    page(layer, answering(shown)).layer(middleware::from_fn(begin))
}

#[tokio::test]
async fn hidden_extension_does_not_get_into_a_page_for_all() {
    let app = page_with_session(layer().bypass_on_cookies(["sid"]).hide_extension::<Session>());
    assert_eq!(get_with(&app, "/page", &[("x-name", "alice")]).await.text(), "no session");
    let hit = get_with(&app, "/page", &[("x-name", "bob")]).await;
    assert_eq!((hit.is_hit(), hit.text()), (true, "no session"));
    // What is not stored may depend on it.
    assert_eq!(get_with(&app, "/page", &[("x-name", "bob"), ("cookie", "sid=1")]).await.text(), "bob");

    let shown = page_with_session(layer());
    assert_eq!(get_with(&shown, "/page", &[("x-name", "alice")]).await.text(), "alice");
}

#[tokio::test]
async fn hidden_extension_selects_entries_nevertheless() {
    let own = layer().per_principal(|parts| Some(parts.extensions.get::<Session>()?.0.clone())).hide_extension::<Session>();
    let app = page_with_session(own);
    for (name, is_hit) in [("alice", false), ("bob", false), ("alice", true)] {
        let answer = get_with(&app, "/page", &[("x-name", name)]).await;
        assert_eq!((answer.is_hit(), answer.text()), (is_hit, "no session"), "{name}");
    }
}

#[tokio::test]
async fn layers_with_and_without_a_hidden_extension_share_no_entry() {
    let (cache, _) = cache();
    let (with, without) = (minute(&cache).hide_extension::<Session>(), minute(&cache));
    assert_eq!(get_with(&page_with_session(without), "/page", &[("x-name", "alice")]).await.text(), "alice");
    assert_eq!(get(&page_with_session(with), "/page").await.text(), "no session");
}

#[tokio::test]
async fn one_origin_for_all_is_stored() {
    let cors = CorsLayer::new().allow_origin("https://a.example".parse::<http::HeaderValue>().unwrap()).vary([]);
    let routes = Router::new().route("/page", on_get(numbered(&Runs::default())));
    let app = Router::new().route_service("/page", layer().layer(cors.layer(routes)));
    get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    assert_eq!((hit.is_hit(), hit.header("access-control-allow-origin")), (true, Some("https://a.example")));
    assert_eq!(hit.header("vary"), Some("origin"));
}

#[tokio::test]
async fn identity_and_no_accept_encoding_share_a_variant() {
    let app = page(layer(), numbered_with(&Runs::default(), &[("vary", "accept-encoding")]));
    for lines in [&[][..], &[("accept-encoding", "identity")], &[("accept-encoding", "")], &[("accept-encoding", "gzip;q=0")]] {
        assert_eq!(get_with(&app, "/page", lines).await.text(), "run 1", "{lines:?}");
    }
    assert_eq!(get_with(&app, "/page", &[("accept-encoding", "gzip")]).await.text(), "run 2");
}

#[tokio::test]
async fn fields_of_the_layer_are_in_vary() {
    let runs = Runs::default();
    let app = page(layer().vary_on(["accept-language"]).vary_on_cookies(["theme"]), numbered_with(&runs, &[("vary", "x-b")]));
    let all =
        |answer: &Answer| answer.headers.get_all("vary").iter().map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    for _ in 0..2 {
        assert_eq!(all(&get(&app, "/page").await), ["x-b", "accept-language, cookie"]);
    }
    assert_eq!(runs.count(), 1);
    let named = page(layer().vary_on(["x-b"]), numbered_with(&runs, &[("vary", "X-B")]));
    get(&named, "/page").await;
    assert_eq!(all(&get(&named, "/page").await), ["X-B"]);
}

/// `ServeDir` sends a precompressed file without `Vary`.
#[tokio::test]
async fn a_coded_response_is_for_clients_that_accept_it() {
    let folder = std::env::temp_dir().join(format!("larder-precompressed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("app.js"), "plain").unwrap();
    std::fs::write(folder.join("app.js.gz"), "zipped").unwrap();
    let files = ServeDir::new(&folder).precompressed_gzip();
    let app = Router::new().fallback_service(layer().layer(files));
    for _ in 0..2 {
        let zipped = get_with(&app, "/app.js", &[("accept-encoding", "gzip")]).await;
        assert_eq!(
            (zipped.text(), zipped.header("content-encoding"), zipped.header("vary")),
            ("zipped", Some("gzip"), Some("accept-encoding"))
        );
        let plain = get(&app, "/app.js").await;
        assert_eq!((plain.text(), plain.header("content-encoding")), ("plain", None));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
