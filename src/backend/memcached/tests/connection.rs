//! Tests of a memcached connection.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::yield_now,
};

use crate::backend::memcached::{
    connection::{Connection, Joined, MAX_UNANSWERED, Pending, Status},
    item_key::ItemKeys,
    meta_protocol::{Cas, Reply, get},
};

const SECOND: Duration = Duration::from_secs(1);

/// A server that says what a test has it say.
struct Server(TcpListener);

impl Server {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn connect(&self) -> Connection {
        Connection::open(self.0.local_addr().unwrap().to_string().into(), SECOND).unwrap()
    }

    /// Answers `says` to whoever comes, once it has been asked `asked`.
    async fn say(&self, asked: &str, says: &str) -> TcpStream {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut heard = vec![0; asked.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), asked);
        stream.write_all(says.as_bytes()).await.unwrap();
        stream
    }
}

fn ask(connection: &Connection, key: &str) -> Pending {
    connection.send(1, |into| get(into, key.as_bytes(), Cas::Omitted)).unwrap()
}

/// The answers to what was joined.
async fn answers<const N: usize>(joined: Joined<N>) -> Vec<Reply> {
    joined.answered().await.unwrap().iter().map(|question| question.reply().unwrap().clone()).collect()
}

fn value(data: &'static str) -> Vec<Reply> {
    vec![Reply::Value { data: data.into(), cas: 0 }]
}

#[tokio::test]
async fn replies_go_to_those_who_asked_also_when_others_have_left() {
    let server = Server::new().await;
    let connection = server.connect();
    let (first, second, third) = (ask(&connection, "a"), ask(&connection, "b"), ask(&connection, "c"));
    drop(second);
    let _stream = server.say("mg a v\r\nmg b v\r\nmg c v\r\n", "VA 1\r\na\r\nVA 1\r\nb\r\nVA 1\r\nc\r\n").await;
    assert_eq!(third.replies().await.unwrap(), value("c"));
    assert_eq!(first.replies().await.unwrap(), value("a"));
    assert_eq!(connection.status(), Status::Open);
}

#[tokio::test]
async fn a_common_question_is_asked_once_by_all_who_ask_at_the_same_time() {
    let server = Server::new().await;
    let connection = server.connect();
    let (names, clock) = (ItemKeys::new("x"), ItemKeys::new("x").clock());
    let entry = names.entry(b"a");
    let behind = |key: &'static str| connection.send_behind(&clock, 1, |into| get(into, key.as_bytes(), Cas::Omitted)).unwrap();
    let (common_a, a) = behind("a");
    let joined = [(); 2].map(|()| connection.join([&clock, &entry]).unwrap());
    let (common_b, b) = behind("b");
    let asks = format!("mg {clock:?} v\r\nmg a v\r\nmg {entry:?} v\r\nmg b v\r\n");
    let mut stream = server.say(&asks, "VA 1\r\n1\r\nVA 1\r\na\r\nVA 1\r\ne\r\nVA 1\r\nb\r\n").await;
    let [first, second] = joined;
    // Who leaves takes nothing from the others.
    drop(first);
    assert_eq!(answers(second).await, [value("1"), value("e")].concat());
    assert_eq!((a.replies().await.unwrap(), b.replies().await.unwrap()), (value("a"), value("b")));
    assert_eq!((common_a.reply(), common_b.reply()), (value("1").first(), value("1").first()));
    // Who asks later is not told how it was before.
    let later = connection.join([&clock, &entry]).unwrap();
    let mut heard = vec![0; format!("mg {clock:?} v\r\nmg {entry:?} v\r\n").len()];
    stream.read_exact(&mut heard).await.unwrap();
    stream.write_all(b"VA 1\r\n2\r\nEN\r\n").await.unwrap();
    assert_eq!(answers(later).await, [value("2"), vec![Reply::Miss]].concat());
}

#[tokio::test]
async fn a_question_that_was_sent_is_not_joined_though_it_has_no_answer_yet() {
    let server = Server::new().await;
    let connection = server.connect();
    let entry = ItemKeys::new("x").entry(b"a");
    let ask = format!("mg {entry:?} v\r\n");
    let early = connection.join([&entry]).unwrap();
    let mut stream = server.say(&ask, "").await;
    let late = connection.join([&entry]).unwrap();
    let mut heard = vec![0; ask.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, ask.as_bytes());
    stream.write_all(b"VA 3\r\nold\r\nVA 3\r\nnew\r\n").await.unwrap();
    assert_eq!(answers(early).await, value("old"));
    assert_eq!(answers(late).await, value("new"));
}

#[tokio::test]
async fn what_one_makes_of_an_answer_is_left_to_the_others_if_there_are_any() {
    let server = Server::new().await;
    let connection = server.connect();
    let (shared, own) = (ItemKeys::new("x").entry(b"a"), ItemKeys::new("x").entry(b"b"));
    let (one, other, alone) = (connection.join([&shared]), connection.join([&shared]), connection.join([&own]));
    let asks = [&shared, &own].map(|name| format!("mg {name:?} v\r\n")).concat();
    let stream = server.say(&asks, "VA 1\r\na\r\nVA 1\r\nb\r\n").await;
    let [alone] = alone.unwrap().answered().await.unwrap();
    let ([one], [other]) = (one.unwrap().answered().await.unwrap(), other.unwrap().answered().await.unwrap());
    one.leave(|| 7_u8);
    other.leave(|| 8_u8);
    assert_eq!((one.made::<u8>(), other.made::<u8>(), other.made::<u16>()), (Some(&7), Some(&7), None));
    // The connection lets go of what it has sent and heard.
    drop((connection, stream));
    while !alone.is_alone() {
        yield_now().await;
    }
    alone.leave(|| -> u8 { unreachable!("nobody else would see it") });
}

#[tokio::test]
async fn all_who_joined_a_question_learn_that_the_connection_ended() {
    let server = Server::new().await;
    let connection = server.connect();
    let entry = ItemKeys::new("x").entry(b"a");
    let joined = [(); 3].map(|()| connection.join([&entry]).unwrap());
    let ask = format!("mg {entry:?} v\r\n");
    drop(server.say(&ask, "VA 5\r\nhal").await);
    for joined in joined {
        assert!(joined.answered().await.unwrap_err().is_unavailable());
    }
    assert!(connection.join([&entry]).is_err());
}

#[tokio::test]
async fn a_connection_that_is_out_of_order_is_given_up_with_all_who_wait() {
    let odd =
        ["nonsense\r\n", "VA 1\r\nab\r\n", "VA 1 \r\na", "ERROR\r\nVA 1\r\na\r\n", "CLIENT_ERROR bad data chunk\r\nEN\r\n", ""];
    for says in odd {
        let server = Server::new().await;
        let connection = server.connect();
        let (first, second) = (ask(&connection, "a"), ask(&connection, "b"));
        drop(server.say("mg a v\r\nmg b v\r\n", says).await);
        // What was said before it went wrong is still an answer.
        drop(first.replies().await);
        let error = second.replies().await.unwrap_err();
        assert!(error.is_unavailable(), "{says:?}: {error:?}");
        assert_ne!(connection.status(), Status::Open, "{says:?}");
        assert!(connection.send(1, |_| ()).is_err());
    }
}

#[tokio::test]
async fn a_reply_to_nothing_ends_the_connection() {
    let server = Server::new().await;
    let connection = server.connect();
    let pending = ask(&connection, "a");
    let _stream = server.say("mg a v\r\n", "EN\r\nVA 1\r\nx\r\n").await;
    assert_eq!(pending.replies().await.unwrap(), [Reply::Miss]);
    while connection.status() == Status::Open {
        yield_now().await;
    }
    assert_eq!(connection.status(), Status::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_owes_answers_and_says_nothing_is_given_up() {
    let server = Server::new().await;
    let connection = server.connect();
    let pending = ask(&connection, "a");
    let _stream = server.say("mg a v\r\n", "").await;
    let error = pending.replies().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("timed out"), "{source}");
}

#[tokio::test]
async fn no_more_waits_than_there_is_room_for() {
    let server = Server::new().await;
    let connection = server.connect();
    let much = vec![b'x'; MAX_UNANSWERED + 1];
    let pending = connection.send(1, |into| into.extend_from_slice(&much)).unwrap();
    let error = connection.send(1, |_| ()).unwrap_err();
    assert!(error.to_string().contains("does not keep up"), "{error}");
    connection.close();
    assert!(pending.replies().await.is_err());
}
