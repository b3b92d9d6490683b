//! A filter that rules out most field names by first letter and length.

/// Rules out most names that are not in a small set, by first letter and length.
///
/// Saves 181 of 5,527 instructions per hit (`scripts/instructions`).
pub(crate) struct NameFilter {
    /// Indexed by first letter: one bit for each length.
    lengths: [u64; 256],
}

impl NameFilter {
    /// Creates a filter for `names`: lower case, at most 63 bytes each.
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

    /// Also passes the names that `other` passes.
    pub(crate) const fn or(mut self, other: &Self) -> Self {
        let mut at = 0;
        while at < self.lengths.len() {
            self.lengths[at] |= other.lengths[at];
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
