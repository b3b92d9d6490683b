//! A process that writes, and is killed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use crate::{node::write, server::pool};

/// Has the child process write instead of test.
const WRITES: &str = "LARDER_TEST_WRITES";

/// An application of its own process, which is killed after each commit, before it could call `invalidate_tags`.
#[derive(Debug)]
pub(crate) struct Writer(Child);

impl Writer {
    /// Writes these posts one after the other, and calls `on_commit` after each, when the writer is dead.
    pub(crate) async fn killed_after_each(database: &str, ids: std::ops::Range<i64>, mut on_commit: impl AsyncFnMut(i64)) {
        for id in ids {
            let mut child = Self::start(database, id);
            let output = BufReader::new(child.0.stdout.take().unwrap());
            assert!(output.lines().map_while(Result::ok).any(|line| line.contains("committed")), "the writer has not committed");
            child.0.kill().unwrap();
            child.0.wait().unwrap();
            on_commit(id).await;
        }
    }

    fn start(database: &str, id: i64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "writer::commits_and_waits_to_be_killed", "--nocapture", "--ignored"]);
        Self(command.env(WRITES, format!("{id} {database}")).stdout(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "the child process of other tests"]
async fn commits_and_waits_to_be_killed() {
    let Ok(order) = std::env::var(WRITES) else { return };
    let (id, database) = order.split_once(' ').unwrap();
    write(&pool(database), id.parse().unwrap()).await.unwrap();
    println!("committed");
    std::future::pending::<()>().await;
}
