//! Whatever happens to the fetch that others wait for, each of them gets an answer that is theirs: the whole table.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response, routing};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use larder::{Cache, CacheTags};
use tokio::{task::JoinHandle, time::sleep};
use tower::ServiceExt as _;

use Gets::{Broken, Left, Own, Panic, Run};
use Leader::{BodyBreaks, Disconnects, Panics, ServerError, Slow, StreamsSlowly, Succeeds, Uncacheable, Varies};
use Then::{Handler, Stored, StoredByAny};

use super::WAIT_LIMIT;
use crate::support::{
    ChannelBody, Frames, Gate, Runs, cache, get_with, minute,
    paused::{settled, timed},
    request,
};

/// What becomes of the first fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    Succeeds,
    Panics,
    /// Its client leaves.
    Disconnects,
    /// It says `private`, as do all after it.
    Uncacheable,
    /// It takes longer than anybody waits.
    Slow,
    /// It varies by language, and all followers request another one.
    Varies,
    /// It answers 500, as do all after it.
    ServerError,
    /// Its body comes bit by bit.
    StreamsSlowly,
    /// Its body breaks off.
    BodyBreaks,
}

/// The response of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    /// The answer of that run, as do others.
    Run(usize),
    /// The answer of a run of their own.
    Own,
    Panic,
    /// Half an answer, and an error.
    Broken,
    /// Nothing: they left.
    Left,
}

/// Where the next request gets its answer.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// From the store, as that run had it.
    Stored(usize),
    /// From the store, as one of those had it that ran for themselves.
    StoredByAny,
    /// From the handler.
    Handler,
}

/// What is to happen when some had come before, and others after something.
struct Row {
    leader: Leader,
    gets: Gets,
    /// What those get who came before it.
    before: Gets,
    /// What those get who came after it.
    after: Gets,
    then: Then,
}

const fn row(leader: Leader, gets: Gets, before: Gets, after: Gets, then: Then) -> Row {
    Row { leader, gets, before, after, then }
}

/// Nothing was invalidated, or nothing that concerns the page: all who wait are alike.
const UNDISTURBED: [Row; 9] = [
    row(Succeeds, Run(1), Run(1), Run(1), Stored(1)),
    row(Panics, Panic, Run(2), Run(2), Stored(2)),
    row(Disconnects, Left, Run(1), Run(1), Stored(1)),
    row(Uncacheable, Run(1), Own, Own, Handler),
    row(Slow, Run(1), Run(2), Run(2), Stored(1)),
    row(Varies, Run(1), Run(2), Run(2), Stored(2)),
    row(ServerError, Run(1), Own, Own, Handler),
    row(StreamsSlowly, Run(1), Run(1), Run(1), Stored(1)),
    row(BodyBreaks, Broken, Own, Own, StoredByAny),
];

/// The page was invalidated while the first handler ran: its response answers no later request, and is not stored.
/// Those who came later had their answer before it ended.
const INVALIDATED: [Row; 9] = [
    row(Succeeds, Run(1), Run(2), Run(2), Stored(2)),
    row(Panics, Panic, Run(2), Run(2), Stored(2)),
    row(Disconnects, Left, Run(2), Run(2), Stored(2)),
    row(Uncacheable, Run(1), Own, Own, Handler),
    row(Slow, Run(1), Run(2), Run(2), Stored(2)),
    row(Varies, Run(1), Run(2), Run(2), Stored(2)),
    row(ServerError, Run(1), Own, Own, Handler),
    row(StreamsSlowly, Run(1), Run(2), Run(2), Stored(2)),
    row(BodyBreaks, Broken, Run(2), Run(2), Stored(2)),
];

/// The page was invalidated while the first handler ran, and no request came afterwards: one of the followers fetches for all.
const INVALIDATED_BEFORE_ALL: [Row; 9] = [
    row(Succeeds, Run(1), Run(2), Left, Stored(2)),
    row(Panics, Panic, Run(2), Left, Stored(2)),
    row(Disconnects, Left, Run(2), Left, Stored(2)),
    row(Uncacheable, Run(1), Own, Left, Handler),
    row(Slow, Run(1), Run(2), Left, Stored(2)),
    row(Varies, Run(1), Run(2), Left, Stored(2)),
    row(ServerError, Run(1), Own, Left, Handler),
    row(StreamsSlowly, Run(1), Run(2), Left, Stored(2)),
    row(BodyBreaks, Broken, Own, Left, StoredByAny),
];

/// What is invalidated while the first handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Nothing,
    /// A tag of something else.
    Unrelated,
    /// The route's tag.
    Tag,
    /// A tag that the handler gives.
    HandlersTag,
    Uri,
    Clear,
}

impl Way {
    async fn invalidate(self, cache: &Cache) {
        match self {
            Self::Nothing => return,
            Self::Unrelated => cache.invalidate_tags(["users"]).await,
            Self::Tag => cache.invalidate_tags(["posts"]).await,
            Self::HandlersTag => cache.invalidate_tags(["author:1"]).await,
            Self::Uri => cache.invalidate_uri("/page").await,
            Self::Clear => cache.clear().await,
        }
        .unwrap();
    }
}

/// Whether one of those who wait, of each kind, leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Staying {
    All,
    NotAll,
}

#[tokio::test(start_paused = true)]
async fn all_followers_share_a_shareable_response() {
    for way in [Way::Nothing, Way::Unrelated] {
        check(&UNDISTURBED, way, 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn request_after_an_invalidation_neither_joins_nor_gets_an_older_fetch() {
    for way in [Way::Tag, Way::HandlersTag, Way::Uri, Way::Clear] {
        check(&INVALIDATED, way, 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn follower_across_an_invalidation_gets_a_response() {
    for way in [Way::Tag, Way::HandlersTag, Way::Uri, Way::Clear] {
        check(&INVALIDATED_BEFORE_ALL, way, 0).await;
    }
}

async fn check(rows: &[Row], way: Way, later: usize) {
    let mut wrong = Vec::new();
    for row in rows {
        for staying in [Staying::All, Staying::NotAll] {
            let of = format!("{:?}, {way:?}, {staying:?}", row.leader);
            let seen = Scene::new(row.leader, way).play(staying, later).await;
            wrong.extend(seen.differences(row).into_iter().map(|difference| format!("{of}: {difference}")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Everything that a scene brought to light.
#[derive(Debug)]
struct Seen {
    leader: Gets,
    before: Vec<Gets>,
    after: Vec<Gets>,
    /// How often the handler had run when the first one ended.
    runs: usize,
    next: Next,
}

#[derive(Debug, Clone, Copy)]
struct Next {
    run: usize,
    hit: bool,
}

impl Seen {
    fn differences(&self, row: &Row) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, same: bool| {
            if !same {
                differences.push(format!("{what}; seen: {self:?}"));
            }
        };
        let own = |gets: Gets, got: &[Gets]| if gets == Own { got.len() } else { 0 };
        let shared = [row.gets, row.before, row.after].into_iter().filter_map(Gets::run).max().unwrap_or(1);
        let expected = shared.max(1) + own(row.before, &self.before) + own(row.after, &self.after);
        compare(&format!("the first should get {:?}", row.gets), self.leader == row.gets);
        for (who, gets, got) in [("before", row.before, &self.before), ("after", row.after, &self.after)] {
            let same = match gets {
                // Each of them has a run of its own.
                Own => got.iter().all(|one| one.run().is_some_and(|run| run > shared) && self.times(*one) == 1),
                shared => got.iter().all(|one| *one == shared),
            };
            compare(&format!("those {who} should get {gets:?}"), same);
        }
        compare(&format!("there should have been {expected} runs"), self.runs == expected);
        let same = match row.then {
            Stored(run) => self.next.hit && self.next.run == run,
            StoredByAny => self.next.hit && (2..=self.runs).contains(&self.next.run),
            Handler => !self.next.hit && self.next.run == self.runs + 1,
        };
        compare(&format!("the next request should be answered: {:?}", row.then), same);
        differences
    }

    fn times(&self, gets: Gets) -> usize {
        self.before.iter().chain(&self.after).chain([&self.leader]).filter(|other| **other == gets).count()
    }
}

impl Gets {
    fn run(self) -> Option<usize> {
        if let Run(run) = self { Some(run) } else { None }
    }
}

/// A page whose first run waits at one gate, and the later ones at another.
struct Scene {
    leader: Leader,
    way: Way,
    cache: Cache,
    app: Router,
    runs: Runs,
    first: Gate,
    others: Gate,
    /// How many passed the second gate.
    let_run: usize,
    /// Of the first run's body.
    frames: Option<Frames>,
}

impl Scene {
    fn new(leader: Leader, way: Way) -> Self {
        let (cache, _) = cache();
        let (runs, first, others) = (Runs::default(), Gate::closed(), Gate::closed());
        let (frames, body) = ChannelBody::new();
        let body = Arc::new(Mutex::new(Some(body)));
        let handler = {
            let (runs, first, others) = (runs.clone(), first.clone(), others.clone());
            move |request: Request| async move {
                if request.uri().query().is_some() {
                    return respond(Succeeds, way, Body::from("known"));
                }
                let run = runs.begin();
                let gate = if run == 1 { &first } else { &others };
                gate.pass().await;
                assert!(run > 1 || leader != Panics, "the first one does");
                let body = match leader {
                    StreamsSlowly if run == 1 => Body::new(body.lock().unwrap().take().unwrap()),
                    BodyBreaks if run == 1 => Body::new(Breaking { begun: false }),
                    _ => Body::from(format!("run {run}")),
                };
                respond(leader, way, body)
            }
        };
        let app = Router::new().route("/page", routing::get(handler).layer(minute(&cache).tags(["posts"])));
        Self { leader, way, cache, app, runs, first, others, let_run: 0, frames: Some(frames) }
    }

    async fn play(mut self, staying: Staying, later: usize) -> Seen {
        // From here on the tags of the route are known as all there are, unless the handler has some of its own.
        get_with(&self.app, "/page?other", &[]).await;
        let first = self.ask("de");
        self.first.arrival().await;
        let mut before: Vec<_> = (0..3).map(|_| self.ask("en")).collect();
        settled().await;
        self.way.invalidate(&self.cache).await;
        let mut after: Vec<_> = (0..later).map(|_| self.ask("en")).collect();
        settled().await;
        let joined = matches!(self.way, Way::Nothing | Way::Unrelated);
        assert_eq!(self.runs.count(), if joined || later == 0 { 1 } else { 2 }, "{:?} {:?}", self.leader, self.way);
        if staying == Staying::NotAll {
            before.remove(1).abort();
            if later > 1 {
                after.remove(1).abort();
            }
        }
        let mut later = Vec::new();
        if !joined {
            // The older fetch still runs, and they do not wait for it.
            self.let_the_others_run().await;
            let (took, got) = timed(gets(after.drain(..))).await;
            assert_eq!(took, Duration::ZERO, "{:?} {:?}", self.leader, self.way);
            later = got;
        }
        if self.leader == Disconnects {
            first.abort();
            settled().await;
        }
        if self.leader == Slow {
            sleep(WAIT_LIMIT).await;
            self.let_the_others_run().await;
        }
        self.first.open(1);
        if self.leader == StreamsSlowly {
            let frames = self.frames.take().unwrap();
            for piece in ["run", " ", "1"] {
                frames.send(piece);
                settled().await;
            }
        }
        self.let_the_others_run().await;
        later.extend(gets(after.into_iter()).await);
        let before = gets(before.into_iter()).await;
        let leader = gets([first].into_iter()).await[0];
        let runs = self.runs.count();
        Seen { leader, before, after: later, runs, next: self.next().await }
    }

    /// Lets all of them end that have begun, when all have begun that can.
    async fn let_the_others_run(&mut self) {
        loop {
            settled().await;
            let waiting = self.runs.count() - 1 - self.let_run;
            if waiting == 0 {
                return;
            }
            self.let_run += waiting;
            self.others.open(waiting);
        }
    }

    async fn next(&self) -> Next {
        self.others.open(1);
        let answer = get_with(&self.app, "/page", &[("accept-language", "en")]).await;
        Next { run: number(answer.text()), hit: answer.is_hit() }
    }

    fn ask(&self, language: &'static str) -> JoinHandle<Gets> {
        let request = request(Method::GET, "/page", &[("accept-language", language)]);
        let app = self.app.clone();
        tokio::spawn(async move {
            let response = app.oneshot(request).await.unwrap();
            match response.into_body().collect().await {
                Ok(body) => Run(number(std::str::from_utf8(&body.to_bytes()).unwrap())),
                Err(_) => Broken,
            }
        })
    }
}

fn respond(leader: Leader, way: Way, body: Body) -> Response {
    let mut response = Response::new(body);
    if way == Way::HandlersTag {
        response.extensions_mut().insert(CacheTags::new(["author:1"]));
    }
    match leader {
        Uncacheable => _ = response.headers_mut().insert("cache-control", "private".parse().unwrap()),
        Varies => _ = response.headers_mut().insert("vary", "accept-language".parse().unwrap()),
        ServerError => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        _ => {}
    }
    response
}

async fn gets(asked: impl Iterator<Item = JoinHandle<Gets>>) -> Vec<Gets> {
    let mut all = Vec::new();
    for asked in asked {
        all.push(match asked.await {
            Ok(gets) => gets,
            Err(error) if error.is_panic() => Panic,
            Err(_) => Left,
        });
    }
    all
}

fn number(text: &str) -> usize {
    text.strip_prefix("run ").unwrap().parse().unwrap()
}

/// A body that breaks off after its first frame.
struct Breaking {
    begun: bool,
}

impl http_body::Body for Breaking {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(match std::mem::replace(&mut self.begun, true) {
            false => Ok(Frame::data(Bytes::from_static(b"run"))),
            true => Err(std::io::ErrorKind::ConnectionReset.into()),
        }))
    }
}
