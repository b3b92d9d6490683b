//! What a test needs to find a setting of a builder that no option of a URL sets.

/// Returns the lines of a builder's `{:#?}` that are the same in both: settings that kept their default.
pub(crate) fn unchanged(default: &str, changed: &str) -> Vec<String> {
    assert_eq!(default.lines().count(), changed.lines().count());
    let same = default.lines().zip(changed.lines()).filter(|(a, b)| a == b).map(|(line, _)| line.trim());
    same.filter(|line| line.contains(": ") && !line.ends_with(['{', '('])).map(ToOwned::to_owned).collect()
}
