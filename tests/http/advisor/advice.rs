//! An application with known truth: what changes when, by what responses differ, and what never repeats.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::HeaderMap,
    routing,
};
use fastrand::Rng;
use http::Method;
use larder::{
    ManualClock,
    advisor::{Advice, Change, RouteAdvice, Selector, Verdict},
};

use crate::support::{cache, get_with, send_empty};

/// The data of the application.
#[derive(Debug, Default)]
struct Data {
    posts: BTreeMap<u64, u64>,
    settings: u64,
    counter: u64,
}

#[derive(Clone)]
struct App {
    data: Arc<Mutex<Data>>,
    clock: ManualClock,
}

impl App {
    /// A handler that takes so long.
    fn takes<T>(&self, millis: u64, query: impl FnOnce(&mut Data) -> T) -> T {
        self.clock.advance(Duration::from_millis(millis));
        query(&mut self.data.lock().unwrap())
    }
}

fn named<'h>(headers: &'h HeaderMap, field: &str) -> &'h str {
    headers.get(field).map_or("", |value| value.to_str().unwrap())
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    let pairs = named(headers, "cookie").split("; ").filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
}

async fn list(State(app): State<App>) -> String {
    app.takes(40, |data| format!("{:?}", data.posts))
}

async fn create(State(app): State<App>) {
    app.takes(5, |data| data.posts.insert(data.posts.len() as u64, 0));
}

async fn show(State(app): State<App>, Path(id): Path<u64>) -> String {
    app.takes(10, |data| format!("post {id}: {:?}", data.posts.get(&id)))
}

async fn update(State(app): State<App>, Path(post): Path<u64>) {
    app.takes(5, |data| *data.posts.entry(post).or_default() += 1);
}

async fn comments(State(app): State<App>, Path(post): Path<u64>) -> String {
    app.takes(4, |data| format!("comments of {post}: {:?}", data.posts.get(&post)))
}

async fn configure(State(app): State<App>) {
    app.takes(5, |data| data.settings += 1);
}

async fn me(State(app): State<App>, headers: HeaderMap) -> String {
    app.takes(30, |_| format!("you are {}", named(&headers, "authorization")))
}

async fn search(State(app): State<App>, Query(query): Query<BTreeMap<String, String>>) -> String {
    app.takes(25, |_| format!("results for {:?}, page {:?}", query.get("q"), query.get("page")))
}

async fn random(State(app): State<App>) -> String {
    app.takes(50, |data| {
        data.counter += 1;
        data.counter.to_string()
    })
}

async fn account(State(app): State<App>, headers: HeaderMap) -> String {
    app.takes(8, |_| format!("home of {}", cookie(&headers, "sid")))
}

async fn news(State(app): State<App>, headers: HeaderMap) -> String {
    app.takes(6, |_| format!("news in {}", named(&headers, "accept-language")))
}

fn routes(app: App) -> Router {
    Router::new()
        .route("/posts", routing::get(list).post(create))
        .route("/posts/{id}", routing::get(show))
        .route("/posts/{id}/comments", routing::get(comments))
        .route("/admin/posts/{post_id}", routing::put(update))
        .route("/settings", routing::put(configure))
        .route("/me", routing::get(me))
        .route("/search", routing::get(search))
        .route("/random", routing::get(random))
        .route("/account", routing::get(account))
        .route("/news", routing::get(news))
        .with_state(app)
}

/// Two hours of traffic: what the advisor makes of it.
async fn advice() -> Advice {
    let (cache, clock) = cache();
    let app = App { data: Arc::default(), clock: clock.clone() };
    let router = routes(app).layer(cache.observer().layer());
    let mut rng = Rng::with_seed(7);
    for _ in 0..30 {
        send_empty(&router, Method::POST, "/posts").await;
    }
    for _ in 0..12_000 {
        clock.advance(Duration::from_millis(rng.u64(0..1_200)));
        let (user, post) = (rng.u8(0..20), rng.u64(0..30));
        let token = format!("Bearer {user}");
        // Every visitor has a cookie of analytics; a third have a session.
        let session = if user % 3 == 0 { format!("; sid={user}") } else { String::new() };
        let cookies = format!("_ga={user}{session}");
        match rng.u8(0..100) {
            0..20 => drop(get_with(&router, "/posts", &[]).await),
            20..50 => drop(get_with(&router, &format!("/posts/{post}"), &[]).await),
            50..58 => drop(get_with(&router, &format!("/posts/{post}/comments"), &[]).await),
            58..64 => drop(get_with(&router, "/me", &[("authorization", &token)]).await),
            64..76 => {
                let query = format!("q={}&page={}&utm_source={}&utm_medium={}", post % 5, user % 2, rng.u32(..), rng.u32(..));
                drop(get_with(&router, &format!("/search?{query}"), &[]).await);
            }
            76..80 => drop(get_with(&router, "/random", &[]).await),
            80..88 => drop(get_with(&router, "/account", &[("cookie", &cookies)]).await),
            88..94 => {
                let language = ["de", "en", "fr"][usize::from(user) % 3];
                drop(get_with(&router, "/news", &[("accept-language", language)]).await);
            }
            94..96 => drop(send_empty(&router, Method::PUT, &format!("/admin/posts/{post}")).await),
            96 => drop(send_empty(&router, Method::POST, "/posts").await),
            _ => drop(send_empty(&router, Method::PUT, "/settings").await),
        }
    }
    println!("{}", cache.advice());
    cache.advice()
}

fn changes(advice: &Advice, route: &str) -> Vec<(String, String, String)> {
    let changes = advice.route(route).unwrap().changes().iter();
    let mut changes: Vec<_> =
        changes.map(|change| (change.write().to_string(), change.tag().to_owned(), change.written_tag().to_owned())).collect();
    changes.sort();
    changes
}

fn selectors(advice: &Advice, route: &str) -> Vec<Selector> {
    advice.route(route).unwrap().differs_by().iter().map(|(selector, _)| selector.clone()).collect()
}

#[tokio::test]
async fn advice_is_what_is_known_of_the_application() {
    let advice = advice().await;
    // The tags, and where to invalidate them.
    let change = |write: &str, tag: &str, written: &str| (write.to_owned(), tag.to_owned(), written.to_owned());
    assert_eq!(changes(&advice, "/posts/{id}"), [change("PUT /admin/posts/{post_id}", "post:{id}", "post:{post_id}")]);
    assert_eq!(changes(&advice, "/posts/{id}/comments"), [change("PUT /admin/posts/{post_id}", "post:{id}", "post:{post_id}")]);
    let list = [change("POST /posts", "posts", "posts"), change("PUT /admin/posts/{post_id}", "posts", "posts")];
    assert_eq!(changes(&advice, "/posts"), list);
    for unchanged in ["/me", "/search", "/random", "/account", "/news"] {
        assert_eq!(changes(&advice, unchanged), [], "{unchanged}");
    }
    let explained: f64 = advice.route("/posts/{id}").unwrap().changes().iter().map(Change::share).sum();
    assert!(explained > 0.95, "{explained}");

    // What selects responses.
    assert_eq!(selectors(&advice, "/me"), [Selector::Credentials]);
    assert_eq!(selectors(&advice, "/account"), [Selector::Cookie("sid".to_owned())]);
    assert_eq!(selectors(&advice, "/news"), [Selector::AcceptLanguage]);
    for plain in ["/posts", "/posts/{id}", "/search", "/random"] {
        assert_eq!(selectors(&advice, plain), [], "{plain}");
    }
    assert_eq!(advice.route("/search").unwrap().needless_query(), ["utm_*"]);

    // What to write, and what to leave.
    let verdicts = |verdict| advice.routes().iter().filter(move |route| route.verdict() == verdict).map(RouteAdvice::route);
    let stored: Vec<_> = verdicts(Verdict::Store).collect();
    assert_eq!(verdicts(Verdict::PerUser).collect::<Vec<_>>(), ["/me"]);
    assert_eq!(verdicts(Verdict::Volatile).collect::<Vec<_>>(), ["/random"]);
    assert_eq!(stored.len(), 6, "{stored:?}");
    let code = |route| advice.route(route).unwrap().code().unwrap();
    assert!(code("/posts/{id}").contains(r#".tags(["post:{id}"])"#), "{}", code("/posts/{id}"));
    assert!(code("/posts").contains(r#".tags(["posts"])"#), "{}", code("/posts"));
    assert!(code("/search").contains(r#".ignore_query(["utm_*"])"#), "{}", code("/search"));
    assert!(code("/account").contains(r#".bypass_on_cookies(["sid"])"#), "{}", code("/account"));
    assert!(code("/news").contains(r#".vary_on(["accept-language"])"#), "{}", code("/news"));
}

#[tokio::test]
async fn routes_are_ranked_by_the_time_that_would_be_saved() {
    let advice = advice().await;
    // By the handlers' times, the shares of requests, and the repetitions: /posts 40 ms · 20 %, /posts/{id} 10 ms · 30 %, /search 25 ms · 12 %, /account
    // 8 ms · 8 %, /news 6 ms · 6 %, comments 4 ms · 8 %. Those that should be left come last, by their time.
    let ranked: Vec<_> = advice.routes().iter().map(RouteAdvice::route).collect();
    assert_eq!(ranked[0], "/posts", "{ranked:?}");
    assert_eq!(ranked[1..3].iter().collect::<std::collections::BTreeSet<_>>(), ["/posts/{id}", "/search"].iter().collect());
    assert_eq!(ranked[6..], ["/random", "/me"], "{ranked:?}");
    let savings: Vec<_> = advice.routes().iter().map(RouteAdvice::saving).collect();
    assert!(savings.is_sorted_by(|one, other| one >= other), "{savings:?}");
    let shares: f64 = advice.routes().iter().map(RouteAdvice::share).sum();
    // The rest is that of the writes.
    assert!((0.95..1.0).contains(&shares), "{shares}");
}
