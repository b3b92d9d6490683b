//! What is for one user must not reach another.

use std::collections::BTreeSet;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing,
};
use http::{HeaderValue, header::SET_COOKIE};
use larder::{CacheDirective, CacheTags, Reason};
use tokio::task::JoinSet;

use crate::support::{Answer, Gate, Runs, answering, cache, field, fields, get, get_with, minute, numbered, numbered_with, page};

#[tokio::test]
async fn p1_response_to_an_authorized_request_is_not_shared() {
    let app = page(minute(&cache().0), answering(|parts| format!("for {}", field(parts, "authorization"))));
    for token in ["Bearer alice", "basic YTpi", ""] {
        let alice = get_with(&app, "/page", &[("authorization", token)]).await;
        assert_eq!((alice.text(), alice.reason()), (format!("for {token}").as_str(), Some(Reason::Authorization)));
    }
    assert_eq!(get_with(&app, "/page", &[("authorization", "Bearer bob")]).await.text(), "for Bearer bob");
    assert_eq!(get(&app, "/page").await.text(), "for ");
}

#[tokio::test]
async fn p1_response_to_an_anonymous_request_does_not_answer_an_authorized_one() {
    let app = page(minute(&cache().0), answering(|parts| format!("for {}", field(parts, "authorization"))));
    assert!(get(&app, "/page").await.is_stored());
    assert_eq!(get_with(&app, "/page", &[("authorization", "Bearer alice")]).await.text(), "for Bearer alice");
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn p1_authorized_requests_use_only_explicitly_shared_responses() {
    for (control, shared) in [
        ("public", true),
        ("s-maxage=60", true),
        ("must-revalidate", true),
        ("max-age=60", false),
        ("immutable", false),
        (r#"ext="public""#, false),
        ("public, private", false),
    ] {
        let runs = Runs::default();
        let app = page(minute(&cache().0), numbered_with(&runs, &[("cache-control", control)]));
        get_with(&app, "/page", &[("authorization", "Bearer alice")]).await;
        assert_eq!(get_with(&app, "/page", &[("authorization", "Bearer bob")]).await.is_hit(), shared, "{control}");
    }
}

#[tokio::test]
async fn p1_each_principal_has_responses_of_its_own() {
    let layer = minute(&cache().0).per_principal(|parts| Some(parts.headers.get("authorization")?.to_str().ok()?.to_owned()));
    let app = page(layer, answering(|parts| format!("for {}", field(parts, "authorization"))));
    for token in ["alice", "bob"] {
        assert_eq!(get_with(&app, "/page", &[("authorization", token)]).await.text(), format!("for {token}"));
    }
    let alice = get_with(&app, "/page", &[("authorization", "alice"), ("cookie", "theme=dark")]).await;
    assert_eq!((alice.text(), alice.is_hit()), ("for alice", true));
    assert_eq!(get(&app, "/page").await.text(), "for ");
}

#[tokio::test]
async fn p2_an_authentication_inside_the_cache_vetoes_storing() {
    async fn authenticate(request: Request, next: Next) -> Response {
        let mut response = next.run(request).await;
        response.extensions_mut().insert(CacheDirective::private());
        response
    }
    let runs = Runs::default();
    let handler = numbered_with(&runs, &[("cache-control", "public, max-age=60")]);
    let inside = (minute(&cache().0), middleware::from_fn(authenticate));
    let app = Router::new().route("/page", routing::get(handler).layer(inside));

    for run in ["run 1", "run 2"] {
        let answer = get_with(&app, "/page", &[("x-api-key", "alice")]).await;
        assert_eq!((answer.text(), answer.reason()), (run, Some(Reason::Private)));
    }
}

#[tokio::test]
async fn p3_response_to_a_request_with_a_cookie_is_not_shared() {
    let app = page(minute(&cache().0), answering(|parts| format!("for {}", field(parts, "cookie"))));
    for _ in 0..2 {
        let alice = get_with(&app, "/page", &[("cookie", "sid=alice")]).await;
        assert_eq!((alice.text(), alice.reason()), ("for sid=alice", Some(Reason::RequestCookie)));
    }
    assert_eq!(get(&app, "/page").await.text(), "for ");
    assert_eq!(get_with(&app, "/page", &[("cookie", "sid=bob")]).await.text(), "for sid=bob");
}

#[tokio::test]
async fn p3_named_cookies_select_the_response_on_any_line() {
    let runs = Runs::default();
    let app = page(minute(&cache().0).vary_on_cookies(["sid"]), numbered(&runs));
    let ask = async |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
        get_with(&app, "/page", &lines).await.text().to_owned()
    };
    assert_eq!(ask(&[]).await, "run 1");
    assert_eq!(ask(&["sid=alice"]).await, "run 2");
    assert_eq!(ask(&["theme=dark", "sid=bob"]).await, "run 3");
    assert_eq!(ask(&["sid=alice; sid=bob"]).await, "run 4");
    assert_eq!(ask(&["sid="]).await, "run 5");
    assert_eq!(ask(&["theme=dark; sid=alice"]).await, "run 2");
    assert_eq!(ask(&["theme=dark", "nosid=alice"]).await, "run 1");
}

/// Reads a cookie as the `cookie` crate does: names and values trimmed and, where asked, percent-decoded.
fn lenient_cookie(line: &str, wanted: &str) -> Option<String> {
    let pairs = line.split(';').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.trim().replace("%69", "i"), value.trim().to_owned()));
    pairs.filter(|(name, _)| name == wanted).map(|(_, value)| value).next()
}

#[tokio::test]
async fn p3_a_named_cookie_in_an_unusual_spelling_is_not_an_absent_one() {
    for spelling in ["sid =alice", "sid = alice", "sid\t=alice", " ;  sid =alice", "s%69d=alice"] {
        let handler = answering(|parts| format!("for {:?}", lenient_cookie(field(parts, "cookie"), "sid")));
        let app = page(minute(&cache().0).vary_on_cookies(["sid"]), handler);
        assert_eq!(get_with(&app, "/page", &[("cookie", spelling)]).await.text(), r#"for Some("alice")"#);
        assert_eq!(get(&app, "/page").await.text(), "for None", "after `{spelling}`");
    }
}

#[tokio::test]
async fn p4_response_with_set_cookie_is_never_stored() {
    for lines in [
        &[("set-cookie", "sid=1")][..],
        &[("set-cookie", "sid=1"), ("cache-control", "public, max-age=60, s-maxage=60")],
        &[("set-cookie", "sid=1"), ("cache-control", r#"public, no-cache="set-cookie""#)],
    ] {
        let runs = Runs::default();
        let app = page(minute(&cache().0), numbered_with(&runs, lines));
        get(&app, "/page").await;
        let second = get(&app, "/page").await;
        assert_eq!((second.text(), second.header("set-cookie")), ("run 2", Some("sid=1")));
    }
}

#[tokio::test]
async fn p4_a_stripped_cookie_reaches_only_the_client_that_it_was_made_for() {
    let runs = Runs::default();
    let app =
        page(minute(&cache().0).strip_set_cookie(true), numbered_with(&runs, &[("set-cookie", "a=1"), ("set-cookie", "b=2")]));
    let first = get(&app, "/page").await;
    let second = get(&app, "/page").await;
    assert_eq!(first.headers.get_all("set-cookie").iter().count(), 2);
    assert!(second.is_hit() && !second.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn p4_a_cookie_that_an_outer_layer_sets_on_the_first_pass_is_not_replayed() {
    let (runs, passes) = (Runs::default(), Runs::default());
    let set_once = middleware::from_fn(move |request: Request, next: Next| {
        let pass = passes.begin();
        async move {
            let mut response = next.run(request).await;
            if pass == 1 {
                response.headers_mut().insert(SET_COOKIE, HeaderValue::from_static("sid=first"));
            }
            response
        }
    });
    let app = page(minute(&cache().0), numbered(&runs)).layer(set_once);
    assert_eq!(get(&app, "/page").await.header("set-cookie"), Some("sid=first"));
    let second = get(&app, "/page").await;
    assert_eq!((second.text(), second.header("set-cookie")), ("run 1", None));
}

#[tokio::test]
async fn p5_vary_star_is_not_stored_in_any_spelling() {
    for lines in [
        &[("vary", "*")][..],
        &[("vary", " *")],
        &[("vary", "* ,Foo")],
        &[("vary", "Foo"), ("vary", "*")],
        &[("vary", "\t*\t")],
        &[("vary", ",,accept,*")],
        &[("vary", "accept language")],
    ] {
        let runs = Runs::default();
        let app = page(minute(&cache().0), numbered_with(&runs, lines));
        assert_eq!(get(&app, "/page").await.reason(), Some(Reason::VaryStar), "{lines:?}");
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{lines:?}");
    }
}

#[tokio::test]
async fn p6_a_veto_is_understood_in_any_spelling() {
    for lines in [
        &["PRIVATE"][..],
        &["No-Store"],
        &["private , max-age=9"],
        &["max-age=9", "private"],
        &["public, max-age=9", "\tNO-STORE\t"],
        &[",,, ,no-store"],
        &[r#"private="set-cookie", max-age=9"#],
        &[r#"ext="unclosed, no-store"#],
        &["max-age=9,no-store=1"],
        &["max-age=9, private ="],
    ] {
        let runs = Runs::default();
        let headers: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        let app = page(minute(&cache().0), numbered_with(&runs, &headers));
        assert!(!get(&app, "/page").await.is_stored(), "{lines:?}");
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{lines:?}");
    }
}

#[tokio::test]
async fn p6_a_veto_inside_a_quoted_string_is_none() {
    let runs = Runs::default();
    let app = page(cache().0.layer(), numbered_with(&runs, &[("cache-control", r#"ext="a, no-store", max-age=60"#)]));
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn p7_vary_on_authorization_keeps_two_tokens_apart() {
    let handler = answering(|parts| {
        let lines = [("vary", "Authorization"), ("cache-control", "public, max-age=60")];
        (fields(&lines), format!("for {}", field(parts, "authorization")))
    });
    let app = page(cache().0.layer(), handler);
    for token in ["alice", "bob", "alice", "bob"] {
        assert_eq!(get_with(&app, "/page", &[("authorization", token)]).await.text(), format!("for {token}"));
    }
    assert!(get_with(&app, "/page", &[("authorization", "alice")]).await.is_hit());
    assert_eq!(get(&app, "/page").await.text(), "for ");
}

#[tokio::test]
async fn p7_vary_on_cookie_keeps_two_cookies_apart() {
    let handler = answering(|parts| (fields(&[("vary", "cookie")]), format!("for {}", field(parts, "cookie"))));
    let app = page(minute(&cache().0).ignore_cookies(true), handler);
    for cookie in ["sid=alice", "sid=bob", "sid=alice"] {
        assert_eq!(get_with(&app, "/page", &[("cookie", cookie)]).await.text(), format!("for {cookie}"));
    }
    assert_eq!(get(&app, "/page").await.text(), "for ");
}

#[tokio::test]
async fn p10_a_private_answer_reaches_only_the_request_that_it_was_made_for() {
    const REQUESTS: usize = 8;
    let (runs, gate) = (Runs::default(), Gate::closed());
    let handler = {
        let gate = gate.clone();
        move || async move {
            let run = runs.begin();
            gate.pass().await;
            (CacheDirective::private(), format!("run {run}"))
        }
    };
    let app = page(minute(&cache().0), handler);
    let ask = || {
        let app = app.clone();
        async move { get(&app, "/page").await.text().to_owned() }
    };

    let mut answers = JoinSet::new();
    answers.spawn(ask());
    gate.arrival().await;
    for _ in 1..REQUESTS {
        answers.spawn(ask());
    }
    tokio::task::yield_now().await;
    gate.open(REQUESTS);

    let bodies: BTreeSet<_> = answers.join_all().await.into_iter().collect();
    assert_eq!(bodies.len(), REQUESTS);
}

#[tokio::test]
async fn p11_two_hosts_do_not_share_a_path() {
    let app = page(minute(&cache().0), answering(|parts| format!("tenant {}", field(parts, "host"))));
    for host in ["a.example", "b.example", "a.example:8080", "example", "a.example.b.example"] {
        assert_eq!(get_with(&app, "/page", &[("host", host)]).await.text(), format!("tenant {host}"));
    }
    assert!(get_with(&app, "/page", &[("host", "b.example")]).await.is_hit());
}

#[tokio::test]
async fn p11_key_part_separates_tenants_of_one_host() {
    let layer = minute(&cache().0).key_with("tenant", |parts| Some(parts.headers.get("x-tenant")?.to_str().ok()?.to_owned()));
    let app = page(layer, answering(|parts| format!("tenant {}", field(parts, "x-tenant"))));
    for tenant in ["a", "b", "a"] {
        assert_eq!(get_with(&app, "/page", &[("x-tenant", tenant)]).await.text(), format!("tenant {tenant}"));
    }
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::KeyDeclined));
}

#[tokio::test]
async fn p12_a_path_that_looks_like_a_file_is_not_stored_unless_its_route_is() {
    let runs = Runs::default();
    let account = numbered(&runs);
    let app = Router::new()
        .route("/account", routing::get(account.clone()))
        .route("/account/{*rest}", routing::get(account.clone()))
        .route("/assets/{*file}", routing::get(|| async { "body {}" }).layer(minute(&cache().0)))
        .fallback(account);
    let deceptions =
        ["/account/a.css", "/account;a.css", "/account%2fa.css", "/account%00", "/account/%2e%2e/assets/a.css", "/account?a.css"];
    for uri in deceptions {
        let (first, second) = (get(&app, uri).await, get(&app, uri).await);
        assert_ne!(first.text(), second.text(), "{uri}");
    }
    get(&app, "/assets/a.css").await;
    assert!(get(&app, "/assets/a.css").await.is_hit());
}

#[tokio::test]
async fn p14_a_client_cannot_see_whether_it_was_a_hit_but_by_its_age() {
    let runs = Runs::default();
    let handler = answering(move |_| (CacheTags::new(["secret"]), numbered(&runs)().into_inner()));
    let app = page(minute(&cache().0), handler);
    let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>();

    let (miss, hit) = (get(&app, "/page").await, get(&app, "/page").await);
    let bypass = get_with(&app, "/page", &[("cookie", "a=1")]).await;

    assert!(hit.is_hit());
    assert_eq!(names(&hit), ["age", "content-length", "content-type", "date"].map(String::from).into());
    for answer in [miss, bypass] {
        assert_eq!(names(&answer), ["content-length", "content-type"].map(String::from).into());
    }
}

#[tokio::test]
async fn p14_cache_status_is_opt_in_and_never_has_the_key() {
    let runs = Runs::default();
    let app = page(minute(&cache().0).status_header(true), numbered(&runs));
    assert_eq!(get(&app, "/page").await.header("cache-status"), Some("larder; fwd=uri-miss; stored; ttl=60"));
    assert_eq!(get(&app, "/page").await.header("cache-status"), Some("larder; hit; ttl=60"));
    let bypass = get_with(&app, "/page", &[("cookie", "sid=1")]).await;
    assert_eq!(bypass.header("cache-status"), Some("larder; fwd=bypass; detail=request-cookie"));
}
