//! The promise as clients see it: a real layer over the backend, asked by requests.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use super::{
    backend_under_test::Subject,
    report::{Finding, Verdict, ensure},
    test_app::{Answer, LANGUAGE, Manner, Site},
};
use crate::{cache::Cache, error::Error, middleware::layer::CacheLayer};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn hit(subject: &Subject<'_>) -> Verdict {
    let site = site(subject);
    let text = warm(&site, "/page").await?;
    is_hit(&site.get("/page").await, &text, "the same request again")?;
    is_miss(&site.get("/other").await, "a request for another page")?;
    is_miss(&site.get("/page?query").await, "a request with another query")
}

pub(super) async fn vary(subject: &Subject<'_>) -> Verdict {
    let site = site(subject);
    site.origin.vary_on(LANGUAGE);
    let languages = ["de", "en", ""];
    let mut texts = Vec::new();
    for language in languages {
        texts.push(warm_for(&site, language).await?);
    }
    for (language, text) in languages.into_iter().zip(&texts) {
        is_hit(&site.get_for("/page", language).await, text, &format!("the variant for `{language}`"))?;
    }
    site.cache.invalidate_uri("/page").await?;
    for language in languages {
        let after = format!("the variant for `{language}`, after its URI was invalidated");
        is_miss(&site.get_for("/page", language).await, &after)?;
    }
    Ok(())
}

pub(super) async fn ttl(subject: &Subject<'_>) -> Verdict {
    let site = site(subject);
    let text = warm(&site, "/page").await?;
    site.clock.advance(MINUTE / 2);
    is_hit(&site.get("/page").await, &text, "half a lifetime later")?;
    site.clock.advance(MINUTE / 2);
    is_miss(&site.get("/page").await, "when its lifetime is over")
}

pub(super) async fn stale(subject: &Subject<'_>) -> Verdict {
    let site = Site::new(Arc::clone(&subject.backend), |layer| minute(layer).stale_if_error(MINUTE));
    let text = warm(&site, "/page").await?;
    site.origin.behave(Manner::Fails);
    site.cache.expire_tags(["page"]).await?;
    let stale = site.get("/page").await;
    ensure!(
        stale.text == text,
        "after its tag was expired, with a handler that fails, the stale page is not answered: {stale:?}"
    );
    site.origin.behave(Manner::Answers);
    let text = warm(&site, "/page").await?;
    is_hit(&site.get("/page").await, &text, "after it was fetched anew")?;
    site.origin.behave(Manner::Fails);
    site.cache.invalidate_tags(["page"]).await?;
    let failed = site.get("/page").await;
    ensure!(failed.text != text, "after its tag was invalidated, with a handler that fails, it is answered stale");
    Ok(())
}

pub(super) async fn withdrawn(subject: &Subject<'_>) -> Verdict {
    let site = Site::new(Arc::clone(&subject.backend), |layer| minute(layer).stale_if_error(MINUTE));
    let text = warm(&site, "/page").await?;
    site.clock.advance(MINUTE);
    site.origin.behave(Manner::Forbids);
    is_miss(&site.get("/page").await, "when it is stale")?;
    site.origin.behave(Manner::Fails);
    let failed = site.get("/page").await;
    ensure!(failed.text != text, "what the handler has withdrawn with `no-store` is answered stale");
    Ok(())
}

pub(super) async fn uri(subject: &Subject<'_>) -> Verdict {
    let site = site(subject);
    for round in 0..2 {
        warm(&site, "/page?a").await?;
        warm(&site, "/page?b").await?;
        let other = warm(&site, "/pages").await?;
        if round == 0 {
            site.cache.invalidate_uri("/page").await?;
        } else {
            site.post("/page").await;
        }
        let after = if round == 0 { "after its URI was invalidated" } else { "after a successful POST to its URI" };
        is_miss(&site.get("/page?a").await, after)?;
        is_miss(&site.get("/page?b").await, after)?;
        is_hit(&site.get("/pages").await, &other, "another URI that begins alike")?;
    }
    Ok(())
}

pub(super) async fn clear(subject: &Subject<'_>) -> Verdict {
    let site = site(subject);
    warm(&site, "/page").await?;
    site.cache.clear().await?;
    is_miss(&site.get("/page").await, "after `clear`")?;
    let text = warm(&site, "/page").await?;
    is_hit(&site.get("/page").await, &text, "stored after `clear`")
}

pub(super) async fn namespaces(subject: &Subject<'_>) -> Verdict {
    let cache = Cache::from_arc(Arc::clone(&subject.backend));
    let [one, other] = ["one", "other"].map(|namespace| Site::of(cache.with_namespace(namespace), minute));
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

/// The promise, in the words of the crate's front page.
pub(super) async fn lost_invalidation(subject: &Subject<'_>) -> Verdict {
    type Invalidated = fn(Cache) -> Pin<Box<dyn Future<Output = Result<(), Error>>>>;
    let ways: [(&str, Invalidated); 4] = [
        ("`invalidate_tags`", |cache| Box::pin(async move { cache.invalidate_tags(["page"]).await.map(drop) })),
        ("`expire_tags`", |cache| Box::pin(async move { cache.expire_tags(["page"]).await.map(drop) })),
        ("`invalidate_uri`", |cache| Box::pin(async move { cache.invalidate_uri("/page").await.map(drop) })),
        ("`clear`", |cache| Box::pin(async move { cache.clear().await.map(drop) })),
    ];
    for (way, invalidate) in ways {
        for warmed in [false, true] {
            let site = site(subject);
            if warmed {
                warm(&site, "/page").await?;
                site.cache.invalidate_tags(["page"]).await?;
            }
            let gate = site.origin.close();
            let mut slow = pin!(site.getting("/page"));
            if let Some(answer) = ended_before(gate.arrival(), slow.as_mut()).await {
                return Err(Finding::Broken(format!("with nothing that may be used stored, no handler is asked: {answer:?}")));
            }
            invalidate(site.cache.clone()).await?;
            gate.open();
            let slow = slow.await;
            let later = site.get("/page").await;
            ensure!(
                later.text != slow.text && !later.is_hit(),
                "{way} returned `Ok` while a handler ran, and a request after it is answered from that handler's response"
            );
            let text = warm(&site, "/page").await?;
            is_hit(&site.get("/page").await, &text, &format!("fetched after {way}"))?;
            // Every round begins with nothing.
            site.cache.clear().await?;
        }
    }
    Ok(())
}

/// What the future gives, if it does before the event.
async fn ended_before<T>(event: impl Future<Output = ()>, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut event = pin!(event);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => event.as_mut().poll(cx).map(|()| None),
    })
    .await
}

fn site(subject: &Subject<'_>) -> Site {
    Site::new(Arc::clone(&subject.backend), minute)
}

fn minute(layer: CacheLayer) -> CacheLayer {
    layer.ttl(MINUTE).tags(["page"])
}

/// Asks until the answer is stored: a store may need more than one fetch to make sure of its tags.
async fn warm(site: &Site, path: &str) -> Verdict<String> {
    until_hit(path, async || site.get(path).await).await
}

async fn warm_for(site: &Site, language: &'static str) -> Verdict<String> {
    until_hit("/page", async || site.get_for("/page", language).await).await
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
    Err(Finding::Broken(format!("four requests for {path} in a row, and none is a hit; the last: {latest}")))
}

fn is_hit(answer: &Answer, text: &str, what: &str) -> Verdict {
    ensure!(answer.is_hit(), "{what} is not answered from the cache: {answer:?}");
    ensure!(answer.text == text, "{what} is answered with `{}` rather than `{text}`", answer.text);
    Ok(())
}

fn is_miss(answer: &Answer, what: &str) -> Verdict {
    ensure!(!answer.is_hit(), "{what} is answered from the cache: {answer:?}");
    Ok(())
}

impl Answer {
    pub(super) fn is_hit(&self) -> bool {
        self.status.is_some_and(|status| status.is_hit())
    }
}
