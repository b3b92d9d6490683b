//! The actions of an operator. Each is logged with its principal, and says what did happen if it failed.

use http::{HeaderMap, Uri};
use serde::Serialize;

use super::{
    access::{Action, Granted},
    input::Input,
    jobs,
    state::State,
    text::visible,
};
use crate::{
    backend::cache_mode::CacheMode,
    backend::contract::{Durability, Receipt, Scope},
    error::Error,
    http::cache_status::Reason,
};

/// What an action has done.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    /// A sentence for the operator.
    pub(super) done: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<u64>,
    /// `process`, `nodes`, or `nodes within … ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) durable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stored: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<String>,
    /// The mode that this process obeys now, which may be stricter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_force: Option<String>,
}

/// Why an action failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The principal may not do it.
    Forbidden(Action),
    Refused {
        error: Error,
        /// What was done before it failed.
        happened: String,
    },
}

impl Done {
    fn saying(done: impl Into<String>) -> Self {
        let (tags, epoch, scope, durable, stored, reason, mode, in_force) = Default::default();
        Self { done: done.into(), tags, epoch, scope, durable, stored, reason, mode, in_force }
    }

    fn invalidated(what: &str, receipt: Receipt) -> Self {
        let scope = named(receipt.scope);
        Self {
            tags: Some(receipt.tag_count),
            epoch: Some(receipt.epoch.get()),
            durable: Some(receipt.durability == Durability::Durable),
            done: format!("{what} ({scope})"),
            scope: Some(scope),
            ..Self::saying("")
        }
    }
}

/// The nodes that an action reaches.
fn named(scope: Scope) -> String {
    match scope {
        Scope::Process => "process".to_owned(),
        Scope::Nodes => "nodes".to_owned(),
        Scope::NodesWithin(time) => format!("nodes within {} ms", time.as_millis()),
    }
}

/// Takes an action, if the principal may, and logs it.
pub(super) async fn take(state: &State, granted: &Granted, action: Action, input: &Input) -> Result<Done, Failed> {
    if !granted.allows(action) {
        tracing::warn!(target: "larder::admin", principal = granted.principal(), action = action.as_str(), "refused: not granted");
        return Err(Failed::Forbidden(action));
    }
    let result = match action {
        Action::Invalidate => invalidate(state, input).await,
        Action::Expire => expire(state, input).await,
        Action::Refresh => refresh(state, input).await,
        Action::CancelJob => jobs::cancel(&state.cache, input).map(Done::saying),
        Action::SetMode => set_mode(state, input).await,
        Action::Clear => clear(state, input).await,
    };
    tracing::info!(
        target: "larder::admin",
        principal = granted.principal(),
        action = action.as_str(),
        tags = ?input.tags.iter().take(5).collect::<Vec<_>>(),
        tag_count = input.tags.len(),
        // Queries may contain secrets.
        uri = input.uri.as_deref().map(|uri| uri.split(['?', '#']).next().unwrap_or_default()),
        route = input.route.as_deref(),
        mode = input.mode.as_deref(),
        everywhere = input.everywhere,
        error = result.as_ref().err().map(|error| error as &(dyn std::error::Error + 'static)),
        "an operator acted"
    );
    result.map_err(|error| {
        let happened = what_happened(state, action, input, &error);
        Failed::Refused { error, happened }
    })
}

async fn invalidate(state: &State, input: &Input) -> Result<Done, Error> {
    let cache = &state.cache;
    match (input.tags.as_slice(), input.uri.as_deref(), input.route.as_deref()) {
        ([], Some(uri), None) => Ok(Done::invalidated("The URI is invalidated", cache.invalidate_uri(uri).await?)),
        ([], None, Some(route)) => Ok(Done::invalidated("The route is invalidated", cache.invalidate_route(route).await?)),
        (tags @ [_, ..], None, None) => {
            Ok(Done::invalidated(&tags_are(tags.len(), "invalidated"), cache.invalidate_tags(tags).await?))
        }
        _ => Err(Error::invalid_input("give one of `tags`, `uri` and `route`")),
    }
}

async fn expire(state: &State, input: &Input) -> Result<Done, Error> {
    if input.tags.is_empty() {
        return Err(Error::invalid_input("give `tags` to expire"));
    }
    Ok(Done::invalidated(&tags_are(input.tags.len(), "expired"), state.cache.expire_tags(&input.tags).await?))
}

fn tags_are(count: usize, what: &str) -> String {
    if count == 1 { format!("1 tag is {what}") } else { format!("{count} tags are {what}") }
}

async fn refresh(state: &State, input: &Input) -> Result<Done, Error> {
    let Some(refresher) = &state.refresher else {
        return Err(Error::invalid_input("this page cannot refresh: give it the application by `Admin::refresh_through`"));
    };
    let uri = input.uri.as_deref().and_then(|uri| uri.parse::<Uri>().ok());
    let uri = uri.ok_or_else(|| Error::invalid_input("give the `uri` to refresh, with its host: https://example.com/posts/7"))?;
    let mut headers: HeaderMap = input.header_map()?;
    if let Some(authority) = uri.authority() {
        let host = authority.as_str().parse().map_err(|_| Error::invalid_input("the host is invalid"))?;
        headers.insert(http::header::HOST, host);
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = target.parse().map_err(|_| Error::invalid_input("the URI is invalid"))?;
    let Some(status) = refresher(target, headers).await else {
        return Err(Error::invalid_input("no layer of this cache is on the way to the handler of this URI"));
    };
    let reason = status.reason();
    if !status.is_stored() {
        let why = reason.map_or("", Reason::explanation);
        return Err(Error::unavailable(format!("the handler ran, and its response was not stored: {why}")));
    }
    Ok(Done { stored: Some(true), ..Done::saying("The response is computed and stored again") })
}

async fn set_mode(state: &State, input: &Input) -> Result<Done, Error> {
    let (cache, mode) = (&state.cache, input.mode.as_deref().unwrap_or_default().parse::<CacheMode>()?);
    let scope = if input.everywhere {
        cache.set_mode_everywhere(mode).await?
    } else {
        cache.set_mode(mode);
        Scope::Process
    };
    let what = match scope {
        Scope::Process => format!("The mode of this process is {mode}"),
        scope => format!("The mode of all nodes is {mode} ({})", named(scope)),
    };
    // The other of the two modes may be stricter.
    let in_force = cache.mode();
    let (whose, other) = if scope == Scope::Process { ("all nodes", "for all nodes") } else { ("this process", "for it alone") };
    let done = match in_force == mode {
        true => what,
        false => format!("{what}. In force is {in_force}, the stricter mode of {whose}: set it {other}"),
    };
    Ok(Done {
        mode: Some(mode.to_string()),
        in_force: Some(in_force.to_string()),
        scope: Some(named(scope)),
        ..Done::saying(done)
    })
}

async fn clear(state: &State, input: &Input) -> Result<Done, Error> {
    if input.confirm.as_deref() != Some(state.clear_phrase()) {
        return Err(Error::invalid_input(format!("to clear the cache, type `{}` as `confirm`", visible(state.clear_phrase()))));
    }
    Ok(Done::invalidated("Everything is invalidated", state.cache.clear().await?))
}

/// What a failed action has done before it failed.
fn what_happened(state: &State, action: Action, input: &Input, error: &Error) -> String {
    let owed = state.cache.inner.backend.owed();
    match action {
        Action::Refresh if !error.is_invalid_input() => "The handler ran. The stored response is as it was.".to_owned(),
        Action::Invalidate | Action::Expire if error.is_invalid_input() && input.tags.len() > 1 => {
            "The valid tags took effect, the invalid ones did not.".to_owned()
        }
        _ if error.is_invalid_input() => "Nothing was changed.".to_owned(),
        // The mode is not set again later.
        Action::SetMode => {
            "The mode of all nodes may have been set or not. Repeat it, or set the mode of each process.".to_owned()
        }
        _ if error.is_unconfirmed() => "It took effect, and fewer replicas than required have confirmed it.".to_owned(),
        _ if error.is_timeout() && owed == 0 => "It may or may not have taken effect. Repeat it.".to_owned(),
        _ if owed > 0 => format!(
            "It has not taken effect on all nodes. This node repeats it until the store answers: {owed} tags are owed, and it uses nothing \
             that they concern."
        ),
        _ => "It has not taken effect. Repeat it.".to_owned(),
    }
}
