//! A store that fails is no client's failure, and never a reason to answer what is old.

use std::{sync::Arc, time::Duration};

use super::{
    backend_under_test::Subject,
    report::{Verdict, ensure},
    test_app::Site,
};
use crate::testing::{Fault, Faulty, Operation};

const FAULTS: [Fault; 3] = [Fault::Unavailable, Fault::AnswerLost, Fault::Slow(Duration::from_millis(1))];

pub(super) async fn reads(subject: &Subject<'_>) -> Verdict {
    let (faulty, site) = faulty_site(subject);
    for fault in FAULTS {
        site.get("/page").await;
        faulty.fail(Operation::ReadOutcome, fault);
        let during = site.get("/page").await;
        ensure!(during.text.starts_with("run"), "with reads that fail ({fault:?}) a request is answered `{}`", during.text);
        site.cache.invalidate_tags(["page"]).await?;
        faulty.heal();
        let after = site.get("/page").await;
        ensure!(!after.is_hit(), "what was invalidated while reads failed ({fault:?}) is answered from the cache");
    }
    recovers(&site).await
}

pub(super) async fn puts(subject: &Subject<'_>) -> Verdict {
    let (faulty, site) = faulty_site(subject);
    for fault in FAULTS {
        faulty.fail(Operation::PutOutcome, fault);
        for path in ["/page", "/other", "/page"] {
            let during = site.get(path).await;
            ensure!(during.text.starts_with("run"), "with puts that fail ({fault:?}) a request is answered `{}`", during.text);
        }
        site.cache.invalidate_tags(["page"]).await?;
        faulty.heal();
        let after = site.get("/page").await;
        ensure!(!after.is_hit(), "what was stored by a put that failed ({fault:?}), and invalidated, is answered from the cache");
    }
    recovers(&site).await
}

pub(super) async fn invalidations(subject: &Subject<'_>) -> Verdict {
    let (faulty, site) = faulty_site(subject);
    for fault in [Fault::Unavailable, Fault::AnswerLost] {
        recovers(&site).await?;
        faulty.fail(Operation::Invalidate, fault);
        let outcome = site.cache.invalidate_tags(["page"]).await;
        ensure!(outcome.is_err(), "an invalidation that failed ({fault:?}) is reported as done");
        if fault == Fault::AnswerLost {
            let after = site.get("/page").await;
            ensure!(
                !after.is_hit(),
                "after an invalidation that took effect, but lost its answer, a page is answered from the cache"
            );
        }
        faulty.heal();
        site.cache.invalidate_tags(["page"]).await?;
        let after = site.get("/page").await;
        ensure!(!after.is_hit(), "an invalidation that was tried again after it failed ({fault:?}) has no effect");
    }
    recovers(&site).await
}

pub(super) async fn everything(subject: &Subject<'_>) -> Verdict {
    let (faulty, site) = faulty_site(subject);
    recovers(&site).await?;
    faulty.fail_all();
    for path in ["/page", "/new", "/page?query"] {
        let during = site.get(path).await;
        ensure!(during.text.starts_with("run"), "with a store that fails a request is answered `{}`", during.text);
        ensure!(
            !during.status.is_some_and(|status| status.is_stored()),
            "with a store that fails a response is said to be stored"
        );
    }
    let written = site.post("/page").await;
    ensure!(written.text.starts_with("run"), "with a store that fails a write is answered `{}`", written.text);
    faulty.heal();
    site.cache.clear().await?;
    ensure!(!site.get("/page").await.is_hit(), "after an outage and `clear` a page is answered from the cache");
    recovers(&site).await
}

/// Asked a few times, the page is a hit.
async fn recovers(site: &Site) -> Verdict {
    for _ in 0..4 {
        if site.get("/page").await.is_hit() {
            return Ok(());
        }
    }
    let last = site.get("/page").await;
    ensure!(last.is_hit(), "with nothing failing any more, pages are not answered from the cache: {last:?}");
    Ok(())
}

fn faulty_site(subject: &Subject<'_>) -> (Faulty<dyn crate::backend::contract::Backend>, Site) {
    let faulty = Faulty::shared(Arc::clone(&subject.backend));
    let site = Site::new(Arc::new(faulty.clone()), |layer| layer.ttl(Duration::from_secs(60)).tags(["page"]));
    (faulty, site)
}
