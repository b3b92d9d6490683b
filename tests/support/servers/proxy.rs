use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// A stretch of network in front of a server, with the faults that networks have.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    server: Arc<AtomicU16>,
    fault: watch::Sender<Fault>,
    connections: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Each piece comes so much later.
    Delay(Duration),
    /// So many bytes pass in a second, in each direction of each connection.
    Slow(u32),
    /// Nothing passes, without an error.
    Silence,
    /// Requests pass, answers don't: whatever was asked for happens.
    Deaf,
    /// Every connection is closed, and every new one at once.
    Cut,
    /// The server's side is closed, the client's stays open and silent.
    HalfClosed,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        Self::start_at(0, server).await
    }

    /// The same on a port that is known beforehand.
    pub(crate) async fn start_at(port: u16, server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, faults) = watch::channel(Fault::None);
        let connections = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&connections);
        let server = Arc::new(AtomicU16::new(server));
        let leads_to = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (faults, server) = (faults.clone(), leads_to.load(Ordering::SeqCst));
                tokio::spawn(async move {
                    if *faults.borrow() != Fault::Cut {
                        relay(client, server, faults).await;
                    }
                });
            }
        });
        Self { address, server, fault, connections }
    }

    /// Ends all connections; new ones lead to another server, as when an address moves.
    pub(crate) fn lead_to(&self, server: u16) {
        self.server.store(server, Ordering::SeqCst);
        self.set(Fault::Cut);
        // Every task that forwards bytes must see it.
        std::thread::sleep(Duration::from_millis(20));
        self.set(Fault::None);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// How many connections have been made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn relay(client: TcpStream, server: u16, faults: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asking = tokio::spawn(pass(from_client, to_server, faults.clone(), Direction::Asking));
    let answering = tokio::spawn(pass(from_server, to_client, faults, Direction::Answering));
    let _ = tokio::join!(asking, answering);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Asking,
    Answering,
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut faults: watch::Receiver<Fault>, direction: Direction) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            // The proxy's handle was dropped, or the mode has changed again.
            changed = faults.changed() => match changed {
                Ok(()) if matches!(*faults.borrow(), Fault::Cut) => return,
                Ok(()) if *faults.borrow() == Fault::HalfClosed && direction == Direction::Asking => {
                    let _ = to.shutdown().await;
                    std::future::pending().await
                }
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok(length @ 1..) = read else { return };
        loop {
            let fault = *faults.borrow_and_update();
            match fault {
                Fault::None => break,
                Fault::Delay(delay) => {
                    sleep(delay).await;
                    break;
                }
                Fault::Slow(bytes) => {
                    let length = u32::try_from(length).unwrap();
                    sleep(Duration::from_secs(1) * length / bytes).await;
                    break;
                }
                Fault::Cut => return,
                Fault::Deaf if direction == Direction::Asking => break,
                Fault::Silence | Fault::Deaf | Fault::HalfClosed => {
                    if faults.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
