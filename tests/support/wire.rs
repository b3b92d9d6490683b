//! HTTP/1.1 on a real connection, byte by byte.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};

/// Serves the application to real connections.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Sends a GET for `/page` and reads until what arrived ends with `end`.
pub(crate) async fn get_until(connection: &TcpStream, end: &str) -> String {
    const GET: &[u8] = b"GET /page HTTP/1.1\r\nhost: example.com\r\n\r\n";
    connection.writable().await.unwrap();
    assert_eq!(connection.try_write(GET).unwrap(), GET.len());
    read_until(connection, end).await
}

/// Reads until what arrived ends with `end`.
pub(crate) async fn read_until(connection: &TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        connection.readable().await.unwrap();
        let mut part = [0; 1024];
        match connection.try_read(&mut part) {
            Ok(0) => panic!("the connection was closed after {}", text.escape_ascii()),
            Ok(length) => text.extend_from_slice(&part[..length]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    String::from_utf8(text).unwrap()
}
