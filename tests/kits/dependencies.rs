//! Every dependency comes from crates.io, and none is older than the version that fixed a known vulnerability.

use std::{fs, path::Path};

/// Crates with advisories of RUSTSEC, and the first version without them.
const MINIMUM: [(&str, &str, &str); 9] = [
    ("bytes", "1.2.0", "RUSTSEC-2021-0045"),
    ("crossbeam-channel", "0.5.15", "RUSTSEC-2025-0024"),
    ("h2", "0.4.4", "RUSTSEC-2024-0332"),
    ("hyper", "1.0.0", "RUSTSEC-2021-0079"),
    ("ring", "0.17.12", "RUSTSEC-2025-0009"),
    ("rustls", "0.23.18", "RUSTSEC-2024-0399"),
    ("sqlx", "0.8.1", "RUSTSEC-2024-0363"),
    ("tokio", "1.44.2", "RUSTSEC-2025-0023"),
    ("tracing-subscriber", "0.3.20", "RUSTSEC-2025-0055"),
];

fn version(text: &str) -> Vec<u64> {
    text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

#[test]
fn dependencies_are_from_crates_io_and_without_known_vulnerabilities() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    let line = |package: &str, key: &str| {
        let value = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        value.map(|value| value.trim_matches('"').to_owned())
    };
    assert!(packages.len() > 50, "the lock file has changed its form");
    for package in packages {
        let (name, own) = (line(package, "name").unwrap(), line(package, "version").unwrap());
        if let Some(source) = line(package, "source") {
            assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{name}");
        }
        for (_, first, advisory) in MINIMUM.iter().filter(|(of, ..)| *of == name) {
            assert!(version(&own) >= version(first), "{name} {own}: {advisory}, update it to {first}");
        }
    }
}
