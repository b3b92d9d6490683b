//! The marks of a tag that is being written.

use crate::clock::Timestamp;

/// The largest number of writers that a tag remembers individually. Further ones share a mark, which nobody releases: it lapses.
pub(crate) const MAX_WRITERS: usize = 32;

/// The writer in whose name the marks of many are kept.
const MANY: u64 = 0;

/// The writers that hold a tag, each until a time. While one of them does, no response with the tag is stored.
///
/// A mark that has lapsed is not forgotten: a writer that has not released it in time may have changed the data without invalidating. So the first
/// response that meets it is not stored, and invalidates the tag instead ([`Backend::put`](crate::backend::Backend::put)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WriteMarks(Vec<(u64, Timestamp)>);

/// What the marks of a tag say about a response that is about to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Marked {
    Free,
    /// All marks have lapsed: the tag has to be invalidated.
    Lapsed,
    Held,
}

impl WriteMarks {
    /// Sets until when a writer holds the tag.
    pub(crate) fn hold(&mut self, writer: u64, until: Timestamp) {
        if let Some(mark) = self.0.iter_mut().find(|mark| mark.0 == writer) {
            mark.1 = until;
        } else if self.0.len() < MAX_WRITERS {
            self.0.push((writer, until));
        } else if let Some(mark) = self.0.last_mut() {
            *mark = (MANY, mark.1.max(until));
        }
    }

    pub(crate) fn release(&mut self, writer: u64) {
        self.0.retain(|mark| mark.0 != writer);
    }

    /// Removes the marks that had lapsed at a time, after an invalidation that began then or later.
    pub(crate) fn forget_lapsed(&mut self, at: Timestamp) {
        self.0.retain(|mark| at < mark.1);
    }

    pub(crate) fn at(&self, now: Timestamp) -> Marked {
        match self.0.iter().map(|mark| mark.1).max() {
            None => Marked::Free,
            Some(until) if until <= now => Marked::Lapsed,
            Some(_) => Marked::Held,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes the marks: of each the writer and the milliseconds, in little-endian order.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(writer, until)| [*writer, until.as_millis()]).flat_map(u64::to_le_bytes).collect()
    }

    /// Decodes marks; `None` if the bytes are not the encoding of some.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (marks, []) = bytes.as_chunks::<16>() else { return None };
        let marks = marks.iter().map(|&mark| u128::from_le_bytes(mark));
        let marks = marks.map(|mark| (mark as u64, Timestamp::from_millis((mark >> 64) as u64)));
        (marks.len() <= MAX_WRITERS).then(|| Self(marks.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_tag_is_held_until_its_last_writer_releases_it() {
        let mut marks = WriteMarks::default();
        assert_eq!(marks.at(at(0)), Marked::Free);
        marks.hold(1, at(10));
        marks.hold(2, at(20));
        marks.release(1);
        assert_eq!(marks.at(at(19)), Marked::Held);
        marks.release(2);
        assert_eq!(marks.at(at(19)), Marked::Free);
    }

    #[test]
    fn a_mark_that_is_not_released_lapses_and_is_not_forgotten_by_itself() {
        let mut marks = WriteMarks::default();
        marks.hold(1, at(10));
        assert_eq!([9, 10, 99].map(|now| marks.at(at(now))), [Marked::Held, Marked::Lapsed, Marked::Lapsed]);
        marks.hold(2, at(20));
        assert_eq!(marks.at(at(10)), Marked::Held);
        marks.forget_lapsed(at(10));
        assert_eq!(marks.at(at(20)), Marked::Lapsed);
        marks.forget_lapsed(at(20));
        assert!(marks.is_empty());
    }

    #[test]
    fn a_writer_that_holds_again_moves_the_end_of_its_mark() {
        let mut marks = WriteMarks::default();
        marks.hold(1, at(30));
        marks.hold(1, at(20));
        assert_eq!(marks.at(at(20)), Marked::Lapsed);
    }

    #[test]
    fn writers_beyond_the_limit_share_a_mark_that_lapses() {
        let mut marks = WriteMarks::default();
        (1..=100).for_each(|writer| marks.hold(writer, at(writer)));
        (1..=100).for_each(|writer| marks.release(writer));
        assert_eq!([99, 100].map(|now| marks.at(at(now))), [Marked::Held, Marked::Lapsed]);
        assert_eq!(marks.to_bytes().len(), 16);
    }

    #[test]
    fn marks_survive_their_encoding() {
        let mut marks = WriteMarks::default();
        marks.hold(u64::MAX, at(7));
        marks.hold(3, at(u64::MAX));
        assert_eq!(WriteMarks::from_bytes(&marks.to_bytes()), Some(marks));
        assert_eq!(WriteMarks::from_bytes(&[0; 15]), None);
        assert_eq!(WriteMarks::from_bytes(&[0; 16 * (MAX_WRITERS + 1)]), None);
    }
}
