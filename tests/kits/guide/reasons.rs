//! The reference of reasons has one section for each `Reason`, which begins with its explanation.

use larder::Reason;

use super::read;

/// The sections with the name of a reason: its token, and its text.
fn sections(page: &str) -> Vec<(&str, &str)> {
    let sections = page.split("\n### ").skip(1);
    sections.map(|section| section.split_once('\n').unwrap()).map(|(title, text)| (title.trim_matches('`'), text)).collect()
}

#[test]
fn every_reason_has_one_section_and_no_section_is_left_over() {
    let page = read("reasons");
    let mut titles: Vec<_> = sections(&page).into_iter().map(|(title, _)| title).collect();
    let mut tokens: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    titles.sort_unstable();
    tokens.sort_unstable();
    assert_eq!(titles, tokens);
}

#[test]
fn every_section_has_the_explanation_of_its_reason_and_a_fix() {
    let page = read("reasons");
    let sections = sections(&page);
    for reason in Reason::ALL {
        let (_, text) = sections.iter().find(|(title, _)| *title == reason.as_str()).unwrap();
        let mut paragraphs = text.trim().split("\n\n");
        assert_eq!(paragraphs.next(), Some(reason.explanation()), "{}", reason.as_str());
        assert!(paragraphs.any(|paragraph| paragraph.starts_with("Fix: ")), "{} has no fix", reason.as_str());
    }
}
