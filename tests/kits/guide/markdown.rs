//! As much Markdown as the guide has: headings with their anchors, and links.

/// A link in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link<'t> {
    /// `[text](target)`
    Inline(&'t str),
    /// `[text][label]`, `` [`label`] ``, or `[chapter]`
    Reference(&'t str),
}

/// The lines that are in no code block, each with its number.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// The title and the anchor of each heading.
pub(super) fn headings(page: &str) -> Vec<(&str, String)> {
    let headings = prose(page).filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?.trim()));
    headings.map(|title| (title, anchor(title))).collect()
}

/// The anchor of a heading, which is the same on docs.rs, on GitHub and in a book.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// A page without the definitions at its end.
pub(super) fn text(page: &str) -> &str {
    let definitions = page.lines().rev().take_while(|line| is_definition(line)).map(|line| line.len() + 1).sum::<usize>();
    page[..page.len().saturating_sub(definitions)].trim_end()
}

fn is_definition(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

pub(super) fn links(page: &str) -> Vec<Link<'_>> {
    prose(text(page)).flat_map(links_in).collect()
}

fn links_in(line: &str) -> Vec<Link<'_>> {
    let (mut links, mut rest) = (Vec::new(), line);
    while let Some(at) = rest.find(['`', '[']) {
        rest = &rest[at..];
        if let Some(code) = rest.strip_prefix('`') {
            // Code without a bracket around it: no link.
            rest = code.split_once('`').map_or("", |(_, rest)| rest);
            continue;
        }
        let Some(end) = closing(rest) else { break };
        let (shown, after) = (&rest[1..end], &rest[end + 1..]);
        let target = |close| after[1..].split_once(close).map_or("", |(target, _)| target);
        match after.chars().next() {
            Some('(') => links.push(Link::Inline(target(')'))),
            Some('[') => links.push(Link::Reference(target(']'))),
            _ if shown.starts_with('`') || is_chapter(shown) => links.push(Link::Reference(shown)),
            _ => {}
        }
        rest = match after.chars().next() {
            Some('[') => after.split_once(']').map_or("", |(_, rest)| rest),
            _ => after,
        };
    }
    links
}

/// Whether a text in brackets can only be the name of a chapter.
fn is_chapter(text: &str) -> bool {
    text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Where the bracket at the beginning is closed, outside of code.
fn closing(text: &str) -> Option<usize> {
    let mut in_code = false;
    text.char_indices().find_map(|(at, c)| {
        in_code ^= c == '`';
        (c == ']' && !in_code).then_some(at)
    })
}

#[test]
fn finds_links_outside_of_code() {
    let page = "# A `b` c\n\nSee [this][stores#memory], [`Cache::drain`], [that](x.md), [stores] and `[not](y)`, [6].\n```text\n[no](z)\n```\n[a]: b\n";
    let expected =
        [Link::Reference("stores#memory"), Link::Reference("`Cache::drain`"), Link::Inline("x.md"), Link::Reference("stores")];
    assert_eq!(links(page), expected);
    assert_eq!(headings(page), [("A `b` c", "a-b-c".to_owned())]);
}
