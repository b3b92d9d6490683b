use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{advance, pause},
};

use crate::{
    backend::memcached::{
        connection::State,
        name::Names,
        server::{Command, FIRST_REST, Servers},
        wire::{Reply, Version},
    },
    error::Error,
};

const SECOND: Duration = Duration::from_secs(1);

async fn ask(servers: &Servers) -> Result<Reply, Error> {
    servers.ask_one(Command::Get { name: &Names::new("").clock(), version: Version::Untold }).await
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
    advance(FIRST_REST).await;
    let answer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"EN\r\n").await.unwrap();
        stream
    });
    assert_eq!(ask(&servers).await.unwrap(), Reply::Missing);
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
        assert_eq!(asked.unwrap(), Reply::Missing);
        listener = answered.0;
        // The client sees that it ended.
        while servers.servers[0].line().connection.as_ref().unwrap().state() == State::Open && says.contains("nonsense") {
            tokio::task::yield_now().await;
        }
    }
}
