//! A filter that rules out most field names by first letter and length.

/// Rules out most names that are not in a small set, by first letter and length.
///
/// Saves 181 of 5,527 instructions per hit (`scripts/instructions`).
pub(crate) struct NameFilter {
    /// Indexed by first letter: one bit for each length.
    lengths: [u32; 256],
}

impl NameFilter {
    /// Creates a filter for `names`: lower case, at most 31 bytes each.
    pub(crate) const fn of(names: &[&str]) -> Self {
        let mut lengths = [0; 256];
        let mut at = 0;
        while at < names.len() {
            let name = names[at].as_bytes();
            lengths[name[0] as usize] |= 1 << name.len();
            at += 1;
        }
        Self { lengths }
    }

    /// Also passes every name of at most 31 bytes that begins with one of these letters.
    pub(crate) const fn and_all_with(mut self, initials: &[u8]) -> Self {
        let mut at = 0;
        while at < initials.len() {
            self.lengths[initials[at] as usize] = u32::MAX;
            at += 1;
        }
        self
    }

    /// Returns whether the name may be in the set; `false` is certain.
    pub(crate) fn passes(&self, name: &str) -> bool {
        let name = name.as_bytes();
        name.first().is_some_and(|&first| {
            self.lengths[usize::from(first)].checked_shr(name.len() as u32).is_some_and(|bits| bits & 1 == 1)
        })
    }
}
