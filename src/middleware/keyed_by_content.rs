//! Requests with another method than GET and HEAD: those whose content is part of the key, and those that are forwarded.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, header::CONTENT_LENGTH, request};
use http_body::Body;

use super::{
    future::ResponseFuture,
    service::CacheService,
    unsafe_method::{Forwarded, forward_and_invalidate},
};
use crate::{
    advisor::RunningWrite,
    body::{
        ResponseBody,
        request_body::{ContentLimits, ContentReader},
    },
    cache::{
        Cache,
        detached::{Detached, Write},
        work::WorkKind,
    },
    fetch::{
        inner_call::{HttpService, Oneshot},
        refresh::{OuterFetch, Refresh},
    },
    handler::invalidate::NothingImplied,
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        semantics::{is_safe, is_success},
    },
    policy::{cacheable_request::CacheableRequest, effect::Effect},
    router,
};

impl<S> CacheService<S> {
    /// Answers a request with any method but GET and HEAD.
    #[inline(never)]
    pub(super) fn call_other<ReqBody>(
        &mut self,
        parts: request::Parts,
        body: ReqBody,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Body + Send + 'static,
    {
        let off = self.cache.is_on().err();
        match self.settings.content_limit(&parts.method) {
            Some(limit) if off.is_none() => self.read_content(parts, body, limit),
            _ => {
                let effect = if is_safe(&parts.method) { Effect::Read } else { Effect::Write };
                let (why, reason) = off.filter(|_| effect == Effect::Read).unwrap_or((Forward::Method, Reason::Method));
                self.forward(parts, body, Forwarded { why, reason, effect })
            }
        }
    }

    /// Answers a request after its content, which is part of the key.
    fn read_content<ReqBody>(
        &mut self,
        parts: request::Parts,
        body: ReqBody,
        bytes: usize,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Body + Send + 'static,
    {
        let given = self.settings.content_reader.as_ref();
        let Some(reader) = given.and_then(ContentReader::of).or_else(router::content_reader) else {
            return self.answer_content(parts, body, Err(Reason::RequestBodyType));
        };
        let stated = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let budget = Arc::clone(&self.cache.inner.fetch_slots.requests);
        let limits = ContentLimits { bytes, wait: self.settings.limits.content_wait, expected: stated, budget };
        let in_flight = self.in_flight(&parts, None);
        let mut service = self.clone();
        ResponseFuture::waiting(async move {
            let (body, content) = reader.read(body, limits).await;
            in_flight.hand_over();
            service.answer_content(parts, body, content).await
        })
    }

    /// Answers a request whose content was read, or forwards it with why that was not.
    fn answer_content<ReqBody>(
        &mut self,
        mut parts: request::Parts,
        body: ReqBody,
        content: Result<Bytes, Reason>,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Body + Send + 'static,
    {
        let refresh = parts.extensions.get::<Refresh>().filter(|refresh| refresh.is_of(&self.cache)).cloned();
        let mut request = CacheableRequest::new();
        let (effect, classified) = self.classify_content(&mut request, &parts, content, refresh.as_ref());
        if let Err((why, reason)) = classified {
            self.settings.warn_of_limit(router::route(&parts.extensions), reason);
            return self.forward(parts, body, Forwarded { why, reason, effect });
        }
        request.nested = parts.extensions.get::<OuterFetch>().is_some_and(|outer| outer.is_of(&self.cache, &request.key));
        let regardless = request.nested || refresh.is_some();
        let in_flight = self.in_flight(&parts, Some(&request.key));
        let is_post = parts.method == Method::POST;
        let noted = if effect == Effect::ByResponse { self.cache.note_write(&mut parts) } else { None };
        let fetch = self.fetch(request, parts, body);
        let answer = async move {
            match regardless {
                true => fetch.fetch_regardless(refresh).await,
                false => fetch.after_lookup().await,
            }
        };
        let answering = match (is_post, effect) {
            (false, _) => ResponseFuture::waiting(answer),
            (true, Effect::ByResponse) => {
                let limit = self.cache.inner.abandoned_write_limit;
                let answer = maybe_write(answer, self.cache.clone(), noted);
                // Detached: if it turns out to be a write, it and its invalidation complete even if the client leaves between them.
                ResponseFuture::waiting(Detached::new(Box::pin(answer), Write { limit }))
            }
            (true, _) => ResponseFuture::waiting(marked(answer, |status| status.outcome().is_from_cache())),
        };
        answering.counted_by(in_flight)
    }

    /// Makes the key of a request, or returns why it has none. Functions of the application take part, and may panic.
    #[inline(never)]
    fn classify_content(
        &self,
        request: &mut CacheableRequest,
        parts: &request::Parts,
        content: Result<Bytes, Reason>,
        refresh: Option<&Refresh>,
    ) -> (Effect, Result<(), (Forward, Reason)>) {
        let _panic = self.count_panic(parts);
        let effect = self.settings.effect(parts, content.as_ref().ok());
        let prefix = refresh.and_then(|refresh| refresh.prefix(&self.cache));
        let prefix = prefix.as_deref().unwrap_or(&self.cache.inner.prefix.current().built);
        let classified = match content {
            Ok(_) if effect == Effect::Write => Err((Forward::Method, Reason::Method)),
            Ok(content) => self.settings.classify_content(request, prefix, parts, &content),
            Err(reason) => Err((Forward::Bypass, reason)),
        };
        (effect, classified)
    }

    /// Forwards a request without the cache, and carries out what follows from it if it may be a write.
    fn forward<ReqBody>(
        &mut self,
        parts: request::Parts,
        body: ReqBody,
        forwarded: Forwarded,
    ) -> ResponseFuture<S::Future, S::ResBody, S::Error>
    where
        S: HttpService<ReqBody>,
        ReqBody: Body + Send + 'static,
    {
        let in_flight = self.in_flight(&parts, None);
        if forwarded.effect == Effect::Read {
            let is_post = parts.method == Method::POST;
            let status = CacheStatus::not_stored(forwarded.why, forwarded.reason);
            let answer = self.bypass(Request::from_parts(parts, body), status);
            let answer = if is_post { ResponseFuture::waiting(marked(answer, |_| true)) } else { answer };
            return answer.counted_by(in_flight);
        }
        let call = Box::new(Oneshot { inner: self.inner.clone(), parts, body });
        // Detached: a write and its invalidation complete even if the client leaves between them.
        let limit = self.cache.inner.abandoned_write_limit;
        let write = forward_and_invalidate(call, self.cache.clone(), Arc::clone(&self.settings), forwarded);
        ResponseFuture::waiting(Detached::new(Box::pin(write), Write { limit })).counted_by(in_flight)
    }
}

/// Marks the response to a POST that has changed nothing, for layers around this one.
async fn marked<B, E>(
    answer: impl Future<Output = Result<Response<ResponseBody<B>>, E>>,
    changes_nothing: impl FnOnce(&CacheStatus) -> bool,
) -> Result<Response<ResponseBody<B>>, E>
where
    B: Body,
{
    let mut response = answer.await?;
    if CacheStatus::of(&response).is_some_and(changes_nothing) {
        NothingImplied::mark(response.extensions_mut());
    }
    Ok(response)
}

/// Answers a POST that is a write unless a stored response answers, or its own response says otherwise.
async fn maybe_write<B, E>(
    answer: impl Future<Output = Result<Response<ResponseBody<B>>, E>>,
    cache: Cache,
    noted: Option<RunningWrite>,
) -> Result<Response<ResponseBody<B>>, E>
where
    B: Body,
{
    let _unfinished = cache.inner.work.begin(WorkKind::Write);
    let response = marked(answer, |status| status.outcome().is_from_cache()).await?;
    match noted {
        Some(noted) if NothingImplied::is_in(response.extensions()) || !is_success(response.status()) => noted.failed(),
        noted => drop(noted),
    }
    Ok(response)
}
