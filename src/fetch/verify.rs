//! Shadow verification: after a hit, the handler runs as well, and its response is compared with the stored one.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{Method, Response, StatusCode};
use http_body::Body;
use tokio::time::sleep;
use tracing::Instrument as _;

use super::{
    Fetch, ask_for_all,
    catch_panic::catch_panic,
    context::FetchContext,
    inner_call::{HttpService, Oneshot},
    refresh::OuterFetch,
};
use crate::{
    advisor::{Difference, captured},
    backend::validity::Validity,
    cache::detached::until,
    entry::{
        response::StoredResponse,
        stored::{FreshnessState, Stored},
    },
    invalidation::after_response::invalidate_after,
    lookup::variants::Lookup,
    stats::verification::Verification,
    timer,
};

/// How long an invalidation may take to arrive after the write that it belongs to has been committed. The handler may read what a write has
/// committed just before it invalidates.
const GRACE: Duration = Duration::from_secs(2);

impl<S: HttpService<ReqBody>, ReqBody: Send + 'static> Fetch<S, ReqBody> {
    /// Verifies the stored response that has just been served; no client waits for it.
    pub(crate) fn verify_in_background(self, lookup: Lookup) {
        let slot = self.slot();
        let (context, call) = self.into_context(slot);
        verify_in_background(context, call, lookup);
    }
}

/// Verifies with a slot of the route for background refreshes, if one is free.
pub(super) fn verify_in_background<S: HttpService<ReqBody>, ReqBody: Send + 'static>(
    context: Arc<FetchContext>,
    call: Box<Oneshot<S, ReqBody>>,
    lookup: Lookup,
) {
    if context.cache.inner.work.is_draining() || !timer::is_on() {
        return;
    }
    let Some(deadline) = context.slot.take_in_background() else { return };
    let on_limit = FetchContext::on_refresh_limit(&context.settings, &context.slot);
    tokio::spawn(until(deadline, on_limit, verify(context, call, lookup)).in_current_span());
}

async fn verify<S: HttpService<ReqBody>, ReqBody>(
    context: Arc<FetchContext>,
    mut call: Box<Oneshot<S, ReqBody>>,
    lookup: Lookup,
) {
    let Some((stored, response)) = lookup.response() else { return };
    let captures = captured(&mut call.parts);
    ask_for_all(&mut call.parts);
    context.rewrite(&mut call.parts);
    let FetchContext { cache, request, route, .. } = &*context;
    call.parts.extensions.insert(OuterFetch { cache: cache.clone(), key: request.key.digest() });
    let writes = &cache.inner.observations.writes;
    let result = match catch_panic(pin!(call.run())).await {
        Ok(Ok(answer)) if !answer.status().is_server_error() => is_equal(&context, answer, response).await,
        // What the handler would respond is not known.
        _ => None,
    };
    let until = writes.moment();
    let verification = match result {
        Some(true) => Verification::Same,
        Some(false) => {
            context.slot.release();
            sleep(GRACE).await;
            // A write that still runs may be about to invalidate.
            match !writes.is_running(until) && context.still_serves(stored).await {
                true => Verification::Different,
                false => Verification::Inconclusive,
            }
        }
        None => Verification::Inconclusive,
    };
    cache.inner.statistics.verified(*route, verification);
    if verification == Verification::Different {
        let since = response.generated - Duration::from_millis(u64::from(response.handler_millis));
        let now = cache.now();
        let difference = Difference {
            at_millis: now.as_millis(),
            route: cache.inner.statistics.route_name(*route).to_owned(),
            age: response.age(now),
            writes: writes.names_since(since, &captures),
        };
        warn(&context, &difference);
        cache.inner.observations.differences.add(difference);
    }
}

fn warn(context: &FetchContext, difference: &Difference) {
    let Some(suppressed) = context.settings.verification.warnings.pass() else { return };
    let writes: Vec<String> = difference.writes.iter().map(ToString::to_string).collect();
    let writes = if writes.is_empty() { "no write that was seen".to_owned() } else { writes.join(", ") };
    let route = &difference.route;
    tracing::warn!(
        route,
        writes,
        age = difference.age,
        suppressed,
        "a hit on the route `{route}` differs from what the handler responds, and nothing has invalidated it: an invalidation is forgotten, or \
         the response is different each time. Between the two came: {writes}. At most one a minute is logged for a layer; `Cache::stats` counts all."
    );
}

/// Returns whether the handler's response is the stored one, by status and body; `None` if its body failed.
async fn is_equal<B: Body>(context: &FetchContext, answer: Response<B>, stored: &StoredResponse) -> Option<bool> {
    let (mut head, body) = answer.into_parts();
    let (target, get) = (&context.tags.target, Method::GET);
    // What the handler has asked for is carried out, as after any run of it.
    let _ = invalidate_after(&context.cache, &context.settings, target, &get, &mut head).await;
    if head.status == StatusCode::NOT_MODIFIED {
        return None;
    }
    Some(head.status == stored.head.status && body_is_equal(pin!(body), &stored.body).await?)
}

/// Reads a body until it differs from the stored one.
async fn body_is_equal<B: Body>(mut body: Pin<&mut B>, stored: &Bytes) -> Option<bool> {
    let mut rest = &stored[..];
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(mut data) = frame.ok()?.into_data() else { continue };
        while data.has_remaining() {
            let chunk = data.chunk();
            let Some(after) = rest.strip_prefix(chunk) else { return Some(false) };
            rest = after;
            data.advance(chunk.len());
        }
    }
    Some(rest.is_empty())
}

impl FetchContext {
    /// Whether the stored response would still be served as fresh: it has been neither invalidated, expired, nor replaced.
    async fn still_serves(&self, stored: &Stored) -> bool {
        let Some(lookup) = self.lookup().await else { return false };
        let is_valid = matches!(lookup.found, Some((_, Validity::Valid)));
        is_valid
            && lookup.response().is_some_and(|(found, response)| {
                found.is_same_response(stored) && FreshnessState::of(response, self.cache.now()).is_fresh()
            })
    }
}
