//! Tests of the calls to one memcached server.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{advance, pause},
};

use crate::{
    backend::memcached::{
        connection::Status,
        item_key::ItemKeys,
        meta_protocol::{Cas, Condition, Reply},
        servers::{Command, FIRST_BACKOFF, Servers},
    },
    error::Error,
};

const SECOND: Duration = Duration::from_secs(1);

async fn ask(servers: &Servers) -> Result<Reply, Error> {
    servers.ask_one(Command::Get { name: &ItemKeys::new("").clock(), cas: Cas::Omitted }).await
}

#[tokio::test]
async fn a_server_that_refuses_is_left_alone_for_a_while_and_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let servers = Servers::new(&[address.to_string().into()], SECOND);
    assert!(ask(&servers).await.is_err());
    let listener = TcpListener::bind(address).await.unwrap();
    pause();
    assert!(ask(&servers).await.is_err(), "it is tried again at once");
    advance(FIRST_BACKOFF).await;
    let answer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"EN\r\n").await.unwrap();
        stream
    });
    assert_eq!(ask(&servers).await.unwrap(), Reply::Miss);
    drop(answer.await.unwrap());
}

#[tokio::test]
async fn a_connection_that_was_lost_is_replaced_at_once() {
    let mut listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = Servers::new(&[listener.local_addr().unwrap().to_string().into()], SECOND);
    for says in ["EN\r\nnonsense\r\n", "EN\r\n"] {
        let answer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(says.as_bytes()).await.unwrap();
            (listener, stream)
        });
        let (asked, answered) = (ask(&servers).await, answer.await.unwrap());
        assert_eq!(asked.unwrap(), Reply::Miss);
        listener = answered.0;
        // The client sees that it ended.
        while servers.servers[0].slot().connection.as_ref().unwrap().status() == Status::Open && says.contains("nonsense") {
            tokio::task::yield_now().await;
        }
    }
}

/// Versions are counted anew by a server that restarts: what stands there now may have the one that was read before.
#[tokio::test]
async fn a_version_of_an_earlier_connection_is_one_that_nothing_has() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = Servers::new(&[listener.local_addr().unwrap().to_string().into()], SECOND);
    let name = ItemKeys::new("").tag("a");
    let set = |condition| servers.ask_one(Command::Set { name: &name, data: b"", ttl: 0, condition });

    let (reply, (mut stream, asked)) = tokio::join!(set(Condition::Absent), accepted(&listener, b"HD c5\r\n"));
    assert!(asked.ends_with(" ME\r\n\r\n"), "{asked}");
    let Reply::Done { cas: version } = reply.unwrap() else { panic!("it was not set") };

    let (reply, asked) = tokio::join!(set(Condition::Unchanged(version)), answered(&mut stream, b"HD c6\r\n"));
    assert!(asked.ends_with(" C5\r\n\r\n"), "{asked}");
    let Reply::Done { cas: version } = reply.unwrap() else { panic!("it was not set") };

    servers.servers[0].slot().connection.as_ref().unwrap().close();
    let (reply, (_, asked)) = tokio::join!(set(Condition::Unchanged(version)), accepted(&listener, b"EX\r\n"));
    assert!(asked.ends_with(&format!(" C{}\r\n\r\n", u64::MAX)), "{asked}");
    assert_eq!(reply.unwrap(), Reply::Changed);
}

async fn accepted(listener: &TcpListener, answer: &[u8]) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let asked = answered(&mut stream, answer).await;
    (stream, asked)
}

/// Answers one command; tells what was asked.
async fn answered(stream: &mut TcpStream, answer: &[u8]) -> String {
    let mut asked = vec![0; 1024];
    let length = stream.read(&mut asked).await.unwrap();
    stream.write_all(answer).await.unwrap();
    String::from_utf8(asked[..length].to_vec()).unwrap()
}
