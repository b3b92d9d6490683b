//! The URL of a Redis store.

use redis::{Client, ConnectionInfo, IntoConnectionInfo as _};

use crate::error::Error;

/// Where a store is, as a URL says it.
#[derive(Debug)]
pub(super) enum RedisUrl {
    Single(Box<Client>),
    Sentinel(Box<Watched>),
    /// A URL for each node that is named.
    Cluster(Vec<String>),
}

/// A primary that sentinels watch.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) sentinels: Vec<ConnectionInfo>,
    /// What the sentinels call it.
    pub(super) service: String,
    /// How to connect to it, but for its address.
    pub(super) server: ConnectionInfo,
}

impl RedisUrl {
    /// Reads `redis://`, `redis+sentinel://` or `redis+cluster://`, each also with `rediss` for TLS.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| unreadable(url, "begin it with a scheme, as in `redis://localhost`"))?;
        let (plain, topology) = scheme.split_once('+').unwrap_or((scheme, "single"));
        if !matches!(plain, "redis" | "rediss") {
            return Err(unreadable(url, "the scheme is `redis` or `rediss`"));
        }
        if plain == "rediss" && !cfg!(feature = "redis-tls") {
            return Err(Error::invalid_input(
                "`rediss:` needs larder's feature `redis-tls`: add it to the features in Cargo.toml",
            ));
        }
        match topology {
            "single" => Ok(Self::Single(Box::new(
                Client::open(url).map_err(|error| unreadable(url, "see the `redis` crate").with_source(error))?,
            ))),
            "cluster" => Ok(Self::Cluster(each_host(plain, rest)?)),
            "sentinel" => sentinel(plain, rest),
            _ => Err(unreadable(url, "behind `redis+` stands `cluster` or `sentinel`")),
        }
    }
}

/// `user:password@a:1,b:2/…` as one URL for each host.
fn each_host(scheme: &str, rest: &str) -> Result<Vec<String>, Error> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, hosts) =
        authority.rsplit_once('@').map_or((String::new(), authority), |(user, hosts)| (format!("{user}@"), hosts));
    let urls: Vec<_> = hosts.split(',').map(|host| format!("{scheme}://{user}{}{path}", host.trim())).collect();
    for url in &urls {
        url.as_str()
            .into_connection_info()
            .map_err(|error| unreadable(url, "name hosts as in `a:6379,b:6379`").with_source(error))?;
    }
    Ok(urls)
}

fn sentinel(scheme: &str, rest: &str) -> Result<RedisUrl, Error> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut path = path.split('/');
    let service = path.next().filter(|service| !service.is_empty());
    let service =
        service.ok_or_else(|| unreadable(rest, "name the primary, as in `redis+sentinel://a:26379,b:26379/mymaster`"))?;
    let (_, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut sentinels = Vec::new();
    for host in hosts.split(',') {
        let info = format!("{scheme}://{}", with_port(host.trim())).into_connection_info();
        sentinels.push(info.map_err(|error| unreadable(host, "name sentinels as in `a:26379,b:26379`").with_source(error))?);
    }
    let wrong = |error| unreadable(rest, "see the `redis` crate").with_source(error);
    let settings = format!("{scheme}://{authority}/{}", path.next().unwrap_or("0"));
    let server = settings.split(',').next().unwrap_or_default().into_connection_info().map_err(wrong)?;
    let db = path_db(rest)?.unwrap_or_default();
    let settings = server.redis_settings().clone().set_db(db);
    let server = server.set_redis_settings(settings);
    Ok(RedisUrl::Sentinel(Box::new(Watched { sentinels, service: service.to_owned(), server })))
}

fn path_db(rest: &str) -> Result<Option<i64>, Error> {
    let db = rest.splitn(3, '/').nth(2).filter(|db| !db.is_empty());
    db.map(|db| db.parse().map_err(|error| unreadable(rest, "the database is a number").with_source(error))).transpose()
}

fn with_port(host: &str) -> String {
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty());
    if has_port { host.to_owned() } else { format!("{host}:26379") }
}

/// Without what may be a password.
fn unreadable(url: &str, hint: &str) -> Error {
    let shown = url.rsplit_once('@').map_or(url, |(_, shown)| shown);
    Error::invalid_input(format!("`{shown}` names no Redis: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topology_has_its_scheme() {
        assert!(matches!(RedisUrl::parse("redis://user:secret@localhost:6379/2"), Ok(RedisUrl::Single(_))));
        assert!(
            matches!(RedisUrl::parse("redis+cluster://:secret@a:7000,b:7001"), Ok(RedisUrl::Cluster(urls)) if urls == ["redis://:secret@a:7000", "redis://:secret@b:7001"])
        );
        assert!(matches!(RedisUrl::parse("redis+sentinel://:secret@a,b:26380/mymaster/1"), Ok(RedisUrl::Sentinel(_))));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for url in [
            "redis+sentinel://user:secret@a",
            "redis+ring://user:secret@a",
            "ridis://user:secret@a",
            "redis+cluster://user:secret@a:x",
            "redis+sentinel://user:secret@a/m/x",
        ] {
            let error = RedisUrl::parse(url).unwrap_err();
            assert!(error.is_invalid_input() && !error.to_string().contains("secret"), "{url}: {error}");
        }
    }
}
