//! The URL of memcached servers.

use std::sync::Arc;

use crate::{
    backend::url::{
        authority::{Authority, split_path},
        malformed,
    },
    error::Error,
};

const DEFAULT_PORT: u16 = 11_211;

/// Parses `memcached://a,b:11212` without options; returns the addresses as `host:port`, without duplicates.
pub(super) fn addresses(url: &str) -> Result<Vec<Arc<str>>, Error> {
    let rest = url.strip_prefix("memcached://").ok_or_else(|| malformed("begin it with `memcached://`"))?;
    let (authority, path) = split_path(rest)?;
    let Authority { login, hosts } = Authority::parse(authority, DEFAULT_PORT)?;
    if login.is_some() || !matches!(path, "" | "/") {
        return Err(malformed(
            "memcached has neither users nor databases: name hosts and ports only, as in `memcached://a,b:11212`",
        ));
    }
    let mut addresses = Vec::new();
    for host in hosts {
        let address = host.to_string().into();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
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
            ["", "a,", ",a", "a:", "a:0", "a:x", "a:65536", "::1", "[::1", "[::1]9", "a b", "user:secret@a", "a/b", "a/secret@b"]
        {
            let error = addresses(&format!("memcached://{hosts}")).unwrap_err();
            assert!(error.is_invalid_input() && !error.to_string().contains("secret"), "{hosts}: {error}");
        }
        assert!(addresses("memcache://a").is_err());
    }
}
