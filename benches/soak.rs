//! Random requests, valid and hostile, and clients that never read, against the reverse proxy for so many seconds: every body must be its
//! upstream's, the proxy must not grow, and it must not panic. When it ends, each request that it has passed to the cache must have been counted
//! once: outcomes and requests in flight are those that entered. Prints how long an honest client waited for hits meanwhile.
//!
//! ```sh
//! scripts/soak proxy
//! soak PROXY SECONDS --without-attackers
//! ```
//!
//! The second one is what an honest client waits for on this machine in any case: it leaves out the hostile requests, and the clients that never
//! read.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery},
    response::{IntoResponse as _, Response},
    routing,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(proxy), Some(seconds)) = (arguments.next(), arguments.next()) else {
        return Err("usage: soak PROXY SECONDS [--without-attackers]".into());
    };
    let attacked = match arguments.next().as_deref() {
        None => true,
        Some("--without-attackers") => false,
        Some(other) => return Err(format!("`{other}` is no option: there is `--without-attackers`").into()),
    };
    let deadline = Instant::now() + Duration::from_secs(seconds.parse()?);
    let upstream = TcpListener::bind("127.0.0.1:0").await?;
    let address = upstream.local_addr()?;
    let app = Router::new().route("/{kind}/{number}", routing::any(page));
    tokio::spawn(async move { axum::serve(upstream, app).await });

    for profile in ["default", "strict"] {
        let half = (deadline - Instant::now()) / if profile == "default" { 2 } else { 1 };
        let running = Running::start(&proxy, &format!("http://{address}"), profile)?;
        let tally = soak(&running, Instant::now() + half, attacked).await?;
        println!("{profile}: {tally:?}");
        running.end()?;
    }
    Ok(())
}

/// The body follows from the request alone, so that anybody can tell whether it is the right one.
fn body(target: &str, language: &str) -> String {
    let size = target.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 3000;
    format!("{target}|{language}|{}", "x".repeat(size))
}

async fn page(Path((kind, number)): Path<(String, u32)>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let target = format!("/{kind}/{number}{}", query.map(|query| format!("?{query}")).unwrap_or_default());
    let language = headers.get("accept-language").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let etag = format!("\"{number}\"");
    match kind.as_str() {
        "fresh" => ([("cache-control", "max-age=5")], body(&target, "")).into_response(),
        "varied" => ([("cache-control", "max-age=5"), ("vary", "accept-language")], body(&target, language)).into_response(),
        "validated" if headers.get("if-none-match").is_some_and(|named| *named == *etag) => {
            (StatusCode::NOT_MODIFIED, [("etag", etag)]).into_response()
        }
        "validated" => ([("cache-control", "max-age=1".to_owned()), ("etag", etag)], body(&target, "")).into_response(),
        "streamed" => {
            let text = Bytes::from(body(&target, ""));
            let middle = text.len() / 2;
            let pieces = [text.slice(..middle), text.slice(middle..)].map(Ok::<_, std::convert::Infallible>);
            let stream = tokio_stream(pieces);
            ([("cache-control", "max-age=5")], Body::new(stream)).into_response()
        }
        // More than is stored, for clients that do not read it.
        "big" => ([("cache-control", "max-age=5")], vec![b'x'; 8 << 20]).into_response(),
        "failing" if number % 2 == 0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => ([("cache-control", "no-store")], body(&target, "")).into_response(),
    }
}

/// A body in two pieces without a length.
fn tokio_stream(
    pieces: [Result<Bytes, std::convert::Infallible>; 2],
) -> impl http_body::Body<Data = Bytes, Error = std::convert::Infallible> {
    struct Pieces(std::array::IntoIter<Result<Bytes, std::convert::Infallible>, 2>);
    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Ready(self.0.next().map(|piece| piece.map(http_body::Frame::data)))
        }
    }
    Pieces(pieces.into_iter())
}

/// The proxy, ended by its own process id.
struct Running {
    process: Child,
    output: BufReader<ChildStdout>,
    address: String,
    complaints: Arc<Mutex<String>>,
}

impl Running {
    fn start(proxy: &str, upstream: &str, profile: &str) -> Result<Self, Failure> {
        let arguments =
            ["--listen", "127.0.0.1:0", "--upstream", upstream, "--profile", profile, "--cache", "memory:4mb", "--stats"];
        let mut process = Command::new(proxy).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().ok_or("no output")?);
        output.read_line(&mut line)?;
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).ok_or("no address")?.to_owned();
        let complaints = Arc::<Mutex<String>>::default();
        let mut errors = process.stderr.take().ok_or("no errors")?;
        std::thread::spawn({
            let complaints = Arc::clone(&complaints);
            move || {
                let mut text = String::new();
                let _ = errors.read_to_string(&mut text);
                *complaints.lock().unwrap_or_else(PoisonError::into_inner) = text;
            }
        });
        Ok(Self { process, output, address, complaints })
    }

    fn resident_kib(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn end(mut self) -> Result<(), Failure> {
        if self.process.try_wait()?.is_some() {
            return Err("the proxy ended by itself".into());
        }
        // It waits for its connections, and says what it has counted.
        Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        let mut said = String::new();
        self.output.read_to_string(&mut said)?;
        self.process.wait()?;
        every_request_is_counted_once(&said)?;
        std::thread::sleep(Duration::from_millis(100));
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.contains("panicked") { Err(complaints.clone().into()) } else { Ok(()) }
    }
}

/// Checks the identity of the statistics: outcomes and requests in flight are the requests that entered.
fn every_request_is_counted_once(said: &str) -> Result<(), Failure> {
    let counted = said.lines().find_map(|line| line.strip_prefix("counted: ")).ok_or("the proxy did not say what it counted")?;
    println!("{counted}");
    let counts = counted.split(' ').filter_map(|count| count.split_once('='));
    let counts = counts.map(|(name, count)| Ok((name, count.parse::<u64>()?))).collect::<Result<Vec<_>, Failure>>()?;
    let sum = |of: fn(&str) -> bool| -> u64 { counts.iter().filter(|(name, _)| of(name)).map(|(_, count)| count).sum() };
    let (entered, ended) = (sum(|name| name == "entered"), sum(|name| name != "entered"));
    if entered == 0 || entered != ended {
        return Err(format!("{entered} requests entered the cache, and it has counted {ended}").into());
    }
    Ok(())
}

/// How often each kind of thing happened.
type Tally = BTreeMap<&'static str, u64>;

async fn soak(proxy: &Running, deadline: Instant, attacked: bool) -> Result<Tally, Failure> {
    let mut tasks = JoinSet::new();
    for task in 0..16_u64 {
        tasks.spawn(ask_until(deadline, proxy.address.clone(), fastrand::Rng::with_seed(task), attacked));
    }
    let waits = tokio::spawn(waits_for_hits(deadline, proxy.address.clone()));
    let deaf = if attacked { deaf_clients(&proxy.address).await? } else { Vec::new() };
    // What it takes once it is full is what it may take at the end, and a little more.
    tokio::time::sleep_until(Instant::now() + (deadline - Instant::now()) / 3).await;
    let full = proxy.resident_kib()?;
    let mut tally = Tally::new();
    while let Some(part) = tasks.join_next().await {
        for (what, times) in part?? {
            *tally.entry(what).or_default() += times;
        }
    }
    drop(deaf);
    let waits = waits.await??;
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    println!(
        "{} hits of an honest client: median {:?}, 99.9 % within {:?}, the slowest and when after the start: {:?}",
        waits.len(),
        at(0.5).0,
        at(0.999).0,
        waits.iter().rev().take(5).collect::<Vec<_>>()
    );
    let end = proxy.resident_kib()?;
    println!("resident: {full} KiB after a third, {end} KiB at the end");
    if end > full + full / 4 + 8192 { Err("the proxy grew".into()) } else { Ok(tally) }
}

/// How long a client that does nothing else waits for each hit, in order, and when after the start it asked.
async fn waits_for_hits(deadline: Instant, address: String) -> Result<Vec<(Duration, Duration)>, Failure> {
    let request = format!("GET /fresh/1?honest HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let (start, mut waits) = (Instant::now(), Vec::new());
    while Instant::now() < deadline {
        let began = Instant::now();
        let answer = exchange(&address, request.as_bytes()).await?;
        if split(&answer).is_some_and(|(head, _)| head.contains("; hit")) {
            waits.push((began.elapsed(), began - start));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    waits.sort_unstable();
    if waits.is_empty() { Err("an honest client had no hits".into()) } else { Ok(waits) }
}

/// Clients that ask for much and read nothing.
async fn deaf_clients(address: &str) -> Result<Vec<TcpStream>, Failure> {
    let mut clients = Vec::new();
    for number in 0..60 {
        let mut client = TcpStream::connect(address).await?;
        client.write_all(format!("GET /big/{number} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await?;
        clients.push(client);
    }
    Ok(clients)
}

async fn ask_until(deadline: Instant, address: String, mut random: fastrand::Rng, attacked: bool) -> Result<Tally, Failure> {
    let mut tally = Tally::new();
    while Instant::now() < deadline {
        let is_hostile = attacked && random.u8(..) < 40;
        let what = if is_hostile { hostile(&address, &mut random).await? } else { valid(&address, &mut random).await? };
        *tally.entry(what).or_default() += 1;
    }
    Ok(tally)
}

async fn valid(address: &str, random: &mut fastrand::Rng) -> Result<&'static str, Failure> {
    let kind = ["fresh", "varied", "validated", "streamed", "failing", "private"][random.usize(..6)];
    let query = ["", "?a=1", "?b=%20&a=2"][random.usize(..3)];
    let target = format!("/{kind}/{}{query}", random.u32(..40));
    // In normal form: the strict profile gives the upstream no other.
    let language = ["de", "en", "it, fr;q=0.999"][random.usize(..3)];
    let method = ["GET", "GET", "GET", "HEAD", "POST"][random.usize(..5)];
    let extra =
        ["", "range: bytes=3-9\r\n", "if-none-match: \"x\", \"7\"\r\n", "cache-control: max-age=0\r\n"][random.usize(..4)];
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\naccept-language: {language}\r\n{extra}content-length: 0\r\nconnection: close\r\n\r\n"
    );
    let answer = exchange(address, request.as_bytes()).await?;
    let (head, sent) = split(&answer).ok_or_else(|| format!("no response to {method} {target}"))?;
    let expected = body(&target, if kind == "varied" { language } else { "" });
    let status = head.get(9..12).unwrap_or_default();
    let right = match (method, status) {
        ("HEAD", _) | (_, "304" | "503") => sent.is_empty(),
        (_, "206") => sent == expected.as_bytes()[3..10],
        (_, "200") => sent == expected.as_bytes(),
        _ => false,
    };
    if !right {
        return Err(format!("{request}got {head}{}", String::from_utf8_lossy(&sent)).into());
    }
    Ok(match head.contains("; hit") {
        true => "hits",
        false => "forwarded",
    })
}

/// What no client should send: no response is required, but none may belong to another request, and the proxy must continue.
async fn hostile(address: &str, random: &mut fastrand::Rng) -> Result<&'static str, Failure> {
    let length = random.usize(..200);
    let noise: String = std::iter::repeat_with(|| char::from(random.u8(1..))).take(length).collect();
    let field =
        ["cache-control", "range", "if-none-match", "cookie", "vary", "connection", "accept-encoding", "forwarded", "host"]
            [random.usize(..9)];
    let request = match random.u8(..4) {
        0 => noise.into_bytes(),
        1 => format!("GET /fresh/1 HTTP/1.1\r\nhost: a\r\n{field}: {noise}\r\n\r\n").into_bytes(),
        2 => format!("GET /fresh/1?{noise} HTTP/1.1\r\nhost: {noise}\r\nconnection: close\r\n\r\n").into_bytes(),
        _ => b"POST /fresh/1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nfff\r\nabc".to_vec(),
    };
    let mut stream = TcpStream::connect(address).await?;
    // It may hang up before we have said everything.
    let _ = stream.write_all(&request).await;
    let mut some = [0; 512];
    let _ = timeout(Duration::from_millis(5), stream.read(&mut some)).await;
    Ok("hostile")
}

async fn exchange(address: &str, request: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await??;
    Ok(answer)
}

/// The head and the body, which may have come in chunks.
fn split(answer: &[u8]) -> Option<(String, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let body = &answer[end..];
    if head.contains("transfer-encoding: chunked") { Some((head, unchunked(body)?)) } else { Some((head, body.to_vec())) }
}

fn unchunked(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).ok()?, 16).ok()?;
        let data = chunks.get(line + 2..line + 2 + size)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(data);
        chunks = chunks.get(line + size + 4..)?;
    }
}
