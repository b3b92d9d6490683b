//! A GET and its response, as an observer sees them.

use std::{
    hash::BuildHasher as _,
    sync::{Arc, Mutex},
};

use crc32fast::Hasher;
use foldhash::quality::FixedState;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CACHE_CONTROL, COOKIE, LOCATION},
    request, response,
};
use smallvec::SmallVec;

use super::{
    observations::{Answered, Observations},
    route::{Measured, Read},
    selector::{hash, selectors},
    writes::CapturedValues,
};
use crate::{
    body::request_content::Content,
    clock::{Clock, Timestamp},
    http::{
        cache_control::CacheControl,
        cache_status::{CacheStatus, Reason},
        request_fields::RequestFields,
        vary::Vary,
    },
    policy::{
        cacheable_request::CacheableRequest,
        freshness::Timing,
        response_view::ResponseView,
        settings::Settings,
        storable::{RequestConstraints, storable},
    },
    router,
};

/// What an observer needs for each request.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) observations: Arc<Observations>,
    pub(super) clock: Clock,
    /// Those of a layer without settings, but that cookies do not bypass it.
    pub(super) settings: Arc<Settings>,
}

/// A GET whose handler runs.
pub(super) struct Exchange {
    context: Context,
    route: Option<Arc<Mutex<Measured>>>,
    /// Larder's key, and what the request forbids; or why it would bypass the cache.
    request: Result<(u64, RequestConstraints), Reason>,
    requested: Timestamp,
    moment: u64,
    path: u64,
    query: Option<String>,
    authority: Vec<u8>,
    headers: HeaderMap,
    captures: CapturedValues,
}

/// A GET whose response is being observed.
pub(super) struct Answer {
    exchange: Exchange,
    received: Timestamp,
    status: StatusCode,
    /// The hash of what identifies the response besides its body.
    head: u64,
    varied: SmallVec<[HeaderName; 2]>,
    is_whole: bool,
    digest: Hasher,
    length: u64,
    /// The length of the body, if known.
    expected: Option<u64>,
}

impl Exchange {
    pub(super) fn begin(context: &Context, parts: &mut request::Parts, content: Content) -> Box<Self> {
        let requested = context.clock.now();
        let route = context.observations.route(router::route(&parts.extensions), requested);
        let mut request = CacheableRequest::new();
        let classified = context.settings.classify(&mut request, &[], parts, content);
        let no_store = CacheControl::parse(&parts.headers, &CACHE_CONTROL).no_store;
        let constraints = RequestConstraints { authorized: request.authorized, no_store };
        let captures = captured(parts);
        let uri = router::original_uri(parts);
        let authority = RequestFields::read(&parts.headers).authority(parts).ok().flatten().unwrap_or_default();
        Box::new(Self {
            route,
            request: classified.map(|()| (request.key.digest(), constraints)).map_err(|(_, reason)| reason),
            requested,
            moment: context.observations.writes.moment(),
            path: FixedState::default().hash_one(uri.path()),
            query: uri.query().map(str::to_owned),
            authority: authority.to_ascii_lowercase(),
            headers: parts.headers.clone(),
            captures,
            context: context.clone(),
        })
    }

    /// Counts the head of the response; returns what observes its body, if that is of use.
    pub(super) fn answered(self: Box<Self>, head: &response::Parts, length: Option<u64>) -> Option<Box<Answer>> {
        let received = self.context.clock.now();
        let handler_time = received.since(self.requested);
        let cached = head.extensions.get::<CacheStatus>().is_some_and(|status| status.outcome().is_from_cache());
        let answered = match cached {
            true => Answered::FromCache,
            false => Answered::ByHandler {
                with_cookies: self.headers.contains_key(COOKIE),
                storable: self.storable(head, length, received),
            },
        };
        self.context.observations.answered(self.route.as_deref(), received, handler_time, answered);
        if cached || self.route.is_none() || self.request.is_err() {
            return None;
        }
        let location = head.headers.get(LOCATION).map_or(&[][..], |location| location.as_bytes());
        let is_whole = !matches!(head.status, StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT);
        Some(Box::new(Answer {
            received,
            status: head.status,
            head: FixedState::default().hash_one((head.status.as_u16(), location)),
            varied: Vary::parse(&head.headers).fields().into(),
            is_whole,
            digest: Hasher::new(),
            length: 0,
            expected: length,
            exchange: *self,
        }))
    }

    /// Why a layer without settings would not store the response.
    fn storable(&self, head: &response::Parts, length: Option<u64>, received: Timestamp) -> Result<(), Reason> {
        let (_, constraints) = self.request?;
        if self.headers.contains_key(COOKIE) {
            return Err(Reason::RequestCookie);
        }
        // A layer of a cache inside the observer has counted its own reasons.
        if head.extensions.get::<CacheStatus>().is_some() {
            return Err(Reason::InnerLayer);
        }
        let timing = Timing { requested: self.requested, received, jitter_draw: 0.0 };
        storable(&self.context.settings.store, constraints, &ResponseView::new(head, length), timing).map(drop)
    }
}

impl Answer {
    /// Adds a part of the body to its digest.
    pub(super) fn add(&mut self, data: &[u8]) {
        self.digest.update(data);
        self.length += data.len() as u64;
    }

    /// The body has ended, or is dropped: it is whole if its length was known and has been read.
    pub(super) fn end(self: Box<Self>, ended: bool) {
        let Exchange { context, route, request, requested, moment, path, query, authority, headers, captures } = self.exchange;
        let (Some(route), Ok((key, _))) = (route, request) else { return };
        if !ended && self.expected != Some(self.length) {
            super::observations::lock(&route).unfinished += 1;
            return;
        }
        let whole = (self.digest.finalize(), self.length, self.head);
        let digest = self.is_whole.then(|| FixedState::default().hash_one(whole) as u32);
        let values =
            self.varied.iter().map(|field| headers.get_all(field).iter().fold(0, |sum, line| sum ^ hash(line.as_bytes())));
        let read = Read {
            requested,
            received: self.received,
            moment,
            key: values.fold(key, |key, value| key.rotate_left(7) ^ u64::from(value)),
            path,
            selectors: selectors(&headers, query.as_deref(), &authority),
            captures,
            varied: self.varied,
            status: self.status,
            digest,
        };
        context.observations.observe(&route, read);
    }
}

/// Returns the values of the captures of a request, as hashes.
pub(crate) fn captured(parts: &mut request::Parts) -> CapturedValues {
    const MOST: usize = 8;
    let captures = router::captures(parts);
    captures.iter().take(MOST).map(|(name, value)| (name.into(), hash(value.as_bytes()))).collect()
}
