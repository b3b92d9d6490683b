use std::{future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH, header::SET_COOKIE, response};
use http_body::Body;

use crate::{
    body::{Filling, ResponseBody},
    cache::{Cache, Filled},
    cache_control::delta_seconds,
    policy::{LARDER_CACHE_CONTROL, Lifetime},
    settings::Settings,
    status::Reason,
    stored::{StoredResponse, complete_fields, lasting_fields},
};

/// A response that will be stored as soon as its body is known.
pub(crate) struct Fill {
    cache: Cache,
    settings: Arc<Settings>,
    filled: Filled,
    lifetime: Lifetime,
    status: StatusCode,
    headers: HeaderMap,
    /// The body's length, as `Content-Length` states it.
    stated: Option<u64>,
}

/// Fields that are for the client that filled the cache, or for larder.
const NOT_FOR_OTHERS: [http::HeaderName; 2] = [SET_COOKIE, LARDER_CACHE_CONTROL];

impl Fill {
    pub(crate) fn new(
        cache: Cache,
        settings: Arc<Settings>,
        filled: Filled,
        lifetime: Lifetime,
        response: &response::Parts,
    ) -> Self {
        let headers = lasting_fields(response, &NOT_FOR_OTHERS);
        let stated = response.headers.get(CONTENT_LENGTH).and_then(|length| delta_seconds(length.as_bytes()));
        Self { cache, settings, filled, lifetime, status: response.status, headers, stated }
    }

    /// Stores a body that is there at once before it is answered, and any other as it passes.
    ///
    /// Tells the seconds of freshness that are left, or why nothing is stored.
    pub(crate) async fn run<B>(self, body: B, length: Option<u64>) -> (Result<i64, Reason>, ResponseBody<B>)
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let ttl = self.lifetime.ttl();
        let mut filling = Filling::new(body, self.stated, self.settings.store.max_body);
        if length.is_some()
            && let Some(whole) = poll_fn(|cx| Poll::Ready(filling.take_ready(cx))).await
        {
            let outcome = self.store(whole.clone()).await;
            return (outcome.map(|()| ttl), ResponseBody::stored(whole));
        }
        let finish = move |whole| {
            let stored = async move {
                if let Err(reason) = self.store(whole).await {
                    tracing::debug!(reason = reason.as_str(), "a streamed response was not stored after all");
                }
            };
            Box::pin(stored) as _
        };
        (Ok(ttl), ResponseBody::filling(filling, Box::new(finish)))
    }

    async fn store(self, body: Bytes) -> Result<(), Reason> {
        let response = StoredResponse {
            status: self.status,
            headers: complete_fields(self.headers, self.status, body.len(), self.cache.now()),
            body: exactly(body),
            generated: self.lifetime.generated,
            fresh_until: self.lifetime.fresh_until,
            answers_authorized: self.lifetime.answers_authorized,
        };
        self.cache.store(&self.settings, self.filled, response).await
    }
}

/// A small body may be a slice of a large buffer, which must not stay alive for it.
fn exactly(body: Bytes) -> Bytes {
    const SMALL: usize = 16 << 10;
    if body.len() <= SMALL { Bytes::copy_from_slice(&body) } else { body }
}
