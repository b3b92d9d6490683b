//! A decoded entry is shared by the callers of a read.

use std::sync::Arc;

use super::shared_read::{DecodedEntry, JoinableReads};
use crate::{
    entry::{
        epoch::Epoch,
        stored::{Content, Stored},
    },
    key::Key,
};

#[tokio::test]
async fn a_decoded_entry_is_shared_by_the_callers_of_a_read() {
    let entry = |id| DecodedEntry { stored: Arc::new(Stored::new(Epoch::new(1), Vec::new(), Content::Tombstone)), id };
    let (key, other_key) = (Key::from_bytes(b"key"), Key::from_bytes(b"other"));
    let mut reads = JoinableReads::<&'static str, u8>::default();
    let (first, pending) = reads.add("a");
    let second = reads.join(&"a").unwrap();
    let (alone, pending_alone) = reads.add("b");
    pending.answer(7);
    pending_alone.answer(8);

    let (first, second) = (first.answered().await.unwrap(), second.answered().await.unwrap());
    first.memoize(&key, &entry(1));
    second.memoize(&key, &entry(2));
    assert_eq!(second.decoded(&key).map(|decoded| decoded.id), Some(1));
    assert!(second.decoded(&other_key).is_none());

    let alone = alone.answered().await.unwrap();
    alone.memoize(&key, &entry(3));
    assert!(alone.decoded(&key).is_none(), "there is no other caller to share it with");
}
