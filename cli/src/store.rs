//! Invalidates and sets the mode in the store itself, for machines that cannot reach the application.

use larder::{Cache, CacheMode, Error, Receipt, Scope};
use serde_json::{Value, json};

use crate::{arguments::Invalidate, output::Failure};

pub(crate) fn invalidate(url: &str, namespace: Option<&str>, what: &Invalidate) -> Result<Value, Failure> {
    let receipt = in_store(url, async |cache| carry_out(&cache, namespace, what).await)?;
    let scope = named(receipt.scope);
    Ok(
        json!({ "done": format!("invalidated ({scope})"), "tags": receipt.tag_count, "epoch": receipt.epoch.get(), "scope": scope }),
    )
}

pub(crate) fn set_mode(url: &str, mode: &str) -> Result<Value, Failure> {
    let mode: CacheMode = mode.parse().map_err(|error: Error| failure(&error))?;
    let scope = named(in_store(url, async |cache| cache.set_mode_everywhere(mode).await)?);
    Ok(json!({ "done": format!("the mode of all nodes is {mode} ({scope})"), "mode": mode.to_string(), "scope": scope }))
}

/// Connects to a store, and runs an action in it.
fn in_store<T>(url: &str, action: impl AsyncFnOnce(Cache) -> Result<T, Error>) -> Result<T, Failure> {
    if url.starts_with("memory") {
        return Err(Failure::usage("a store in memory belongs to its process: give --admin"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("there is no runtime: {error}")))?;
    let outcome = runtime.block_on(async { action(Cache::connect(url).await?).await });
    outcome.map_err(|error| failure(&error))
}

async fn carry_out(cache: &Cache, namespace: Option<&str>, what: &Invalidate) -> Result<Receipt, Error> {
    let cache = namespace.map_or(cache.clone(), |namespace| cache.with_namespace(namespace));
    match what {
        Invalidate { uri: Some(uri), .. } => cache.invalidate_uri(uri).await,
        Invalidate { route: Some(route), .. } => cache.invalidate_route(route).await,
        Invalidate { tags, .. } => cache.invalidate_tags(tags).await,
    }
}

fn named(scope: Scope) -> String {
    match scope {
        Scope::NodesWithin(time) => format!("nodes within {} ms", time.as_millis()),
        _ => "nodes".to_owned(),
    }
}

fn failure(error: &Error) -> Failure {
    // This process ends, and repeats nothing.
    if error.is_invalid_input() { Failure::usage(error.to_string()) } else { Failure::failed(format!("{error}. Repeat it.")) }
}
