//! A headless Chromium, driven by its DevTools protocol.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client, stream::MaybeTlsStream};

/// Where browsers are, in Debian and elsewhere.
const NAMES: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "about:blank",
];

/// The folder of the pictures.
pub(crate) fn screenshots() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A browser with one page, ended with its process.
pub(crate) struct Chromium {
    process: Child,
    profile: PathBuf,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    last_id: u64,
    /// The page has loaded since the last navigation began.
    loaded: bool,
}

impl Chromium {
    /// Starts a browser; `None` if there is none on this machine.
    pub(crate) fn start() -> Option<Self> {
        let program = NAMES.iter().find(|name| Path::new(name).exists())?;
        static BROWSERS: AtomicUsize = AtomicUsize::new(0);
        let number = BROWSERS.fetch_add(1, Ordering::Relaxed);
        let profile = std::env::temp_dir().join(format!("larder-browser-{}-{number}", std::process::id()));
        fs::create_dir_all(&profile).unwrap();
        let mut command = Command::new(program);
        command.arg(format!("--user-data-dir={}", profile.display())).args(FLAGS);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let url = lines.find_map(|line| Some(line.unwrap().strip_prefix("DevTools listening on ")?.to_owned())).unwrap();
        // Read on, so that it never waits for us to.
        std::thread::spawn(move || lines.for_each(drop));
        let address = url.trim_start_matches("ws://").split('/').next().unwrap();
        let stream = MaybeTlsStream::Plain(TcpStream::connect(address).unwrap());
        let (socket, _) = client(url.as_str(), stream).unwrap();
        let mut browser = Self { process, profile, socket, session: None, last_id: 0, loaded: false };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }))["sessionId"].clone();
        browser.session = session.as_str().map(str::to_owned);
        browser.call("Page.enable", json!({}));
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": false }),
        );
        Some(browser)
    }

    /// Opens a URL, and waits until it has loaded.
    pub(crate) fn open(&mut self, url: &str) {
        self.loaded = false;
        let opened = self.call("Page.navigate", json!({ "url": url }));
        // Chromium reports a status of 400 or more without a body as an error of the navigation.
        let error = opened["errorText"].as_str().unwrap_or_default();
        assert!(matches!(error, "" | "net::ERR_HTTP_RESPONSE_CODE_FAILURE"), "{url}: {error}");
        self.wait_for_load();
    }

    /// Runs a script that leads to another page, and waits until that has loaded.
    pub(crate) fn follow(&mut self, script: &str) {
        self.loaded = false;
        self.evaluate(script);
        self.wait_for_load();
    }

    /// Returns the value of an expression in the page; waits for a promise.
    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        let parameters = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Returns the text of the page.
    pub(crate) fn text(&mut self) -> String {
        self.evaluate("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Chooses `light` or `dark`, as the settings of a person do.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Writes a picture of the whole page.
    pub(crate) fn picture(&mut self, file: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        fs::write(file, BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// Sends a command, and returns its result.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            let message = self.next();
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn wait_for_load(&mut self) {
        while !self.loaded {
            self.next();
        }
    }

    fn next(&mut self) -> Value {
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            self.loaded |= message["method"] == "Page.loadEventFired";
            return message;
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let command = json!({ "id": 0, "method": "Browser.close" });
        if self.socket.send(Message::text(command.to_string())).is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}
