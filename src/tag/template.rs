//! Tags with captures of the route in them: `post:{id}`.

use crate::http::field::scan::count;

/// A tag with the route's captures in it, such as `post:{id}`; `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Capture(String),
}

impl TagTemplate {
    pub(crate) fn parse(template: &str) -> Self {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            text.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                text.push_str(&brace[..1]);
                rest = &brace[2..];
            } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Capture(name.trim_start_matches('*').to_owned()));
                rest = after;
            } else {
                // A brace without a partner can only be a slip: treated as a capture that no route has.
                pieces.push(Piece::Capture(brace.to_owned()));
                rest = "";
            }
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Self(pieces)
    }

    /// The tag for one request, or the name of the first capture that `captures` does not know.
    pub(crate) fn expand<'t>(&'t self, captures: &[(&str, &str)]) -> Result<String, &'t str> {
        let mut tag = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => tag.push_str(text),
                Piece::Capture(name) => match captures.iter().find(|(capture, _)| capture == name) {
                    Some((_, value)) => {
                        count(value.len());
                        tag.push_str(value);
                    }
                    None => return Err(name),
                },
            }
        }
        Ok(tag)
    }
}
