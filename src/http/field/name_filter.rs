//! A filter that passes over most field names by their first letter and length.

/// Tells most names that are none of some few from those that may be, by their first letter and their length.
pub(crate) struct NameFilter {
    /// By the first letter, a bit for each length.
    lengths: [u32; 256],
}

impl NameFilter {
    /// Lets `names` through, in lower case, of at most 31 bytes.
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

    /// Lets every name of at most 31 bytes through that begins with one of these letters, too.
    pub(crate) const fn and_all_with(mut self, initials: &[u8]) -> Self {
        let mut at = 0;
        while at < initials.len() {
            self.lengths[initials[at] as usize] = u32::MAX;
            at += 1;
        }
        self
    }

    /// Whether it may be one of them.
    pub(crate) fn passes(&self, name: &str) -> bool {
        let name = name.as_bytes();
        name.first().is_some_and(|&first| {
            self.lengths[usize::from(first)].checked_shr(name.len() as u32).is_some_and(|bits| bits & 1 == 1)
        })
    }
}
