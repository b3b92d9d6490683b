//! How the load of a shared store grows with the number of nodes: commands, round trips and bytes, as the server counts them,
//! for a miss, a hit, an invalidation and an idle node.
//!
//! Starts servers of its own. A node is a cache with connections of its own; the nodes are spread over four processes. `growth redis
//! memcached` measures only these. Prints Markdown.

#[path = "../tests/support/servers"]
#[allow(dead_code, unreachable_pub, reason = "tests use the rest")]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a server for tests")]
mod servers {
    pub mod process;
    pub mod redis;
}

use std::{
    cell::RefCell,
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _, stdin},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use axum::Router;
use http_body_util::BodyExt as _;
use larder::{Cache, CacheStatus, Memcached, Memory, Redis, Tiered};
use larder_benches::{HOUR, MIB, Page, Requests, router};
use servers::redis::{Cluster, Redis as RedisServer};
use tokio::runtime::Builder;
use tower::ServiceExt as _;

const NODES: [usize; 4] = [1, 4, 16, 64];
const TOPOLOGIES: [Topology; 6] = [
    Topology::Redis,
    Topology::TieredRedis,
    Topology::LeasedRedis,
    Topology::Cluster,
    Topology::Memcached,
    Topology::TieredMemcached,
];
/// Pages of a phase: three for each of the most nodes.
const PAGES: usize = 192;
/// The first ones are invalidated.
const INVALIDATED: usize = 64;
/// The nodes are in so many processes, or in one each.
const PROCESSES: usize = 4;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [role, topology, url, nodes] if role == Process::ROLE => Process::run(topology, url, nodes),
        chosen => print_table(chosen),
    }
}

fn print_table(chosen: &[String]) {
    println!(
        "Commands executed (those of scripts as well) / round trips / bytes to the server / bytes from the server, each per request \
         of 1 KiB with `Vary` and two tags from the handler; an idle node per second\n"
    );
    println!(
        "| store | nodes | miss | first hit on a node | hit again | invalidation of a tag | hit after invalidations of other tags | idle node, per second |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    println!("| memory | any | 0, no store | 0: no other node's | 0 | 0: this node alone | 0 | 0 |");
    for topology in TOPOLOGIES {
        if chosen.is_empty() || chosen.iter().any(|name| name == topology.name()) {
            NODES.into_iter().for_each(|nodes| print_row(topology, nodes));
        }
    }
}

/// Measures a topology with so many nodes, and prints its row.
fn print_row(topology: Topology, count: usize) {
    let servers = Servers::start(topology);
    let nodes = Nodes::start(topology, &servers.url(), count);
    // Each node fetches something that is not counted: its connections are made, and its lease begins.
    for node in 0..count {
        nodes.ask(node, 1_000_000 + node);
    }
    sleep(Duration::from_secs(2));
    let meter = Meter::start(&servers);
    let ask_first = |page: usize| nodes.ask(page, page);
    let ask_other = |page: usize| nodes.ask(page + 1, page);
    let miss = meter.phase(PAGES, |page| assert!(!ask_first(page), "a miss"));
    let first_hit = meter.phase(PAGES, |page| assert!(ask_other(page), "a hit"));
    let hit_again = meter.phase(PAGES, |page| assert!(ask_other(page), "a hit"));
    let invalidation = meter.phase(INVALIDATED, |page| nodes.invalidate(page, page));
    let after = meter.phase(PAGES - INVALIDATED, |page| assert!(ask_other(page + INVALIDATED), "a hit"));
    let idle = meter.idle.times(1.0 / count as f64);
    let cells = [miss, first_hit, hit_again, invalidation, after, idle].map(Counts::cell).join(" | ");
    println!("| {} | {count} | {cells} |", topology.name());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topology {
    Redis,
    TieredRedis,
    LeasedRedis,
    Cluster,
    Memcached,
    TieredMemcached,
}

impl Topology {
    fn of_name(name: &str) -> Option<Self> {
        TOPOLOGIES.into_iter().find(|topology| topology.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::TieredRedis => "tiered-redis",
            Self::LeasedRedis => "tiered-redis-lease-1s",
            Self::Cluster => "redis-cluster",
            Self::Memcached => "memcached",
            Self::TieredMemcached => "tiered-memcached",
        }
    }
}

/// The nodes, each in one of the processes.
struct Nodes {
    count: usize,
    processes: Vec<RefCell<Process>>,
}

impl Nodes {
    fn start(topology: Topology, url: &str, count: usize) -> Self {
        let processes = count.min(PROCESSES);
        let in_process = |number| (number..count).step_by(processes).count();
        let process = |number| RefCell::new(Process::start(topology, url, in_process(number)));
        Self { count, processes: (0..processes).map(process).collect() }
    }

    /// Requests a page from a node, the first one again after the last one; returns whether it was a hit.
    fn ask(&self, node: usize, page: usize) -> bool {
        self.tell("ask", node, page) == "hit"
    }

    fn invalidate(&self, node: usize, page: usize) {
        self.tell("invalidate", node, page);
    }

    fn tell(&self, what: &str, node: usize, page: usize) -> String {
        let node = node % self.count;
        let process = &self.processes[node % self.processes.len()];
        process.borrow_mut().tell(&format!("{what} {} {page}", node / self.processes.len()))
    }
}

/// A process with some of the nodes. It reads a line for each request, and writes a line when it has its response.
struct Process {
    child: Child,
    lines: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Process {
    /// The first argument of such a process.
    const ROLE: &str = "nodes";

    fn start(topology: Topology, url: &str, nodes: usize) -> Self {
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.args([Self::ROLE, topology.name(), url, &nodes.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program starts");
        let lines = child.stdin.take().expect("a pipe");
        let replies = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines, replies }
    }

    fn tell(&mut self, line: &str) -> String {
        writeln!(self.lines, "{line}").expect("the process reads");
        let mut reply = String::new();
        self.replies.read_line(&mut reply).expect("the process replies");
        assert!(!reply.is_empty(), "a process with nodes has ended");
        reply.trim_end().to_owned()
    }

    /// Does what the lines of the input say, until it ends.
    fn run(topology: &str, url: &str, nodes: &str) {
        let topology = Topology::of_name(topology).expect("the name of a topology");
        let count: usize = nodes.parse().expect("a number of nodes");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads to start");
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(runtime.block_on(Node::connect(topology, url)));
        }
        for line in stdin().lines() {
            let line = line.expect("a line of text");
            let [what, node, page] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("`{line}` has three words") };
            let (node, page) = (node.parse::<usize>().expect("a number"), page.parse().expect("a number"));
            println!("{}", runtime.block_on(nodes[node].carry_out(what, page)));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One instance of an application.
struct Node {
    cache: Cache,
    app: Router,
    requests: Requests,
}

impl Node {
    async fn connect(topology: Topology, url: &str) -> Self {
        let near = || Memory::new(64 * MIB as u64);
        let cache = match topology {
            Topology::Redis | Topology::Cluster => Cache::new(redis(url).await),
            Topology::TieredRedis => Cache::new(Tiered::new(near(), redis(url).await)),
            Topology::LeasedRedis => Cache::new(Tiered::new(near(), redis(url).await).lease(Duration::from_secs(1))),
            Topology::Memcached => Cache::new(memcached(url).await),
            Topology::TieredMemcached => Cache::new(Tiered::new(near(), memcached(url).await)),
        };
        let app = router(Page::varied().route().layer(cache.layer().ttl(HOUR)));
        Self { cache, app, requests: Requests::for_one() }
    }

    async fn carry_out(&self, what: &str, page: usize) -> &'static str {
        match what {
            "ask" if self.ask(page).await => "hit",
            "ask" => "miss",
            _ => {
                self.invalidate(page).await;
                "done"
            }
        }
    }

    /// Requests a page and reads it to its end; returns whether it was a hit.
    async fn ask(&self, page: usize) -> bool {
        let Ok(response) = self.app.clone().oneshot(self.requests.fresh(page)).await;
        let status = CacheStatus::of(&response).expect("the layer is there");
        assert!(status.is_hit() || status.is_stored(), "{status:?}");
        let is_hit = status.is_hit();
        response.into_body().collect().await.expect("a body that never fails");
        is_hit
    }

    async fn invalidate(&self, page: usize) {
        self.cache.invalidate_tags([format!("item:{page}")]).await.expect("a store that works");
    }
}

/// On a busy machine the usual time limits would turn hits into misses.
async fn redis(url: &str) -> Redis {
    let patient = Redis::builder().read_timeout(HOUR).store_timeout(HOUR).invalidate_timeout(HOUR);
    patient.connect(url).await.expect("a server that listens")
}

async fn memcached(url: &str) -> Memcached {
    let patient = Memcached::builder().read_timeout(HOUR).store_timeout(HOUR).invalidate_timeout(HOUR);
    patient.connect(url).await.expect("a server that listens")
}

/// What the servers have counted so far, or in a phase.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    commands: f64,
    round_trips: f64,
    received: f64,
    sent: f64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            round_trips: self.round_trips + other.round_trips,
            received: self.received + other.received,
            sent: self.sent + other.sent,
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            commands: self.commands * factor,
            round_trips: self.round_trips * factor,
            received: self.received * factor,
            sent: self.sent * factor,
        }
    }

    fn minus(self, other: Self) -> Self {
        self.plus(other.times(-1.0))
    }

    fn cell(self) -> String {
        let positive = |number: f64| number.max(0.0);
        let Self { commands, round_trips, received, sent } = self;
        format!("{:.1} / {:.1} / {:.0} / {:.0}", positive(commands), positive(round_trips), positive(received), positive(sent))
    }
}

/// Takes what the servers do anyway from what they do in a phase.
struct Meter<'s> {
    servers: &'s Servers,
    /// What it costs to read the counters.
    reading: Counts,
    /// What all nodes cost in a second without a request.
    idle: Counts,
}

impl<'s> Meter<'s> {
    fn start(servers: &'s Servers) -> Self {
        const IDLE: Duration = Duration::from_secs(10);
        let mut meter = Self { servers, reading: Counts::default(), idle: Counts::default() };
        meter.reading = meter.during(|| {}).0;
        let (idle, seconds) = meter.during(|| sleep(IDLE));
        meter.idle = idle.times(1.0 / seconds);
        meter
    }

    /// Does `work` for so many pages, one after the other; returns the counts of one.
    fn phase(&self, pages: usize, work: impl Fn(usize)) -> Counts {
        const UNTIL_ALL_KNOW: Duration = Duration::from_millis(700);
        let all = || {
            (0..pages).for_each(work);
            // What was begun ends, and nodes with a lease read what was invalidated.
            sleep(UNTIL_ALL_KNOW);
        };
        let (counts, seconds) = self.during(all);
        counts.minus(self.idle.times(seconds)).times(1.0 / pages as f64)
    }

    #[expect(clippy::disallowed_methods, reason = "what happens in a second is measured")]
    fn during(&self, work: impl FnOnce()) -> (Counts, f64) {
        let (before, began) = (self.servers.counts(), Instant::now());
        work();
        let seconds = began.elapsed().as_secs_f64();
        (self.servers.counts().minus(before).minus(self.reading), seconds)
    }
}

enum Servers {
    Redis(RedisServer),
    Cluster(Cluster),
    Memcached(MemcachedServer),
}

impl Servers {
    fn start(topology: Topology) -> Self {
        match topology {
            Topology::Redis | Topology::TieredRedis | Topology::LeasedRedis => Self::Redis(RedisServer::start()),
            Topology::Cluster => Self::Cluster(Cluster::start()),
            Topology::Memcached | Topology::TieredMemcached => Self::Memcached(MemcachedServer::start()),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Redis(server) => server.url(),
            Self::Cluster(cluster) => cluster.url(),
            Self::Memcached(server) => format!("memcached://127.0.0.1:{}", server.port),
        }
    }

    fn counts(&self) -> Counts {
        match self {
            Self::Redis(server) => of_redis(server),
            Self::Cluster(cluster) => cluster.nodes.iter().map(of_redis).fold(Counts::default(), Counts::plus),
            Self::Memcached(server) => server.counts(),
        }
    }
}

/// A read by Redis takes all that a client sent at once: one for each round trip, as long as there is one request at a time.
fn of_redis(server: &RedisServer) -> Counts {
    let info: String = server.run("INFO stats");
    let number = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
    let number = |name| number(name).unwrap_or_else(|| panic!("Redis counts `{name}`"));
    Counts {
        commands: number("total_commands_processed"),
        round_trips: number("total_reads_processed"),
        received: number("total_net_input_bytes"),
        sent: number("total_net_output_bytes"),
    }
}

/// A `memcached` whose process is known.
struct MemcachedServer {
    process: Child,
    port: u16,
}

impl MemcachedServer {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut command = Command::new("memcached");
        // memcached refuses to run as root.
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-u", "nobody", "-m", "64", "-t", "1"]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("memcached is installed");
        let server = Self { process, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            sleep(Duration::from_millis(10));
        }
        server
    }

    /// memcached does not count reads from its sockets, but the kernel does. It counts commands by what they do.
    fn counts(&self) -> Counts {
        let reads = self.reads();
        let stats = self.stats();
        let number = |name: &str| -> f64 {
            let value = stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.trim().parse().ok());
            value.unwrap_or_else(|| panic!("memcached counts `{name}`"))
        };
        let commands = ["cmd_get ", "cmd_set ", "cmd_touch ", "delete_hits ", "delete_misses ", "incr_hits ", "incr_misses "];
        Counts {
            commands: commands.into_iter().map(number).sum(),
            round_trips: reads,
            received: number("bytes_read "),
            sent: number("bytes_written "),
        }
    }

    fn reads(&self) -> f64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.process.id())).expect("Linux");
        io.lines().find_map(|line| line.strip_prefix("syscr: ")?.parse().ok()).expect("Linux counts reads")
    }

    fn stats(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("memcached listens");
        stream.write_all(b"stats\r\nquit\r\n").expect("memcached reads");
        let mut stats = String::new();
        stream.read_to_string(&mut stats).expect("memcached answers");
        stats
    }
}

impl Drop for MemcachedServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
