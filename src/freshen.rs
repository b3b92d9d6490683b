use std::sync::Arc;

use http::{
    HeaderMap, Method, Response, StatusCode,
    header::{AGE, CONTENT_LENGTH, DATE},
    response,
};
use http_body::Body;

use crate::{
    attempt::Attempt,
    body::ResponseBody,
    cache::flights::Landing,
    clock::Timestamp,
    entry::response::{StoredResponse, response_head},
    http::{
        cache_status::{CacheStatus, Reason},
        conditional::{contradicts, resembles},
        date::http_date,
        stored_fields::{LastingFields, remove_connection_fields},
    },
    invalidation::after_response::invalidate_after,
    lookup::respond::failed,
    policy::{freshness::Exchange, storable::fields_left_out},
    tag::deduplicate,
};

impl Attempt {
    /// Answers from what is stored, which the handler says has not changed, and makes it fresh again (RFC 9111 §4.3.3, §4.3.4).
    ///
    /// It takes the epoch of this attempt: the handler has judged it as of now. Its tags are the old ones and the new.
    pub(crate) async fn freshen<B, N>(
        self: Box<Self>,
        not_modified: Response<N>,
        requested: Timestamp,
    ) -> Response<ResponseBody<B>>
    where
        B: Body,
    {
        let inquiry = Arc::clone(&self.inquiry);
        let why = self.missing.why;
        let exchange = Exchange { requested, received: inquiry.cache.now(), chance: fastrand::f64() };
        let (mut not_modified, _) = not_modified.into_parts();
        let invalidated = invalidate_after(&inquiry.cache, &inquiry.ahead.target, &Method::GET, &mut not_modified).await;
        let Some((stored, old)) = self.validated().map(|(stored, old)| (Arc::clone(stored), old.clone())) else {
            return Response::from_parts(not_modified, ResponseBody::stored(bytes::Bytes::new()));
        };
        if contradicts(&not_modified.headers, &old.head.headers) {
            // It is about another representation, and updates nothing.
            self.role.land(Landing::Failed);
            let status = CacheStatus::not_stored(why, Reason::NotModified);
            return match resembles(&not_modified.headers, &old.head.headers) {
                true => inquiry.seeker().respond(&old, status),
                // Nothing has validated what is stored, and there is nothing else.
                false => failed(StatusCode::BAD_GATEWAY, status),
            };
        }
        let parts = freshened(&old, not_modified, exchange.received);
        match invalidated.and_then(|()| self.plan(&parts, Some(old.body.len() as u64), exchange)) {
            Ok((mut filled, lifetime)) => {
                filled.tags.extend_from_slice(stored.tags());
                deduplicate(&mut filled.tags);
                let mut fill = self.fill((filled, lifetime), &parts);
                let fresh = fill.response(old.body);
                let status = match fill.put(fresh.clone()).await {
                    Ok(()) => CacheStatus::validated(why, lifetime.ttl()),
                    Err(reason) => CacheStatus::not_stored(why, reason),
                };
                inquiry.seeker().respond(&fresh, status)
            }
            Err(reason) => {
                let left_out = fields_left_out(&inquiry.settings.store, &parts);
                let headers = LastingFields::of(&parts.headers, left_out);
                let headers = headers.complete(old.head.status, old.body.len(), exchange.received);
                let unstored = StoredResponse {
                    head: response_head(old.head.status, headers),
                    generated: exchange.received,
                    fresh_until: exchange.received,
                    ..old
                };
                self.give_up(&parts, reason).await;
                inquiry.seeker().respond(&unstored, CacheStatus::not_stored(why, reason))
            }
        }
    }
}

/// The stored head with every field of the 304 in place of its own, but for the length and what belongs to the connection.
fn freshened(old: &StoredResponse, not_modified: response::Parts, now: Timestamp) -> response::Parts {
    let mut headers = old.head.headers.clone();
    headers.remove(AGE);
    let mut new = not_modified.headers;
    remove_connection_fields(&mut new);
    new.remove(CONTENT_LENGTH);
    replace_fields(&mut headers, &new);
    if !new.contains_key(DATE) {
        headers.insert(DATE, http_date(now));
    }
    let mut parts = Response::new(()).into_parts().0;
    parts.status = old.head.status;
    parts.headers = headers;
    parts.extensions = not_modified.extensions;
    parts
}

fn replace_fields(headers: &mut HeaderMap, new: &HeaderMap) {
    for name in new.keys() {
        headers.remove(name);
    }
    for (name, value) in new {
        headers.append(name.clone(), value.clone());
    }
}
