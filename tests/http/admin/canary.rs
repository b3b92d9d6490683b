//! No body, request field value, cookie or credential appears in any screen, answer, metric, event or log.

use std::{
    fmt::{Debug, Write as _},
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use axum::{Router, body::Body, routing};
use bytes::Bytes;
use http::Method;
use http_body::Frame;
use http_body_util::BodyExt as _;
use larder::{
    Cache,
    admin::{Access, Admin},
};
use tower::ServiceExt as _;
use tracing_core::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{ROOT, SCREENS, call, submit};
use crate::support::{cache, get_with, logs::subscribe, minute, request};

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<String>>);

impl Subscriber for Everything {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("larder")
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut self.clone());
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{}={value:?}", field.name()).unwrap();
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        for cause in std::iter::successors(Some(error), |error| error.source()) {
            writeln!(self.0.lock().unwrap(), "{}={cause} {cause:?}", field.name()).unwrap();
        }
    }
}

/// What must appear nowhere: in bodies, values of request and response fields, cookies, credentials and parts of keys.
const CANARY: &str = "canary-4711";

/// A part of a URL, which appears where keys are shown, if they are revealed, and nowhere else.
const IN_URL: &str = "url-0815";

const SECRETS: [(&str, &str); 6] = [
    ("x-tenant", CANARY),
    ("x-user", CANARY),
    ("accept-language", CANARY),
    ("cookie", "theme=canary-4711; sid=canary-4711"),
    ("authorization", "Bearer canary-4711"),
    ("referer", CANARY),
];

/// An application with secrets everywhere, and what its cache has said to a listener.
struct Secretive {
    cache: Cache,
    app: Router,
    decisions: Arc<Mutex<String>>,
}

impl Secretive {
    fn new(reveals_keys: bool) -> Self {
        let decisions = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&decisions);
        let cache = cache().0.with_revealed_keys(reveals_keys);
        let cache = cache.with_decision_listener(move |decision| writeln!(heard.lock().unwrap(), "{decision:?}").unwrap());
        let layer = minute(&cache)
            .vary_on(["x-tenant"])
            .vary_on_cookies(["theme"])
            .key_with("tenant", |parts| Some(parts.headers.get("x-tenant")?.to_str().ok()?.to_owned()))
            .per_principal(|parts| Some(parts.headers.get("x-user")?.to_str().ok()?.to_owned()));
        let page = || async { ([("x-answer", CANARY), ("vary", "accept-language")], CANARY) };
        let plain = || async { ([("set-cookie", CANARY)], CANARY) };
        let app = Router::new()
            .route("/page", routing::get(page).layer(layer))
            .route("/plain", routing::get(plain).layer(minute(&cache)))
            .route("/broken", routing::get(|| async { Body::new(Broken { has_begun: false }) }).layer(minute(&cache)))
            .nest(ROOT, Admin::new(&cache).authorize(|_| Access::full("ann")).into_router());
        Self { cache, app, decisions }
    }

    async fn is_visited(&self) {
        for _ in 0..200 {
            for page in ["/page", "/plain"] {
                let uri = format!("{page}?q={IN_URL}");
                get_with(&self.app, &uri, &SECRETS).await;
                get_with(&self.app, &uri, &SECRETS[..1]).await;
            }
        }
        let broken = self.app.clone().oneshot(request(Method::GET, "/broken", &SECRETS[..1])).await.unwrap();
        assert!(broken.into_body().collect().await.is_err());
        let is_shown = self.cache.stats().total().outcome(larder::Outcome::Hit) > 100 && !self.cache.hot_keys(1).is_empty();
        assert!(is_shown, "the run shows too little");
    }

    /// The screens and answers that show keys, and all others.
    async fn screens(&self) -> (Vec<String>, Vec<String>) {
        let (mut with_keys, mut others) = (Vec::new(), Vec::new());
        for path in SCREENS {
            let page = get_with(&self.app, &format!("{ROOT}{path}"), &SECRETS).await.text().to_owned();
            if path == "/keys" { &mut with_keys } else { &mut others }.push(page);
        }
        for path in ["stats", "routes", "hot", "memory", "invalidations", "health"] {
            let answer = get_with(&self.app, &format!("{ROOT}/api/{path}"), &SECRETS).await.text().to_owned();
            if path == "hot" { &mut with_keys } else { &mut others }.push(answer);
        }
        let headers = SECRETS.map(|(name, value)| format!(r#""{name}":"{value}""#)).join(",");
        let question = format!(r#"{{"url":"http://example.com/page?q={IN_URL}","headers":{{{headers}}}}}"#);
        with_keys.push(call(&self.app, "explain", &question).await.text().to_owned());
        others.push(call(&self.app, "explain", &question.replace("/page", "/plain")).await.text().to_owned());
        // The form is shown again, without the query and the fields.
        let lines = SECRETS.map(|(name, value)| format!("{name}: {value}")).join("%0A");
        for page in ["page", "plain"] {
            let form = format!("url=http://example.com/{page}%3Fq%3D{IN_URL}&headers={lines}");
            let explained = submit(&self.app, "/explain", &form).await.text().to_owned();
            if page == "page" { &mut with_keys } else { &mut others }.push(explained);
        }
        others.push(call(&self.app, "invalidate", &format!(r#"{{"uri":"/page?q={IN_URL}"}}"#)).await.text().to_owned());
        others.push(call(&self.app, "invalidate", &format!(r#"{{"{CANARY}": "{CANARY}"}}"#)).await.text().to_owned());
        (with_keys, others)
    }

    fn exports(&self) -> Vec<String> {
        let stats = self.cache.stats();
        vec![
            stats.prometheus(),
            format!("{stats:?}"),
            #[cfg(feature = "metrics")]
            by_metrics(&stats),
            #[cfg(feature = "otel")]
            by_otel(&self.cache),
        ]
    }
}

/// A body whose error is a secret as well.
struct Broken {
    has_begun: bool,
}

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let begins = !std::mem::replace(&mut self.has_begun, true);
        Poll::Ready(Some(if begins { Ok(Frame::data(CANARY.into())) } else { Err(io::Error::other(CANARY)) }))
    }
}

#[cfg(feature = "metrics")]
fn by_metrics(stats: &larder::Stats) -> String {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || stats.publish());
    let published = format!("{:?}", recorder.snapshotter().snapshot().into_vec());
    assert!(published.contains("larder_requests_total"));
    published
}

#[cfg(feature = "otel")]
fn by_otel(cache: &Cache) -> String {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    cache.observe_with(&provider.meter("test"));
    provider.force_flush().unwrap();
    let exported = format!("{:?}", exporter.get_finished_metrics().unwrap());
    assert!(exported.contains("larder.requests"));
    exported
}

fn contains(texts: &[String], word: &str) -> Option<String> {
    let found = texts.iter().find_map(|text| Some((text, text.find(word)?)))?;
    let before: Vec<_> = found.0[..found.1].chars().rev().take(300).collect();
    Some(before.into_iter().rev().collect())
}

async fn nothing_secret_is_shown(reveals_keys: bool) {
    let everything = Everything::default();
    let _guard = subscribe(everything.clone());
    let secretive = Secretive::new(reveals_keys);
    let stream = request(Method::GET, &format!("{ROOT}/api/live"), &[]);
    let mut live = secretive.app.clone().oneshot(stream).await.unwrap().into_body();
    secretive.is_visited().await;
    let (mut with_keys, mut others) = secretive.screens().await;
    others.extend(secretive.exports());
    let mut seen = String::new();
    for _ in 0..3 {
        seen += std::str::from_utf8(&live.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap();
    }
    with_keys.extend([seen, secretive.decisions.lock().unwrap().clone(), everything.0.lock().unwrap().clone()]);

    assert!(with_keys.iter().chain(&others).all(|text| !text.is_empty()));
    for texts in [&with_keys, &others] {
        assert_eq!(contains(texts, CANARY), None, "the canary is behind this");
    }
    assert_eq!(contains(&others, IN_URL), None, "the URL is behind this");
    if reveals_keys {
        for text in &with_keys {
            assert!(text.contains(&format!("?q={IN_URL}")), "no URL in {text}");
        }
    } else {
        assert_eq!(contains(&with_keys, IN_URL), None, "the URL is behind this");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn no_secret_of_a_request_or_response_is_shown() {
    nothing_secret_is_shown(false).await;
}

/// With `with_revealed_keys(true)` the URL of a key shows, with its query: in hot keys, explanations, decisions and their events. Nothing else does.
#[tokio::test(flavor = "current_thread")]
async fn of_revealed_keys_only_the_url_is_shown() {
    nothing_secret_is_shown(true).await;
}
