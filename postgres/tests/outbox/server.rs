//! A real PostgreSQL on a free port.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use larder_postgres::outbox;
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::servers::process::{free_port, wait_until};

/// A server. It ends with its handle, or with this process.
#[derive(Debug)]
pub(crate) struct Postgres {
    keeper: Child,
    folder: PathBuf,
    pub(crate) port: u16,
    settings: Vec<String>,
}

/// A database of one test. The first connection is made when it is needed.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    pub(crate) url: String,
}

/// Runs a server until its standard input is closed, as it is when the process that has started it ends in whatever way.
const KEEPER: &str = r#"folder=$1; shift
"$@" 2>>"$folder/log" & server=$!
while read -r line; do [ "$line" = keep ] && keep=1; done
kill -QUIT $server 2>/dev/null
# A server that is still starting may ignore it.
{ sleep 2; kill -KILL $server; } 2>/dev/null & late=$!
wait $server; kill $late 2>/dev/null
[ -n "$keep" ] || rm -rf "$folder"
"#;

impl Postgres {
    /// The server of all tests that leave it alone.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(&["fsync=off"]))
    }

    /// A server of one's own, with these settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("larder-postgres-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        if is_root() {
            assert!(Command::new("chown").arg("-R").arg(user()).arg(&folder).status().unwrap().success());
        }
        let data = folder.join("data").display().to_string();
        let made = as_user("initdb")
            .args(["-D", &data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"])
            .output();
        let made = made.unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = free_port();
        let settings = settings.iter().map(ToString::to_string).collect::<Vec<_>>();
        let server = Self { keeper: keep(&folder, port, &settings), folder, port, settings };
        server.wait_until_ready();
        server
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database with the outbox and a table `posts`.
    pub(crate) async fn database(&self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = pool(&self.url("postgres"));
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.unwrap();
        admin.close().await;
        let url = self.url(&name);
        let pool = pool(&url);
        outbox::migrate(&mut pool.acquire().await.unwrap()).await.unwrap();
        let posts = "CREATE TABLE posts (id bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 0, slug text)";
        sqlx::query(posts).execute(&pool).await.unwrap();
        Database { pool, url }
    }

    /// SIGKILL of the server and, with it, of every process that it has started.
    pub(crate) fn kill(&mut self) {
        signal("KILL", self.pid().unwrap());
        self.end("keep\n");
    }

    /// Starts again on the same port, with the same data.
    pub(crate) fn start_again(&mut self) {
        // Backends notice the end of their server some time later, and a new one refuses to start until they have.
        wait_until("PostgreSQL starts again", || {
            self.end("keep\n");
            self.keeper = keep(&self.folder, self.port, &self.settings);
            self.try_ready()
        });
    }

    fn end(&mut self, last: &str) {
        if let Some(mut input) = self.keeper.stdin.take() {
            let _ = input.write_all(last.as_bytes());
        }
        let _ = self.keeper.wait();
    }

    fn wait_until_ready(&self) {
        wait_until("PostgreSQL answers", || self.is_ready());
    }

    /// Whether it becomes ready before it ends.
    fn try_ready(&self) -> bool {
        let started = Instant::now();
        while !self.is_ready() {
            let is_running = self.pid().is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
            if !is_running && started.elapsed() > Duration::from_millis(300) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    fn pid(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        file.lines().next()?.parse().ok()
    }

    fn is_ready(&self) -> bool {
        let port = self.port.to_string();
        let asked = Command::new(binary("pg_isready")).args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
        asked.unwrap().success()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("");
    }
}

/// A pool for tests, which does not connect before it is used.
pub(crate) fn pool(url: &str) -> PgPool {
    let options: PgConnectOptions = url.parse().unwrap();
    PgPoolOptions::new().max_connections(16).connect_lazy_with(options)
}

/// A program of PostgreSQL.
pub(crate) fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut debian: Vec<PathBuf> = versions.map(|version| version.unwrap().path().join("bin")).collect();
        debian.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = debian.into_iter().rev().chain(std::env::split_paths(&path));
        let folder =
            folders.find(|folder| ["initdb", "pg_isready", "postgres", "psql"].iter().all(|name| folder.join(name).exists()));
        folder.expect("PostgreSQL cannot be found: install it (Debian: `postgresql`), or run `scripts/test`")
    });
    folder.join(name)
}

pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(status.success());
}

fn keep(folder: &Path, port: u16, settings: &[String]) -> Child {
    let data = folder.join("data").display().to_string();
    let mut server = as_user("postgres");
    server.args(["-D", &data, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "shared_buffers=16MB"]);
    server.args(["-c", &format!("port={port}"), "-c", "max_connections=60", "-c", "max_prepared_transactions=5"]);
    server.args(settings.iter().flat_map(|setting| ["-c", setting]));
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "keeper"]).arg(folder).arg(server.get_program()).args(server.get_args());
    keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A program of PostgreSQL as a user that is not root, as which it refuses to run.
fn as_user(name: &str) -> Command {
    let program = binary(name);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user(), "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    static IS_ROOT: OnceLock<bool> = OnceLock::new();
    *IS_ROOT.get_or_init(|| Command::new("id").arg("-u").output().unwrap().stdout == b"0\n")
}

fn user() -> &'static str {
    static USER: OnceLock<&'static str> = OnceLock::new();
    USER.get_or_init(|| match Command::new("id").arg("postgres").output().unwrap().status.success() {
        true => "postgres",
        false => "nobody",
    })
}
