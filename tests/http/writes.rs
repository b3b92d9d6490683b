//! What a write invalidates: its URL, its locations, and the groups that its response names.

use axum::{Router, response::IntoResponse, routing};
use http::{Method, StatusCode};
use larder::{Cache, CacheLayer, Invalidate, Reason};
use tower::ServiceExt as _;

use super::placement::post;
use crate::support::{
    ChannelBody, Runs, answering, cache, field, fields, first_streams, get, get_with, minute, numbered, numbered_with, request,
    send, send_empty,
};

#[tokio::test]
async fn a_successful_write_invalidates_its_own_url() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::from_bytes(b"PURCHASE").unwrap()] {
        let app = Router::new().route("/page", routing::any(numbered(&Runs::default())).layer(minute(&cache().0)));
        for uri in ["/page", "/page?x=1"] {
            get(&app, uri).await;
            assert!(get(&app, uri).await.is_hit());
        }
        send_empty(&app, method.clone(), "/page").await;
        for uri in ["/page", "/page?x=1"] {
            assert!(!get(&app, uri).await.is_hit(), "{method} {uri}");
        }
    }
}

#[tokio::test]
async fn every_write_reaches_the_handler() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let handler = numbered_with(&Runs::default(), &[("cache-control", "public, max-age=60")]);
        let app = Router::new().route("/page", routing::any(handler).layer(minute(&cache().0)));
        for run in ["run 1", "run 2", "run 3"] {
            assert_eq!(send_empty(&app, method.clone(), "/page").await.text(), run, "{method}");
        }
        assert_eq!(get(&app, "/page").await.text(), "run 4");
    }
}

#[tokio::test]
async fn other_safe_methods_bypass_and_invalidate_nothing() {
    for method in [Method::OPTIONS, Method::TRACE, Method::from_bytes(b"SEARCH").unwrap()] {
        let app = Router::new().route("/page", routing::any(numbered(&Runs::default())).layer(minute(&cache().0)));
        get(&app, "/page").await;
        let answer = send_empty(&app, method.clone(), "/page").await;
        assert_eq!((answer.text(), answer.reason()), ("run 2", Some(Reason::Method)), "{method}");
        assert_eq!(get(&app, "/page").await.text(), "run 1", "{method}");
    }
}

/// Pages at every path, and a POST at `/posts/new` that answers with these header lines.
fn writing(cache: &Cache, status: StatusCode, lines: &[(&'static str, &'static str)]) -> Router {
    let headers = fields(lines);
    let write = routing::post(move || async move { (status, headers) });
    Router::new().route("/posts/new", write).fallback(numbered(&Runs::default())).layer(minute(cache))
}

#[tokio::test]
async fn a_location_of_the_same_origin_is_invalidated_too() {
    let references = [
        ("/posts/7", "/posts/7"),
        ("7", "/posts/7"),
        ("../x", "/x"),
        ("./7?x=1", "/posts/7"),
        (".", "/posts/"),
        ("http://example.com/posts/7#top", "/posts/7"),
        ("http://EXAMPLE.com:80/posts/7", "/posts/7"),
        ("HTTP://example.com/posts/7", "/posts/7"),
        ("https://example.com/posts/7", "/posts/7"),
        ("http://example.com", "/"),
        ("//example.com/posts/7", "/posts/7"),
        ("//example.com", "/"),
        ("/posts/7?from=https://elsewhere.example/", "/posts/7"),
        ("7?from=https://elsewhere.example/", "/posts/7"),
    ];
    let mut kept = Vec::new();
    for (reference, path) in references {
        for name in ["location", "content-location"] {
            let app = writing(&cache().0, StatusCode::CREATED, &[(name, reference)]);
            get(&app, path).await;
            send_empty(&app, Method::POST, "/posts/new").await;
            if get(&app, path).await.is_hit() {
                kept.push((name, reference));
            }
        }
    }
    assert_eq!(kept, [("", ""); 0]);
}

/// A shop with one layer for all routes, whose `POST`s answer as `add` does.
fn shop<R: IntoResponse>(layer: CacheLayer, add: impl Fn() -> R + Clone + Send + Sync + 'static) -> Router {
    let redirect = |to: &'static str| (StatusCode::SEE_OTHER, [("location", to)]);
    let page = || routing::get(numbered(&Runs::default()));
    Router::new()
        .route("/", page())
        .route("/products/{id}", page())
        .route("/login", routing::post(answering(move |_| redirect("/"))))
        .route("/cart", routing::post(answering(move |_| redirect("/products/7"))))
        .route("/search", page().post(answering(move |_| add())))
        .route_layer(layer)
}

#[tokio::test]
async fn redirect_after_a_write_does_not_invalidate_the_page_it_leads_to() {
    for (strict, writes, page) in
        [(false, "/login", "/"), (false, "/cart", "/products/7"), (true, "/login", "/"), (true, "/cart", "/products/7")]
    {
        let layer = minute(&cache().0);
        let app = shop(if strict { layer.strict() } else { layer }, || "found");
        get(&app, page).await;
        assert_eq!(send_empty(&app, Method::POST, writes).await.status, StatusCode::SEE_OTHER);
        assert_eq!(get(&app, page).await.is_hit(), !strict, "{writes}, strict: {strict}");
    }
}

#[tokio::test]
async fn write_implies_nothing_where_layer_or_handler_says_so() {
    for (who, on, part) in [
        ("nobody", true, None),
        ("layer", false, None),
        ("handler", true, Some(Invalidate::nothing())),
        ("handler, with others", true, Some(Invalidate::tags("x").and(Invalidate::nothing()))),
    ] {
        for method in [Method::POST, Method::from_bytes(b"FROB").unwrap()] {
            let part = part.clone();
            let write = routing::get(numbered(&Runs::default()))
                .fallback(answering(move |_| (StatusCode::CREATED, part.clone(), [("location", "/")])));
            let layer = minute(&cache().0).invalidate_on_write(on);
            let pages = Router::new().route("/", routing::get(numbered(&Runs::default()))).route("/search", write);
            // An outer layer sees the write after the inner one has taken the part.
            let app = pages.layer(layer.clone()).layer(layer);
            for page in ["/search", "/"] {
                get(&app, page).await;
            }
            send_empty(&app, method.clone(), "/search").await;
            for page in ["/search", "/"] {
                assert_eq!(get(&app, page).await.is_hit(), who != "nobody", "{who} {method} {page}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_handler_asks_for_is_invalidated_though_nothing_is_implied() {
    let asking = || Invalidate::nothing().and(Invalidate::uri("/products/7"));
    for (name, app) in [
        ("layer", shop(minute(&cache().0).invalidate_on_write(false), || Invalidate::uri("/products/7"))),
        ("handler", shop(minute(&cache().0), asking)),
    ] {
        for page in ["/search", "/products/7"] {
            get(&app, page).await;
        }
        send_empty(&app, Method::POST, "/search").await;
        assert!(get(&app, "/search").await.is_hit(), "{name}");
        assert!(!get(&app, "/products/7").await.is_hit(), "{name}");
    }
}

#[tokio::test]
async fn a_location_of_another_origin_is_not() {
    for reference in
        ["http://other.example/posts/7", "//other.example/posts/7", "http://example.com:81/posts/7", "ftp://example.com/posts/7"]
    {
        let app = writing(&cache().0, StatusCode::CREATED, &[("location", reference)]);
        let elsewhere = async || get_with(&app, "/posts/7", &[("host", "other.example")]).await;
        get(&app, "/posts/7").await;
        elsewhere().await;
        send_empty(&app, Method::POST, "/posts/new").await;
        assert!(get(&app, "/posts/7").await.is_hit(), "{reference}");
        assert!(elsewhere().await.is_hit(), "{reference}");
    }
}

#[tokio::test]
async fn a_failed_write_does_not_invalidate_its_location() {
    for status in [StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR] {
        let app = writing(&cache().0, status, &[("location", "/posts/7"), ("cache-group-invalidation", r#""g""#)]);
        get(&app, "/posts/7").await;
        send_empty(&app, Method::POST, "/posts/new").await;
        assert!(get(&app, "/posts/7").await.is_hit(), "{status}");
    }
}

#[tokio::test]
async fn a_write_invalidates_its_url_on_its_own_host_alone() {
    let app = Router::new().route("/page", post().layer(minute(&cache().0)));
    let other = async || get_with(&app, "/page", &[("host", "other.example")]).await;
    get(&app, "/page").await;
    other().await;
    send_empty(&app, Method::PUT, "/page").await;
    assert!(!get(&app, "/page").await.is_hit());
    assert!(other().await.is_hit());
}

/// A page of the groups `a` and `b`, and a route that names groups to invalidate.
fn grouped(cache: &Cache) -> Router {
    grouped_by(minute(cache))
}

fn grouped_by(layer: CacheLayer) -> Router {
    let shown = numbered_with(&Runs::default(), &[("cache-groups", r#""a", "b";x=1"#)]);
    let named = answering(|parts| ([("cache-group-invalidation", field(parts, "x-groups").to_owned())], "done"));
    Router::new().route("/page", routing::get(shown)).route("/write", routing::any(named)).layer(layer)
}

#[tokio::test]
async fn a_write_invalidates_the_groups_that_it_names_even_if_it_implies_nothing() {
    let app = grouped_by(minute(&cache().0).invalidate_on_write(false));
    get(&app, "/page").await;
    send(&app, request(Method::POST, "/write", &[("x-groups", r#""a""#)])).await;
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_write_invalidates_the_groups_that_it_names() {
    for (groups, invalidated) in [
        (r#""a""#, true),
        (r#""x", "b""#, true),
        (r#""A""#, false),
        ("a", false),
        (r#""a", ?"#, false),
        (r#"("a")"#, false),
        ("", false),
    ] {
        let app = grouped(&cache().0);
        get(&app, "/page").await;
        send(&app, request(Method::POST, "/write", &[("x-groups", groups)])).await;
        assert_eq!(get(&app, "/page").await.is_hit(), !invalidated, "{groups}");
    }
}

#[tokio::test]
async fn groups_belong_to_one_origin() {
    let app = grouped(&cache().0);
    get(&app, "/page").await;
    for host in ["other.example", "example.com:8080"] {
        send(&app, request(Method::POST, "/write", &[("host", host), ("x-groups", r#""a""#)])).await;
        assert!(get(&app, "/page").await.is_hit(), "{host}");
    }
}

#[tokio::test]
async fn a_safe_method_invalidates_no_group() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let app = grouped(&cache().0);
        get(&app, "/page").await;
        send(&app, request(method.clone(), "/write", &[("x-groups", r#""a""#)])).await;
        assert!(get(&app, "/page").await.is_hit(), "{method}");
    }
}

#[tokio::test]
async fn a_group_is_the_same_whether_or_not_the_request_says_its_scheme() {
    // Over TLS, HTTP/2 says `https` and HTTP/1.1 does not say anything.
    for (reads, writes) in [("/page", "https://example.com/write"), ("https://example.com/page", "/write")] {
        let app = grouped(&cache().0);
        get(&app, reads).await;
        send(&app, request(Method::POST, writes, &[("x-groups", r#""a""#)])).await;
        assert!(!get(&app, reads).await.is_hit(), "{writes}");
    }
}

#[tokio::test]
async fn a_streamed_write_has_invalidated_its_url_before_its_body_ends() {
    let (cache, _) = cache();
    let (frames, body) = ChannelBody::new();
    let write = first_streams(body);
    let app = Router::new().route("/page", routing::get(numbered(&Runs::default())).post(write).layer(minute(&cache)));
    get(&app, "/page").await;
    let response = app.clone().oneshot(request(Method::POST, "/page", &[])).await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    frames.send("done");
    drop(frames);
    assert_eq!(crate::support::read(response).await.text(), "done");
}

/// The handler has committed, and then failed to invalidate: the page of its own URI must not stay.
#[tokio::test]
async fn a_write_that_ends_with_an_error_of_the_cache_invalidates_its_uri() {
    let (cache, _) = cache();
    let update = {
        let cache = cache.clone();
        move || async move { cache.invalidate_tags("").await.map(drop) }
    };
    let runs = Runs::default();
    let routes = Router::new().route("/page", routing::get(numbered(&runs)).put(update));
    let app = routes.layer(minute(&cache));
    get(&app, "/page").await;
    assert_eq!(send_empty(&app, Method::PUT, "/page").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}
