//! Tag templates with captures of the route: `post:{id}`.

use super::escape::escaped;
use crate::{
    http::field::scan::count,
    router::captures::{Captures, Unresolved},
};

/// A tag that contains captures of the route, such as `post:{id}`; `{{` and `}}` are literal braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagTemplate {
    parts: Vec<Part>,
    /// Whether captures are encoded as the fields of typed tags are.
    encodes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Capture(String),
}

impl TagTemplate {
    pub(crate) fn parse(template: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            text.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                text.push_str(&brace[..1]);
                rest = &brace[2..];
            } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Capture(name.trim_start_matches('*').to_owned()));
                rest = after;
            } else {
                // A brace without its counterpart is a mistake. As a capture that no route has, it is reported for each response.
                parts.push(Part::Capture(brace.to_owned()));
                rest = "";
            }
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Self { parts, encodes: false }
    }

    /// Encodes captures, or takes them as they are.
    pub(crate) fn encoding(self, encodes: bool) -> Self {
        Self { encodes, ..self }
    }

    /// Returns the tag for a request, or the name of the first capture without a value.
    pub(crate) fn expand(&self, captures: &Captures) -> Result<String, (&str, Unresolved)> {
        let mut tag = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => tag.push_str(text),
                Part::Capture(name) => {
                    let value = captures.get(name).map_err(|unresolved| (name.as_str(), unresolved))?;
                    count(value.len());
                    match self.encodes {
                        true => tag.push_str(&escaped(value)),
                        false => tag.push_str(value),
                    }
                }
            }
        }
        Ok(tag)
    }
}
