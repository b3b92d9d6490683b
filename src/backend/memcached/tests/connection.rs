//! Tests of a memcached connection.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::yield_now,
};

use crate::backend::memcached::{
    connection::{Connection, MAX_UNANSWERED, Pending, SharedReads, Status},
    item_key::ItemKeys,
    meta_protocol::{Cas, Reply, get},
};

const SECOND: Duration = Duration::from_secs(1);

/// A server that sends the bytes that a test chooses.
struct Server(TcpListener);

impl Server {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn connect(&self) -> Connection {
        Connection::open(self.0.local_addr().unwrap().to_string().into(), SECOND).unwrap()
    }

    /// Accepts a connection, expects the commands, and sends the replies.
    async fn serve(&self, commands: &str, replies: &str) -> TcpStream {
        let (mut stream, _) = self.0.accept().await.unwrap();
        expect(&mut stream, commands).await;
        stream.write_all(replies.as_bytes()).await.unwrap();
        stream
    }
}

async fn expect(stream: &mut TcpStream, commands: &str) {
    let mut received = vec![0; commands.len()];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&received), commands);
}

fn send(connection: &Connection, key: &str) -> Pending {
    connection.send(1, |into| get(into, key.as_bytes(), Cas::Omitted)).unwrap()
}

async fn replies<const N: usize>(reads: SharedReads<N>) -> Vec<Reply> {
    reads.answered().await.unwrap().iter().map(|read| Reply::clone(read)).collect()
}

fn value(data: &'static str) -> Vec<Reply> {
    vec![Reply::Value { data: data.into(), cas: 0, flags: 0 }]
}

#[tokio::test]
async fn replies_reach_their_callers_when_another_caller_was_dropped() {
    let server = Server::new().await;
    let connection = server.connect();
    let (first, second, third) = (send(&connection, "a"), send(&connection, "b"), send(&connection, "c"));
    drop(second);
    let _stream = server.serve("mg a f v\r\nmg b f v\r\nmg c f v\r\n", "VA 1\r\na\r\nVA 1\r\nb\r\nVA 1\r\nc\r\n").await;
    assert_eq!(third.replies().await.unwrap(), value("c"));
    assert_eq!(first.replies().await.unwrap(), value("a"));
    assert_eq!(connection.status(), Status::Open);
}

#[tokio::test]
async fn concurrent_reads_of_an_item_are_sent_once() {
    let server = Server::new().await;
    let connection = server.connect();
    let (keys, clock) = (ItemKeys::new("x"), ItemKeys::new("x").clock());
    let entry = keys.entry(b"a");
    let after = |key: &'static str| connection.send_after(&clock, 1, |into| get(into, key.as_bytes(), Cas::Omitted)).unwrap();
    let (clock_of_a, a) = after("a");
    let [first, second] = [(); 2].map(|()| connection.read([&clock, &entry]).unwrap());
    let (clock_of_b, b) = after("b");
    let commands = format!("mg {clock:?} f v\r\nmg a f v\r\nmg {entry:?} f v\r\nmg b f v\r\n");
    let mut stream = server.serve(&commands, "VA 1\r\n1\r\nVA 1\r\na\r\nVA 1\r\ne\r\nVA 1\r\nb\r\n").await;
    drop(first);
    assert_eq!(replies(second).await, [value("1"), value("e")].concat());
    assert_eq!((a.replies().await.unwrap(), b.replies().await.unwrap()), (value("a"), value("b")));
    assert_eq!((replies(clock_of_a).await, replies(clock_of_b).await), (value("1"), value("1")));

    let later = connection.read([&clock, &entry]).unwrap();
    expect(&mut stream, &format!("mg {clock:?} f v\r\nmg {entry:?} f v\r\n")).await;
    stream.write_all(b"VA 1\r\n2\r\nEN\r\n").await.unwrap();
    assert_eq!(replies(later).await, [value("2"), vec![Reply::Miss]].concat());
}

#[tokio::test]
async fn a_read_is_not_joined_after_it_was_sent() {
    let server = Server::new().await;
    let connection = server.connect();
    let entry = ItemKeys::new("x").entry(b"a");
    let command = format!("mg {entry:?} f v\r\n");
    let early = connection.read([&entry]).unwrap();
    let mut stream = server.serve(&command, "").await;
    let late = connection.read([&entry]).unwrap();
    expect(&mut stream, &command).await;
    stream.write_all(b"VA 3\r\nold\r\nVA 3\r\nnew\r\n").await.unwrap();
    assert_eq!(replies(early).await, value("old"));
    assert_eq!(replies(late).await, value("new"));
}

#[tokio::test]
async fn every_caller_of_a_read_receives_the_error_of_the_connection() {
    let server = Server::new().await;
    let connection = server.connect();
    let entry = ItemKeys::new("x").entry(b"a");
    let reads = [(); 3].map(|()| connection.read([&entry]).unwrap());
    let command = format!("mg {entry:?} f v\r\n");
    drop(server.serve(&command, "VA 5\r\nhal").await);
    for read in reads {
        let error = read.answered().await.unwrap_err();
        assert!(error.to_string().contains("no connection") && std::error::Error::source(&error).is_some(), "{error:?}");
    }
    assert!(connection.read([&entry]).is_err());
}

#[tokio::test]
async fn an_invalid_reply_ends_the_connection_for_all_callers() {
    let invalid =
        ["nonsense\r\n", "VA 1\r\nab\r\n", "VA 1 \r\na", "ERROR\r\nVA 1\r\na\r\n", "CLIENT_ERROR bad data chunk\r\nEN\r\n", ""];
    for sent in invalid {
        let server = Server::new().await;
        let connection = server.connect();
        let (first, second) = (send(&connection, "a"), send(&connection, "b"));
        drop(server.serve("mg a f v\r\nmg b f v\r\n", sent).await);
        // A reply before the invalid one is valid.
        drop(first.replies().await);
        let error = second.replies().await.unwrap_err();
        assert!(error.is_unavailable(), "{sent:?}: {error:?}");
        assert_ne!(connection.status(), Status::Open, "{sent:?}");
        assert!(connection.send(1, |_| ()).is_err());
    }
}

#[tokio::test]
async fn a_reply_without_a_command_ends_the_connection() {
    let server = Server::new().await;
    let connection = server.connect();
    let pending = send(&connection, "a");
    let _stream = server.serve("mg a f v\r\n", "EN\r\nVA 1\r\nx\r\n").await;
    assert_eq!(pending.replies().await.unwrap(), [Reply::Miss]);
    while connection.status() == Status::Open {
        yield_now().await;
    }
    assert_eq!(connection.status(), Status::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_is_closed() {
    let server = Server::new().await;
    let connection = server.connect();
    let pending = send(&connection, "a");
    let _stream = server.serve("mg a f v\r\n", "").await;
    let error = pending.replies().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("timed out"), "{source}");
}

#[tokio::test]
async fn commands_without_replies_are_limited() {
    let server = Server::new().await;
    let connection = server.connect();
    let much = vec![b'x'; MAX_UNANSWERED + 1];
    let pending = connection.send(1, |into| into.extend_from_slice(&much)).unwrap();
    let error = connection.send(1, |_| ()).unwrap_err();
    assert!(error.to_string().contains("does not keep up"), "{error}");
    connection.close();
    assert!(pending.replies().await.is_err());
}
