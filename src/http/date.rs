//! Dates (RFC 9110 §5.6.7).

use std::cell::RefCell;

use http::HeaderValue;

use super::field::scan::count;
use crate::clock::Timestamp;

/// Parses a date in any of the three forms of RFC 9110 §5.6.7, case-insensitively (RFC 9111 §4.2). The day of the week is redundant, and
/// ignored if it is wrong; a leap second counts as the second before it: the RFC asks recipients to be robust.
///
/// Returns `None` for anything else.
pub(crate) fn parse_date(text: &[u8]) -> Option<Timestamp> {
    /// Longer than the longest form, "Wednesday, 09-Nov-1994 08:49:37 GMT", with some white space.
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    count(text.len());
    let capitalized = capitalize(text);
    let parse = |text: &str| httpdate::parse_http_date(text).ok().map(Timestamp::from);
    parse(&capitalized).or_else(|| repaired(&capitalized).find_map(|text| parse(&text)))
}

/// The date with each other day of the week, and with the second 59 in place of 60.
fn repaired(text: &str) -> impl Iterator<Item = String> {
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    const SHORT: usize = 3;
    let text = text.replacen(":60 ", ":59 ", 1);
    let day = text.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(0);
    let is_day = DAYS.iter().any(|name| text[..day] == **name || text[..day] == name[..SHORT]);
    let rest = text[day..].to_owned();
    let days = DAYS.into_iter().filter(move |_| is_day);
    days.map(move |name| format!("{}{rest}", if day == SHORT { &name[..SHORT] } else { name }))
}

/// Formats `time`. Each thread keeps the value of the latest second: responses of the same second share it, unformatted.
pub(crate) fn http_date(time: Timestamp) -> HeaderValue {
    thread_local! {
        static LATEST: RefCell<Option<(Timestamp, HeaderValue)>> = const { RefCell::new(None) };
    }
    let second = time.whole_seconds();
    LATEST.with_borrow_mut(|latest| match latest {
        Some((of, date)) if *of == second => date.clone(),
        _ => latest.insert((second, format_date(second))).1.clone(),
    })
}

fn format_date(time: Timestamp) -> HeaderValue {
    /// The last second that the format can express.
    const END_OF_9999: Timestamp = Timestamp::from_millis(253_402_300_799_000);
    let time = time.min(END_OF_9999);
    HeaderValue::from_str(&httpdate::fmt_http_date(time.into())).expect("an HTTP date is a legal field value")
}

/// Spells `sun, 06 nov 1994 08:49:37 gmt` as the grammar does: names with one capital, the zone in capitals.
fn capitalize(text: &str) -> String {
    let mut capitalized = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        let begins = !text[..at].ends_with(|before: char| before.is_ascii_alphabetic());
        capitalized.push(if begins { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() });
    }
    match capitalized.strip_suffix("Gmt") {
        Some(date) => format!("{date}GMT"),
        None => capitalized,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_days_of_the_week_and_leap_seconds_are_ignored() {
        let right = parse_date(b"Sun, 06 Nov 1994 08:49:59 GMT");
        assert!(right.is_some());
        for text in [
            "Mon, 06 Nov 1994 08:49:59 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Friday, 06-Nov-94 08:49:59 GMT",
            "Sat Nov  6 08:49:60 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes()), right, "{text}");
        }
        for text in ["Xyz, 06 Nov 1994 08:49:59 GMT", "Mon, 31 Nov 1994 08:49:59 GMT", "Sun, 06 Nov 1994 08:49:61 GMT", ":60 "] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn s42_three_forms_in_any_case_are_dates() {
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gmt",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(date.as_bytes()), Some(Timestamp::from_millis(784_111_777_000)), "{date}");
        }
    }

    #[test]
    fn s41_what_is_no_date_is_not_repaired() {
        for text in [
            "0",
            "-1",
            "",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 PST",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun,  06 Nov 1994  08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06-Nov-1994 08:49:37 GMT",
        ] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }
}
