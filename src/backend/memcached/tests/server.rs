//! Tests of the commands to one memcached server.

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
        meta_protocol::{Cas, Condition, Reply, Value},
        servers::{Command, FIRST_BACKOFF, Servers},
    },
    error::Error,
};

const SECOND: Duration = Duration::from_secs(1);

async fn send(servers: &Servers) -> Result<Reply, Error> {
    servers.send_one(Command::Get { key: &ItemKeys::new("").clock(), cas: Cas::Omitted }).await
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_tried_again_after_a_pause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let servers = Servers::new(&[address.to_string().into()], SECOND);
    assert!(send(&servers).await.is_err());
    let listener = TcpListener::bind(address).await.unwrap();
    pause();
    assert!(send(&servers).await.is_err(), "there was no pause");
    advance(FIRST_BACKOFF).await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"EN\r\n").await.unwrap();
        stream
    });
    assert_eq!(send(&servers).await.unwrap(), Reply::Miss);
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_lost_connection_is_replaced_without_a_pause() {
    let mut listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = Servers::new(&[listener.local_addr().unwrap().to_string().into()], SECOND);
    for replies in ["EN\r\nnonsense\r\n", "EN\r\n"] {
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(replies.as_bytes()).await.unwrap();
            (listener, stream)
        });
        let (reply, server) = (send(&servers).await, server.await.unwrap());
        assert_eq!(reply.unwrap(), Reply::Miss);
        listener = server.0;
        // Wait until the client has read the invalid reply.
        while servers.servers[0].slot().connection.as_ref().unwrap().status() == Status::Open && replies.contains("nonsense") {
            tokio::task::yield_now().await;
        }
    }
}

/// A server that restarts counts from the beginning: another value may have the CAS number of an earlier one.
#[tokio::test]
async fn a_cas_number_of_an_earlier_connection_matches_no_value() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = Servers::new(&[listener.local_addr().unwrap().to_string().into()], SECOND);
    let key = ItemKeys::new("").tag("a");
    let set = |condition| servers.send_one(Command::Set { key: &key, value: Value { data: b"", flags: 0 }, ttl: 0, condition });

    let (reply, (mut stream, command)) = tokio::join!(set(Condition::Absent), accept(&listener, b"HD c5\r\n"));
    assert!(command.ends_with(" ME\r\n\r\n"), "{command}");
    let Reply::Done { cas } = reply.unwrap() else { panic!("it was not set") };

    let (reply, command) = tokio::join!(set(Condition::Unchanged(cas)), answer(&mut stream, b"HD c6\r\n"));
    assert!(command.ends_with(" C5\r\n\r\n"), "{command}");
    let Reply::Done { cas } = reply.unwrap() else { panic!("it was not set") };

    servers.servers[0].slot().connection.as_ref().unwrap().close();
    let (reply, (_, command)) = tokio::join!(set(Condition::Unchanged(cas)), accept(&listener, b"EX\r\n"));
    assert!(command.ends_with(&format!(" C{}\r\n\r\n", u64::MAX)), "{command}");
    assert_eq!(reply.unwrap(), Reply::Changed);
}

async fn accept(listener: &TcpListener, reply: &[u8]) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let command = answer(&mut stream, reply).await;
    (stream, command)
}

/// Answers one command, and returns it.
async fn answer(stream: &mut TcpStream, reply: &[u8]) -> String {
    let mut command = vec![0; 1024];
    let length = stream.read(&mut command).await.unwrap();
    stream.write_all(reply).await.unwrap();
    String::from_utf8(command[..length].to_vec()).unwrap()
}
