//! The URL of a Redis store.

use redis::{Client, ConnectionInfo, IntoConnectionInfo as _};

use crate::error::Error;

/// A parsed URL of a Redis store.
#[derive(Debug)]
pub(super) enum RedisUrl {
    Single(Box<Client>),
    Sentinel(Box<SentinelUrl>),
    /// One URL for each node.
    Cluster(Vec<String>),
}

/// A primary that is monitored by sentinels.
#[derive(Debug)]
pub(super) struct SentinelUrl {
    pub(super) sentinels: Vec<ConnectionInfo>,
    /// The name of the primary in the configuration of the sentinels.
    pub(super) service: String,
    /// The settings of connections to the primary; the address is replaced.
    pub(super) server: ConnectionInfo,
}

impl RedisUrl {
    /// Parses `redis://`, `redis+sentinel://` or `redis+cluster://`, each also with `rediss` for TLS.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once("://").ok_or_else(missing_scheme)?;
        let (plain, topology) = scheme.split_once('+').unwrap_or((scheme, "single"));
        if !matches!(plain, "redis" | "rediss") {
            return Err(missing_scheme());
        }
        if plain == "rediss" && !cfg!(feature = "redis-tls") {
            return Err(Error::invalid_input(
                "`rediss:` needs larder's feature `redis-tls`: add it to the features in Cargo.toml",
            ));
        }
        match topology {
            "single" => Ok(Self::Single(Box::new(Client::open(url).map_err(malformed(SINGLE))?))),
            "cluster" => Ok(Self::Cluster(cluster(plain, rest)?)),
            "sentinel" => Ok(Self::Sentinel(Box::new(sentinel(plain, rest)?))),
            _ => Err(unknown_scheme(scheme)),
        }
    }
}

const SINGLE: &str = "write it as in `redis://user:password@host:6379/0`";
const CLUSTER: &str = "write it as in `redis+cluster://user:password@a:6379,b:6379`";
const SENTINEL: &str = "write it as in `redis+sentinel://user:password@a:26379,b:26379/mymaster/0`";

/// Splits `user:password@a:1,b:2/…` into one URL for each host.
fn cluster(scheme: &str, rest: &str) -> Result<Vec<String>, Error> {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, hosts) =
        authority.rsplit_once('@').map_or((String::new(), authority), |(user, hosts)| (format!("{user}@"), hosts));
    let urls: Vec<_> = hosts.split(',').map(|host| format!("{scheme}://{user}{}{path}", host.trim())).collect();
    for url in &urls {
        url.as_str().into_connection_info().map_err(malformed(CLUSTER))?;
    }
    Ok(urls)
}

fn sentinel(scheme: &str, rest: &str) -> Result<SentinelUrl, Error> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut path = path.splitn(2, '/');
    let service = path.next().filter(|service| !service.is_empty()).ok_or_else(|| malformed_url(SENTINEL))?;
    let db = path.next().filter(|db| !db.is_empty()).map(str::parse).transpose().map_err(malformed(SENTINEL))?;
    let (user, hosts) =
        authority.rsplit_once('@').map_or((String::new(), authority), |(user, hosts)| (format!("{user}@"), hosts));
    let sentinels = hosts.split(',').map(|host| format!("{scheme}://{}", with_port(host.trim())).into_connection_info());
    let sentinels = sentinels.collect::<Result<_, _>>().map_err(malformed(SENTINEL))?;
    // Any host will do: the sentinels report the address.
    let server = format!("{scheme}://{user}primary").into_connection_info().map_err(malformed(SENTINEL))?;
    let settings = server.redis_settings().clone().set_db(db.unwrap_or_default());
    Ok(SentinelUrl { sentinels, service: service.to_owned(), server: server.set_redis_settings(settings) })
}

fn with_port(host: &str) -> String {
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty());
    if has_port { host.to_owned() } else { format!("{host}:26379") }
}

fn missing_scheme() -> Error {
    Error::invalid_input("the URL of Redis must begin with `redis://`, `redis+sentinel://` or `redis+cluster://`")
}

fn unknown_scheme(scheme: &str) -> Error {
    const SCHEMES: &str = "use `redis`, `redis+sentinel` or `redis+cluster`";
    // Anything else may be a part of a password.
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+');
    let shown = if is_scheme { format!(" `{scheme}`") } else { String::new() };
    Error::invalid_input(format!("unknown Redis scheme{shown}: {SCHEMES}"))
}

fn malformed<E: std::error::Error + Send + Sync + 'static>(hint: &'static str) -> impl FnOnce(E) -> Error {
    move |error| malformed_url(hint).with_source(error)
}

/// Returns an error that shows no part of the URL: in a malformed one, a password may be anywhere.
fn malformed_url(hint: &str) -> Error {
    Error::invalid_input(format!(
        "the URL of Redis is malformed: {hint}; in a user or a password, write `/`, `?`, `#`, `@` and `:` as `%2F`, `%3F`, `%23`, `%40` \
         and `%3A`"
    ))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn every_topology_has_its_scheme() {
        assert!(matches!(RedisUrl::parse("redis://user:secret@localhost:6379/2"), Ok(RedisUrl::Single(_))));
        let nodes = ["redis://:secret@a:7000", "redis://:secret@b:7001"];
        assert!(matches!(RedisUrl::parse("redis+cluster://:secret@a:7000,b:7001"), Ok(RedisUrl::Cluster(urls)) if urls == nodes));
        assert!(matches!(RedisUrl::parse("redis+sentinel://:secret@a,b:26380/mymaster/1"), Ok(RedisUrl::Sentinel(_))));
    }

    #[test]
    fn a_sentinel_url_has_the_settings_of_the_primary() {
        let RedisUrl::Sentinel(url) = RedisUrl::parse("redis+sentinel://user:s%2Fcret@a,b:26380/mymaster/3").unwrap() else {
            panic!("another topology")
        };
        assert_eq!(url.service, "mymaster");
        assert_eq!(url.sentinels.iter().map(|info| info.addr().to_string()).collect::<Vec<_>>(), ["a:26379", "b:26380"]);
        let settings = url.server.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("user"), Some("s/cret"), 3));
        assert!(url.sentinels.iter().all(|info| info.redis_settings().password().is_none()));
    }

    /// Returns everything that an application may log of an error.
    fn logged(error: &Error) -> String {
        format!("{error} {error:?} {:?} {}", error.source(), error.source().map(ToString::to_string).unwrap_or_default())
    }

    #[test]
    fn an_error_shows_no_part_of_the_password() {
        // The letters of the password are in no message.
        const PASSWORDS: [&str; 13] = [
            "QZxJX", "QZ/JX", "QZ?JX", "QZ#JX", "QZ@JX", "QZ:JX", "QZ,JX", "QZ%JX", "QZ JX", "QZ://JX", "QZ[JX", "QZ]JX", "QZ+JX",
        ];
        for password in PASSWORDS {
            let malformed = [
                // The scheme.
                format!("user:{password}@host:6379"),
                format!("{password}@host"),
                format!("://user:{password}@host"),
                format!("redis:user:{password}@host"),
                format!("redis:/user:{password}@host"),
                format!("ridis://user:{password}@host"),
                format!("redis+ring://user:{password}@host"),
                format!("redis+ring:{password}@host://x"),
                // The host, the port or the database.
                format!("redis://user:{password}@"),
                format!("redis://user:{password}@host:port"),
                format!("redis://user:{password}@host:99999"),
                format!("redis://user:{password}@[host"),
                format!("redis://user:{password}@host/db"),
                // No `@`.
                format!("redis://user:{password}"),
                format!("redis://user:{password}:6379/0"),
                format!("redis://user:x:{password}/host"),
                // The same with several hosts.
                format!("redis+cluster://user:{password}@a:x,b"),
                format!("redis+cluster://user:{password}@a,b:x"),
                format!("redis+cluster://user:{password}@a,,b"),
                format!("redis+cluster://user:{password}@a/db"),
                format!("redis+cluster://user:{password}:a,b"),
                format!("redis+cluster://user:x:{password},b"),
                format!("redis+sentinel://user:{password}@a"),
                format!("redis+sentinel://user:{password}@a/"),
                format!("redis+sentinel://user:{password}@a:x/m"),
                format!("redis+sentinel://user:{password}@a,,b/m"),
                format!("redis+sentinel://user:{password}@a/m/x"),
                format!("redis+sentinel://user:{password}@a/m/1/2"),
                format!("redis+sentinel://user:{password}/m/x"),
                format!("redis+sentinel://user:{password}:a/m"),
            ];
            let mut refused = 0;
            for url in malformed {
                if let Err(error) = RedisUrl::parse(&url) {
                    let logged = logged(&error);
                    assert!(error.is_invalid_input() && !logged.contains("QZ") && !logged.contains("JX"), "{url}: {logged}");
                    refused += 1;
                }
            }
            // A few of these combinations are well-formed.
            assert!(refused > 20, "{password}: {refused}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_shown_with_those_that_exist() {
        let error = RedisUrl::parse("redis+ring://user:secret@a").unwrap_err();
        assert_eq!(error.to_string(), "unknown Redis scheme `redis+ring`: use `redis`, `redis+sentinel` or `redis+cluster`");
    }
}
