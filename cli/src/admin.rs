//! Calls the API of the operator's page.

use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::{Agent, http::Response};

use crate::{
    arguments::{Arguments, Command, Invalidate},
    output::Failure,
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
        Command::Invalidate(what) => api.post("invalidate", &body(what)),
        Command::Explain { url, method, headers } => {
            let headers = headers.iter().map(|line| field(line)).collect::<Result<Map<_, _>, _>>()?;
            let explanation = api.post("explain", &json!({ "url": url, "method": method, "headers": headers }))?;
            if ["hit", "stale"].iter().any(|verdict| explanation["verdict"] == *verdict) {
                return Ok(explanation);
            }
            Err(Failure::NotCached(explanation))
        }
    }
}

fn body(what: &Invalidate) -> Value {
    match what {
        Invalidate { uri: Some(uri), .. } => json!({ "uri": uri }),
        Invalidate { route: Some(route), .. } => json!({ "route": route }),
        Invalidate { tags, .. } => json!({ "tags": tags }),
    }
}

fn field(line: &str) -> Result<(String, Value), Failure> {
    let (name, value) = line.split_once(':').ok_or_else(|| Failure::usage("a request field is written as \"name: value\""))?;
    Ok((name.trim().to_owned(), value.trim().into()))
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
        read(request.call())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let mut request = self.agent.post(format!("{}/api/{path}", self.root));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        read(request.send_json(body))
    }
}

fn read(response: Result<Response<ureq::Body>, ureq::Error>) -> Result<Value, Failure> {
    let mut response = response.map_err(|error| Failure::failed(format!("the operator's page does not answer: {error}")))?;
    let status = response.status().as_u16();
    let answer = response.body_mut().read_json::<Value>().unwrap_or_default();
    let error = || {
        let words = |name: &str| answer[name].as_str().unwrap_or_default();
        format!("{}. {}", words("error"), words("happened")).trim().to_owned()
    };
    match status {
        200 if answer.is_object() => Ok(answer),
        404 => Err(Failure::NoAccess("no access: the URL of the page or the token is wrong".to_owned())),
        401 | 403 => Err(Failure::NoAccess(error())),
        422 => Err(Failure::usage(error())),
        _ if answer["error"].is_string() => Err(Failure::failed(error())),
        status => Err(Failure::failed(format!("the answer is none of the operator's page: status {status}"))),
    }
}
