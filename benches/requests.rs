use axum::body::Body;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, HOST, USER_AGENT},
};

/// Requests as a server makes them: four fields, each a slice of the buffer that was read.
#[derive(Debug, Clone)]
pub struct Requests {
    headers: HeaderMap,
    targets: Vec<Uri>,
    /// Which target comes when, over and over.
    order: Vec<usize>,
}

impl Requests {
    /// For one target, always.
    pub fn for_one() -> Self {
        Self::in_order(1, vec![0])
    }

    /// For `keys` targets, some of them much more often than others.
    pub fn for_many(keys: usize) -> Self {
        Self::in_order(keys, zipf(keys, 1 << 16))
    }

    fn in_order(keys: usize, order: Vec<usize>) -> Self {
        Self { headers: request_fields(), targets: (0..keys).map(target).collect(), order }
    }

    /// The same with one field more.
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The request that comes at that place in the order.
    pub fn get(&self, at: usize) -> Request<Body> {
        self.request(self.targets[self.order[at % self.order.len()]].clone())
    }

    /// A request for a target that no other number has.
    pub fn fresh(&self, number: usize) -> Request<Body> {
        self.request(target(number))
    }

    /// One request for each target.
    pub fn each(&self) -> impl Iterator<Item = Request<Body>> {
        self.targets.iter().map(|target| self.request(target.clone()))
    }

    /// How many there are before they repeat.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    fn request(&self, target: Uri) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = target;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// `draws` numbers below `keys`, number `n` in proportion to 1 / (n + 1), the same in every run.
pub fn zipf(keys: usize, draws: usize) -> Vec<usize> {
    let mut sum = 0.0;
    let steps: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = (state >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        steps.partition_point(|step| *step < at).min(keys - 1)
    };
    (0..draws).map(|_| draw()).collect()
}

fn target(number: usize) -> Uri {
    Uri::from_maybe_shared(Bytes::from(format!("/items/{number}"))).expect("a legal path")
}

fn request_fields() -> HeaderMap {
    const FIELDS: [(HeaderName, &str); 4] = [
        (HOST, "www.example.com"),
        (USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (ACCEPT, "application/json"),
        (ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
    ];
    let read: String = FIELDS.iter().map(|(_, value)| *value).collect();
    let mut buffer = Bytes::from(read);
    let value = |(name, value): (HeaderName, &str)| {
        let value = HeaderValue::from_maybe_shared(buffer.split_to(value.len())).expect("a legal value");
        (name, value)
    };
    FIELDS.into_iter().map(value).collect()
}
