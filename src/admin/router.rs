//! The page as a router of axum: access, paths and answers. Beside `router/axum.rs`, the only file that names axum.

use std::{convert::Infallible, sync::Arc};

use axum::body::{Body, to_bytes};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE, request::Parts};
use serde::Serialize;
use serde_json::json;
use tower_service::Service;

use super::{
    Admin, Protected,
    access::{Action, Granted},
    actions::{self, Failed},
    api, explain,
    input::Input,
    jobs,
    live::LiveBody,
    page::{View, nonce, protect, protect_page},
    same_site::is_from_here,
    screens,
    state::State,
    text::visible,
};
use crate::{error::Error, handler::cache_directive::CacheDirective, router};

/// The largest body of an action, in bytes: about a thousand tags.
const MOST_INPUT: usize = 256 << 10;

impl<Protection> Admin<Protection> {
    /// Lets operators refresh a URI: the request is sent through `app`, the application with its layers, and the response replaces the stored
    /// one, as by [`Cache::refresh`](crate::Cache::refresh). Default: there is no such action.
    ///
    /// ```
    /// # use axum::{Router, routing::get};
    /// # use larder::{Cache, admin::Admin};
    /// # let cache = Cache::in_memory(1 << 20);
    /// let app: Router = Router::new().route("/posts", get(|| async { "…" }).layer(cache.layer()));
    /// let admin = Admin::new(&cache).bearer("a long secret").refresh_through(app.clone()).into_router();
    /// let app: Router = app.nest("/ops/cache", admin);
    /// # let _ = app;
    /// ```
    pub fn refresh_through<S, B>(mut self, app: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
        B: http_body::Body + Send + 'static,
    {
        let cache = self.cache.clone();
        self.refresher = Some(Arc::new(move |uri, headers| {
            let (cache, app) = (cache.clone(), app.clone());
            Box::pin(async move {
                let mut request = Request::new(Body::empty());
                (*request.uri_mut(), *request.headers_mut()) = (uri, headers);
                let Ok(status) = cache.refresh(app, request).await;
                status
            })
        }));
        self
    }
}

impl Admin<Protected> {
    /// Makes the router, to be mounted with `Router::nest_service` or `Router::nest` at a path of the application, or served on a port of its own.
    ///
    /// From now on, a task samples the statistics every five seconds, for the curves of the overview; a sample takes microseconds.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> axum::Router<S> {
        let state = Arc::new(State::new(self.cache, self.guard, self.refresher));
        axum::Router::new().fallback(move |request: Request<Body>| answer(Arc::clone(&state), request))
    }
}

async fn answer(state: Arc<State>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut response = match state.guard.granted(&parts) {
        Some(granted) => admitted(&state, &granted, &parts, body).await,
        None => status(StatusCode::NOT_FOUND),
    };
    protect(response.headers_mut());
    // A larder layer around the application must not store it either, whatever it is told.
    CacheDirective::no_store().add_to(response.extensions_mut());
    response
}

async fn admitted(state: &State, granted: &Granted, parts: &Parts, body: Body) -> Response<Body> {
    let path = parts.uri.path().trim_matches('/');
    match parts.method {
        Method::GET | Method::HEAD => look(state, granted, parts, path).await,
        Method::POST if !is_from_here(parts) => {
            tracing::warn!(target: "larder::admin", principal = granted.principal(), "refused: a request from another site");
            json_with(
                StatusCode::FORBIDDEN,
                &json!({ "error": "the request comes from another site", "happened": "Nothing was changed." }),
            )
        }
        Method::POST => act(state, granted, parts, path, body).await,
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// Answers a request that changes nothing.
async fn look(state: &State, granted: &Granted, parts: &Parts, path: &str) -> Response<Body> {
    state.history();
    let Some(path) = path.strip_prefix("api/") else {
        let Some(screen) = screens::named(path) else { return status(StatusCode::NOT_FOUND) };
        let view = view(state, granted, parts, screen);
        let input = Input::from_form(parts.uri.query().unwrap_or_default().as_bytes());
        return page(StatusCode::OK, &view, screens::show(&view, &input).await);
    };
    match path {
        "stats" => json_with(StatusCode::OK, &api::stats(state)),
        "routes" => json_with(StatusCode::OK, &api::routes(&state.cache)),
        "hot" => json_with(StatusCode::OK, &api::hot(&state.cache)),
        "memory" => json_with(StatusCode::OK, &api::memory(&state.cache)),
        "advice" => json_with(StatusCode::OK, &state.cache.advice().json()),
        "invalidations" => json_with(StatusCode::OK, &api::invalidations(&state.cache)),
        "jobs" => json_with(StatusCode::OK, &jobs::json(&state.cache)),
        "health" => {
            let health = state.cache.health().await;
            let code = if health.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json_with(code, &api::health(&health))
        }
        "live" => {
            let mut response = Response::new(Body::new(LiveBody::watch(&state.cache)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            // nginx would wait for more.
            response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
            response
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

/// Answers a form of the page, or a call of the API.
async fn act(state: &State, granted: &Granted, parts: &Parts, path: &str, body: Body) -> Response<Body> {
    let Ok(body) = to_bytes(body, MOST_INPUT).await else { return status(StatusCode::PAYLOAD_TOO_LARGE) };
    let (is_api, name) = match path.split_once('/') {
        Some(("api", name)) => (true, name),
        Some(("actions", name)) => (false, name),
        None if path == "explain" => (false, path),
        _ => return status(StatusCode::NOT_FOUND),
    };
    let input = match Input::parse(&parts.headers, &body) {
        Ok(input) => input,
        Err(error) => return refused(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string(), "Nothing was changed."),
    };
    if name == "explain" {
        return explained(state, granted, parts, &input, is_api).await;
    }
    let Some(action) = Action::ALL.iter().copied().find(|action| path_of(*action) == name) else {
        return status(StatusCode::NOT_FOUND);
    };
    let result = actions::take(state, granted, action, &input).await;
    if is_api {
        return match result {
            Ok(done) => json_with(StatusCode::OK, &done),
            Err(failed) => {
                let (code, error, happened) = failed.told();
                refused(code, &error, &happened)
            }
        };
    }
    let view = view(state, granted, parts, screens::NOTICE);
    let code = result.as_ref().err().map_or(StatusCode::OK, |failed| failed.told().0);
    page(code, &view, screens::notice(&view, result.map(|done| done.done).map_err(|failed| failed.told())))
}

/// The last segment of an action's path.
fn path_of(action: Action) -> &'static str {
    match action {
        Action::SetMode => "mode",
        action => action.as_str(),
    }
}

async fn explained(state: &State, granted: &Granted, parts: &Parts, input: &Input, is_api: bool) -> Response<Body> {
    if is_api {
        let explanation = match input.question() {
            Ok(question) => explain::explain(&state.cache, question).await,
            Err(error) => Err(error),
        };
        return match explanation {
            Ok(explanation) => json_with(StatusCode::OK, &explanation),
            Err(error) => refused(code_of(&error), &error.to_string(), "Nothing was changed."),
        };
    }
    let view = view(state, granted, parts, "explain");
    page(StatusCode::OK, &view, screens::show(&view, input).await)
}

impl Failed {
    /// Returns the status code, the error and what happened.
    fn told(&self) -> (StatusCode, String, String) {
        match self {
            Self::Forbidden(action) => {
                let error = format!("you may not do this: the action `{}` is not granted", action.as_str());
                (StatusCode::FORBIDDEN, error, "Nothing was changed.".to_owned())
            }
            Self::Refused { error, happened } => (code_of(error), visible(&error.to_string()), happened.clone()),
        }
    }
}

fn code_of(error: &Error) -> StatusCode {
    if error.is_invalid_input() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn view<'v>(state: &'v State, granted: &'v Granted, parts: &Parts, screen: &'static str) -> View<'v> {
    View { state, granted, base: base(parts), screen, nonce: nonce() }
}

/// Returns the way from the URL of a request to the root of the page, which is seen as the browser sees it: with the prefixes of nested
/// routers, and with or without a slash at its end.
fn base(parts: &Parts) -> String {
    let (seen, inner) = (router::original_uri(parts).path(), parts.uri.path().trim_matches('/'));
    let depth = if inner.is_empty() { 0 } else { inner.split('/').count() };
    match (depth, seen.ends_with('/')) {
        (0, true) => String::new(),
        (0, false) => format!("{}/", seen.rsplit('/').next().unwrap_or_default()),
        (depth, true) => "../".repeat(depth),
        (depth, false) => "../".repeat(depth - 1),
    }
}

fn page(code: StatusCode, view: &View<'_>, html: String) -> Response<Body> {
    let mut response = status(code);
    protect_page(response.headers_mut(), &view.nonce);
    *response.body_mut() = Body::from(html);
    response
}

fn refused(code: StatusCode, error: &str, happened: &str) -> Response<Body> {
    json_with(code, &json!({ "error": error, "happened": happened }))
}

fn json_with(code: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut response = status(code);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(serde_json::to_vec(value).unwrap_or_default());
    response
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}
