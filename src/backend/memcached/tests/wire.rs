//! Tests of the memcached meta protocol.

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};

use crate::backend::memcached::meta_protocol::*;

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut into = BytesMut::new();
    write(&mut into);
    String::from_utf8(into.to_vec()).unwrap()
}

#[test]
fn commands_follow_the_protocol() {
    assert_eq!(written(|into| get(into, b"k", Cas::Omitted)), "mg k f v\r\n");
    assert_eq!(written(|into| get(into, b"k", Cas::Wanted)), "mg k c f v\r\n");
    assert_eq!(
        written(|into| set(into, b"k", Value { data: b"a\r\nb", flags: 0 }, 60, Condition::Always)),
        "ms k 4 T60\r\na\r\nb\r\n"
    );
    assert_eq!(written(|into| set(into, b"k", Value { data: b"", flags: 0 }, 0, Condition::Absent)), "ms k 0 T0 c ME\r\n\r\n");
    assert_eq!(
        written(|into| set(into, b"k", Value { data: b"v", flags: 0 }, 9, Condition::Unchanged(7))),
        "ms k 1 T9 c C7\r\nv\r\n"
    );
    assert_eq!(
        written(|into| set(into, b"k", Value { data: b"7", flags: 2 }, 0, Condition::Unchanged(7))),
        "ms k 1 T0 F2 c C7\r\n7\r\n"
    );
    assert_eq!(written(|into| increment(into, b"k")), "ma k v\r\n");
    assert_eq!(written(|into| delete(into, b"k", 7)), "md k C7\r\n");
    assert_eq!(written(no_op), "mn\r\n");
}

/// A reply as bytes and as parsed.
fn reply() -> impl Strategy<Value = (Vec<u8>, Reply)> {
    let text = |reply: &str| format!("{reply}\r\n").into_bytes();
    let value = (vec(any::<u8>(), 0..300), any::<Option<u64>>(), any::<Option<u32>>()).prop_map(move |(data, cas, flags)| {
        let words = [cas.map(|cas| format!(" c{cas}")), flags.map(|flags| format!(" f{flags}"))];
        let words: String = words.into_iter().flatten().collect();
        let bytes = [&text(&format!("VA {}{words}", data.len())), &data[..], b"\r\n"].concat();
        (bytes, Reply::Value { data: data.into(), cas: cas.unwrap_or(0), flags: flags.unwrap_or(0) })
    });
    let done = any::<u64>().prop_map(move |cas| (text(&format!("HD c{cas}")), Reply::Done { cas }));
    let message = "[ -~]{0,60}".prop_map(|message| message.trim().to_owned());
    let refused = message.prop_map(move |message| (text(&format!("SERVER_ERROR {message}")), Reply::Refused(message.into())));
    let fixed = prop::sample::select(vec![
        (text("HD"), Reply::Done { cas: 0 }),
        (text("MN"), Reply::Done { cas: 0 }),
        (text("EN"), Reply::Miss),
        (text("NF"), Reply::Miss),
        (text("NS"), Reply::NotStored),
        (text("EX"), Reply::Changed),
        (text("ERROR"), Reply::Rejected(Bytes::new())),
        (text("CLIENT_ERROR bad command line format"), Reply::Rejected("bad command line format".into())),
    ]);
    prop_oneof![3 => value, 1 => done, 1 => refused, 2 => fixed]
}

proptest! {
    #[test]
    fn replies_are_parsed_from_any_pieces(replies in vec(reply(), 1..20), pieces in vec(1..400_usize, 1..50)) {
        let sent: Vec<u8> = replies.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let (mut left, mut received, mut read) = (&sent[..], BytesMut::new(), Vec::new());
        for piece in pieces.iter().cycle() {
            let (now, later) = left.split_at(left.len().min(*piece));
            received.extend_from_slice(now);
            left = later;
            loop {
                match take_reply(&mut received).unwrap() {
                    Decoded::Reply(reply) => read.push(reply),
                    Decoded::NeedMore(missing) => break prop_assert!(missing >= 1 && (missing <= left.len() || left.is_empty())),
                }
            }
            if left.is_empty() {
                break;
            }
        }
        prop_assert!(received.is_empty());
        prop_assert_eq!(read, replies.into_iter().map(|(_, reply)| reply).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in vec(any::<u8>(), 0..200), whole in reply(), at in any::<prop::sample::Index>()) {
        let mut damaged = whole.0;
        damaged.splice(at.index(damaged.len()).., bytes.iter().copied());
        for bytes in [&bytes, &damaged] {
            let mut received = BytesMut::from(&bytes[..]);
            while let Ok(Decoded::Reply(_)) = take_reply(&mut received) {}
        }
    }
}

#[test]
fn an_invalid_reply_is_an_error() {
    let endless = "x".repeat(MAX_LINE);
    for wrong in
        ["\r\n", "\n", "VA\r\n", "VA x\r\n", "VA 1\r\nabc", "VA 1 cx\r\na\r\n", "VA 99999999999\r\n", "HD\n", "END\r\n", &endless]
    {
        assert!(take_reply(&mut BytesMut::from(wrong)).is_err(), "{wrong:?}");
    }
}

#[test]
fn numbers_consist_of_digits() {
    for (digits, number) in [("0", Some(0)), ("18446744073709551615", Some(u64::MAX)), ("007", Some(7))] {
        assert_eq!(parse_number(digits.as_bytes()), number);
    }
    for wrong in ["", "-1", "+1", " 1", "1 ", "1a", "18446744073709551616"] {
        assert_eq!(parse_number(wrong.as_bytes()), None, "{wrong:?}");
    }
}
