//! The example, as a process of its own.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    server::{Postgres, signal},
    servers::process::wait_until,
};

struct Example {
    process: Child,
    address: String,
}

impl Example {
    fn start(database: &str) -> Self {
        // Beside the folder of the test.
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("examples/posts");
        let mut command = Command::new(program);
        command.env("DATABASE_URL", database).env("LISTEN", "127.0.0.1:0").stdout(Stdio::piped());
        let mut process = command.spawn().expect("`cargo test` builds the examples, unless `--test` selects a test");
        let first = BufReader::new(process.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        Self { process, address: first.rsplit('/').next().unwrap().to_owned() }
    }

    /// Returns head and body of a response.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn get(&self) -> String {
        self.ask("GET", "/posts/1", "")
    }

    fn store(&self) {
        self.get();
        assert!(self.get().contains("larder; hit"), "{}", self.get());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_every_writer() {
    let server = Postgres::start(&["fsync=off"]);
    let [one, other] = [Example::start(&server.url("postgres")), Example::start(&server.url("postgres"))];
    one.store();
    other.store();
    assert!(one.get().ends_with("First"));
    assert!(one.ask("PUT", "/posts/1", "New").starts_with("HTTP/1.1 204"));
    // At once on the node itself, and soon on the other one.
    assert!(one.get().ends_with("New"));
    wait_until("the other node has the new page", || other.get().ends_with("New"));
    one.store();
    other.store();
    let pool = crate::server::pool(&server.url("postgres"));
    sqlx::query("UPDATE posts SET title = 'By hand' WHERE id = 1").execute(&pool).await.unwrap();
    wait_until("both have the page that was written by hand", || {
        one.get().ends_with("By hand") && other.get().ends_with("By hand")
    });

    // A process that was stopped for longer than its lease answers its first request from the database.
    one.store();
    other.store();
    signal("STOP", one.process.id());
    sqlx::query("UPDATE posts SET title = 'Later' WHERE id = 1").execute(&pool).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let mut waiting = TcpStream::connect(&one.address).unwrap();
    waiting.write_all(b"GET /posts/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    signal("CONT", one.process.id());
    let mut response = String::new();
    waiting.read_to_string(&mut response).unwrap();
    assert!(response.ends_with("Later"), "{response}");
}
