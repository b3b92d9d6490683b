use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use super::process::{Process, free_port, wait_until};

/// A `memcached`.
#[derive(Debug)]
pub(crate) struct Memcached {
    process: Process,
    pub(crate) port: u16,
    arguments: Vec<String>,
}

impl Memcached {
    /// An empty server that keeps values of up to 1 MiB.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further arguments: `&["-I", "4m"]`.
    pub(crate) fn start_with(further: &[&str]) -> Self {
        let port = free_port();
        let port_text = port.to_string();
        // memcached refuses to run as root.
        let own = ["-l", "127.0.0.1", "-p", &port_text, "-U", "0", "-u", "nobody", "-m", "64", "-t", "2"];
        let arguments: Vec<String> = own.iter().chain(further).map(ToString::to_string).collect();
        let server = Self { process: Process::start("memcached", &arguments), port, arguments };
        server.wait_until_ready();
        server
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        url(&[self])
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    pub(crate) fn pause(&self) {
        self.process.pause();
    }

    pub(crate) fn resume(&self) {
        self.process.resume();
    }

    /// Starts again on the same port, empty.
    pub(crate) fn start_again(&mut self) {
        self.process = Process::start("memcached", &self.arguments);
        self.wait_until_ready();
    }

    /// The names of its items that begin with `prefix`, of which there is at least one: `larder:t:` are records of tags.
    ///
    /// A list leaves out an item that is in use at the moment, so lists are taken until they have as many as the server
    /// counts.
    pub(crate) fn items(&self, prefix: &str) -> Vec<String> {
        let mut items = Vec::new();
        wait_until("memcached lists all of its items", || {
            for name in self.listed("") {
                if !items.contains(&name) {
                    items.push(name);
                }
            }
            items.len() as u64 >= self.stat("curr_items")
        });
        items.retain(|name| name.starts_with(prefix));
        assert!(!items.is_empty(), "there is no item {prefix}…");
        items
    }

    /// The same, as the server lists them once: at times it leaves one out that is there.
    pub(crate) fn listed(&self, prefix: &str) -> Vec<String> {
        let mut dump = Vec::new();
        // One list is made at a time, and the server makes some for itself.
        wait_until("memcached is not busy with another list", || {
            dump = self.ask("lru_crawler metadump all\r\n", &["END", "BUSY"]);
            !dump.last().is_some_and(|line| line.starts_with("BUSY"))
        });
        let names = dump.iter().filter_map(|line| line.strip_prefix("key=")?.split(' ').next());
        names.map(|name| name.replace("%3A", ":")).filter(|name| name.starts_with(prefix)).collect()
    }

    /// What the server counts under this name, such as `cmd_get`: reads.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = self.ask("stats\r\n", &["END"]);
        let count = stats.iter().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        count.expect("memcached counts it").parse().unwrap()
    }

    /// What is stored under a name.
    pub(crate) fn value(&self, name: &str) -> Option<Vec<u8>> {
        let mut stream = self.connection();
        stream.write_all(format!("mg {name} v\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let length = line.strip_prefix("VA ")?.trim_end().parse().unwrap();
        let mut value = vec![0; length];
        reader.read_exact(&mut value).unwrap();
        Some(value)
    }

    pub(crate) fn set(&self, name: &str, value: &[u8]) {
        let mut stream = self.connection();
        let command = [format!("ms {name} {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
        stream.write_all(&command).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(line.starts_with("HD"), "{line}");
    }

    /// Seconds until the item is forgotten.
    pub(crate) fn ttl(&self, name: &str) -> i64 {
        let lines = self.ask(&format!("mg {name} t\r\n"), &["HD"]);
        lines.last().unwrap().strip_prefix("HD t").unwrap().parse().unwrap()
    }

    pub(crate) fn delete(&self, name: &str) {
        self.ask(&format!("md {name} q\r\nmn\r\n"), &["MN"]);
    }

    /// Forgets everything that there was until now.
    pub(crate) fn flush(&self) {
        self.ask("flush_all\r\n", &["OK"]);
    }

    /// Sends a command and reads lines until one that begins with one of `ends`.
    fn ask(&self, command: &str, ends: &[&str]) -> Vec<String> {
        let mut stream = self.connection();
        stream.write_all(command.as_bytes()).unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(stream).lines() {
            lines.push(line.unwrap());
            if ends.iter().any(|end| lines.last().unwrap().starts_with(end)) {
                return lines;
            }
        }
        panic!("memcached answered {lines:?} to {command:?}");
    }

    fn connection(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // A test fails rather than waits for a reply that does not come.
        stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        stream
    }

    fn wait_until_ready(&self) {
        wait_until("memcached answers", || {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
            let mut line = String::new();
            stream.write_all(b"mn\r\n").is_ok() && BufReader::new(stream).read_line(&mut line).is_ok() && line == "MN\r\n"
        });
    }
}

/// The URL of a store on these.
pub(crate) fn url(servers: &[&Memcached]) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    format!("memcached://{}", addresses.join(","))
}
