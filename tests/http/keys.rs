//! What is part of a key.

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
};
use larder::{Cache, CacheLayer, LanguageMatcher, Reason};

use crate::support::{Runs, answering, cache, field, fields, get, get_with, minute, numbered, page};

#[tokio::test]
async fn a_query_that_cannot_be_parsed_is_still_part_of_the_key() {
    let app = page(minute(&cache().0), answering(|parts| parts.uri.to_string()));
    for uri in ["/page", "/page?%zz", "/page?%", "/page?a=%ff", "/page?&&", "/page?=", "/page?[]", "/page"] {
        assert_eq!(get(&app, uri).await.text(), uri);
    }
}

/// An application whose page says the query that its handler sees.
pub(super) fn saying_its_query(layer: CacheLayer) -> Router {
    page(layer, answering(|parts| parts.uri.query().map(str::to_owned).unwrap_or_else(|| "none".into())))
}

#[tokio::test]
async fn only_named_parameters_count_and_only_they_reach_the_handler() {
    let app = saying_its_query(minute(&cache().0).only_query(["page", "q_*"]));
    for (query, seen, hit) in [
        ("page=1&session=x", "page=1", false),
        ("session=y&page=1", "page=1", true),
        ("page=2&q_a=1", "page=2&q_a=1", false),
        ("q_a=1&page=2", "q_a=1&page=2", false),
        ("session=x", "none", false),
        ("pag%65=1", "pag%65=1", false),
    ] {
        let answer = get(&app, &format!("/page?{query}")).await;
        assert_eq!((answer.text(), answer.is_hit()), (seen, hit), "{query}");
    }
    assert_eq!(get(&app, "/page").await.text(), "none");
}

#[tokio::test]
async fn a_sorted_query_is_the_same_in_any_order_of_names_but_not_of_values() {
    let app = saying_its_query(minute(&cache().0).sort_query(true));
    for (query, seen, hit) in [
        ("b=1&a=2", "a=2&b=1", false),
        ("a=2&b=1", "a=2&b=1", true),
        ("a=1&a=2", "a=1&a=2", false),
        ("a=2&a=1", "a=2&a=1", false),
        ("b=1&&a=2&", "a=2&b=1", true),
    ] {
        let answer = get(&app, &format!("/page?{query}")).await;
        assert_eq!((answer.text(), answer.is_hit()), (seen, hit), "{query}");
    }
}

#[tokio::test]
async fn query_rules_work_together_and_inside_a_nest() {
    let layer = minute(&cache().0).ignore_query(["utm_*"]).sort_query(true);
    let app = Router::new().nest("/v1", saying_its_query(layer));
    assert_eq!(get(&app, "/v1/page?b=1&utm_x=1&a=2").await.text(), "a=2&b=1");
    assert!(get(&app, "/v1/page?a=2&b=1&utm_y=2").await.is_hit());
}

#[tokio::test]
async fn fields_that_a_route_varies_on_select_the_response() {
    let handler = answering(|parts| format!("{:?}", parts.headers.get_all("x-tenant").iter().collect::<Vec<_>>()));
    let app = page(minute(&cache().0).vary_on(["X-Tenant"]), handler);
    let requests: [&[(&str, &str)]; 5] =
        [&[], &[("x-tenant", "")], &[("x-tenant", "a")], &[("x-tenant", "b")], &[("x-tenant", "a"), ("x-tenant", "b")]];
    let mut answers = std::collections::BTreeSet::new();
    for lines in requests {
        let answer = get_with(&app, "/page", lines).await;
        assert!(!answer.is_hit() && answers.insert(answer.text().to_owned()), "{lines:?}");
        assert!(get_with(&app, "/page", lines).await.is_hit(), "{lines:?}");
    }
}

#[tokio::test]
#[should_panic(expected = "is not the name of a header field")]
async fn a_slip_in_the_name_of_a_field_stops_the_start() {
    let _ = minute(&cache().0).vary_on(["x tenant"]);
}

#[tokio::test]
async fn named_cookies_select_the_response_and_others_do_not() {
    let app = page(minute(&cache().0).vary_on_cookies(["theme"]), numbered(&Runs::default()));
    for (cookie, run) in
        [("theme=dark; sid=1", "run 1"), ("sid=2; theme=dark", "run 1"), ("theme=light", "run 2"), ("sid=3", "run 3")]
    {
        assert_eq!(get_with(&app, "/page", &[("cookie", cookie)]).await.text(), run, "{cookie}");
    }
    assert_eq!(get(&app, "/page").await.text(), "run 3");
}

#[tokio::test]
async fn principals_do_not_share_and_an_anonymous_request_obeys_the_usual_rules() {
    #[derive(Clone)]
    struct User(&'static str);
    async fn authenticate(mut request: Request, next: Next) -> Response {
        let user = request.headers().get("authorization").and_then(|token| match token.as_bytes() {
            b"alice's token" | b"alice's other token" => Some(User("alice")),
            b"bob's token" => Some(User("bob")),
            _ => None,
        });
        if let Some(user) = user {
            request.extensions_mut().insert(user);
        }
        next.run(request).await
    }
    let layer = minute(&cache().0).per_principal(|parts| Some(parts.extensions.get::<User>()?.0.to_owned()));
    let handler = answering(|parts| format!("for {}", parts.extensions.get::<User>().map_or("nobody", |user| user.0)));
    let app = page(layer, handler).layer(middleware::from_fn(authenticate));
    for (token, answer, hit) in [
        ("alice's token", "for alice", false),
        ("bob's token", "for bob", false),
        ("alice's other token", "for alice", true),
        ("nobody's token", "for nobody", false),
        ("nobody's token", "for nobody", false),
    ] {
        let answered = get_with(&app, "/page", &[("authorization", token)]).await;
        assert_eq!((answered.text(), answered.is_hit()), (answer, hit), "{token}");
    }
    assert_eq!(get(&app, "/page").await.text(), "for nobody");
}

#[tokio::test]
async fn a_part_of_the_routes_own_selects_the_response_or_declines() {
    let layer = minute(&cache().0).key_with("test", |parts| match field(parts, "x-device") {
        "" => None,
        device => Some(device.to_owned()),
    });
    let app = page(layer, numbered(&Runs::default()));
    for (device, run) in [("phone", "run 1"), ("desk", "run 2"), ("phone", "run 1")] {
        assert_eq!(get_with(&app, "/page", &[("x-device", device)]).await.text(), run);
    }
    for run in ["run 3", "run 4"] {
        let declined = get(&app, "/page").await;
        assert_eq!((declined.text(), declined.reason()), (run, Some(Reason::KeyDeclined)));
    }
}

#[tokio::test]
async fn normalizer_shares_a_response_among_equal_languages() {
    let languages = LanguageMatcher::new(["en", "de", "pt-BR"]);
    let matcher = languages.clone();
    let handler = answering(move |parts| {
        (fields(&[("vary", "accept-language")]), matcher.best(field(parts, "accept-language")).to_owned())
    });
    let app = page(minute(&cache().0).normalize("accept-language", languages), handler);
    for (accept, language, hit) in [
        ("de-AT, en;q=0.5", "de", false),
        ("de", "de", true),
        ("DE-ch-1996;q=0.1", "de", true),
        ("pt-br", "pt-BR", false),
        ("en-GB", "en", false),
        ("ja", "en", true),
        ("en;q=0, de;q=0.1", "de", true),
        (";;,,q=", "en", true),
    ] {
        let answer = get_with(&app, "/page", &[("accept-language", accept)]).await;
        assert_eq!((answer.text(), answer.is_hit()), (language, hit), "{accept}");
    }
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn layers_that_cut_their_keys_differently_do_not_share() {
    let (cache, _) = cache();
    let device = |cache: &Cache, name: &str| minute(cache).key_with(name, |_| Some(String::new()));
    let layers: [CacheLayer; 11] = [
        minute(&cache),
        minute(&cache).sort_query(true),
        minute(&cache).ignore_query(["a"]),
        minute(&cache).only_query(["a"]),
        minute(&cache).vary_on(["x-a"]),
        minute(&cache).ignore_cookies(true),
        minute(&cache).vary_on_cookies(["a"]),
        device(&cache, "device"),
        device(&cache, "tenant"),
        minute(&cache).normalize("accept-language", LanguageMatcher::new(["en"])),
        minute(&cache).normalize("accept-language", LanguageMatcher::new(["de"])),
    ];
    for (index, layer) in layers.into_iter().enumerate() {
        let app = page(layer, answering(move |_| index.to_string()));
        assert_eq!(get(&app, "/page").await.text(), index.to_string());
    }
}

/// A function moved to another line, or a build of another commit, must find what is stored.
#[tokio::test]
async fn source_lines_do_not_belong_to_keys() {
    let (cache, _) = cache();
    let one = minute(&cache).key_with("device", |_| Some("a".to_owned())).normalize("x-a", str::to_lowercase);
    let other = minute(&cache).key_with("device", |_| Some("a".to_owned())).normalize("x-a", str::to_lowercase);
    get(&page(one, answering(|_| "stored")), "/page").await;
    let answer = get(&page(other, answering(|_| "run again")), "/page").await;
    assert_eq!((answer.text(), answer.is_hit()), ("stored", true));
}

#[tokio::test]
async fn the_last_normal_form_of_a_field_wins() {
    let layer =
        minute(&cache().0).vary_on(["x-a"]).normalize("x-a", |_: &str| "same".to_owned()).normalize("x-a", str::to_lowercase);
    let app = page(layer, numbered(&Runs::default()));
    assert_eq!(get_with(&app, "/page", &[("x-a", "B")]).await.text(), "run 1");
    assert_eq!(get_with(&app, "/page", &[("x-a", "b")]).await.text(), "run 1");
    assert_eq!(get_with(&app, "/page", &[("x-a", "c")]).await.text(), "run 2");
}
