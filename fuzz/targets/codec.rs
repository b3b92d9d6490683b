//! Entries as a store hands them back: nothing panics, and what is taken for an entry is written and read as the same one.
//!
//! A writer of the store can compute checksums, so they are right here; otherwise nothing would get past them.
#![no_main]

use larder::backend::{Key, Stored};
use libfuzzer_sys::fuzz_target;

/// Magic, version and id of a head; magic, version, flags, kind and id of a body: the two ids have to be the same.
const ID: [u8; 8] = *b"fuzzfuzz";

fn head(fields: &[u8]) -> Vec<u8> {
    let mut head = [b"L\x01", &ID[..], fields].concat();
    head.extend(crc32fast::hash(&head).to_be_bytes());
    head
}

fn body(flags: u8, kind: u8, key: &[u8], content: &[u8]) -> Vec<u8> {
    let length = (key.len() as u32).to_be_bytes();
    let start = [b"L\x01", &[flags, kind][..], &ID].concat();
    let rest = [&length[..], key, content].concat();
    let checksum = crc32fast::hash(&[&start[..], &rest].concat()).to_be_bytes();
    [&start[..], &checksum, &rest].concat()
}

/// Where the body begins: behind the head's fixed fields, its tags and its checksum.
fn with_any_id(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 28;
    for _ in 0..u16::from_be_bytes([bytes[26], bytes[27]]) {
        at += 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    }
    // Ids and checksums are another's each time.
    for range in [2..10, at..at + 4, at + 8..at + 20] {
        bytes[range].fill(0);
    }
    bytes
}

fuzz_target!(|entry: (&[u8], &[u8], u8, u8, &[u8])| {
    let (raw, fields, flags, kind, content) = entry;
    let key = Key::from_bytes(b"key");
    assert!(Stored::from_bytes(&key, raw.to_vec().into()).is_none() || raw.len() > 44);
    for fields in [fields, &[0; 18]] {
        let bytes = [head(fields), body(flags, kind, b"key", content)].concat();
        let Some(stored) = Stored::from_bytes(&key, bytes.into()) else { continue };
        let written = stored.to_bytes(&key).expect("it came from as many bytes");
        let read = Stored::from_bytes(&key, written.clone().into()).expect("it has just been written");
        let again = read.to_bytes(&key).expect("as before");
        assert_eq!(with_any_id(written), with_any_id(again));
        assert!(Stored::from_bytes(&Key::from_bytes(b"kez"), stored.to_bytes(&key).expect("as before").into()).is_none());
    }
});
