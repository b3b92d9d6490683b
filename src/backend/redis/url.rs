//! The URL of a Redis store.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use crate::{
    backend::url::{
        authority::{Authority, Host, Login, split_login, split_path},
        malformed,
        options::UrlOptions,
        value::COUNT,
    },
    error::Error,
};

/// A parsed URL of a Redis store.
#[derive(Debug)]
pub(super) enum RedisUrl {
    Single(Box<Client>),
    Sentinel(Box<SentinelUrl>),
    Cluster(Vec<ConnectionInfo>),
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

/// The parts of a URL behind its scheme.
struct Parts<'u> {
    uses_tls: bool,
    authority: &'u str,
    /// Begins with `/`, or is empty.
    path: &'u str,
}

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

impl RedisUrl {
    /// Parses `redis://`, `redis+sentinel://` or `redis+cluster://`, each also with `rediss` for TLS, and `redis+unix://`; takes the
    /// option `db`, except from the URL of a Cluster.
    pub(super) fn parse(address: &str, options: &mut UrlOptions) -> Result<Self, Error> {
        let (scheme, rest) = address.split_once("://").ok_or_else(missing_scheme)?;
        let (plain, topology) = scheme.split_once('+').unwrap_or((scheme, "single"));
        if !matches!(plain, "redis" | "rediss") {
            return Err(missing_scheme());
        }
        let uses_tls = plain == "rediss";
        if uses_tls && !cfg!(feature = "redis-tls") {
            return Err(Error::invalid_input(
                "`rediss:` needs larder's feature `redis-tls`: add it to the features in Cargo.toml",
            ));
        }
        let (authority, path) = split_path(rest)?;
        let parts = Parts { uses_tls, authority, path };
        match topology {
            "single" => single(&parts, options),
            "unix" => unix(&parts, options),
            "cluster" => cluster(&parts),
            "sentinel" => sentinel(&parts, options),
            _ => Err(unknown_scheme(scheme)),
        }
    }
}

fn single(parts: &Parts<'_>, options: &mut UrlOptions) -> Result<RedisUrl, Error> {
    let Authority { login, hosts } = Authority::parse(parts.authority, PORT)?;
    let [host] = &hosts[..] else {
        return Err(malformed("`redis:` has one host: use `redis+cluster:` or `redis+sentinel:` for several"));
    };
    let db = database(parts.path.trim_start_matches('/'), options)?;
    client(parts.address(host), login.as_ref(), db)
}

fn unix(parts: &Parts<'_>, options: &mut UrlOptions) -> Result<RedisUrl, Error> {
    let (login, host) = split_login(parts.authority)?;
    let path = percent_decode_str(parts.path).decode_utf8().ok().filter(|path| path.len() > 1);
    match path {
        Some(path) if host.is_empty() && !parts.uses_tls => {
            let db = database("", options)?;
            client(ConnectionAddr::Unix(PathBuf::from(&*path)), login.as_ref(), db)
        }
        _ => Err(malformed("a Unix socket has a path, neither a host nor TLS, as in `redis+unix:///run/redis.sock?db=1`")),
    }
}

fn client(address: ConnectionAddr, login: Option<&Login>, db: u32) -> Result<RedisUrl, Error> {
    let unsupported = |_| malformed("this platform has no such connection");
    Ok(RedisUrl::Single(Box::new(Client::open(info(address, login, db)?).map_err(unsupported)?)))
}

fn cluster(parts: &Parts<'_>) -> Result<RedisUrl, Error> {
    let Authority { login, hosts } = Authority::parse(parts.authority, PORT)?;
    if !matches!(parts.path, "" | "/" | "/0") {
        return Err(malformed("a Cluster has no databases: write it as in `redis+cluster://user:password@a:6379,b:6379`"));
    }
    let infos = hosts.iter().map(|host| info(parts.address(host), login.as_ref(), 0));
    Ok(RedisUrl::Cluster(infos.collect::<Result<_, _>>()?))
}

fn sentinel(parts: &Parts<'_>, options: &mut UrlOptions) -> Result<RedisUrl, Error> {
    const HINT: &str = "write it as in `redis+sentinel://user:password@a:26379,b:26379/mymaster/0`";
    let Authority { login, hosts } = Authority::parse(parts.authority, SENTINEL_PORT)?;
    let path = parts.path.trim_start_matches('/');
    let (service, db) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(malformed(HINT));
    }
    let sentinels = hosts.iter().map(|host| info(parts.address(host), None, 0)).collect::<Result<_, _>>()?;
    // Any host will do: the sentinels report the address.
    let any = parts.address(&Host { name: "primary".to_owned(), port: PORT });
    let server = info(any, login.as_ref(), database(db, options)?)?;
    Ok(RedisUrl::Sentinel(Box::new(SentinelUrl { sentinels, service: service.to_owned(), server })))
}

/// Returns the number of the database, in the path or as an option; default: 0.
fn database(path: &str, options: &mut UrlOptions) -> Result<u32, Error> {
    let option = options.take("db", COUNT)?;
    match (path, option) {
        ("", option) => Ok(option.unwrap_or_default()),
        (_, Some(_)) => Err(malformed("it has a database in its path and the option `db`: give one of them")),
        (path, None) => path.parse().map_err(|_| malformed("the path is the number of a database, as in `redis://host/0`")),
    }
}

impl Parts<'_> {
    fn address(&self, host: &Host) -> ConnectionAddr {
        let Host { name: host, port } = host.clone();
        match self.uses_tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        }
    }
}

fn info(address: ConnectionAddr, login: Option<&Login>, db: u32) -> Result<ConnectionInfo, Error> {
    let mut settings = RedisConnectionInfo::default().set_db(db.into());
    if let Some(Login { user, password }) = login {
        settings = settings.set_password(password);
        settings = user.iter().fold(settings, RedisConnectionInfo::set_username);
    }
    let info = address.into_connection_info().map_err(|_| malformed("the address is not one of Redis"))?;
    Ok(info.set_redis_settings(settings))
}

fn missing_scheme() -> Error {
    Error::invalid_input(
        "the URL of Redis must begin with `redis://`, `redis+unix://`, `redis+sentinel://` or `redis+cluster://`",
    )
}

fn unknown_scheme(scheme: &str) -> Error {
    const SCHEMES: &str = "use `redis`, `redis+unix`, `redis+sentinel` or `redis+cluster`";
    // Anything else may be a part of a password.
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+');
    let shown = if is_scheme { format!(" `{scheme}`") } else { String::new() };
    Error::invalid_input(format!("unknown Redis scheme{shown}: {SCHEMES}"))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn parse(url: &str) -> Result<RedisUrl, Error> {
        let (address, mut options) = UrlOptions::split(url)?;
        let parsed = RedisUrl::parse(address, &mut options)?;
        options.finish()?;
        Ok(parsed)
    }

    fn client(url: &str) -> ConnectionInfo {
        match parse(url).unwrap() {
            RedisUrl::Single(client) => client.get_connection_info().clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_topology_has_its_scheme() {
        let info = client("redis://user:s%2Fcret@localhost:6380/2");
        assert_eq!(info.addr(), &ConnectionAddr::Tcp("localhost".to_owned(), 6380));
        let settings = info.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("user"), Some("s/cret"), 2));
        assert_eq!(client("redis://[::1]").addr(), &ConnectionAddr::Tcp("::1".to_owned(), 6379));
        let Ok(RedisUrl::Cluster(nodes)) = parse("redis+cluster://:secret@a:7000,b") else { panic!("another topology") };
        assert_eq!(nodes.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>(), ["a:7000", "b:6379"]);
        assert!(nodes.iter().all(|node| node.redis_settings().password() == Some("secret")));
        assert!(matches!(parse("redis+sentinel://:secret@a,b:26380/mymaster/1"), Ok(RedisUrl::Sentinel(_))));
    }

    #[test]
    fn a_unix_socket_has_a_path_and_options() {
        let info = client("redis+unix://user:secret@/run/a%20b.sock?db=3");
        assert_eq!(info.addr(), &ConnectionAddr::Unix("/run/a b.sock".into()));
        let settings = info.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("user"), Some("secret"), 3));
        for url in ["redis+unix://host/run/a.sock", "redis+unix://", "redis+unix:///", "redis+unix:/run/a.sock"] {
            assert!(parse(url).unwrap_err().is_invalid_input(), "{url}");
        }
    }

    #[test]
    fn a_database_is_given_once() {
        assert_eq!(client("redis://a?db=3").redis_settings().db(), 3);
        for url in
            ["redis://a/1?db=1", "redis://a/x", "redis://a/-1", "redis://a/1/2", "redis://a?db=-1", "redis+cluster://a?db=1"]
        {
            assert!(parse(url).unwrap_err().is_invalid_input(), "{url}");
        }
    }

    #[test]
    fn a_sentinel_url_has_the_settings_of_the_primary() {
        let RedisUrl::Sentinel(url) = parse("redis+sentinel://user:s%2Fcret@a,b:26380/mymaster/3").unwrap() else {
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
                if let Err(error) = parse(&url) {
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
        let error = parse("redis+ring://user:secret@a").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown Redis scheme `redis+ring`: use `redis`, `redis+unix`, `redis+sentinel` or `redis+cluster`"
        );
    }
}
