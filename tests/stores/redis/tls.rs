//! Redis by TLS, with a certificate of an unknown authority.

use super::support::{
    node::{Node, resumes_without, warm},
    topology::patient,
};
use crate::{
    servers::{
        authority::Authority,
        process::{free_port, wait_until},
        redis::{Redis as Server, Sentinel},
    },
    support::{Runs, get, logs::Logs},
};

/// A server that speaks TLS on a port of its own.
struct Site {
    authority: Authority,
    server: Server,
    port: u16,
}

impl Site {
    fn start(further: &[&str]) -> Self {
        let (authority, port) = (Authority::new(), free_port());
        let arguments = authority.arguments(port);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).chain(further.iter().copied()).collect();
        Self { server: Server::start_with(&arguments), authority, port }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    async fn node(&self, scheme: &str, runs: &Runs) -> Node {
        let builder = patient().root_certificates(self.authority.pem());
        Node::on(builder.connect(&self.url(scheme)).await.unwrap(), runs)
    }

    /// Two nodes share what is stored, and what is invalidated.
    async fn assert_kept(&self, scheme: &str) {
        let runs = Runs::default();
        let nodes = [self.node(scheme, &runs).await, self.node(scheme, &runs).await];
        let old = warm(&nodes, 1).await;
        assert!(get(&nodes[1].app, "/posts/1").await.is_hit());
        nodes[0].cache.invalidate_tags(["post:1"]).await.unwrap();
        resumes_without(&nodes, 1, &old).await;
    }
}

#[tokio::test]
async fn the_promise_holds_by_tls() {
    Site::start(&[]).assert_kept("rediss").await;
}

#[tokio::test]
async fn the_promise_holds_on_a_cluster_by_tls() {
    let site = Site::start(&["--cluster-enabled", "yes", "--tls-cluster", "yes"]);
    site.server.run::<()>("CLUSTER ADDSLOTSRANGE 0 16383");
    wait_until("the cluster is whole", || site.server.run::<String>("CLUSTER INFO").contains("cluster_state:ok"));
    site.assert_kept("rediss+cluster").await;
}

#[tokio::test]
async fn the_promise_holds_under_a_sentinel_by_tls_and_across_a_failover() {
    let (authority, ports) = (Authority::new(), [(); 3].map(|()| free_port()));
    let [primary, mut replica, sentinel] =
        ports.map(|port| [authority.arguments(port), vec!["--tls-replication".to_owned(), "yes".to_owned()]].concat());
    replica.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), ports[0].to_string()]);
    let [primary, replica] =
        [primary, replica].map(|arguments| Server::start_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    replica.wait_until_it_follows();
    let mut sentinel = Sentinel::watch(primary, replica, ports[0], &sentinel);
    let url = format!("rediss+sentinel://127.0.0.1:{}/mymaster", ports[2]);

    let runs = Runs::default();
    let node = async || Node::on(patient().root_certificates(authority.pem()).connect(&url).await.unwrap(), &runs);
    let nodes = [node().await, node().await];
    let old = warm(&nodes, 1).await;
    assert!(get(&nodes[1].app, "/posts/1").await.is_hit());
    nodes[0].cache.invalidate_tags(["post:1"]).await.unwrap();
    resumes_without(&nodes, 1, &old).await;

    let old = warm(&nodes, 1).await;
    sentinel.primary.kill();
    while nodes[0].cache.invalidate_tags(["post:1"]).await.is_err() {
        nodes[0].recovered().await;
    }
    resumes_without(&nodes, 1, &old).await;
    assert!(patient().connect(&url).await.unwrap().is_suspended(), "a certificate of an unknown authority is trusted");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_and_handlers_answer() {
    let site = Site::start(&[]);
    let stranger = Authority::new();
    let builders = [
        (patient(), site.url("rediss")),
        (patient().root_certificates(stranger.pem()), site.url("rediss")),
        // Signed by whom it should be, for another host.
        (patient().root_certificates(site.authority.pem()), format!("rediss://localhost:{}", site.port)),
    ];
    for (builder, url) in builders {
        let (logged, guard) = Logs::collect();
        let redis = builder.connect(&url).await.unwrap();
        drop(guard);
        let said = logged.take().join("\n");
        assert!(said.contains("is not trusted") && said.contains("`root_certificates`"), "{url}: {said}");
        assert!(said.contains("invalid peer certificate"), "{url}: the cause is lost: {said}");
        let node = Node::on(redis, &Runs::default());
        assert_eq!([node.text(1).await, node.text(1).await], ["run 1", "run 2"], "{url}");
        assert!(node.cache.invalidate_tags(["post:1"]).await.unwrap_err().is_unavailable());
    }
    assert_eq!(site.server.run::<i64>("DBSIZE"), 0);
}

#[tokio::test]
async fn authorities_that_make_no_sense_are_invalid_input() {
    let pem = Authority::new().pem();
    let cut = &pem[..pem.len() / 2];
    let cases = [
        ("redis://localhost", &pem[..]),
        ("rediss://localhost", b"DER"),
        ("rediss+cluster://localhost", b""),
        ("rediss://localhost", cut),
    ];
    for (url, pem) in cases {
        let error = patient().root_certificates(pem).connect(url).await.unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains("`root_certificates`"), "{url}: {error:?}");
    }
}
