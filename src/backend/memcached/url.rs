//! The URL of memcached servers.

use std::sync::Arc;

use crate::error::Error;

const DEFAULT_PORT: &str = "11211";

/// Parses `memcached://a,b:11212`; returns the addresses as `host:port`, without duplicates.
pub(super) fn addresses(url: &str) -> Result<Vec<Arc<str>>, Error> {
    let hosts = url.strip_prefix("memcached://").ok_or_else(|| invalid(url, "begin it with `memcached://`"))?;
    let mut addresses = Vec::new();
    for host in hosts.trim_end_matches('/').split(',') {
        let address = address(url, host)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn address(url: &str, host: &str) -> Result<Arc<str>, Error> {
    let odd = |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control() || b"/?#@".contains(&byte);
    if host.bytes().any(odd) {
        return Err(invalid(url, "name hosts and ports only, as in `memcached://a,b:11212`"));
    }
    let (name, port) = split_port(host).ok_or_else(|| invalid(url, "put an IPv6 address in brackets"))?;
    if name.is_empty() {
        return Err(invalid(url, "name at least one host, as in `memcached://localhost`"));
    }
    match port.parse::<u16>() {
        Ok(port) if port != 0 => Ok(format!("{}:{port}", name.to_ascii_lowercase()).into()),
        _ => Err(invalid(url, "a port is a number up to 65535")),
    }
}

/// Splits `host`, `host:port`, `[::1]` or `[::1]:port`.
fn split_port(host: &str) -> Option<(&str, &str)> {
    if host.starts_with('[') {
        let (name, rest) = host.split_at(host.find(']')? + 1);
        return if rest.is_empty() { Some((name, DEFAULT_PORT)) } else { Some((name, rest.strip_prefix(':')?)) };
    }
    match host.split_once(':') {
        None => Some((host, DEFAULT_PORT)),
        Some((_, port)) if port.contains(':') => None,
        Some(split) => Some(split),
    }
}

/// Returns the error for an invalid URL, without a password in it.
fn invalid(url: &str, hint: &str) -> Error {
    let shown = url.rsplit_once('@').map_or(url, |(_, shown)| shown);
    Error::invalid_input(format!("`{shown}` is not a URL of memcached servers: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_optional() {
        let read = |url| addresses(url).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(read("memcached://localhost"), ["localhost:11211"]);
        assert_eq!(read("memcached://A.example,b:11212/"), ["a.example:11211", "b:11212"]);
        assert_eq!(read("memcached://[::1],[::2]:9"), ["[::1]:11211", "[::2]:9"]);
        assert_eq!(read("memcached://a,a:11211"), ["a:11211"], "a server that is listed twice holds one share");
    }

    #[test]
    fn errors_do_not_contain_the_password() {
        for hosts in
            ["", "a,", ",a", "a:", "a:0", "a:x", "a:65536", "::1", "[::1", "[::1]9", "a b", "user:secret@a", "a/b", "a?b=c"]
        {
            let error = addresses(&format!("memcached://{hosts}")).unwrap_err();
            assert!(error.is_invalid_input() && !error.to_string().contains("secret"), "{hosts}: {error}");
        }
        assert!(addresses("memcache://a").is_err());
    }
}
