//! Numbers and names for people.

use std::time::Duration;

use maud::{Markup, html};

/// Returns text whose characters are all visible: control characters, and those that change the direction of text, are escaped.
pub(super) fn visible(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            visible.extend(c.escape_unicode());
        } else {
            visible.push(c);
        }
    }
    visible
}

/// Returns a sentence whose words between backticks are code.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (visible(part)) } } @else { (visible(part)) }
        }
    }
}

/// Returns a sentence that began in lower case.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}", visible(characters.as_str()))
}

/// Returns a ratio in percent, or a dash.
pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

/// Returns a count with separated thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut separated = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            separated.push('\u{202f}');
        }
        separated.push(digit);
    }
    separated
}

/// Returns a size in bytes with a unit.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit < UNITS.len() - 1 {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// Returns a duration with a unit.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_secs_f64() {
        0.0 => "0 s".to_owned(),
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Returns how long ago something was.
pub(super) fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(visible("a\u{1b}[31m\n\u{202e}é<b>"), "a\\u{1b}[31m\\u{a}\\u{202e}é<b>");
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!([count(7), count(1234), count(1_234_567)], ["7", "1\u{202f}234", "1\u{202f}234\u{202f}567"]);
        assert_eq!([bytes(12), bytes(1536), bytes(5 << 20)], ["12 B", "1.5 KiB", "5.0 MiB"]);
        assert_eq!(duration(Duration::from_micros(250)), "250 µs");
        assert_eq!(duration(Duration::from_millis(12)), "12 ms");
        assert_eq!([percent(None), percent(Some(0.9312))], ["–", "93.1 %"]);
    }
}
