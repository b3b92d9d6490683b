//! Invalidates and sets the mode in the store itself, for machines that cannot reach the application.

use std::error::Error as _;

use larder::{Cache, CacheMode, Error, Receipt, Scope};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{arguments::Invalidate, output::Failure, tags};

pub(crate) fn invalidate(url: &str, namespace: Option<&str>, what: &Invalidate) -> Result<Value, Failure> {
    let Store { runtime, cache, place } = Store::connect(url)?;
    let cache = namespace.map_or(cache.clone(), |namespace| cache.with_namespace(namespace));
    let answer = |receipt: Result<Receipt, Error>| {
        let receipt = receipt.map_err(|error| failure("the invalidation", &place, &error))?;
        let scope = named(receipt.scope);
        let done = format!("invalidated ({scope})");
        Ok(json!({ "done": done, "tags": receipt.tag_count, "epoch": receipt.epoch.get(), "scope": scope }))
    };
    match what {
        Invalidate { uri: Some(uri), .. } => answer(runtime.block_on(cache.invalidate_uri(uri))),
        Invalidate { route: Some(route), .. } => answer(runtime.block_on(cache.invalidate_route(route))),
        _ => tags::invalidate(what, |tags| answer(runtime.block_on(cache.invalidate_tags(tags)))),
    }
}

pub(crate) fn set_mode(url: &str, mode: &str) -> Result<Value, Failure> {
    let mode: CacheMode = mode.parse().map_err(|error: Error| Failure::usage(error.to_string()))?;
    let Store { runtime, cache, place } = Store::connect(url)?;
    let scope = runtime.block_on(cache.set_mode_everywhere(mode));
    let scope = named(scope.map_err(|error| failure("the mode of all nodes", &place, &error))?);
    Ok(json!({ "done": format!("the mode of all nodes is {mode} ({scope})"), "mode": mode.to_string(), "scope": scope }))
}

/// A store that is connected.
struct Store {
    runtime: Runtime,
    cache: Cache,
    /// The URL without user, password and options, for messages.
    place: String,
}

impl Store {
    fn connect(url: &str) -> Result<Self, Failure> {
        if url.starts_with("memory") {
            return Err(Failure::usage("a store in memory belongs to its process: give --admin"));
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("there is no runtime: {error}")))?;
        let cache = runtime.block_on(Cache::connect(url));
        let place = without_login(url);
        let cache = cache.map_err(|error| failure("the connection", &place, &error))?;
        Ok(Self { runtime, cache, place })
    }
}

fn named(scope: Scope) -> String {
    match scope {
        Scope::NodesWithin(time) => format!("nodes within {} ms", time.as_millis()),
        _ => "nodes".to_owned(),
    }
}

/// Says what failed, where, and what to do. This process ends, and repeats nothing.
fn failure(what: &str, place: &str, error: &Error) -> Failure {
    if error.is_invalid_input() {
        return Failure::usage(error.to_string());
    }
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        // Some errors have the words of their source in their own.
        if !words.ends_with(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    let outcome = if error.is_unconfirmed() {
        "It took effect, and fewer replicas than required have confirmed it"
    } else if error.is_timeout() {
        "It may or may not have taken effect"
    } else {
        "It has not taken effect on all nodes"
    };
    Failure::failed(format!(
        "{what} failed in the store at {place}: {words}. {outcome}: repeat the command when the store answers."
    ))
}

/// Returns a URL without user, password and options.
pub(crate) fn without_login(url: &str) -> String {
    let address = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    if scheme.is_empty() { place.to_owned() } else { format!("{scheme}://{place}") }
}
