//! Tests of parsers with hostile input: the time of a parser is linear in the size of the input, for any input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use axum::{Router, body::Body, routing};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, ETAG, FORWARDED, HOST,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, PRAGMA, RANGE, VARY,
    },
};
use tower::ServiceExt as _;

use crate::{
    Cache, CacheStatus, Reason, ResponseBody,
    coding::accepted::Accepted,
    http::{
        accept::LanguageMatcher,
        authority::{Scheme, normal_authority},
        cache_control::{CacheControl, RequestDirectives, named_fields},
        conditional::{is_unmodified_since, names_etag},
        date::parse_date,
        field::scan::counting::{limited, steps},
        no_vary_search::{Order, Parameters, QueryVariance},
        range::part,
        request_fields::RequestFields,
        vary::Vary,
    },
    key::{
        Key,
        cookies::{Cookies, cookie},
        normalizers::Normalizers,
        pattern::patterns,
        query::QueryRule,
        rules::KeyRules,
        secret::Secret,
    },
    policy::limits::Limits,
    router::captures::Captures,
    tag::{namespace::TagNamespace, template::TagTemplate},
};

/// A parser of client input: its name, the characters that are special to it, and a call of it.
type Parser = (&'static str, &'static str, fn(&str));

const PARSERS: &[Parser] = &[
    ("Cache-Control of a request", "\"\\,=; \ta", |text| done(RequestDirectives::parse(&field(CACHE_CONTROL, text)))),
    ("Pragma", "\"\\,=; \ta", |text| done(RequestDirectives::parse(&field(PRAGMA, text)))),
    ("Cache-Control", "\"\\,=; \ta0", |text| done(CacheControl::parse(&field(CACHE_CONTROL, text), &CACHE_CONTROL))),
    ("named fields", "\"\\,= a", |text| {
        done(named_fields(&field(CACHE_CONTROL, &format!("private=\"{text}\"")), &CACHE_CONTROL));
    }),
    ("Vary", ",* a", |text| done(Vary::parse(&field(VARY, text)))),
    ("Accept-Encoding", ",;=*. q0b", |text| normalized(ACCEPT_ENCODING, text)),
    ("Accept-Language", ",;=*.- q0b", |text| normalized(ACCEPT_LANGUAGE, text)),
    ("a nominated list", "\"\\,; a", |text| normalized(ACCEPT, text)),
    ("a nominated credential", ",; a", |text| normalized(AUTHORIZATION, text)),
    ("languages", ",;=*.- q0e", |text| done(LanguageMatcher::new(["en", "de-AT"]).best(text).len())),
    ("Forwarded", "\",;= fb", |text| KeyRules::default().push_forwarding(&mut Key::new(), &field(FORWARDED, text))),
    ("X-Forwarded-Host", ",: a", |text| {
        KeyRules::default().push_forwarding(&mut Key::new(), &field(HeaderName::from_static("x-host"), text));
    }),
    ("Connection", ", \ta", |text| done(RequestFields::read(&field(CONNECTION, text)))),
    ("If-None-Match", "\"\\,W/* a", |text| {
        done(names_etag(&field(IF_NONE_MATCH, text), Some(&HeaderValue::from_static("\"a\""))));
    }),
    ("If-Modified-Since", ",:- aG0", |text| {
        done(is_unmodified_since(&field(IF_MODIFIED_SINCE, text), crate::clock::Timestamp::from_millis(0)));
    }),
    ("a date", ",:- aG0", |text| done(parse_date(text.as_bytes()))),
    ("Range", "=-, 0b", |text| done((part(text.as_bytes(), 10), part(format!("bytes={text}").as_bytes(), 10)))),
    ("a cookie", "=;\"% a2", |text| done(cookie(&field(COOKIE, text), "a"))),
    ("cookies that bypass", "=;\"% a2", |text| done(Cookies::BypassOn(patterns(["b*", "sid"])).bypass(&field(COOKIE, text)))),
    ("Accept-Encoding of a layer that compresses", ",;=*. q0b", |text| done(Accepted::of(&field(ACCEPT_ENCODING, text)))),
    ("an authority", ":.[]%@A", |text| {
        done((normal_authority(text.as_bytes(), Scheme::Http), Key::new().push_authority(text.as_bytes(), Scheme::Https)));
    }),
    ("tags of a URI", "/%{a.2", |text| done((TagNamespace::default().uri(text, text), TagNamespace::default().path(text)))),
    ("a capture in a tag", "{}/a", |text| {
        done(TagTemplate::parse("a:{id}").expand(&Captures::new(vec![("id".to_owned(), text.to_owned())], "")).is_ok());
    }),
    ("a sorted query", "&=+%;a2", |text| done(QueryRule::default().sorted(true).apply(Some(text)))),
    ("ignored parameters", "&=+%;a2", |text| done(QueryRule::default().ignore(["a", "b*", "%*"]).apply(Some(text)))),
    ("named parameters", "&=+%;a2", |text| done(QueryRule::default().only(["a", "b*", "%*"]).sorted(true).apply(Some(text)))),
    ("No-Vary-Search", "&=+%;a2", |text| {
        let rule = |parameters, order| done(QueryVariance { parameters, order }.apply(Some(text)));
        rule(Parameters::Ignored(vec!["b".to_owned()]), Order::Ignored);
        rule(Parameters::Kept(vec!["a".to_owned()]), Order::Matters);
    }),
];

fn done<T>(_read: T) {}

fn field(name: HeaderName, text: &str) -> HeaderMap {
    HeaderMap::from_iter([(name, HeaderValue::from_str(text).unwrap())])
}

fn normalized(name: HeaderName, text: &str) {
    let mut normalizers = Normalizers::default();
    normalizers.secret = Secret::shared(b"secret");
    normalizers.normalize_lists(true);
    normalizers.push(&mut Key::new(), &field(name.clone(), text), &name);
}

/// Returns repetitions of each of these characters and of each pair, and a list of distinct members.
fn hostile_texts(specials: &str, length: usize) -> Vec<String> {
    let mut patterns: Vec<String> = Vec::new();
    for (at, one) in specials.char_indices() {
        patterns.push(one.to_string());
        patterns.extend(specials[at + 1..].chars().map(|other| format!("{one}{other}")));
    }
    let mut texts: Vec<String> = patterns.iter().map(|pattern| pattern.repeat(length / pattern.len())).collect();
    let separator = specials.chars().find(|c| matches!(c, '&' | ',' | ';' | '/' | '-')).unwrap_or(':');
    // Not in a sorted order.
    let differing = (0..length as u32 / 8).map(|number| format!("{:07x}{separator}", number.wrapping_mul(2_654_435_761) >> 4));
    texts.push(differing.collect());
    texts
}

/// The allowed number of steps for each byte: sorting takes about twenty comparisons for each member.
const STEPS_PER_BYTE: usize = 40;

#[test]
fn every_parser_of_client_input_takes_linear_time() {
    std::thread::scope(|scope| {
        for parser in PARSERS {
            scope.spawn(|| assert_linear(*parser));
        }
    });
}

fn assert_linear((parser, specials, parse): Parser) {
    const LONG: usize = 100_000;
    let (short, long) = (hostile_texts(specials, LONG / 20), hostile_texts(specials, LONG));
    for (short, long) in short.iter().zip(&long) {
        let for_short = steps(|| parse(short));
        let allowed = (30 * for_short + 1000).min(STEPS_PER_BYTE * LONG);
        // A parser that is not linear is stopped, since it would take minutes.
        let is_linear = limited(allowed, || parse(long));
        assert!(is_linear, "{parser}: {for_short} steps for {} bytes, too many for {} of {long:.20}…", short.len(), long.len());
    }
}

/// An application whose settings and responses make larder parse every field that it can.
fn app() -> Router {
    let cache = Cache::in_memory(64 << 20);
    let layer = cache
        .layer()
        .strict()
        .ttl(Duration::from_secs(60))
        .tags(["page:{id}"])
        .sort_query(true)
        .ignore_query(["utm_*"])
        .no_vary_search(true)
        .vary_on(["x-tenant"])
        .vary_on_cookies(["a", "b"])
        .normalize("accept-language", LanguageMatcher::new(["en", "de"]))
        .trusted_clients(|_| true);
    let answer = || async {
        let fields = [
            ("vary", "accept, accept-encoding, accept-language, user-agent, authorization, x-tenant"),
            ("etag", "\"a\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("no-vary-search", "key-order, params=(\"x\")"),
        ];
        (fields, "0123456789")
    };
    Router::new().route("/page/{id}", routing::get(answer).layer(layer))
}

/// The fields that larder parses for this application.
const FIELDS: [HeaderName; 17] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    COOKIE,
    ETAG,
    FORWARDED,
    HOST,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    PRAGMA,
    RANGE,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-tenant"),
];

const HOSTILE: [&str; 10] = ["\"\\", "\"", ",", ", ", "a,", "a=\"\\", ";", "a;q=0.1,", "W/\"a\",", "a=1;"];

fn send(app: &Router, uri: &str, headers: HeaderMap) -> (usize, Response<Body>) {
    let mut request = Request::get(uri).body(Body::empty()).unwrap();
    *request.headers_mut() = headers;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut response = None;
    let steps = steps(|| response = Some(runtime.block_on(app.clone().oneshot(request)).unwrap()));
    (steps, response.unwrap())
}

#[test]
fn request_with_too_many_fields_is_not_parsed() {
    let app = app();
    for name in FIELDS {
        for pattern in HOSTILE {
            let (steps, response) = send(&app, "/page/1", field(name.clone(), &pattern.repeat(400_000 / pattern.len())));
            let reason = CacheStatus::of(&response).and_then(CacheStatus::reason);
            assert_eq!(reason, Some(Reason::RequestFieldsTooLarge), "{name}: {pattern}");
            // Only `Connection` is parsed before the total size is known.
            let allowed = if name == CONNECTION { STEPS_PER_BYTE * 400_000 } else { 10_000 };
            assert!(steps < allowed, "{name}: {pattern}: {steps} steps");
        }
    }
}

#[test]
fn request_within_the_limit_costs_a_bounded_number_of_steps() {
    let app = app();
    let plain = HeaderMap::from_iter([(HOST, HeaderValue::from_static("example.com"))]);
    for name in FIELDS {
        for pattern in HOSTILE {
            let mut headers = plain.clone();
            headers.extend(field(name.clone(), &pattern.repeat((Limits::default().request_fields - 200) / pattern.len())));
            // A miss and a hit, or two bypasses.
            for _ in 0..2 {
                let (steps, response) = send(&app, "/page/1", headers.clone());
                let reason = CacheStatus::of(&response).and_then(CacheStatus::reason);
                assert_ne!(reason, Some(Reason::RequestFieldsTooLarge), "{name}: {pattern}");
                assert!(steps < 100 * Limits::default().request_fields, "{name}: {pattern}: {steps} steps");
            }
        }
    }
    for pattern in ["a&", "b=1&a&", "%", "%61=+&", "&", "=", "+"] {
        let query = |length: usize| format!("/page/1?{}", pattern.repeat(length / pattern.len()));
        let (steps, _) = send(&app, &query(Limits::default().query), plain.clone());
        assert!(steps < 100 * Limits::default().query, "{pattern}: {steps} steps");
        let (steps, _) = send(&app, &query(60_000), plain.clone());
        assert!(steps < 10_000, "{pattern}: {steps} steps");
    }
}

#[test]
fn request_at_the_limit_is_a_hit_and_one_above_bypasses() {
    let app = app();
    let sized = |length: usize| {
        HeaderMap::from_iter([(HeaderName::from_static("x"), HeaderValue::from_str(&"a".repeat(length)).unwrap())])
    };
    let largest = Limits::default().request_fields - "x".len() - 32;
    send(&app, "/page/1", sized(1));
    let hit = |length| CacheStatus::of(&send(&app, "/page/1", sized(length)).1).is_some_and(CacheStatus::is_hit);
    assert!(hit(largest) && !hit(largest + 1));
}

#[test]
fn long_query_bypasses_a_route_that_has_a_rule_for_parameters() {
    let query = |length: usize| format!("/page?{}", "a".repeat(length));
    let cache = Cache::in_memory(1 << 20);
    let plain = cache.layer().ttl(Duration::from_secs(60));
    for (layer, refused) in [(plain.clone().sort_query(true), true), (plain.clone().no_vary_search(true), true), (plain, false)] {
        let app = Router::new().route("/page", routing::get(|| async { "page" }).layer(layer));
        let reason = |length| CacheStatus::of(&send(&app, &query(length), HeaderMap::new()).1).and_then(CacheStatus::reason);
        assert_eq!(reason(Limits::default().query), None);
        assert_eq!(reason(Limits::default().query + 1), refused.then_some(Reason::QueryTooLong));
    }
}

#[test]
fn response_body_is_empty_by_default() {
    use http_body::Body as _;
    assert!(ResponseBody::<Body>::default().is_end_stream());
}
