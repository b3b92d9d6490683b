//! Cases about serving: requests through a real layer over the backend.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{
    backend_under_test::BackendUnderTest,
    report::{NotPassed, Verdict, ensure},
    test_app::{Answer, Behavior, LANGUAGE, TestApp},
};
use crate::{cache::Cache, error::Error, middleware::layer::CacheLayer};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn hit(subject: &BackendUnderTest<'_>) -> Verdict {
    let app = app(subject);
    let text = warm(&app, "/page").await?;
    is_hit(&app.get("/page").await, &text, "the same request again")?;
    is_miss(&app.get("/other").await, "a request for another page")?;
    is_miss(&app.get("/page?query").await, "a request with another query")
}

pub(super) async fn vary(subject: &BackendUnderTest<'_>) -> Verdict {
    let app = app(subject);
    app.origin.vary_on(LANGUAGE);
    let languages = ["de", "en", ""];
    let mut texts = Vec::new();
    for language in languages {
        texts.push(warm_for(&app, language).await?);
    }
    for (language, text) in languages.into_iter().zip(&texts) {
        is_hit(&app.get_for("/page", language).await, text, &format!("the variant for `{language}`"))?;
    }
    app.cache.invalidate_uri("/page").await?;
    for language in languages {
        let after = format!("the variant for `{language}`, after its URI was invalidated");
        is_miss(&app.get_for("/page", language).await, &after)?;
    }
    Ok(())
}

pub(super) async fn ttl(subject: &BackendUnderTest<'_>) -> Verdict {
    let app = app(subject);
    let text = warm(&app, "/page").await?;
    app.clock.advance(MINUTE / 2);
    is_hit(&app.get("/page").await, &text, "after half of its lifetime")?;
    app.clock.advance(MINUTE / 2);
    is_miss(&app.get("/page").await, "after its lifetime")
}

pub(super) async fn stale(subject: &BackendUnderTest<'_>) -> Verdict {
    let app = TestApp::new(Arc::clone(&subject.backend), |layer| minute(layer).stale_if_error(MINUTE));
    let text = warm(&app, "/page").await?;
    app.origin.behave(Behavior::Fails);
    app.cache.expire_tags(["page"]).await?;
    let stale = app.get("/page").await;
    ensure!(stale.text == text, "after its tag was expired, with a failing handler, the stale page is not served: {stale:?}");
    app.origin.behave(Behavior::Succeeds);
    let text = warm(&app, "/page").await?;
    is_hit(&app.get("/page").await, &text, "after it was fetched again")?;
    app.origin.behave(Behavior::Fails);
    app.cache.invalidate_tags(["page"]).await?;
    let failed = app.get("/page").await;
    ensure!(failed.text != text, "after its tag was invalidated, with a failing handler, the page is served stale");
    Ok(())
}

pub(super) async fn withdrawn(subject: &BackendUnderTest<'_>) -> Verdict {
    let app = TestApp::new(Arc::clone(&subject.backend), |layer| minute(layer).stale_if_error(MINUTE));
    let text = warm(&app, "/page").await?;
    app.clock.advance(MINUTE);
    app.origin.behave(Behavior::ForbidsStoring);
    is_miss(&app.get("/page").await, "when it is stale")?;
    app.origin.behave(Behavior::Fails);
    let failed = app.get("/page").await;
    ensure!(failed.text != text, "a response is served stale after the handler answered with `no-store`");
    Ok(())
}

pub(super) async fn uri(subject: &BackendUnderTest<'_>) -> Verdict {
    let app = app(subject);
    for round in 0..2 {
        warm(&app, "/page?a").await?;
        warm(&app, "/page?b").await?;
        let other = warm(&app, "/pages").await?;
        if round == 0 {
            app.cache.invalidate_uri("/page").await?;
        } else {
            app.post("/page").await;
        }
        let after = if round == 0 { "after its URI was invalidated" } else { "after a successful POST to its URI" };
        is_miss(&app.get("/page?a").await, after)?;
        is_miss(&app.get("/page?b").await, after)?;
        is_hit(&app.get("/pages").await, &other, "another URI with the same prefix")?;
    }
    Ok(())
}

pub(super) async fn clear(subject: &BackendUnderTest<'_>) -> Verdict {
    let app = app(subject);
    warm(&app, "/page").await?;
    app.cache.clear().await?;
    is_miss(&app.get("/page").await, "after `clear`")?;
    let text = warm(&app, "/page").await?;
    is_hit(&app.get("/page").await, &text, "stored after `clear`")
}

pub(super) async fn namespaces(subject: &BackendUnderTest<'_>) -> Verdict {
    let cache = Cache::from_arc(Arc::clone(&subject.backend));
    let [one, other] = ["one", "other"].map(|namespace| TestApp::of(cache.with_namespace(namespace), minute));
    let first = warm(&one, "/page").await?;
    let second = warm(&other, "/page").await?;
    other.cache.invalidate_tags(["page"]).await?;
    is_hit(&one.get("/page").await, &first, "after another namespace invalidated a tag of the same name")?;
    is_miss(&other.get("/page").await, "after its own namespace invalidated its tag")?;
    drop(second);
    warm(&other, "/page").await?;
    other.cache.clear().await?;
    is_hit(&one.get("/page").await, &first, "after another namespace was cleared")?;
    is_miss(&other.get("/page").await, "after its own namespace was cleared")?;
    warm(&other, "/page").await?;
    cache.clear().await?;
    is_miss(&one.get("/page").await, "after the whole store was cleared")?;
    is_miss(&other.get("/page").await, "after the whole store was cleared")
}

/// The promise of the crate's front page.
pub(super) async fn lost_invalidation(subject: &BackendUnderTest<'_>) -> Verdict {
    type Invalidated = fn(Cache) -> Pin<Box<dyn Future<Output = Result<(), Error>>>>;
    let ways: [(&str, Invalidated); 4] = [
        ("`invalidate_tags`", |cache| Box::pin(async move { cache.invalidate_tags(["page"]).await.map(drop) })),
        ("`expire_tags`", |cache| Box::pin(async move { cache.expire_tags(["page"]).await.map(drop) })),
        ("`invalidate_uri`", |cache| Box::pin(async move { cache.invalidate_uri("/page").await.map(drop) })),
        ("`clear`", |cache| Box::pin(async move { cache.clear().await.map(drop) })),
    ];
    for (way, invalidate) in ways {
        for warmed in [false, true] {
            let app = app(subject);
            if warmed {
                warm(&app, "/page").await?;
                app.cache.invalidate_tags(["page"]).await?;
            }
            let gate = app.origin.close();
            let mut slow = pin!(app.send_later("/page"));
            if let Some(answer) = ended_before(gate.arrival(), slow.as_mut()).await {
                return Err(NotPassed::Broken(format!("without a usable entry, the handler is not called: {answer:?}")));
            }
            invalidate(app.cache.clone()).await?;
            gate.open();
            let slow = slow.await;
            let later = app.get("/page").await;
            ensure!(
                later.text != slow.text && !later.is_hit(),
                "{way} returned `Ok` while a handler ran, and a later request is served that handler's response"
            );
            let text = warm(&app, "/page").await?;
            is_hit(&app.get("/page").await, &text, &format!("fetched after {way}"))?;
            // Each round begins without entries.
            app.cache.clear().await?;
        }
    }
    Ok(())
}

/// Returns the output of the future, if it completes before the event.
async fn ended_before<T>(event: impl Future<Output = ()>, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut event = pin!(event);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => event.as_mut().poll(cx).map(|()| None),
    })
    .await
}

fn app(subject: &BackendUnderTest<'_>) -> TestApp {
    TestApp::new(Arc::clone(&subject.backend), minute)
}

fn minute(layer: CacheLayer) -> CacheLayer {
    layer.ttl(MINUTE).tags(["page"])
}

/// Sends requests until one is a hit: a store may need several fetches, see `FETCHES`.
async fn warm(app: &TestApp, path: &str) -> Verdict<String> {
    until_hit(path, async || app.get(path).await).await
}

async fn warm_for(app: &TestApp, language: &'static str) -> Verdict<String> {
    until_hit("/page", async || app.get_for("/page", language).await).await
}

async fn until_hit(path: &str, get: impl AsyncFn() -> Answer) -> Verdict<String> {
    let mut latest = String::new();
    for _ in 0..4 {
        let answer = get().await;
        if answer.is_hit() {
            return Ok(answer.text);
        }
        latest = format!("{answer:?}");
    }
    Err(NotPassed::Broken(format!("none of four successive requests for {path} is a hit; the last response: {latest}")))
}

fn is_hit(answer: &Answer, text: &str, what: &str) -> Verdict {
    ensure!(answer.is_hit(), "{what} is not served from the cache: {answer:?}");
    ensure!(answer.text == text, "the response for {what} is `{}` instead of `{text}`", answer.text);
    Ok(())
}

fn is_miss(answer: &Answer, what: &str) -> Verdict {
    ensure!(!answer.is_hit(), "{what} is served from the cache: {answer:?}");
    Ok(())
}

impl Answer {
    pub(super) fn is_hit(&self) -> bool {
        self.status.is_some_and(|status| status.is_hit())
    }
}
