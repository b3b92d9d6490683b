use std::{collections::HashMap, env, mem::replace};

use redis::{Client, Cmd, Connection, FromRedisValue, RedisResult, cmd, pipe};

use super::process::{Folder, Process, free_port, wait_until};

/// The program: `redis-server`, or what `LARDER_REDIS_SERVER` names, such as a `valkey-server`.
fn program() -> String {
    env::var("LARDER_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// A `redis-server`.
#[derive(Debug)]
pub(crate) struct Redis {
    process: Process,
    pub(crate) port: u16,
    arguments: Vec<String>,
    _folder: Folder,
}

impl Redis {
    /// A server that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further arguments: `&["--maxmemory", "2mb"]`.
    pub(crate) fn start_with(further: &[&str]) -> Self {
        // Another process may take the port, or the one for the bus of a cluster, before the server does.
        (0..10).find_map(|_| Self::try_start_at(free_port(), further)).expect("redis-server ends when it starts")
    }

    /// A replica that has everything its primary has by now.
    pub(crate) fn start_replica_of(primary: &Self) -> Self {
        let replica = Self::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string(), "--replica-priority", "1"]);
        replica.wait_until_it_follows();
        // Until it has confirmed something, it is sent nothing.
        let (_, confirmed): (i64, i64) = pipe()
            .cmd("PUBLISH")
            .arg("to")
            .arg("replicas")
            .cmd("WAIT")
            .arg(1)
            .arg(30_000)
            .query(&mut primary.connection())
            .unwrap();
        assert_eq!(confirmed, 1, "the replica confirms nothing");
        replica
    }

    pub(crate) fn start_at(port: u16) -> Self {
        Self::try_start_at(port, &[]).expect("redis-server ends when it starts: is its port taken?")
    }

    /// Starts a server and waits until it answers; `None` if it ends instead.
    fn try_start_at(port: u16, further: &[&str]) -> Option<Self> {
        let folder = Folder::new();
        let folder_path = folder.0.display().to_string();
        let port_text = port.to_string();
        let own =
            ["--port", &port_text, "--dir", &folder_path, "--save", "", "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"];
        let arguments: Vec<String> = own.iter().chain(further).map(ToString::to_string).collect();
        let process = Process::start(&program(), &arguments);
        let mut server = Self { process, port, arguments, _folder: folder };
        let (client, mut has_ended) = (Client::open(server.url()).unwrap(), false);
        wait_until("redis-server answers or ends", || {
            has_ended = server.process.has_ended();
            has_ended || client.get_connection().is_ok_and(|mut connection| cmd("PING").exec(&mut connection).is_ok())
        });
        (!has_ended).then_some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connection(&self) -> Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Runs one command: `server.run::<i64>("DBSIZE")`.
    pub(crate) fn run<T: FromRedisValue>(&self, command: &str) -> T {
        self.try_run(command).unwrap()
    }

    pub(crate) fn try_run<T: FromRedisValue>(&self, command: &str) -> RedisResult<T> {
        let mut words = command.split(' ');
        let mut command = cmd(words.next().unwrap());
        words.for_each(|word| _ = command.arg(word));
        command.query(&mut self.connection())
    }

    pub(crate) fn query<T: FromRedisValue>(&self, command: &Cmd) -> T {
        command.query(&mut self.connection()).unwrap()
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

    /// Stops a replica, and hangs up on it: what has been sent to it by now it would still read when it goes on.
    pub(crate) fn cut_off(&self, replica: &Self) {
        replica.pause();
        self.run::<i64>("CLIENT KILL TYPE replica");
    }

    /// Starts again on the same port, with what is on disk.
    pub(crate) fn start_again(&mut self) {
        self.process = Process::start(&program(), &self.arguments);
        self.wait_until_ready();
    }

    pub(crate) fn wait_until_it_follows(&self) {
        wait_until("the replica follows", || self.run::<String>("INFO replication").contains("master_link_status:up"));
    }

    fn wait_until_ready(&self) {
        let client = Client::open(self.url()).unwrap();
        wait_until("redis-server answers", || {
            client.get_connection().is_ok_and(|mut connection| cmd("PING").exec(&mut connection).is_ok())
        });
    }
}

fn query_on<T: FromRedisValue>(server: &Redis, command: &Cmd) -> RedisResult<T> {
    command.query(&mut server.connection())
}

/// Three primaries that share the slots.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(further: &[&str]) -> Self {
        let arguments = [&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"], further].concat();
        let nodes: Vec<_> = (0..3).map(|_| Redis::start_with(&arguments)).collect();
        for (node, slots) in nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            node.run::<()>(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
            node.run::<()>(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port));
        }
        let cluster = Self { nodes };
        cluster.wait_until_ready();
        cluster
    }

    /// Adds a replica to each primary.
    pub(crate) fn with_replicas(mut self) -> Self {
        for primary in 0..3 {
            let replica = Redis::start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
            replica.run::<()>(&format!("CLUSTER MEET 127.0.0.1 {}", self.nodes[0].port));
            let id: String = self.nodes[primary].run("CLUSTER MYID");
            wait_until("the replica knows its primary", || replica.run::<String>("CLUSTER NODES").contains(&id));
            replica.run::<()>(&format!("CLUSTER REPLICATE {id}"));
            replica.wait_until_it_follows();
            self.nodes.push(replica);
        }
        self.wait_until_ready();
        self
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Which of the primaries has the slot of this key.
    pub(crate) fn owner(&self, key: &[u8]) -> usize {
        let has = |node: &Redis| query_on::<redis::Value>(node, cmd("TYPE").arg(key)).is_ok();
        (0..self.nodes.len()).find(|node| has(&self.nodes[*node])).unwrap()
    }

    /// Moves the slot of a key and all that is in it to another primary, as `redis-cli --cluster reshard` does; `halfway` happens when
    /// each of both has a part of it.
    pub(crate) fn move_slot(&self, key: &[u8], to: usize, halfway: impl FnOnce()) {
        let (source, target) = (&self.nodes[self.owner(key)], &self.nodes[to]);
        let slot: u16 = source.query(cmd("CLUSTER").arg("KEYSLOT").arg(key));
        let [source_id, target_id]: [String; 2] = [source, target].map(|node| node.run("CLUSTER MYID"));
        target.run::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}"));
        source.run::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"));
        let mut halfway = Some(halfway);
        loop {
            let keys: Vec<Vec<u8>> = source.run(&format!("CLUSTER GETKEYSINSLOT {slot} 1"));
            if keys.is_empty() {
                break;
            }
            let mut migrate = cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(target.port).arg("").arg(0).arg(5000).arg("KEYS").arg(&keys);
            source.query::<redis::Value>(&migrate);
            if let Some(halfway) = halfway.take() {
                halfway();
            }
        }
        for node in [target, source].into_iter().chain(&self.nodes) {
            node.run::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target_id}"));
        }
    }

    pub(crate) fn wait_until_ready(&self) {
        let count = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            wait_until("the cluster is whole", || {
                let info: String = node.run("CLUSTER INFO");
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384") && info.contains(&count)
            });
        }
    }
}

/// A primary and a replica, watched by one sentinel.
#[derive(Debug)]
pub(crate) struct Sentinel {
    pub(crate) primary: Redis,
    pub(crate) replica: Redis,
    _sentinel: Process,
    port: u16,
    _folder: Folder,
}

impl Sentinel {
    pub(crate) fn start() -> Self {
        let primary = Redis::start();
        let replica = Redis::start_replica_of(&primary);
        let at = primary.port;
        Self::watch(primary, replica, at, &[])
    }

    /// A sentinel, with further arguments, to which the primary is known by this port.
    pub(crate) fn watch(primary: Redis, replica: Redis, at: u16, further: &[String]) -> Self {
        let (port, folder) = (free_port(), Folder::new());
        let config = folder.0.join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            format!("dir {}", folder.0.display()),
            format!("sentinel monitor mymaster 127.0.0.1 {at} 1"),
            "sentinel down-after-milliseconds mymaster 500".to_owned(),
            "sentinel failover-timeout mymaster 3000".to_owned(),
        ];
        std::fs::write(&config, lines.join("\n") + "\n").unwrap();
        let arguments = [&[config.display().to_string(), "--sentinel".to_owned()], further].concat();
        let sentinel = Process::start(&program(), &arguments);
        let this = Self { primary, replica, _sentinel: sentinel, port, _folder: folder };
        wait_until("the sentinel knows primary and replica", || !this.replicas().is_empty());
        this
    }

    /// The same, for one failover after another: the primary is replaced when [`take_over`](Self::take_over) says so, and not because
    /// the machine is slow.
    pub(crate) fn start_obedient() -> Self {
        let this = Self::start();
        this.tell::<()>("SET mymaster down-after-milliseconds 600000").unwrap();
        // How often it asks a primary who follows it, in milliseconds: ten seconds are the default.
        this.tell::<()>("DEBUG info-period 100").unwrap();
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/mymaster", self.port)
    }

    /// Asks the servers often who follows whom, as a hand-over in both directions needs it.
    pub(crate) fn look_often(&self) {
        self.tell::<()>("DEBUG info-period 100").unwrap();
    }

    /// Waits until the replica has been made the primary.
    pub(crate) fn wait_for_failover(&self) {
        // The sentinel closes all connections of the server that it promotes.
        wait_until("the replica is promoted", || {
            let Ok(mut connection) = Client::open(self.replica.url()).unwrap().get_connection() else { return false };
            cmd("INFO").arg("replication").query::<String>(&mut connection).is_ok_and(|info| info.contains("role:master"))
        });
        wait_until("the sentinel names it", || {
            let address: [String; 2] = self.tell("GET-MASTER-ADDR-BY-NAME mymaster").unwrap();
            address[1] == self.replica.port.to_string()
        });
    }

    /// Makes the replica the primary in place of the one that was killed, and starts another replica.
    pub(crate) fn take_over(&mut self) {
        wait_until("the sentinel begins", || self.tell::<()>("FAILOVER mymaster").is_ok());
        self.wait_for_failover();
        let replica = Redis::start_replica_of(&self.replica);
        self.primary = replace(&mut self.replica, replica);
        let port = self.primary.port.to_string();
        wait_until("the sentinel has ended the failover", || {
            let primary: HashMap<String, String> = self.tell("MASTER mymaster").unwrap();
            primary["port"] == port && primary["flags"] == "master"
        });
        // The dead would be waited for.
        self.tell::<()>("RESET mymaster").unwrap();
        self.wait_for_replica(&self.replica);
    }

    /// Waits until the sentinel knows that this server follows the primary.
    pub(crate) fn wait_for_replica(&self, replica: &Redis) {
        let port = replica.port.to_string();
        wait_until("the sentinel knows the new replica", || {
            let ready = |replica: &HashMap<String, String>| {
                replica["port"] == port && replica["flags"] == "slave" && replica["master-link-status"] == "ok"
            };
            self.replicas().iter().any(ready)
        });
    }

    /// Makes the server at this port the primary, as an operator does: the one that was the primary is not told for some seconds.
    pub(crate) fn hand_over_to(&self, port: u16) {
        wait_until("the sentinel has handed over", || {
            let named: [String; 2] = self.tell("GET-MASTER-ADDR-BY-NAME mymaster").unwrap();
            let primary: HashMap<String, String> = self.tell("MASTER mymaster").unwrap();
            if primary["flags"] != "master" {
                return false;
            }
            if named[1] == port.to_string() {
                return true;
            }
            // It may refuse for a while, or give up.
            let _ = self.tell::<()>("FAILOVER mymaster");
            false
        });
    }

    fn replicas(&self) -> Vec<HashMap<String, String>> {
        self.tell("REPLICAS mymaster").unwrap_or_default()
    }

    /// Gives the sentinel a command of its own: `tell::<()>("RESET mymaster")`.
    fn tell<T: FromRedisValue>(&self, command: &str) -> RedisResult<T> {
        let mut connection = Client::open(format!("redis://127.0.0.1:{}", self.port))?.get_connection()?;
        cmd("SENTINEL").arg(command.split(' ').collect::<Vec<_>>()).query(&mut connection)
    }
}
