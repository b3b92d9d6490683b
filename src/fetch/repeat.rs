//! A request of a fetch that can be sent again, to the same inner service.

use std::{
    future::ready,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use http::{
    HeaderName,
    header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HOST},
    request,
};

use super::{
    inner_call::{HttpService, Oneshot},
    refresh::{OuterFetch, Refresh},
};
use crate::{
    body::request_content::Content,
    cache::{Cache, Inner},
    http::{forwarded::FIELDS, identity_fields::is_identity},
    key::Key,
    policy::{
        cacheable_request::{CacheableMethod, CacheableRequest},
        settings::Settings,
    },
    rewarm::repeat::{Repeat, Repeatable},
    router,
};

/// Runs the handler for a request without a client, unless a fresh response is stored.
pub(super) type FillGap<S, ReqBody> =
    fn(Cache, Arc<Settings>, Box<CacheableRequest>, Box<Oneshot<S, ReqBody>>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A request without a body, and the service that it was sent to. It keeps neither the cache nor the layer alive, as the layer holds it.
pub(super) struct RepeatableRequest<S, ReqBody> {
    /// In a lock because not every service is `Sync`.
    inner: Mutex<S>,
    parts: request::Parts,
    cache: Weak<Inner>,
    settings: Weak<Settings>,
    fill_gap: FillGap<S, ReqBody>,
}

/// A request as it comes from a client.
struct Repeated<S, ReqBody> {
    cache: Cache,
    settings: Arc<Settings>,
    request: Box<CacheableRequest>,
    call: Box<Oneshot<S, ReqBody>>,
}

impl<S: HttpService<ReqBody>, ReqBody: Send + 'static> RepeatableRequest<S, ReqBody> {
    /// Keeps a request; `None` if its response may be for one user, or if a body of its type cannot be made.
    pub(super) fn of(
        cache: &Cache,
        settings: &Arc<Settings>,
        request: &CacheableRequest,
        call: &Oneshot<S, ReqBody>,
        fill_gap: FillGap<S, ReqBody>,
    ) -> Option<Arc<dyn Repeatable>> {
        let is_for_all = !request.authorized && !request.nested && request.method == CacheableMethod::Get;
        let has_principal = || settings.key.principal.as_ref().is_some_and(|principal| principal(&call.parts).is_some());
        router::empty_body::<ReqBody>().filter(|_| is_for_all && !has_principal())?;
        let mut parts = call.parts.clone();
        parts.extensions.remove::<Refresh>();
        parts.extensions.remove::<OuterFetch>();
        let (cache, settings) = (Arc::downgrade(&cache.inner), Arc::downgrade(settings));
        Some(Arc::new(Self { inner: Mutex::new(call.inner.clone()), parts, cache, settings, fill_gap }))
    }

    fn inner(&self) -> S {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The request as it comes from the client, unless the layer is gone or the cache is off.
    fn repeated(&self) -> Option<Repeated<S, ReqBody>> {
        let (cache, settings) = (Cache { inner: self.cache.upgrade()? }, self.settings.upgrade()?);
        cache.is_on().ok()?;
        cache.may_store().ok()?;
        let mut request = Box::new(CacheableRequest::new());
        let prefix = &cache.inner.prefix.current().built;
        settings.classify(&mut request, prefix, &self.parts, Content::Absent).ok()?;
        let call = Box::new(Oneshot { inner: self.inner(), parts: self.parts.clone(), body: router::empty_body()? });
        Some(Repeated { cache, settings, request, call })
    }
}

impl<S: HttpService<ReqBody>, ReqBody: Send + 'static> Repeatable for RepeatableRequest<S, ReqBody> {
    fn reduced(&self, selecting: &[HeaderName], key: &Key) -> Option<Arc<dyn Repeat>> {
        let settings = self.settings.upgrade()?;
        let mut parts = self.parts.clone();
        let named = [HOST, ACCEPT_ENCODING];
        let selecting: [&[HeaderName]; 4] = [&named, &FIELDS, &settings.key.vary_on, selecting];
        let others: Vec<_> =
            parts.headers.keys().filter(|name| !selecting.iter().any(|fields| fields.contains(name))).cloned().collect();
        for name in others {
            parts.headers.remove(name);
        }
        // What selects the response is of one user: it must be neither kept nor sent again.
        if parts.headers.keys().any(|name| *name == COOKIE || *name == AUTHORIZATION || is_identity(name.as_str())) {
            return None;
        }
        let (cache, settings) = (self.cache.clone(), self.settings.clone());
        let reduced = Self { inner: Mutex::new(self.inner()), parts, cache, settings, fill_gap: self.fill_gap };
        // Without the fields that were left out, such as cookies, it must be the same request to the cache.
        let is_same = reduced.repeated().is_some_and(|repeated| repeated.request.key == *key && !repeated.request.authorized);
        is_same.then(|| Arc::new(reduced) as Arc<dyn Repeat>)
    }
}

impl<S: HttpService<ReqBody>, ReqBody: Send + 'static> Repeat for RepeatableRequest<S, ReqBody> {
    fn repeat(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self.repeated() {
            Some(Repeated { cache, settings, request, call }) => (self.fill_gap)(cache, settings, request, call),
            None => Box::pin(ready(())),
        }
    }
}
