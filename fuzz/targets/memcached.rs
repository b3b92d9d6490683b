//! Replies of a memcached server: nothing panics, no reply is longer than what arrived, and how it arrived makes no difference.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "commands are not at issue")]
#[path = "../../src/backend/memcached/meta_protocol.rs"]
mod meta_protocol;

use meta_protocol::{Decoded, Desynchronized, Reply, take_reply};

fuzz_target!(|arrived: (&[u8], u8)| {
    let (bytes, piece) = arrived;
    let at_once = read(bytes, bytes.len().max(1));
    assert_eq!(at_once, read(bytes, usize::from(piece).max(1)));
});

fn read(bytes: &[u8], piece: usize) -> (Vec<Reply>, Option<Desynchronized>) {
    let (mut received, mut replies) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        received.extend_from_slice(piece);
        loop {
            match take_reply(&mut received) {
                Ok(Decoded::Reply(reply)) => replies.push(reply),
                Ok(Decoded::NeedMore(missing)) => {
                    assert_ne!(missing, 0);
                    break;
                }
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}
