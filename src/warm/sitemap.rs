//! The pages in the text of a sitemap (sitemaps.org).

use std::{borrow::Cow, collections::VecDeque};

use http::Uri;

use super::requests::Target;
use crate::error::Error;

/// Returns the pages that a sitemap lists: the `<loc>` of each `<url>`, not those of images or videos.
pub(super) fn locations(xml: &str) -> Result<VecDeque<Target>, Error> {
    let (mut targets, mut prefix, mut rest) = (VecDeque::new(), None, xml);
    while let Some((element, after)) = next_element(rest) {
        rest = after;
        let (own_prefix, name) = element.rsplit_once(':').map_or(("", element), |(prefix, name)| (prefix, name));
        let Some(root) = prefix else {
            match name {
                "urlset" => prefix = Some(own_prefix),
                "sitemapindex" => {
                    return Err(Error::invalid_input(
                        "this is a sitemap index, which lists sitemaps and no pages: load each sitemap that it lists, and give its text \
                         to `Warm::sitemap`",
                    ));
                }
                _ => break,
            }
            continue;
        };
        if name == "loc" && own_prefix == root {
            let (text, after) = text(rest)?;
            rest = after;
            targets.push_back(target(text.trim())?);
        }
    }
    match prefix {
        Some(_) => Ok(targets),
        None => Err(Error::invalid_input("this is no sitemap: its first element is not `urlset` (give the text, decompressed)")),
    }
}

/// The name of the next start tag, and what follows the tag.
fn next_element(mut text: &str) -> Option<(&str, &str)> {
    loop {
        text = &text[text.find('<')? + 1..];
        let end = match text {
            _ if text.starts_with("!--") => "-->",
            _ if text.starts_with("![CDATA[") => "]]>",
            _ => ">",
        };
        let (tag, after) = text.split_once(end)?;
        text = after;
        if !tag.starts_with(['!', '?', '/']) {
            let name = tag.split(|c: char| c.is_ascii_whitespace() || c == '/').next()?;
            return Some((name, after));
        }
    }
}

/// The text up to the next tag, and what follows the text.
fn text(mut rest: &str) -> Result<(String, &str), Error> {
    let unfinished = || Error::invalid_input("this is no complete sitemap: a `loc` does not end");
    let mut text = String::new();
    loop {
        let (before, after) = rest.split_at(rest.find('<').ok_or_else(unfinished)?);
        text.push_str(&decoded(before)?);
        if let Some(data) = after.strip_prefix("<![CDATA[") {
            let (data, after) = data.split_once("]]>").ok_or_else(unfinished)?;
            text.push_str(data);
            rest = after;
        } else if after.starts_with("<!--") {
            rest = after.split_once("-->").ok_or_else(unfinished)?.1;
        } else {
            return Ok((text, after));
        }
    }
}

/// Replaces the entities of XML, and character references.
fn decoded(text: &str) -> Result<Cow<'_, str>, Error> {
    if !text.contains('&') {
        return Ok(Cow::Borrowed(text));
    }
    let mut parts = text.split('&');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let entity = part.split_once(';').and_then(|(name, after)| Some((character(name)?, after)));
        let Some((character, after)) = entity else {
            let start: String = part.chars().take(12).collect();
            return Err(Error::invalid_input(format!("this is no sitemap: `&{}` is not an entity of XML", start.escape_debug())));
        };
        decoded.push(character);
        decoded.push_str(after);
    }
    Ok(Cow::Owned(decoded))
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

fn target(location: &str) -> Result<Target, Error> {
    let invalid = || Error::invalid_input(format!("`{}` in a sitemap is not the URL of a page", location.escape_debug()));
    // Split before it is parsed: sitemaps contain paths that are not encoded.
    let (scheme, rest) = location.split_once("://").ok_or_else(invalid)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if !is_web || authority.parse::<Uri>().is_err() {
        return Err(invalid());
    }
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Target::Path { host: Some(authority.to_owned()), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(xml: &str) -> Vec<(String, String)> {
        let page = |target| match target {
            Target::Path { host, path } => (host.unwrap(), path),
            Target::Request(_) => unreachable!(),
        };
        locations(xml).unwrap().into_iter().map(page).collect()
    }

    #[test]
    fn pages_are_the_locations_of_urls() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
            <!-- <loc>https://example.com/commented</loc> -->
            <urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
              <url><loc> https://example.com/a?x=1&amp;y=&#50;&#x33; </loc><lastmod>2024-01-01</lastmod>
                <image:image><image:loc>https://example.com/a.png</image:loc></image:image></url>
              <url><loc><![CDATA[http://example.com:8080/b&c]]></loc></url>
              <url><loc>https://example.com</loc></url>
            </urlset>"#;
        let expected = [("example.com", "/a?x=1&y=23"), ("example.com:8080", "/b&c"), ("example.com", "/")];
        assert_eq!(pages(xml), expected.map(|(host, path)| (host.to_owned(), path.to_owned())));
        let prefixed = r#"<s:urlset xmlns:s="x"><s:url><s:loc>http://a/b</s:loc></s:url></s:urlset>"#;
        assert_eq!(pages(prefixed), [("a".to_owned(), "/b".to_owned())]);
    }

    #[test]
    fn what_is_no_sitemap_is_an_error_that_says_so() {
        for (xml, problem) in [
            ("<sitemapindex><sitemap><loc>https://example.com/1.xml</loc></sitemap></sitemapindex>", "sitemap index"),
            ("<html><loc>https://example.com/</loc></html>", "no sitemap"),
            ("", "no sitemap"),
            ("<urlset><url><loc>https://example.com/", "does not end"),
            ("<urlset><url><loc>/relative</loc></url></urlset>", "not the URL"),
            ("<urlset><url><loc>https://a/?x&y</loc></url></urlset>", "entity"),
        ] {
            let error = locations(xml).unwrap_err();
            assert!(error.is_invalid_input() && error.to_string().contains(problem), "{xml}: {error}");
        }
    }
}
