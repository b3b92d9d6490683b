//! The operator's page in a real browser: every screen, an action, and what is refused. Pictures are in `target/screenshots`.

pub(crate) mod chromium;

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, extract::Path as Captured, response::Html, routing};
use http::{Request, header::COOKIE, request::Parts};
use larder::{
    Cache, CacheMode, CacheTags, ManualClock, Outcome,
    admin::{Access, Admin},
};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use self::chromium::{Chromium, screenshots};

const SCREENS: [(&str, &str, &str); 10] = [
    ("overview", "/", "Overview"),
    ("routes", "/routes", "Routes"),
    ("explain", "/explain", "Explain"),
    ("keys", "/keys", "Keys"),
    ("tags", "/tags", "Tags"),
    ("store", "/store", "Store"),
    ("memory", "/memory", "Memory"),
    ("advisor", "/advisor", "Advisor"),
    ("jobs", "/jobs", "Jobs"),
    ("live", "/live", "Live"),
];

/// Waits until the stream is open, visits some pages, and returns what is seen of that.
const SEE_DECISIONS: &str = "new Promise(resolve => {
    const rows = document.getElementById('decisions');
    const look = () => rows.rows.length >= 6 ? resolve(rows.innerText) : setTimeout(look, 20);
    const visit = () => ['/posts/3', '/posts/4', '/posts', '/search', '/posts/3', '/me'].reduce((last, page) => last.then(() => fetch(page)), Promise.resolve());
    const wait = () => document.getElementById('state').textContent === 'Connected' ? visit().then(look) : setTimeout(wait, 20);
    wait();
})";

fn logged_in(parts: &Parts) -> Access {
    let cookies = parts.headers.get(COOKIE).and_then(|cookies| cookies.to_str().ok()).unwrap_or_default();
    if cookies.contains("operator=ann") { Access::full("ann") } else { Access::Denied }
}

/// An application with the page at `/ops/cache` for those who are logged in, and at `/open` for everybody.
fn app(cache: &Cache, clock: &ManualClock) -> Router {
    let layer = cache
        .layer()
        .ttl(Duration::from_secs(300))
        .stale_while_revalidate(Duration::from_secs(600))
        .bypass_on_cookies(["sid"])
        .status_header(true);
    let (for_post, for_list) = (clock.clone(), clock.clone());
    let post = async move |Captured(id): Captured<u32>| {
        for_post.advance(Duration::from_millis(40 + u64::from(id)));
        (CacheTags::new([format!("author:{}", id % 3)]), format!("post {id} ").repeat(400))
    };
    let list = async move || {
        for_list.advance(Duration::from_millis(180));
        "post ".repeat(2_000)
    };
    Router::new()
        .route("/posts/{id}", routing::get(post).layer(layer.clone().tags(["posts", "post:{id}"])))
        .route("/posts", routing::get(list).layer(layer.clone().tags(["posts"])))
        .route("/search", routing::get(|| async { "found" }).layer(cache.layer()))
        .route("/me", routing::get(|| async { "you" }).layer(layer))
        .nest_service("/ops/cache", Admin::new(cache).authorize(logged_in).into_router())
        .nest_service("/open", Admin::new(cache).authorize(|_| Access::full("everybody")).into_router())
}

async fn get(app: &Router, path: &str, cookie: bool) {
    let mut request = Request::get(path).header("host", "blog.example");
    if cookie {
        request = request.header("cookie", "sid=1");
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
}

/// Ten minutes of visitors, for the curves; the clock of the runtime is advanced.
async fn visitors(app: &Router) {
    for tick in 0_u32..120 {
        for visit in 0..(12 + tick % 17 + tick / 10) {
            get(app, &format!("/posts/{}", (visit * visit + tick) % 14), false).await;
        }
        get(app, "/posts", false).await;
        get(app, "/search?q=larder", false).await;
        get(app, "/me", tick % 3 > 0).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        tokio::task::yield_now().await;
    }
}

/// A cache that is too small for its pages, of which some are popular, with its page at `/small`.
async fn small() -> (Cache, Router) {
    let cache = Cache::in_memory(1 << 20);
    let layer = cache.layer().ttl(Duration::from_secs(300));
    let page = routing::get(|| async { "x".repeat(1 << 10) }).layer(layer);
    let admin = Admin::new(&cache).authorize(|_| Access::read_only("everybody")).into_router();
    let app = Router::new().route("/pages/{id}", page).nest_service("/small", admin);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..30_000 {
        get(&app, &format!("/pages/{}", (3_000.0 * random.f64().powi(2)) as u32), false).await;
    }
    (cache, app)
}

/// A cache over a real Redis with a near tier, with its page at `/shared`.
#[cfg(feature = "redis")]
async fn shared(redis: &crate::servers::redis::Redis) -> Router {
    let cache = Cache::connect(&format!("tiered+{}?near=1mb&read_timeout=5s&store_timeout=5s", redis.url())).await.unwrap();
    let page = routing::get(|| async { "page" }).layer(cache.layer().ttl(Duration::from_secs(300)).tags(["shared"]));
    let admin = Admin::new(&cache).authorize(|_| Access::full("everybody")).into_router();
    let app = Router::new().route("/shared-pages/{id}", page).nest_service("/shared", admin);
    for visit in 0..200 {
        get(&app, &format!("/shared-pages/{}", visit % 40), false).await;
    }
    cache.invalidate_tags(["shared"]).await.unwrap();
    app
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

#[tokio::test(start_paused = true)]
async fn browser_opens_every_screen_and_sees_what_was_counted() {
    let clock = ManualClock::new();
    let cache = Cache::in_memory(1 << 20).with_clock(&clock);
    let app = app(&cache, &clock);
    visitors(&app).await;
    let (small, small_app) = small().await;
    let app = app.merge(small_app);
    cache.invalidate_tags(["author:1"]).await.unwrap();
    cache.expire_tags(["post:5", "post:6"]).await.unwrap();
    for id in 0..14 {
        get(&app, &format!("/posts/{id}"), false).await;
    }
    clock.advance(Duration::from_secs(7));
    tokio::time::resume();
    #[cfg(feature = "redis")]
    let redis = crate::servers::redis::Redis::start();
    #[cfg(feature = "redis")]
    let app = app.merge(shared(&redis).await);
    let address = serve(app).await;
    // Another site, for the browser: `localhost` is not `127.0.0.1`.
    let form =
        format!(r#"<form method="post" action="http://{address}/open/actions/mode"><input name="mode" value="bypass"></form>"#);
    let other = serve(Router::new().route("/", routing::get(|| async { Html(form) }))).await;
    let drive = move || {
        let Some(mut browser) = Chromium::start() else {
            println!("skipped: there is no Chromium on this machine (Debian's package `chromium`)");
            return;
        };
        is_refused_without_login(&mut browser, address);
        shows_all_screens(&mut browser, &cache, address);
        invalidates_a_tag(&mut browser, address);
        sets_the_mode(&mut browser, &cache, address);
        shows_the_memory_curve(&mut browser, &small, address);
        #[cfg(feature = "redis")]
        shows_the_servers_of_a_store(&mut browser, &redis, address);
        shows_decisions_live(&mut browser, address);
        is_refused_from_another_site(&mut browser, &cache, other);
    };
    tokio::task::spawn_blocking(drive).await.unwrap();
}

fn status(browser: &mut Chromium, path: &str) -> u64 {
    browser.evaluate(&format!("fetch('{path}').then(response => response.status)")).as_u64().unwrap()
}

fn cache_status(browser: &mut Chromium, path: &str) -> String {
    let script = format!("fetch('{path}').then(response => response.headers.get('cache-status'))");
    browser.evaluate(&script).as_str().unwrap().to_owned()
}

fn is_refused_without_login(browser: &mut Chromium, address: SocketAddr) {
    browser.open(&format!("http://{address}/search"));
    assert_eq!(status(browser, "/ops/cache/"), 404);
    assert_eq!(status(browser, "/ops/cache/api/stats"), 404);
    browser.evaluate("document.cookie = 'operator=ann; path=/'");
    assert_eq!(status(browser, "/ops/cache/"), 200);
}

fn shows_all_screens(browser: &mut Chromium, cache: &Cache, address: SocketAddr) {
    let folder = screenshots();
    browser.open(&format!("http://{address}/ops/cache"));
    let count = |number: u64| larder_count(number);
    let (stats, text) = (cache.stats(), browser.text());
    for figure in [count(stats.requests()), format!("{:.1} %", stats.hit_ratio().unwrap() * 100.0)] {
        assert!(text.contains(&figure), "{figure} is not in {text}");
    }
    assert!(text.contains(&format!("hit {}", count(stats.total().outcome(Outcome::Hit)))), "{text}");
    for (name, path, title) in SCREENS {
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            browser.open(&format!("http://{address}/ops/cache{path}"));
            assert_eq!(browser.evaluate("document.querySelector('h1').innerText"), title);
            if name == "explain" {
                let ask = format!("document.querySelector('[name=url]').value = 'http://{address}/posts/7'");
                browser.evaluate(&format!("fetch('/posts/7').then(() => {{ {ask} }})"));
                browser.follow("document.querySelector('form.ask').requestSubmit()");
                assert!(browser.text().contains("A fresh stored response answers"), "{}", browser.text());
            }
            if name == "live" {
                browser.evaluate(SEE_DECISIONS);
            }
            let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
            assert_eq!(ground == "rgb(16, 21, 28)", scheme == "dark", "{ground}");
            // The policy of the page admits its own style.
            assert!(
                browser.evaluate("document.documentElement.scrollWidth <= innerWidth").as_bool().unwrap(),
                "{name} is too wide"
            );
            browser.picture(&folder.join(format!("{name}-{scheme}.png")));
        }
    }
    browser.prefer("light");
}

/// As the page writes numbers.
fn larder_count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join("\u{202f}")
}

fn invalidates_a_tag(browser: &mut Chromium, address: SocketAddr) {
    browser.open(&format!("http://{address}/ops/cache/tags"));
    cache_status(browser, "/posts/9");
    assert!(cache_status(browser, "/posts/9").contains("hit"));
    browser.evaluate("document.querySelector('[name=tags]').value = 'post:9'");
    browser.follow("document.querySelector('[name=tags]').form.requestSubmit()");
    assert!(browser.text().contains("1 tag is invalidated"), "{}", browser.text());
    assert!(!cache_status(browser, "/posts/9").contains("hit"));
    browser.follow("document.querySelector('main a[href$=tags]').click()");
    assert!(browser.text().contains("tag post:9"), "{}", browser.text());
}

fn shows_the_memory_curve(browser: &mut Chromium, small: &Cache, address: SocketAddr) {
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        browser.open(&format!("http://{address}/small/memory"));
        browser.picture(&screenshots().join(format!("memory-curve-{scheme}.png")));
    }
    browser.prefer("light");
    let (text, points) = (browser.text(), small.memory_curve().unwrap().points().unwrap());
    for figure in points.map(|point| format!("{:.1} %", point.hit_ratio * 100.0)) {
        assert!(text.contains(&figure), "{figure} is not in {text}");
    }
    assert!(text.contains("More memory would help"), "{text}");
}

#[cfg(feature = "redis")]
fn shows_the_servers_of_a_store(browser: &mut Chromium, redis: &crate::servers::redis::Redis, address: SocketAddr) {
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        browser.open(&format!("http://{address}/shared/store"));
        browser.picture(&screenshots().join(format!("store-redis-{scheme}.png")));
    }
    browser.prefer("light");
    let text = browser.text();
    assert!(text.contains(&format!("127.0.0.1:{}", redis.port)) && text.contains("connected"), "{text}");
}

/// By the first button in this process, by the second one on all nodes, of which there is only this one.
fn sets_the_mode(browser: &mut Chromium, cache: &Cache, address: SocketAddr) {
    for (button, mode) in [("'button'", CacheMode::Bypass), ("'[name=everywhere]'", CacheMode::Enabled)] {
        browser.open(&format!("http://{address}/ops/cache/"));
        browser.evaluate(&format!("document.querySelector('select[name=mode]').value = '{mode}'"));
        browser.follow(&format!("document.querySelector('select[name=mode]').form.querySelector({button}).click()"));
        assert!(browser.text().contains(&format!("The mode of this process is {mode}")), "{}", browser.text());
        assert_eq!(cache.mode(), mode);
    }
}

fn shows_decisions_live(browser: &mut Chromium, address: SocketAddr) {
    browser.open(&format!("http://{address}/ops/cache/live"));
    let text = browser.evaluate(SEE_DECISIONS);
    assert!(text.as_str().unwrap().contains("/posts/{id}"), "{text}");
}

fn is_refused_from_another_site(browser: &mut Chromium, cache: &Cache, other: SocketAddr) {
    browser.open(&format!("http://localhost:{}/", other.port()));
    browser.follow("document.querySelector('form').submit()");
    assert!(browser.text().contains("the request comes from another site"), "{}", browser.text());
    assert_eq!(cache.mode(), CacheMode::Enabled);
}
