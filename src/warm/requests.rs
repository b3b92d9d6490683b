//! The requests of a warm-up: pages, combined with the values of request fields.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What may not be in the target of a request, and is often in lists of pages.
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

type Incoming = Pin<Box<dyn Stream<Item = Request<()>> + Send>>;

/// A page, before the fields that all requests have are added.
#[derive(Debug)]
pub(super) enum Target {
    Path { host: Option<String>, path: String },
    Request(Box<Request<()>>),
}

enum Source {
    Targets(VecDeque<Target>),
    Stream(Incoming),
}

/// A request that cannot be sent, and why.
#[derive(Debug)]
pub(super) struct Unsendable {
    pub(super) uri: String,
    pub(super) problem: String,
}

/// The requests that are still to be sent.
#[derive(Default)]
pub(super) struct Requests {
    sources: VecDeque<Source>,
    pub(super) host: Option<HeaderValue>,
    pub(super) scheme: Option<Scheme>,
    pub(super) headers: HeaderMap,
    /// Fields whose values are combined with each page.
    pub(super) vary: Vec<(HeaderName, Vec<HeaderValue>)>,
    /// The page that is being combined, and the number of the next combination.
    combining: Option<(Request<()>, usize)>,
}

impl Requests {
    pub(super) fn add_targets(&mut self, targets: VecDeque<Target>) {
        self.sources.push_back(Source::Targets(targets));
    }

    pub(super) fn add_stream(&mut self, stream: Incoming) {
        self.sources.push_back(Source::Stream(stream));
    }

    /// The number of requests for each page.
    pub(super) fn combinations(&self) -> usize {
        self.vary.iter().fold(1, |all, (_, values)| all.saturating_mul(values.len()))
    }

    /// The number of requests still to be sent, if there is no stream.
    pub(super) fn count(&self) -> Option<u64> {
        let targets = self.sources.iter().map(|source| match source {
            Source::Targets(targets) => Some(targets.len()),
            Source::Stream(_) => None,
        });
        let targets = targets.sum::<Option<usize>>()?;
        Some(targets.saturating_mul(self.combinations()) as u64)
    }

    /// Whether the next call of [`poll_next`](Self::poll_next) returns `None`, as far as that is known without it.
    pub(super) fn are_exhausted(&self) -> bool {
        let is_empty = |source: &Source| matches!(source, Source::Targets(targets) if targets.is_empty());
        let combines = self.combining.as_ref().is_some_and(|(_, number)| *number < self.combinations());
        !combines && self.sources.iter().all(is_empty)
    }

    /// What identifies these requests on every node: hosts, fields and pages, but not those of streams.
    pub(super) fn identity(&self) -> String {
        let mut identity = format!("{:?} {:?} {:?} {:?}", self.host, self.scheme, self.headers, self.vary);
        for source in &self.sources {
            if let Source::Targets(targets) = source {
                targets.iter().for_each(|target| identity.push_str(&format!(" {target:?}")));
            }
        }
        identity
    }

    /// Returns the next request; `None` after the last one.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Box<Request<String>>, Unsendable>>> {
        loop {
            if let Some((page, number)) = self.combining.take()
                && number < self.combinations()
            {
                let request = self.combined(&page, number);
                self.combining = Some((page, number + 1));
                return Poll::Ready(Some(Ok(Box::new(request))));
            }
            let Some(target) = ready!(self.poll_target(cx)) else { return Poll::Ready(None) };
            match self.page(target) {
                Ok(page) => self.combining = Some((page, 0)),
                Err(unsendable) => return Poll::Ready(Some(Err(unsendable))),
            }
        }
    }

    fn poll_target(&mut self, cx: &mut Context<'_>) -> Poll<Option<Target>> {
        while let Some(source) = self.sources.front_mut() {
            let target = match source {
                Source::Targets(targets) => targets.pop_front(),
                Source::Stream(stream) => ready!(stream.as_mut().poll_next(cx)).map(|request| Target::Request(Box::new(request))),
            };
            if target.is_some() {
                return Poll::Ready(target);
            }
            self.sources.pop_front();
        }
        Poll::Ready(None)
    }

    /// The page as a request, with the fields that all have.
    fn page(&self, target: Target) -> Result<Request<()>, Unsendable> {
        match target {
            Target::Path { host, path } => {
                let unsendable = |problem: String| Unsendable { uri: path.clone(), problem };
                let encoded = utf8_percent_encode(&path, ENCODED).to_string();
                let uri: Uri = encoded.parse().map_err(|error| unsendable(format!("not a path: {error}")))?;
                if !uri.path().starts_with('/') || uri.authority().is_some() {
                    return Err(unsendable("not a path: it does not begin with `/`".to_owned()));
                }
                let mut request = Request::new(());
                *request.uri_mut() = uri;
                let named = host.map(HeaderValue::try_from).transpose().map_err(|error| unsendable(error.to_string()))?;
                if let Some(host) = self.host.clone().or(named) {
                    request.headers_mut().insert(HOST, host);
                }
                self.completed(request)
            }
            Target::Request(mut request) => {
                if let (None, Some(host)) = (request.uri().authority(), &self.host) {
                    request.headers_mut().entry(HOST).or_insert_with(|| host.clone());
                }
                self.completed(*request)
            }
        }
    }

    /// Adds the fields that are absent, and the scheme.
    fn completed(&self, mut request: Request<()>) -> Result<Request<()>, Unsendable> {
        for (name, value) in &self.headers {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        let Some(scheme) = &self.scheme else { return Ok(request) };
        let uri = request.uri().clone();
        let host = request.headers_mut().remove(HOST);
        match absolute(&uri, scheme, host.as_ref()) {
            Some(absolute) => {
                *request.uri_mut() = absolute;
                Ok(request)
            }
            None => Err(Unsendable { uri: uri.to_string(), problem: "a scheme needs a host: `Warm::host` sets it".to_owned() }),
        }
    }

    /// The combination of the field values with this number.
    fn combined(&self, page: &Request<()>, mut number: usize) -> Request<String> {
        let mut request = page.clone().map(|()| String::new());
        for (name, values) in &self.vary {
            if let Some(value) = values.get(number % values.len().max(1)) {
                request.headers_mut().insert(name, value.clone());
            }
            number /= values.len().max(1);
        }
        request
    }
}

/// The URI as an HTTP/2 request has it.
fn absolute(uri: &Uri, scheme: &Scheme, host: Option<&HeaderValue>) -> Option<Uri> {
    let authority = match uri.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(host?.as_bytes()).ok()?,
    };
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::builder().scheme(scheme.clone()).authority(authority).path_and_query(path).build().ok()
}
