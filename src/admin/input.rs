//! What an operator sends: JSON from programs, fields of a form from the page.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;

use super::{explain::Question, same_site::sends_form};
use crate::error::Error;

/// The fields of all actions; each uses its own.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Input {
    pub(super) tags: Vec<String>,
    /// The number of a job.
    pub(super) job: Option<String>,
    pub(super) uri: Option<String>,
    pub(super) url: Option<String>,
    pub(super) route: Option<String>,
    pub(super) mode: Option<String>,
    /// Sets the mode of all nodes, and not of this process alone.
    pub(super) everywhere: bool,
    pub(super) confirm: Option<String>,
    pub(super) method: Option<String>,
    pub(super) headers: std::collections::BTreeMap<String, String>,
    /// The content of the request to explain. Absent in forms, since browsers change line ends.
    pub(super) content: Option<String>,
}

impl Input {
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Error> {
        if sends_form(headers) {
            return Ok(Self::from_form(body));
        }
        if body.is_empty() {
            return Ok(Self::default());
        }
        // The words of the parser may repeat the input.
        serde_json::from_slice(body).map_err(|error| {
            Error::invalid_input(format!(
                "the body is not the JSON of this action (line {}, column {})",
                error.line(),
                error.column()
            ))
        })
    }

    pub(super) fn from_form(body: &[u8]) -> Self {
        let mut input = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let value = value.trim();
            let given = || (!value.is_empty()).then(|| value.to_owned());
            match &*name {
                "tags" => input.tags.extend(value.lines().map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned)),
                "job" => input.job = given(),
                "uri" => input.uri = given(),
                "url" => input.url = given(),
                "route" => input.route = given(),
                "mode" => input.mode = given(),
                "everywhere" => input.everywhere = value == "true",
                "confirm" => input.confirm = given(),
                "method" => input.method = given(),
                "headers" => input.headers.extend(value.lines().filter_map(field)),
                _ => {}
            }
        }
        input
    }

    /// Returns the request to explain.
    pub(super) fn question(&self) -> Result<Question, Error> {
        Ok(Question {
            method: self.method()?,
            url: self.url.clone().unwrap_or_default(),
            headers: self.header_map()?,
            content: self.content.clone().map(Bytes::from),
        })
    }

    fn method(&self) -> Result<Method, Error> {
        let method = self.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
        method.parse().map_err(|_| Error::invalid_input("the method is none of HTTP: such as GET or QUERY"))
    }

    pub(super) fn header_map(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = name.parse::<HeaderName>().map_err(|_| Error::invalid_input("a header field has an invalid name"))?;
            let value =
                HeaderValue::from_str(value).map_err(|_| Error::invalid_input(format!("the value of `{name}` is invalid")))?;
            headers.append(name, value);
        }
        Ok(headers)
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}
