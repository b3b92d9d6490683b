//! The realistic response in memory: hits on 10,000 keys by Zipf's law, misses into a full store, and memory per entry.
//!
//! All subjects take turns, round by round, so that a busy machine slows them alike. `realistic hit`, `miss` or `memory`
//! measures one of the three. Prints Markdown.

use std::{convert::Infallible, env, fmt::Debug, fs, process::Command, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Response};
use larder_benches::{MIB, Measurement, Requests, SUBJECTS, ask, measure, runtime, time_here, warm};
use tower::Service;

const ROUNDS: usize = 25;
const KEYS: usize = 10_000;
/// With room for all keys.
const STORE: usize = 256 * MIB;
/// So small that every miss evicts.
const FULL: usize = 4 * MIB;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [work, subject] = &arguments[..]
        && work == "memory-of"
    {
        println!("{}", measure(subject, false, 1024 * MIB, Fill).unwrap_or_default());
        return;
    }
    let runtime = runtime();
    let _entered = runtime.enter();
    let chosen = |work: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == work);
    if chosen("hit") {
        times("hit, 10,000 keys by Zipf's law", STORE, true);
    }
    if chosen("miss") {
        times("miss into a full store", FULL, false);
    }
    if chosen("memory") {
        memory();
    }
}

/// Prints the time per request of each subject, the best and the median of all rounds.
fn times(title: &str, max_bytes: usize, hits: bool) {
    for in_router in [false, true] {
        let prepare = |subject| measure(subject, in_router, max_bytes, Prepare { hits, is_cached: subject != "bare" });
        let mut rounds: Vec<_> = SUBJECTS.into_iter().filter_map(prepare).collect();
        let mut figures = vec![Vec::new(); rounds.len()];
        for _ in 0..ROUNDS {
            for (round, figures) in rounds.iter_mut().zip(&mut figures) {
                figures.push(round());
            }
        }
        let place = if in_router { "in a router" } else { "a service" };
        println!(
            "\n| {title}, {place} | best, ns | median, ns | best to bare | to the floor on quick_cache |\n|---|---|---|---|---|"
        );
        figures.iter_mut().for_each(|figures| figures.sort_unstable_by(f64::total_cmp));
        let (bare, floor) = (figures[0][0], figures[2][0]);
        for (subject, figures) in SUBJECTS.iter().zip(&figures) {
            let best = figures[0];
            println!("| {subject} | {best:.0} | {:.0} | {:.2} | {:.2} |", figures[ROUNDS / 2], best / bare, best / floor);
        }
    }
}

/// A round returns nanoseconds per request.
type Round = Box<dyn FnMut() -> f64>;

struct Prepare {
    hits: bool,
    is_cached: bool,
}

impl Measurement for Prepare {
    type Output = Round;

    fn of<S, B>(self, mut service: S) -> Round
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        B: HttpBody<Data = Bytes, Error: Debug> + 'static,
    {
        const TIMES: usize = 20_000;
        let requests = Requests::for_many(KEYS);
        if self.is_cached && self.hits {
            warm(&mut service, &requests);
        }
        let (mut next, hits) = (0, self.hits);
        Box::new(move || {
            let request = |at| if hits { requests.get(next + at) } else { requests.fresh(next + at) };
            let took = time_here(TIMES as u64, request, |request| ask(&mut service, request));
            next += TIMES;
            nanoseconds(took) / TIMES as f64
        })
    }
}

fn nanoseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e9
}

/// Prints the resident memory per entry over its body, each in a process of its own.
fn memory() {
    println!("\n| memory of an entry over its body | bytes |\n|---|---|");
    for subject in &SUBJECTS[1..] {
        let itself = env::current_exe().expect("a path");
        let output = Command::new(itself).args(["memory-of", subject]).output().expect("the same program starts");
        println!("| {subject} | {} |", String::from_utf8_lossy(&output.stdout).trim());
    }
}

/// Stores many responses; finds the bytes of resident memory per entry over the body.
struct Fill;

impl Measurement for Fill {
    type Output = u64;

    fn of<S, B>(self, mut service: S) -> u64
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        B: HttpBody<Data = Bytes, Error: Debug> + 'static,
    {
        const FIRST: usize = 10_000;
        const ENTRIES: usize = 100_000;
        let runtime = runtime();
        let _entered = runtime.enter();
        let requests = Requests::for_one();
        // The first ones pay for tables of fixed size.
        (0..FIRST).for_each(|number| _ = ask(&mut service, requests.fresh(number)));
        let before = resident();
        let bodies: usize = (FIRST..FIRST + ENTRIES).map(|number| ask(&mut service, requests.fresh(number))).sum();
        (resident() - before).saturating_sub(bodies as u64) / ENTRIES as u64
    }
}

/// The bytes of memory that this process has in use.
fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * PAGE
}
