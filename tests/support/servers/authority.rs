use std::process::{Command, Stdio};

use super::process::Folder;

/// An unknown authority, which signs certificates for 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Authority(Folder);

impl Authority {
    pub(crate) fn new() -> Self {
        let this = Self(Folder::new());
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        this.openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
        this.openssl(&format!("req -new {key} -keyout key.pem -out request.pem -subj /CN=redis"));
        std::fs::write(this.0.0.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        this.openssl("x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out cert.pem -days 2");
        this
    }

    /// Its own certificate, by which others can be trusted.
    pub(crate) fn pem(&self) -> Vec<u8> {
        std::fs::read(self.0.0.join("ca.pem")).unwrap()
    }

    /// What `redis-server` takes to speak TLS on this port too.
    pub(crate) fn arguments(&self, port: u16) -> Vec<String> {
        let file = |name: &str| self.0.0.join(name).display().to_string();
        let pairs = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("cert.pem")),
            ("--tls-key-file", file("key.pem")),
            ("--tls-ca-cert-file", file("ca.pem")),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    fn openssl(&self, arguments: &str) {
        let status = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0.0).stderr(Stdio::null()).status();
        let status =
            status.unwrap_or_else(|error| panic!("`openssl` cannot be started ({error}): install it, or run `scripts/test`"));
        assert!(status.success(), "openssl {arguments}");
    }
}
