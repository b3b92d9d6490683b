//! Cases about outages: a failing store never causes a failing request or an outdated response.

use std::{sync::Arc, time::Duration};

use super::{
    backend_under_test::BackendUnderTest,
    report::{Verdict, ensure},
    test_app::TestApp,
};
use crate::testing::{Fault, Faulty, Operation};

const FAULTS: [Fault; 3] = [Fault::Unavailable, Fault::AnswerLost, Fault::Slow(Duration::from_millis(1))];

pub(super) async fn reads(subject: &BackendUnderTest<'_>) -> Verdict {
    let (faulty, app) = faulty_app(subject);
    for fault in FAULTS {
        app.get("/page").await;
        faulty.fail(Operation::Read, fault);
        let during = app.get("/page").await;
        ensure!(during.text.starts_with("run"), "with failing reads ({fault:?}), the response is `{}`", during.text);
        app.cache.invalidate_tags(["page"]).await?;
        faulty.heal();
        let after = app.get("/page").await;
        ensure!(!after.is_hit(), "an entry that was invalidated while reads failed ({fault:?}) is served from the cache");
    }
    recovers(&app).await
}

pub(super) async fn puts(subject: &BackendUnderTest<'_>) -> Verdict {
    let (faulty, app) = faulty_app(subject);
    for fault in FAULTS {
        faulty.fail(Operation::Put, fault);
        for path in ["/page", "/other", "/page"] {
            let during = app.get(path).await;
            ensure!(during.text.starts_with("run"), "with failing puts ({fault:?}), the response is `{}`", during.text);
        }
        app.cache.invalidate_tags(["page"]).await?;
        faulty.heal();
        let after = app.get("/page").await;
        ensure!(!after.is_hit(), "an entry of a failed put ({fault:?}) is served from the cache after its invalidation");
    }
    recovers(&app).await
}

pub(super) async fn invalidations(subject: &BackendUnderTest<'_>) -> Verdict {
    let (faulty, app) = faulty_app(subject);
    for fault in [Fault::Unavailable, Fault::AnswerLost] {
        recovers(&app).await?;
        faulty.fail(Operation::Invalidate, fault);
        let outcome = app.cache.invalidate_tags(["page"]).await;
        ensure!(outcome.is_err(), "a failed invalidation ({fault:?}) returned `Ok`");
        if fault == Fault::AnswerLost {
            let after = app.get("/page").await;
            ensure!(
                !after.is_hit(),
                "after an invalidation that took effect, but whose response was lost, a page is served from the cache"
            );
        }
        faulty.heal();
        app.cache.invalidate_tags(["page"]).await?;
        let after = app.get("/page").await;
        ensure!(!after.is_hit(), "an invalidation that was repeated after a failure ({fault:?}) has no effect");
    }
    recovers(&app).await
}

pub(super) async fn everything(subject: &BackendUnderTest<'_>) -> Verdict {
    let (faulty, app) = faulty_app(subject);
    recovers(&app).await?;
    faulty.fail_all();
    for path in ["/page", "/new", "/page?query"] {
        let during = app.get(path).await;
        ensure!(during.text.starts_with("run"), "with a failing store, the response is `{}`", during.text);
        ensure!(
            !during.status.is_some_and(|status| status.is_stored()),
            "with a failing store, a response is reported as stored"
        );
    }
    let written = app.post("/page").await;
    ensure!(written.text.starts_with("run"), "with a failing store, the response to a write is `{}`", written.text);
    faulty.heal();
    app.cache.clear().await?;
    ensure!(!app.get("/page").await.is_hit(), "after an outage and `clear`, a page is served from the cache");
    recovers(&app).await
}

/// Fails unless the page becomes a hit within a few requests.
async fn recovers(app: &TestApp) -> Verdict {
    for _ in 0..4 {
        if app.get("/page").await.is_hit() {
            return Ok(());
        }
    }
    let last = app.get("/page").await;
    ensure!(last.is_hit(), "after the outage, pages are not served from the cache: {last:?}");
    Ok(())
}

fn faulty_app(subject: &BackendUnderTest<'_>) -> (Faulty<dyn crate::backend::contract::Backend>, TestApp) {
    let faulty = Faulty::shared(Arc::clone(&subject.backend));
    let app = TestApp::new(Arc::new(faulty.clone()), |layer| layer.ttl(Duration::from_secs(60)).tags(["page"]));
    (faulty, app)
}
