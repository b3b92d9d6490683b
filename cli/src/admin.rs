//! Calls the API of the operator's page.

use std::{fs, io, time::Duration};

use serde_json::{Map, Value, json};
use ureq::{Agent, http::Response};

use crate::{
    arguments::{Arguments, Command, Invalidate},
    output::Failure,
    store::without_login,
    tags,
};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn call(arguments: &Arguments, command: &Command) -> Result<Value, Failure> {
    let Some(root) = &arguments.admin else {
        return Err(Failure::usage("give --admin with the URL of the operator's page, or --store with that of the store"));
    };
    let api = Api { agent: agent(), root: root.trim_end_matches('/').to_owned(), token: arguments.token.clone() };
    match command {
        Command::Stats => {
            let (mut stats, routes) = (api.get("stats")?, api.get("routes")?);
            stats["routes"] = routes["routes"].clone();
            Ok(stats)
        }
        Command::Hot => api.get("hot"),
        Command::Memory => api.get("memory"),
        Command::Mode { mode: None, .. } => {
            let stats = api.get("stats")?;
            Ok(json!({ "mode": stats["mode"], "own_mode": stats["own_mode"], "shared_mode": stats["shared_mode"] }))
        }
        Command::Mode { mode: Some(mode), everywhere } => api.post("mode", &json!({ "mode": mode, "everywhere": everywhere })),
        Command::Invalidate(Invalidate { uri: Some(uri), .. }) => api.post("invalidate", &json!({ "uri": uri })),
        Command::Invalidate(Invalidate { route: Some(route), .. }) => api.post("invalidate", &json!({ "route": route })),
        Command::Invalidate(what) => tags::invalidate(what, |tags| api.post("invalidate", &json!({ "tags": tags }))),
        Command::Explain { url, method, headers, data } => {
            let headers = headers.iter().map(|line| field(line)).collect::<Result<Map<_, _>, _>>()?;
            let mut question = json!({ "url": url, "method": method, "headers": headers });
            // Servers before this option refuse a field that they do not know.
            if let Some(data) = data {
                question["content"] = content(data)?.into();
            }
            let explanation = api.post("explain", &question)?;
            if ["hit", "stale"].iter().any(|verdict| explanation["verdict"] == *verdict) {
                return Ok(explanation);
            }
            Err(Failure::NotCached(explanation))
        }
    }
}

fn field(line: &str) -> Result<(String, Value), Failure> {
    let (name, value) = line.split_once(':').ok_or_else(|| Failure::usage("a request field is written as \"name: value\""))?;
    Ok((name.trim().to_owned(), value.trim().into()))
}

/// Returns the content as it is written, or that of a file.
fn content(data: &str) -> Result<String, Failure> {
    let (read, from) = match data.strip_prefix('@') {
        None => return Ok(data.to_owned()),
        Some("-") => (io::read_to_string(io::stdin()), "the standard input"),
        Some(file) => (fs::read_to_string(file), file),
    };
    read.map_err(|error| Failure::usage(format!("the content cannot be read from {from}: {error}")))
}

fn agent() -> Agent {
    // A redirect would send the token elsewhere.
    Agent::config_builder().http_status_as_error(false).max_redirects(0).timeout_global(Some(LIMIT)).build().into()
}

struct Api {
    agent: Agent,
    root: String,
    token: Option<String>,
}

impl Api {
    fn get(&self, path: &str) -> Result<Value, Failure> {
        let mut request = self.agent.get(format!("{}/api/{path}", self.root));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.read(path, request.call())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let mut request = self.agent.post(format!("{}/api/{path}", self.root));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.read(path, request.send_json(body))
    }

    /// Reads an answer. A failure says what failed, where, and what to do.
    fn read(&self, path: &str, response: Result<Response<ureq::Body>, ureq::Error>) -> Result<Value, Failure> {
        let place = without_login(&self.root);
        let mut response = response.map_err(|error| {
            Failure::failed(format!(
                "`{path}` failed: the operator's page at {place} does not answer: {error}. Check --admin (LARDER_ADMIN), and whether the \
                 application runs."
            ))
        })?;
        let status = response.status().as_u16();
        let answer = response.body_mut().read_json::<Value>().unwrap_or_default();
        let error = || {
            let words = |name: &str| answer[name].as_str().unwrap_or_default();
            format!("{}. {}", words("error"), words("happened")).trim().to_owned()
        };
        match status {
            200 if answer.is_object() => Ok(answer),
            404 => Err(Failure::NoAccess(format!(
                "no access to the operator's page at {place}: its URL or the token is wrong. Check --admin (LARDER_ADMIN) and --token \
                 (LARDER_TOKEN)."
            ))),
            401 | 403 => Err(Failure::NoAccess(error())),
            422 => Err(Failure::usage(error())),
            _ if answer["error"].is_string() => Err(Failure::failed(format!("`{path}` failed at {place}: {}", error()))),
            status => Err(Failure::failed(format!(
                "`{path}` failed: the answer from {place} is none of the operator's page: status {status}. Check --admin (LARDER_ADMIN)."
            ))),
        }
    }
}
